#!/usr/bin/env python
"""Command line of the platform: `manage.py up`, `doctor`, `listen`, `simulate` and Django's own commands."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
    if sys.argv[1:2] and sys.argv[1] in {"up", "with_servers", "doctor"}:
        # They start or examine what Django needs: they work, and a second sooner, without loading it.
        from iiot_site.supervisor import cli

        sys.exit(cli.main(sys.argv[1:]))
    execute_from_command_line(sys.argv)
