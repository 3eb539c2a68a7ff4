#!/usr/bin/env python
"""Command line of the platform: `manage.py up`, `doctor`, `listen`, `simulate` and Django's own commands."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
    execute_from_command_line(sys.argv)
