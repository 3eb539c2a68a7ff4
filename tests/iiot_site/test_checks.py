"""The platform refuses to serve with a key that anybody knows or can guess."""

import subprocess
import sys
from pathlib import Path

import pytest

from iiot_site.checks import check_secret_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("key", "problems"),
    [("unset-" + "0" * 44, ["iiot_site.E001"]), ("short", ["iiot_site.E002"]), ("k" * 31, ["iiot_site.E002"]), ("k" * 32, [])],
)
def test_an_unset_or_short_key_is_an_error_with_a_hint(settings: object, key: str, problems: list[str]) -> None:
    settings.SECRET_KEY = key  # type: ignore[attr-defined]  # pytest-django's settings take any name
    found = check_secret_key(None)
    assert [problem.id for problem in found] == problems
    assert all(problem.hint for problem in found)


def test_commands_that_make_the_key_or_sign_nothing_run_without_one(settings: object, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SECRET_KEY = "unset-" + "0" * 44  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "argv", ["manage.py", "up"])
    assert check_secret_key(None) == []


def test_a_command_that_serves_does_not_start_without_a_key(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "IIOT_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "iiot_site.settings"}
    ended = subprocess.run([sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "iiot_site.E001" in ended.stderr
    assert "IIOT_SECRET_KEY" in ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import iiot_site.asgi"],
        ["-m", "celery", "-A", "iiot_site", "worker", "--pool", "solo"],
        ["-m", "celery", "-A", "iiot_site", "beat", "--schedule", "{folder}/schedule"],
        ["manage.py", "listen", "mqtt"],
    ],
)
def test_no_process_starts_without_a_key(tmp_path: Path, command: list[str]) -> None:
    env = {"PATH": "/usr/bin:/bin", "IIOT_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1", "MQTT_URL": "mqtt://127.0.0.1:1"}
    arguments = [argument.format(folder=tmp_path) for argument in command]
    ended = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != 0
    assert "There is no secret key" in ended.stderr
