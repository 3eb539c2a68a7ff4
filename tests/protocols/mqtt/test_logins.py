"""The broker's password file follows the devices' credentials."""

from pathlib import Path

import pytest
from django.db import ProgrammingError
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from devices.services import issue_credential, revoke_credential, rotate_credential
from iiot_site.lib.broker_password import verify_broker_password
from protocols.login_sync import LoginSync, load_tenant_logins
from protocols.mqtt.logins import PasswordFile
from tenants.models import Tenant
from tenants.services import set_suspended
from tests.conftest import MakeDevice
from tests.waiting import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    passwords = tmp_path / "passwords"
    passwords.write_text("iiot-platform:$7$101$c2FsdA==$aGFzaA==\nacme/forgotten:$7$101$c2FsdA==$aGFzaA==\n")
    return passwords


@pytest.fixture
def sync(path: Path, tmp_path: Path) -> LoginSync:
    return LoginSync(PasswordFile(path, tmp_path / "no.pid"))


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device("pump-7")


def issue(tenant: Tenant, device: Device) -> str:
    with tenant_context(tenant):
        return issue_credential(device=device, kind="mqtt", now=timezone.now()).secret


def logins(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines())


def test_it_holds_the_platform_and_every_valid_login(sync: LoginSync, path: Path, acme: Tenant, pump: Device) -> None:
    secret = issue(acme, pump)
    sync.sync_all()
    assert list(logins(path)) == ["iiot-platform", "acme/pump-7"]
    assert verify_broker_password(secret, logins(path)["acme/pump-7"])
    assert path.stat().st_mode & 0o777 == 0o600


def test_revoked_logins_and_those_of_suspended_tenants_go(sync: LoginSync, path: Path, acme: Tenant, pump: Device) -> None:
    issue(acme, pump)
    sync.sync_all()
    set_suspended(tenant=acme, is_suspended=True)
    sync.sync_tenants({"t_acme"})
    assert list(logins(path)) == ["iiot-platform"]
    set_suspended(tenant=acme, is_suspended=False)
    sync.sync_tenants({"t_acme"})
    assert "acme/pump-7" in logins(path)
    with tenant_context(acme):
        revoke_credential(credential=pump.credentials.get(), now=timezone.now())
    sync.sync_tenants({"t_acme"})
    assert list(logins(path)) == ["iiot-platform"]


def test_a_tenant_that_cannot_be_read_keeps_its_logins_and_stops_nobody(
    sync: LoginSync, path: Path, acme: Tenant, globex: Tenant, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_context(globex):
        mixer = make_device("mixer-1", type_name="Mixer")
    with tenant_context(acme):
        pump = make_device("pump-7")
    issue(globex, mixer)
    issue(acme, pump)
    sync.sync_all()
    load = load_tenant_logins

    def break_acme(schema: str) -> dict[str, str]:
        if schema == "t_acme":
            raise ProgrammingError('relation "devices_devicecredential" does not exist')
        return load(schema)

    monkeypatch.setattr("protocols.login_sync.load_tenant_logins", break_acme)
    monkeypatch.setattr("protocols.login_sync.connection.close", lambda: None)  # the transaction of this test
    with tenant_context(globex):
        revoke_credential(credential=mixer.credentials.get(), now=timezone.now())
    sync.sync_all()
    assert list(logins(path)) == ["iiot-platform", "acme/pump-7"]
    assert "t_acme" in sync.last_error
    monkeypatch.setattr("protocols.login_sync.load_tenant_logins", load)
    sync.sync_all()
    assert sync.last_error == ""


def test_nothing_is_written_where_nothing_changed(sync: LoginSync, path: Path, acme: Tenant, pump: Device) -> None:
    issue(acme, pump)
    sync.sync_all()
    before = path.stat()
    sync.sync_all()
    assert path.stat().st_ino == before.st_ino


def test_a_second_name_comes_with_rights_to_the_devices_own_topics(sync: LoginSync, path: Path, acme: Tenant, pump: Device) -> None:
    issue(acme, pump)
    sync.sync_all()
    acl = path.with_name("acl")
    assert "~2" not in acl.read_text()
    assert "topic write spBv1.0/acme/NDATA/pump-7" in acl.read_text().partition("user acme/pump-7\n")[2].splitlines()
    with tenant_context(acme):
        rotate_credential(credential=pump.credentials.get(), now=timezone.now())
    sync.sync_tenants({"t_acme"})
    assert sorted(logins(path)) == ["acme/pump-7", "acme/pump-7~2", "iiot-platform"]
    rights = acl.read_text().partition("user acme/pump-7~2\n")[2]
    assert "topic write t/acme/pump-7/telemetry" in rights.splitlines()
    assert acl.stat().st_mode & 0o777 == 0o600


def test_a_stale_process_number_is_left_alone(path: Path, tmp_path: Path) -> None:
    (tmp_path / "broker.pid").write_text("1\n")  # not a broker
    assert PasswordFile(path, tmp_path / "broker.pid").replace_device_logins({"acme/pump-7": "hash"})


@pytest.mark.django_db(transaction=True)
def test_changes_arrive_by_notification(sync: LoginSync, path: Path, acme: Tenant, pump: Device) -> None:
    sync.start()
    try:
        assert "acme/pump-7" not in logins(path)
        issue(acme, pump)
        wait_until(lambda: "acme/pump-7" in logins(path))
    finally:
        sync.stop()


@pytest.mark.django_db(transaction=True)
def test_the_thread_survives_whatever_happens_and_says_so(sync: LoginSync, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.login_sync.RETRY_SECONDS", 0.05)
    sync.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr("protocols.login_sync.RESYNC_SECONDS", 0.1)
            patch.setattr("protocols.login_sync.take_notices", lambda *_, **__: int("nonsense"))
            wait_until(lambda: "ValueError" in sync.last_error)
        wait_until(lambda: sync.last_error == "")
    finally:
        sync.stop()
