"""What each process loads."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("process", "is_there"), [("web", True), ("listen-mqtt", False)])
def test_only_the_web_process_loads_the_admin(process: str, is_there: bool) -> None:
    code = "import sys, django; django.setup(); print('devices.admin' in sys.modules, 'alerting.admin' in sys.modules)"
    env = {**os.environ, "IIOT_PROCESS": process, "DJANGO_SETTINGS_MODULE": "iiot_site.settings"}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [str(is_there)] * 2
