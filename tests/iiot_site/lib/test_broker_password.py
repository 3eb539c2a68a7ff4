"""Broker logins: what mosquitto writes we verify, what we write mosquitto accepts (see supervisor/test_broker_access.py)."""

import shutil
import subprocess
from pathlib import Path

import pytest

from iiot_site.lib.broker_password import hash_broker_password, verify_broker_password


def test_it_verifies_the_secret_it_hashed() -> None:
    hashed = hash_broker_password("grüße-9")
    assert hashed.startswith("$7$")
    assert verify_broker_password("grüße-9", hashed)
    assert not verify_broker_password("gruesse-9", hashed)


def test_two_hashes_of_one_secret_differ() -> None:
    assert hash_broker_password("same") != hash_broker_password("same")


def test_it_verifies_a_line_written_by_mosquitto_passwd(tmp_path: Path) -> None:
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([program, "-b", "-c", str(tmp_path / "file"), "acme/pump", "its secret"], check=True)
    username, hashed = (tmp_path / "file").read_text().strip().split(":", 1)
    assert username == "acme/pump"
    assert verify_broker_password("its secret", hashed)


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "plain",
        "$6$101$c2FsdA==$aGFzaA==",
        "$7$101$$",
        "$7$x$c2FsdA==$aGFzaA==",
        "$7$0$c2FsdA==$aGFzaA==",
        "$7$101$%%$%%",
        "$7$9999999999$YQ==$YQ==",
    ],
)
def test_it_refuses_every_other_format(hashed: str) -> None:
    assert not verify_broker_password("", hashed)
