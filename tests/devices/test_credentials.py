"""Rotation with an overlap, expiry, certificates, OSCORE keys, and when a credential was last used."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_tenants.utils import tenant_context

from devices import services
from devices.credential_states import credential_state
from devices.errors import (
    CertificateRefusedError,
    CertificateTakenError,
    CredentialInvalidError,
    RotationRefusedError,
    TooManyCredentialsError,
)
from devices.models import Device, DeviceCredential
from devices.selectors import load_broker_logins, load_oscore_credentials
from devices.types import IssuedCredential
from iiot_site.lib.broker_password import verify_broker_password
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.devices.certificates import as_der, as_pem, make_certificate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def _in_acme(in_acme: Tenant) -> None:
    """Every test runs inside acme."""


@pytest.fixture
def pump(make_device: MakeDevice) -> Device:
    return make_device("pump-7")


def row(issued: IssuedCredential) -> DeviceCredential:
    return DeviceCredential.objects.get(pk=issued.credential_id)


# --- Rotation


def test_both_tokens_work_in_the_overlap_and_only_the_new_one_after_it(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="token", now=NOW)
    new = services.rotate_credential(credential=row(old), now=NOW, overlap=HOUR)
    for moment, works in ((NOW + HOUR / 2, True), (NOW + HOUR, False)):
        assert (services.authenticate_device_token(token=old.secret, now=moment) is not None) is works
        assert services.authenticate_device_token(token=new.secret, now=moment) is not None


def test_without_an_overlap_the_old_one_ends_at_once(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="token", now=NOW)
    services.rotate_credential(credential=row(old), now=NOW, overlap=timedelta(0))
    assert services.authenticate_device_token(token=old.secret, now=NOW) is None


def test_an_overlap_never_makes_the_old_one_live_longer(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="token", now=NOW, expires_at=NOW + HOUR)
    services.rotate_credential(credential=row(old), now=NOW, overlap=DAY)
    assert row(old).expires_at == NOW + HOUR


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_an_overlap_has_its_bounds(pump: Device, overlap: timedelta) -> None:
    old = services.issue_credential(device=pump, kind="token", now=NOW)
    with pytest.raises(CredentialInvalidError):
        services.rotate_credential(credential=row(old), now=NOW, overlap=overlap)


def test_what_was_revoked_or_rotated_is_not_rotated_again(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="token", now=NOW)
    new = services.rotate_credential(credential=row(old), now=NOW)
    with pytest.raises(RotationRefusedError):
        services.rotate_credential(credential=row(old), now=NOW)
    services.revoke_credential(credential=row(new), now=NOW)
    with pytest.raises(RotationRefusedError):
        services.rotate_credential(credential=row(new), now=NOW)


def test_in_an_overlap_the_broker_knows_both_passwords_under_two_names(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="mqtt", now=NOW)
    new = services.rotate_credential(credential=row(old), now=NOW, overlap=HOUR)
    assert (old.username, new.username) == ("acme/pump-7", "acme/pump-7~2")
    logins = load_broker_logins(NOW)
    assert verify_broker_password(old.secret, logins["acme/pump-7"])
    assert verify_broker_password(new.secret, logins["acme/pump-7~2"])
    assert list(load_broker_logins(NOW + HOUR)) == ["acme/pump-7~2"]


def test_the_next_rotation_goes_back_to_the_first_name_once_it_is_free(pump: Device) -> None:
    first = services.issue_credential(device=pump, kind="mqtt", now=NOW)
    second = services.rotate_credential(credential=row(first), now=NOW, overlap=HOUR)
    with pytest.raises(RotationRefusedError, match="overlap"):
        services.rotate_credential(credential=row(second), now=NOW)
    third = services.rotate_credential(credential=row(second), now=NOW + HOUR)
    assert third.username == "acme/pump-7"
    assert sorted(load_broker_logins(NOW + HOUR)) == ["acme/pump-7", "acme/pump-7~2"]


def test_without_an_overlap_a_password_keeps_its_name(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="mqtt", now=NOW)
    new = services.rotate_credential(credential=row(old), now=NOW, overlap=timedelta(0))
    assert new.username == old.username
    assert verify_broker_password(new.secret, load_broker_logins(NOW)["acme/pump-7"])


def test_a_new_password_ends_both_names(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="mqtt", now=NOW)
    services.rotate_credential(credential=row(old), now=NOW)
    new = services.issue_credential(device=pump, kind="mqtt", now=NOW)
    assert list(load_broker_logins(NOW)) == ["acme/pump-7"] == [new.username]


def test_a_broker_that_asks_takes_either_password_with_its_name(pump: Device) -> None:
    old = services.issue_credential(device=pump, kind="mqtt", now=NOW)
    new = services.rotate_credential(credential=row(old), now=NOW, overlap=HOUR)
    for issued in (old, new):
        assert services.authenticate_broker_login(username=issued.username, password=issued.secret, now=NOW)
    assert not services.authenticate_broker_login(username=old.username, password=new.secret, now=NOW)
    assert not services.authenticate_broker_login(username=old.username, password=old.secret, now=NOW + HOUR)
    assert not services.authenticate_broker_login(username="acme/none", password=old.secret, now=NOW)


def test_a_successor_lives_as_long_as_its_predecessor_was_meant_to(pump: Device) -> None:
    old = row(services.issue_credential(device=pump, kind="token", now=NOW, expires_at=NOW + 90 * DAY))
    assert services.successor_expiry(old, now=NOW + 80 * DAY) == NOW + 170 * DAY
    endless = row(services.issue_credential(device=pump, kind="token", now=NOW))
    assert services.successor_expiry(endless, now=NOW) is None


def test_an_expiry_in_the_past_is_refused(pump: Device) -> None:
    with pytest.raises(CredentialInvalidError):
        services.issue_credential(device=pump, kind="token", now=NOW, expires_at=NOW)


def test_ten_valid_ones_of_a_kind_may_still_be_rotated(pump: Device) -> None:
    issued = [services.issue_credential(device=pump, kind="token", now=NOW) for _ in range(10)]
    services.rotate_credential(credential=row(issued[0]), now=NOW, overlap=timedelta(0))
    with pytest.raises(TooManyCredentialsError):
        services.issue_credential(device=pump, kind="token", now=NOW)


@pytest.mark.parametrize(
    ("revoked", "rotated", "expires", "state"),
    [
        (None, None, None, "valid"),
        (None, None, NOW + HOUR, "valid"),
        (None, NOW, NOW + HOUR, "rotated"),
        (None, NOW, NOW, "expired"),
        (NOW, NOW, NOW, "revoked"),
    ],
)
def test_a_state_says_what_a_credential_is_worth(
    revoked: datetime | None, rotated: datetime | None, expires: datetime | None, state: str
) -> None:
    assert credential_state(revoked_at=revoked, rotated_at=rotated, expires_at=expires, now=NOW) == state


# --- Last used


def test_use_is_remembered_to_the_minute_and_costs_a_write_only_then(pump: Device) -> None:
    token = services.issue_credential(device=pump, kind="token", now=NOW)
    for seconds in (0, 59):
        services.authenticate_device_token(token=token.secret, now=NOW + timedelta(seconds=seconds))
        assert row(token).last_used_at == NOW
    with CaptureQueriesContext(connection) as queries:
        services.authenticate_device_token(token=token.secret, now=NOW + timedelta(seconds=59))
    assert not [query for query in queries if query["sql"].startswith("UPDATE")]
    services.authenticate_device_token(token=token.secret, now=NOW + timedelta(seconds=61))
    assert row(token).last_used_at == NOW + timedelta(seconds=61)


# --- Certificates


def test_a_certificate_proves_its_device_while_it_is_valid(pump: Device) -> None:
    certificate = make_certificate("acme/pump-7", now=NOW, days=10)
    issued = services.issue_credential(device=pump, kind="x509", now=NOW, certificate=as_pem(certificate))
    assert (issued.secret, issued.expires_at, len(issued.fingerprint)) == ("", NOW + 10 * DAY, 64)
    assert row(issued).subject == "CN=acme/pump-7"
    der = as_der(certificate)
    found = services.authenticate_certificate(der=der, now=NOW)
    assert found is not None
    assert found.username == f"acme/pump-7~{issued.fingerprint[:16]}"
    assert verify_broker_password(found.password, load_broker_logins(NOW)[found.username])
    assert found.password not in f"{row(issued).sealed_secret} {row(issued).secret_hash}"
    assert services.authenticate_certificate(der=der, now=NOW + 10 * DAY) is None
    assert services.authenticate_certificate(der=as_der(make_certificate("acme/pump-7", now=NOW)), now=NOW) is None
    assert services.authenticate_certificate(der=b"nonsense", now=NOW) is None
    services.revoke_credential(credential=row(issued), now=NOW)
    assert services.authenticate_certificate(der=der, now=NOW) is None
    assert load_broker_logins(NOW) == {}


def test_a_certificate_counts_in_its_own_tenant_only(pump: Device, globex: Tenant) -> None:
    certificate = make_certificate("acme/pump-7", now=NOW)
    services.issue_credential(device=pump, kind="x509", now=NOW, certificate=as_pem(certificate))
    with tenant_context(globex):
        assert services.authenticate_certificate(der=as_der(certificate), now=NOW) is None


def test_a_certificate_is_replaced_by_another_with_an_overlap(pump: Device) -> None:
    old, new = make_certificate("acme/pump-7", now=NOW), make_certificate("acme/pump-7", now=NOW)
    issued = services.issue_credential(device=pump, kind="x509", now=NOW, certificate=as_pem(old))
    services.rotate_credential(credential=row(issued), now=NOW, overlap=HOUR, certificate=as_pem(new))
    assert services.authenticate_certificate(der=as_der(old), now=NOW) is not None
    assert services.authenticate_certificate(der=as_der(new), now=NOW) is not None
    assert services.authenticate_certificate(der=as_der(old), now=NOW + HOUR) is None


def test_bad_certificates_are_refused_with_a_reason(pump: Device) -> None:
    good = as_pem(make_certificate("acme/pump-7", now=NOW))
    cases = {
        "": "exactly one",
        "hello": "exactly one",
        good + good: "exactly one",
        good + "-----BEGIN PRIVATE KEY-----": "private key",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "no readable",
        as_pem(make_certificate("pump-7", now=NOW)): "must name its device",
        as_pem(make_certificate("acme/pump-8", now=NOW)): "must name its device",
        as_pem(make_certificate("globex/pump-7", now=NOW)): "must name its device",
        as_pem(make_certificate("acme/pump-7", now=NOW, key_bits=1024)): "too short",
        as_pem(make_certificate("acme/pump-7", now=NOW - 400 * DAY)): "expired",
        good + "x" * 20_000: "exactly one",
    }
    for pem, reason in cases.items():
        with pytest.raises(CertificateRefusedError, match=reason):
            services.issue_credential(device=pump, kind="x509", now=NOW, certificate=pem)


@pytest.mark.parametrize(
    ("found", "other"),
    [("a003020102", "a003020105"), ("06082a8648ce3d030107", "06082a8648ce3d03017f"), ("06072a8648ce3d0201", "06072a8648ce3d027f")],
    ids=["version", "curve", "algorithm"],
)
def test_a_certificate_of_a_kind_that_nobody_knows_is_refused(pump: Device, found: str, other: str) -> None:
    der = as_der(make_certificate("acme/pump-7", now=NOW)).hex().replace(found, other, 1)
    pem = ssl.DER_cert_to_PEM_cert(bytes.fromhex(der))
    with pytest.raises(CertificateRefusedError, match="no readable"):
        services.issue_credential(device=pump, kind="x509", now=NOW, certificate=pem)


def test_a_certificate_is_registered_once_and_goes_with_its_kind_only(pump: Device) -> None:
    pem = as_pem(make_certificate("acme/pump-7", now=NOW))
    services.issue_credential(device=pump, kind="x509", now=NOW, certificate=pem)
    with pytest.raises(CertificateTakenError):
        services.issue_credential(device=pump, kind="x509", now=NOW, certificate=pem)
    with pytest.raises(CredentialInvalidError):
        services.issue_credential(device=pump, kind="token", now=NOW, certificate=pem)


# --- OSCORE


def test_oscore_keys_are_kept_sealed_and_read_back_for_the_listener(pump: Device) -> None:
    issued = services.issue_credential(device=pump, kind="oscore", now=NOW)
    kept = row(issued)
    assert len(bytes.fromhex(issued.oscore["master_secret"])) == 16
    assert issued.oscore["master_secret"] not in f"{kept.sealed_secret} {kept.identifier} {kept.secret_hash}"
    (loaded,) = load_oscore_credentials(NOW)
    assert (loaded.device_key, loaded.keys.to_hex()) == ("pump-7", issued.oscore)
    assert kept.identifier == loaded.keys.client_id.hex()
    assert loaded.keys.client_id != loaded.keys.server_id


def test_the_listener_gets_valid_keys_of_enabled_devices_of_its_tenant(pump: Device, globex: Tenant) -> None:
    old = services.issue_credential(device=pump, kind="oscore", now=NOW)
    new = services.rotate_credential(credential=row(old), now=NOW, overlap=HOUR)
    assert {c.credential_id for c in load_oscore_credentials(NOW)} == {old.credential_id, new.credential_id}
    assert [c.credential_id for c in load_oscore_credentials(NOW + HOUR)] == [new.credential_id]
    with tenant_context(globex):
        assert load_oscore_credentials(NOW) == []
    Device.objects.update(is_enabled=False)
    assert load_oscore_credentials(NOW) == []


def test_keys_sealed_with_another_secret_key_are_left_out(pump: Device) -> None:
    broken = services.issue_credential(device=pump, kind="oscore", now=NOW)
    good = services.issue_credential(device=pump, kind="oscore", now=NOW)
    DeviceCredential.objects.filter(pk=broken.credential_id).update(sealed_secret="v1.AAAA")
    assert [c.credential_id for c in load_oscore_credentials(NOW)] == [good.credential_id]
