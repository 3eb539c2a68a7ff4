"""The only way other apps change devices, metrics and credentials."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import ProtectedError, Q

from devices.credential_formats import (
    hash_token_secret,
    is_token_secret,
    make_device_token,
    make_secret,
    mqtt_username,
    parse_device_token,
    slug_of_schema,
)
from devices.errors import StillInUseError, TooManyCredentialsError
from devices.keys import is_metric_key
from devices.models import Device, DeviceCredential, DeviceType, Metric, Site
from devices.selectors import get_device_ref
from devices.types import DeviceRef, IssuedCredential, MetricRef, NewMetric
from iiot_site.lib.broker_password import hash_broker_password, verify_broker_password
from iiot_site.lib.schemas import current_schema, lock_in_schema

MAX_METRICS_PER_TYPE = 200
# Held while the tree of sites, or who is connected via whom, is changed. Taken before rows are locked.
SITES_LOCK, GATEWAYS_LOCK = "site tree", "gateways"
MAX_VALID_TOKENS_PER_DEVICE = 10
CREDENTIALS_CHANNEL = "iiot_credentials"
ACTIVITY_STEP = timedelta(seconds=5)
_NOBODYS_HASH = hash_broker_password(make_secret())
# What people may change. Not the key: topics, MQTT usernames and senders hold it.
DEVICE_FIELDS = ("name", "device_type", "site", "gateway", "protocol", "tags", "firmware", "latitude", "longitude", "is_enabled")

# Rows are locked in the order of their ids, so that two batches with the same devices wait instead of deadlocking.
_RECORD_ACTIVITY_SQL = """
WITH due AS (
    SELECT d.id, s.seen_at
    FROM unnest(%s::integer[], %s::timestamptz[]) AS s(id, seen_at)
    JOIN devices_device d ON d.id = s.id
    WHERE d.last_seen_at IS NULL OR d.last_seen_at <= s.seen_at - %s::interval
    ORDER BY d.id
    FOR NO KEY UPDATE OF d
)
UPDATE devices_device d SET last_seen_at = due.seen_at FROM due WHERE d.id = due.id
"""


# --- Sites


@transaction.atomic
def save_site(*, site: Site) -> Site:
    """Create or change a site.

    Raises:
        ValidationError: a field is wrong, or the parent is the site itself or stands below it.
    """
    lock_in_schema(SITES_LOCK)
    site.full_clean()
    site.save()
    return site


def delete_site(*, site: Site) -> None:
    """Delete a site that holds nothing.

    Raises:
        StillInUseError: it has sites or devices below it.
    """
    _delete_unused(site, "The site still has sites or devices. Move or delete them first.")


# --- Device types and metrics


def save_device_type(*, device_type: DeviceType) -> DeviceType:
    """Create or change a device type.

    Raises:
        ValidationError: a field is wrong, or the name is taken.
    """
    device_type.full_clean()
    device_type.save()
    return device_type


def save_metric(*, metric: Metric) -> Metric:
    """Create or change a metric.

    Raises:
        ValidationError: a field is wrong, or the type has a metric of that key.
    """
    metric.full_clean()
    metric.save()
    return metric


def delete_metric(*, metric: Metric) -> None:
    """Delete a metric that no device has sent.

    Raises:
        StillInUseError: a device has readings of it, which would be hidden.
    """
    _delete_unused(metric, "Devices have readings of this metric.")


def delete_device_type(*, device_type: DeviceType) -> None:
    """Delete a device type without devices, and its metrics with it.

    Raises:
        StillInUseError: devices of the type exist, or some of another type have readings of its metrics.
    """
    with transaction.atomic():
        if Device.objects.filter(device_type=device_type).exists():
            raise StillInUseError("Devices of this type exist. Delete them or give them another type first.")
        for metric in device_type.metrics.all():
            delete_metric(metric=metric)
        _delete_unused(device_type, "The device type is still in use.")


@transaction.atomic
def register_metrics(*, metrics: Collection[NewMetric]) -> dict[tuple[int, str], MetricRef]:
    """Register metrics that devices began to send, and return those that exist afterwards.

    Left out, and so to be rejected: metrics of types that do not register unknown ones, keys that are no metric key,
    and whatever exceeds 200 metrics of one type.
    """
    wanted = {(metric.device_type_id, metric.key): metric for metric in metrics if is_metric_key(metric.key)}
    type_ids = {type_id for type_id, _ in wanted}
    registering = DeviceType.objects.filter(id__in=type_ids, unknown_metrics=DeviceType.UnknownMetrics.REGISTER)
    open_type_ids = set(registering.select_for_update(no_key=True).order_by("id").values_list("id", flat=True))
    known = _load_metrics(type_ids)
    room = {type_id: MAX_METRICS_PER_TYPE - sum(1 for key in known if key[0] == type_id) for type_id in open_type_ids}
    created = []
    for (type_id, key), metric in wanted.items():
        if (type_id, key) not in known and room.get(type_id, 0) > 0:
            room[type_id] -= 1
            created.append(Metric(device_type_id=type_id, key=key, data_type=Metric.DataType(metric.data_type)))
    for metric_row in Metric.objects.bulk_create(created):
        known[metric_row.device_type_id, metric_row.key] = _metric_ref(metric_row)
    return {identity: known[identity] for identity in wanted if identity in known}


def _load_metrics(type_ids: Collection[int]) -> dict[tuple[int, str], MetricRef]:
    rows = Metric.objects.filter(device_type_id__in=type_ids)
    return {(row.device_type_id, row.key): _metric_ref(row) for row in rows}


def _metric_ref(metric: Metric) -> MetricRef:
    return MetricRef(metric.id, metric.key, metric.unit, metric.data_type, metric.minimum, metric.maximum)


# --- Devices


def create_device(*, key: str, name: str, device_type: DeviceType, **details: Any) -> Device:
    """Create a device; `details` are further fields of the model.

    Raises:
        ValidationError: a field is wrong or the key is taken.
    """
    return save_device(device=Device(key=key, name=name, device_type=device_type, **details))


@transaction.atomic
def save_device(*, device: Device) -> Device:
    """Create a device, or write its `DEVICE_FIELDS`; its key and when it was last seen stay as they are.

    All of them are written: load the device under its lock where others may change it meanwhile.

    Raises:
        ValidationError: a field is wrong, or it would be connected via itself.
    """
    is_new = device._state.adding  # noqa: SLF001  # Django's documented way to ask
    if device.gateway_id is not None:
        lock_in_schema(GATEWAYS_LOCK)
    device.full_clean()
    device.save(update_fields=None if is_new else DEVICE_FIELDS)
    return device


@transaction.atomic
def delete_device(*, device: Device) -> None:
    """Delete a device with its credentials and latest values. Its history stays until retention drops it.

    Raises:
        StillInUseError: other devices are connected via it, or something else protects it.
    """
    _notify_credentials_changed()
    _delete_unused(device, "Something still refers to the device, for example devices connected via it.")


def record_activity(*, seen: Mapping[int, datetime]) -> None:
    """Move `last_seen_at` of devices (by small id) forward; steps under 5 s are not worth a write."""
    if not seen:
        return
    with connection.cursor() as cursor:
        cursor.execute(_RECORD_ACTIVITY_SQL, [list(seen), list(seen.values()), f"{ACTIVITY_STEP.total_seconds()} s"])


# --- Credentials


@transaction.atomic
def issue_credential(*, device: Device, kind: str, now: datetime, expires_at: datetime | None = None) -> IssuedCredential:
    """Make a credential and return its secret, which cannot be read again.

    A device may hold several tokens, so that a new one is in place before the old one is revoked. A broker knows one
    password per username: a new MQTT password replaces the old one at once.

    Raises:
        TooManyCredentialsError: the device has ten valid tokens.
    """
    kind = DeviceCredential.Kind(kind)
    Device.objects.select_for_update(no_key=True).get(pk=device.pk)
    valid = DeviceCredential.objects.filter(device=device, kind=kind, revoked_at=None)
    slug = slug_of_schema(current_schema())
    if kind == DeviceCredential.Kind.MQTT:
        valid.update(revoked_at=now)
        username, secret = mqtt_username(slug, device.key), make_secret()
        identifier, secret_hash = username, hash_broker_password(secret)
    else:
        if valid.filter(Q(expires_at=None) | Q(expires_at__gt=now)).count() >= MAX_VALID_TOKENS_PER_DEVICE:
            raise TooManyCredentialsError("The device has ten valid tokens. Revoke one first.")
        token = make_device_token(slug)
        username, secret = "", str(token)
        identifier, secret_hash = token.prefix, hash_token_secret(token.secret)
    credential = DeviceCredential.objects.create(
        device=device, kind=kind, identifier=identifier, secret_hash=secret_hash, created_at=now, expires_at=expires_at
    )
    _notify_credentials_changed()
    return IssuedCredential(credential.id, kind, username, secret)


@transaction.atomic
def revoke_credential(*, credential: DeviceCredential, now: datetime) -> None:
    """Make a credential worthless; revoking it again changes nothing."""
    if DeviceCredential.objects.filter(pk=credential.pk, revoked_at=None).update(revoked_at=now):
        credential.revoked_at = now
        _notify_credentials_changed()


def authenticate_device_token(*, token: str, now: datetime) -> DeviceRef | None:
    """Return the device that the token belongs to in the current tenant, or None. Fails closed."""
    parts = parse_device_token(token)
    if parts is None or parts.tenant != slug_of_schema(current_schema()):
        return None
    valid = DeviceCredential.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), kind=DeviceCredential.Kind.TOKEN, revoked_at=None)
    row = valid.filter(identifier=parts.prefix).values_list("device_id", "secret_hash").first()
    if row is None or not is_token_secret(parts.secret, row[1]):
        return None
    return get_device_ref(row[0])


def authenticate_broker_login(*, username: str, password: str, now: datetime) -> bool:
    """Tell whether a device of the current tenant may log in to a broker with this password. Fails closed."""
    valid = DeviceCredential.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), kind=DeviceCredential.Kind.MQTT, revoked_at=None)
    hashed = valid.filter(identifier=username).values_list("secret_hash", flat=True).first()
    # As much work for an unknown name as for a known one, so that the time of the answer tells nothing.
    return verify_broker_password(password, hashed or _NOBODYS_HASH) and hashed is not None


def _notify_credentials_changed() -> None:
    """Tell whoever feeds the broker; PostgreSQL delivers it when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CREDENTIALS_CHANNEL, current_schema()])


# --- Shared by the above


def _delete_unused(instance: Site | Device | DeviceType | Metric, refusal: str) -> None:
    try:
        instance.delete()
    except ProtectedError as exc:
        raise StillInUseError(refusal) from exc
