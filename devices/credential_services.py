"""Issues, rotates, revokes and checks what devices prove themselves with. Other apps call it as `devices.services`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from devices.certificates import fingerprint_of, is_within_validity, read_certificate
from devices.credential_formats import (
    hash_token_secret,
    is_token_secret,
    make_device_token,
    make_secret,
    mqtt_username,
    parse_device_token,
    slug_of_schema,
)
from devices.errors import (
    CertificateRefusedError,
    CertificateTakenError,
    CredentialInvalidError,
    RotationRefusedError,
    TooManyCredentialsError,
)
from devices.models import Device, DeviceCredential
from devices.oscore_keys import make_oscore_keys
from devices.selectors import CERTIFICATE_PURPOSE, OSCORE_PURPOSE, get_device_ref, valid_credentials
from devices.types import BrokerLogin, DeviceRef, IssuedCredential
from iiot_site.lib.broker_logins import certificate_login, is_second_login, second_login
from iiot_site.lib.broker_password import hash_broker_password, verify_broker_password
from iiot_site.lib.encryption import UnreadableSecretError, seal, unseal
from iiot_site.lib.schemas import current_schema
from iiot_site.lib.times import LAST_MOMENT

logger = logging.getLogger(__name__)

Kind = DeviceCredential.Kind

MAX_VALID_PER_KIND = 10
CREDENTIALS_CHANNEL = "iiot_credentials"
DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=30)
USE_STEP = timedelta(minutes=1)
_TOKEN_COLUMNS = ("id", "device_id", "secret_hash", "last_used_at")
# By hand: it is asked for with every request of a device, and Django takes six times as long to put it together.
_FIND_TOKEN_SQL = f"""
SELECT {", ".join(_TOKEN_COLUMNS)} FROM devices_devicecredential
WHERE kind = %s AND identifier = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %s)
"""  # noqa: S608 - made of constants
_NOBODYS_HASH = hash_broker_password(make_secret())


@dataclass(frozen=True, slots=True)
class _Material:
    """What a new credential consists of: columns to store, and what is told once."""

    identifier: str
    username: str = ""
    secret: str = ""
    secret_hash: str = ""
    sealed_secret: str = ""
    subject: str = ""
    not_after: datetime | None = None
    oscore: dict[str, str] = field(default_factory=dict)


# --- Issue, rotate, revoke


@transaction.atomic
def issue_credential(
    *, device: Device, kind: str, now: datetime, expires_at: datetime | None = None, certificate: str = ""
) -> IssuedCredential:
    """Make a credential and return its secret, which cannot be read again.

    A device may hold ten of a kind, but one password: a new one replaces the old one at once (`rotate_credential` leaves
    time). `certificate` is PEM, for the kind x509 only; such a credential ends with its certificate at the latest.

    Raises:
        TooManyCredentialsError: the device has ten valid ones of the kind.
        CredentialInvalidError, CertificateRefusedError, CertificateTakenError: what should be issued is no good.
    """
    kind = Kind(kind)
    valid = _lock_valid(device, kind)
    if kind == Kind.MQTT:
        valid.update(revoked_at=now)
    _check_room(valid, now)
    material = _make_material(device, kind, now=now, certificate=certificate)
    return _store(device, kind, material, now=now, expires_at=expires_at)


def issue_first_credentials(*, devices: Sequence[Device], kind: str, now: datetime) -> list[IssuedCredential]:
    """Make a token or a password for each of many devices that have none yet, in one statement."""
    kind = Kind(kind)
    materials = [_make_material(device, kind, now=now, certificate="") for device in devices]
    rows = [_row(device, kind, material, now, None) for device, material in zip(devices, materials, strict=True)]
    DeviceCredential.objects.bulk_create(rows, batch_size=1000)
    notify_credentials_changed()
    return [_tell(row, material) for row, material in zip(rows, materials, strict=True)]


@transaction.atomic
def rotate_credential(
    *,
    credential: DeviceCredential,
    now: datetime,
    overlap: timedelta = DEFAULT_OVERLAP,
    expires_at: datetime | None = None,
    certificate: str = "",
) -> IssuedCredential:
    """Make the successor of a credential; the old one stays valid for `overlap` (none: it ends at once).

    A new password comes with the device's other user name, as a broker knows one password per name. Without an overlap
    the name stays. A certificate's successor is another `certificate`.

    Raises:
        RotationRefusedError: it is revoked or rotated already, or both names are in use.
        TooManyCredentialsError, CredentialInvalidError, CertificateRefusedError, CertificateTakenError: as for issuing.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise CredentialInvalidError("The overlap lasts from nothing to 30 days.")
    device, kind = credential.device, Kind(credential.kind)
    others = _lock_valid(device, kind).exclude(pk=credential.pk)
    credential.refresh_from_db()
    if credential.revoked_at is not None or credential.rotated_at is not None:
        raise RotationRefusedError("This credential has been revoked or has a successor. Rotate the one in use, or issue a new one.")
    _check_room(others, now)
    keeps_name = overlap == timedelta(0)
    username = _next_username(credential, others, now=now, keeps_name=keeps_name) if kind == Kind.MQTT else ""
    _retire(credential, now=now, overlap=overlap)
    material = _make_material(device, kind, now=now, certificate=certificate, username=username)
    return _store(device, kind, material, now=now, expires_at=expires_at)


def successor_expiry(credential: DeviceCredential, *, now: datetime) -> datetime | None:
    """Return when a successor ends if nobody says: it lives as long as this one was meant to. None: never."""
    return None if credential.expires_at is None else now + (credential.expires_at - credential.created_at)


@transaction.atomic
def revoke_credential(*, credential: DeviceCredential, now: datetime) -> None:
    """Make a credential worthless; revoking it again changes nothing."""
    if DeviceCredential.objects.filter(pk=credential.pk, revoked_at=None).update(revoked_at=now):
        credential.revoked_at = now
        notify_credentials_changed()


def _lock_valid(device: Device, kind: Kind) -> QuerySet[DeviceCredential]:
    Device.objects.select_for_update(no_key=True).get(pk=device.pk)
    return DeviceCredential.objects.filter(device=device, kind=kind, revoked_at=None)


def _check_room(valid: QuerySet[DeviceCredential], now: datetime) -> None:
    if (valid & valid_credentials(now)).count() >= MAX_VALID_PER_KIND:
        raise TooManyCredentialsError("The device has ten valid credentials of this kind. Revoke one first.")


def _retire(credential: DeviceCredential, *, now: datetime, overlap: timedelta) -> None:
    credential.rotated_at = now
    if overlap:
        ends_at = now + overlap
        credential.expires_at = min(ends_at, credential.expires_at or ends_at)
    else:
        credential.revoked_at = now
    credential.save(update_fields=["rotated_at", "expires_at", "revoked_at"])


def _next_username(credential: DeviceCredential, others: QuerySet[DeviceCredential], *, now: datetime, keeps_name: bool) -> str:
    if keeps_name:
        return credential.identifier
    others.filter(expires_at__lte=now).update(revoked_at=now)
    first = mqtt_username(slug_of_schema(current_schema()), credential.device.key)
    free = first if is_second_login(credential.identifier) else second_login(first)
    if others.filter(identifier=free).exists():
        raise RotationRefusedError(
            "The password before this one is still valid in its overlap. Revoke it first, or rotate without an overlap."
        )
    return free


# --- What each kind consists of


def _make_material(device: Device, kind: Kind, *, now: datetime, certificate: str, username: str = "") -> _Material:
    if certificate and kind != Kind.X509:
        raise CredentialInvalidError("A certificate goes with the kind x509 only.")
    if kind == Kind.X509:
        return _certificate_material(device, certificate, now)
    if kind == Kind.MQTT:
        return _password_material(username or mqtt_username(slug_of_schema(current_schema()), device.key))
    return _RANDOM_MATERIAL[kind]()


def _token_material() -> _Material:
    token = make_device_token(slug_of_schema(current_schema()))
    return _Material(token.prefix, secret=str(token), secret_hash=hash_token_secret(token.secret))


def _password_material(username: str) -> _Material:
    secret = make_secret()
    return _Material(username, username=username, secret=secret, secret_hash=hash_broker_password(secret))


def _oscore_material() -> _Material:
    keys = make_oscore_keys()
    sealed = seal(keys.to_text().encode(), purpose=OSCORE_PURPOSE)
    return _Material(keys.client_id.hex(), secret=keys.master_secret.hex(), sealed_secret=sealed, oscore=keys.to_hex())


def _certificate_material(device: Device, pem: str, now: datetime) -> _Material:
    facts = read_certificate(pem)
    username = mqtt_username(slug_of_schema(current_schema()), device.key)
    if username not in facts.names:
        raise CertificateRefusedError(f"The certificate must name its device: give it the common name {username}.")
    if facts.not_after <= now:
        raise CertificateRefusedError("The certificate has expired.")
    if DeviceCredential.objects.filter(kind=Kind.X509, identifier=facts.fingerprint, revoked_at=None).exists():
        raise CertificateTakenError("A valid credential has this certificate already. Revoke it first.")
    password = make_secret()  # nobody's but the TLS door's, which logs in with it for whoever shows the certificate
    return _Material(
        facts.fingerprint,
        secret_hash=hash_broker_password(password),
        sealed_secret=seal(password.encode(), purpose=CERTIFICATE_PURPOSE),
        subject=facts.subject[:500],
        not_after=facts.not_after,
    )


_RANDOM_MATERIAL: dict[Kind, Callable[[], _Material]] = {Kind.TOKEN: _token_material, Kind.OSCORE: _oscore_material}


def _store(device: Device, kind: Kind, material: _Material, *, now: datetime, expires_at: datetime | None) -> IssuedCredential:
    if expires_at is not None and expires_at <= now:
        raise CredentialInvalidError("The expiry lies in the past.", errors={"expires_at": ["Choose a moment in the future."]})
    if material.not_after is not None:
        expires_at = min(material.not_after, expires_at or material.not_after)
    credential = _row(device, kind, material, now, expires_at and min(expires_at, LAST_MOMENT))
    credential.save(force_insert=True)
    notify_credentials_changed()
    return _tell(credential, material)


def _row(device: Device, kind: Kind, material: _Material, now: datetime, expires_at: datetime | None) -> DeviceCredential:
    return DeviceCredential(
        device=device,
        kind=kind,
        identifier=material.identifier,
        subject=material.subject,
        secret_hash=material.secret_hash,
        sealed_secret=material.sealed_secret,
        created_at=now,
        expires_at=expires_at,
    )


def _tell(credential: DeviceCredential, material: _Material) -> IssuedCredential:
    fingerprint = material.identifier if credential.kind == Kind.X509 else ""
    return IssuedCredential(
        credential.id, credential.kind, material.username, material.secret, credential.expires_at, fingerprint, material.oscore
    )


# --- Check


def authenticate_device_token(*, token: str, now: datetime) -> DeviceRef | None:
    """Return the device that the token belongs to in the current tenant, or None. Fails closed."""
    parts = parse_device_token(token)
    if parts is None or parts.tenant != slug_of_schema(current_schema()):
        return None
    found = _find_token(parts.prefix, now)
    if found is None or not is_token_secret(parts.secret, found.secret_hash):
        return None
    record_credential_use(credential=found, now=now)
    return get_device_ref(found.device_id)


def _find_token(prefix: str, now: datetime) -> DeviceCredential | None:
    """Return the credential, if it is valid."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND_TOKEN_SQL, [Kind.TOKEN.value, prefix, now])
        row = cursor.fetchone()
    return DeviceCredential.from_db(connection.alias, _TOKEN_COLUMNS, row) if row else None


def authenticate_broker_login(*, username: str, password: str, now: datetime) -> bool:
    """Tell whether a device of the current tenant may log in to a broker with this password. Fails closed."""
    found = valid_credentials(now).filter(kind=Kind.MQTT, identifier=username).first()
    # As much work for an unknown name as for a known one, so that the time of the answer tells nothing.
    fits = verify_broker_password(password, found.secret_hash if found else _NOBODYS_HASH)
    if found is None or not fits:
        return False
    record_credential_use(credential=found, now=now)
    return True


def authenticate_certificate(*, der: bytes, now: datetime) -> BrokerLogin | None:
    """Return the broker's login for the device that the certificate (DER, of a finished TLS handshake) belongs to, or None.

    The handshake proved that the caller has the private key; here the certificate itself is pinned. Fails closed.
    """
    found = valid_credentials(now).filter(kind=Kind.X509, identifier=fingerprint_of(der)).select_related("device").first()
    if found is None or not is_within_validity(der, now):
        return None
    try:
        password = unseal(found.sealed_secret, purpose=CERTIFICATE_PURPOSE).decode()
    except UnreadableSecretError:
        logger.warning("the certificate of %s cannot be used with the present secret key; register it anew", found.device.key)
        return None
    record_credential_use(credential=found, now=now)
    username = mqtt_username(slug_of_schema(current_schema()), found.device.key)
    return BrokerLogin(certificate_login(username, found.identifier), password)


def record_credential_use(*, credential: DeviceCredential, now: datetime) -> None:
    """Remember when a credential was last used; steps under a minute are not worth a write."""
    if credential.last_used_at is None or now - credential.last_used_at >= USE_STEP:
        unseen = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_STEP)
        DeviceCredential.objects.filter(unseen, pk=credential.pk).update(last_used_at=now)


def notify_credentials_changed() -> None:
    """Tell whoever feeds the broker; PostgreSQL delivers it when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CREDENTIALS_CHANNEL, current_schema()])
