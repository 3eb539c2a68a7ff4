"""The only way other apps change sites, device types, metrics, devices and credentials."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone

from devices.credential_services import (
    CREDENTIALS_CHANNEL,
    DEFAULT_OVERLAP,
    authenticate_broker_login,
    authenticate_certificate,
    authenticate_device_token,
    issue_credential,
    notify_credentials_changed,
    record_credential_use,
    revoke_credential,
    rotate_credential,
    successor_expiry,
)
from devices.errors import StillInUseError, TooManyMetricsError
from devices.keys import is_metric_key
from devices.metric_numbers import claim_numbers, note_freed
from devices.models import NO_NUMBER_LEFT, Device, DeviceType, Metric, Site
from devices.status import STATUS_TIMER
from devices.types import MetricRef, NewMetric
from iiot_site.lib.lookups import announce_change
from iiot_site.lib.prepared import execute_prepared
from iiot_site.lib.schemas import current_schema, lock_in_schema
from tenants.timers import set_timer

# Credentials have a module of their own; other apps find them here, beside what this one defines.
__all__ = [
    "CREDENTIALS_CHANNEL",
    "DEFAULT_OVERLAP",
    "authenticate_broker_login",
    "authenticate_certificate",
    "authenticate_device_token",
    "issue_credential",
    "record_credential_use",
    "revoke_credential",
    "rotate_credential",
    "successor_expiry",
]

MAX_METRICS_PER_TYPE = 200
# Held while the tree of sites, or who is connected via whom, is changed. Taken before rows are locked.
SITES_LOCK, GATEWAYS_LOCK = "site tree", "gateways"
ACTIVITY_STEP = timedelta(seconds=5)
# What people may change. Not the key: topics, MQTT usernames and senders hold it.
DEVICE_FIELDS = ("name", "device_type", "site", "gateway", "protocol", "tags", "firmware", "latitude", "longitude", "is_enabled")

# Rows are locked in the order of their ids, so that two batches with the same devices wait instead of deadlocking.
_RECORD_ACTIVITY_SQL = """
WITH due AS (
    SELECT d.id, s.seen_at, d.status AS before
    FROM unnest(%(ids)s::text::integer[], %(seen)s::text::timestamptz[]) AS s(id, seen_at)
    JOIN {schema}.devices_device d ON d.id = s.id
    WHERE d.last_seen_at IS NULL OR d.last_seen_at <= s.seen_at - %(step)s::interval
    ORDER BY d.id
    FOR NO KEY UPDATE OF d
), heard AS (
    UPDATE {schema}.devices_device d
    SET last_seen_at = due.seen_at, last_seen_via = %(via)s, status = 'online',
        status_since = CASE WHEN due.before = 'online' THEN d.status_since ELSE due.seen_at END
    FROM due WHERE d.id = due.id
    RETURNING d.id, due.before, due.seen_at
)
INSERT INTO {schema}.devices_statuschange (device_id, at, before, after, is_told)
SELECT id, seen_at, before, 'online', false FROM heard WHERE before <> 'online'
RETURNING 1
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
    announce_change()
    return site


def delete_site(*, site: Site) -> None:
    """Delete a site that holds nothing.

    Raises:
        StillInUseError: it has sites or devices below it.
    """
    _delete_unused(site, "The site still has sites or devices. Move or delete them first.")


# --- Device types and metrics


@transaction.atomic
def save_device_type(*, device_type: DeviceType) -> DeviceType:
    """Create or change a device type.

    Raises:
        ValidationError: a field is wrong, or the name is taken.
    """
    device_type.full_clean()
    device_type.save()
    announce_change()
    _look_at_statuses_soon()
    return device_type


@transaction.atomic
def save_metric(*, metric: Metric) -> Metric:
    """Create or change a metric.

    Raises:
        ValidationError: a field is wrong, the type has a metric of that key, or the tenant as many as it may.
        TooManyMetricsError: somebody else took the last number meanwhile.
    """
    metric.full_clean()
    if metric._state.adding:  # noqa: SLF001  # Django's documented way to ask
        numbers = claim_numbers(1)
        if not numbers:
            raise TooManyMetricsError(NO_NUMBER_LEFT)
        metric.id = numbers[0]
    metric.save()
    announce_change()
    return metric


@transaction.atomic
def delete_metric(*, metric: Metric) -> None:
    """Delete a metric that no device has sent.

    Raises:
        StillInUseError: a device has readings of it, which would be hidden.
    """
    note_freed(metric.id)
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
def register_metrics(*, metrics: Collection[NewMetric], now: datetime) -> dict[tuple[int, str], MetricRef]:
    """Register metrics that devices began to send, and return those that exist afterwards.

    Left out, and so to be rejected: metrics of types that do not register unknown ones, keys that are no metric key,
    and whatever exceeds 200 metrics of one type, or what a tenant may have.
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
            created.append(Metric(device_type_id=type_id, key=key, data_type=Metric.DataType(metric.data_type), registered_at=now))
    numbered = list(zip(created, claim_numbers(len(created)) if created else [], strict=False))  # as many as there are numbers for
    for metric_row, number in numbered:
        metric_row.id = number
    for metric_row in Metric.objects.bulk_create([metric_row for metric_row, _ in numbered]):
        known[metric_row.device_type_id, metric_row.key] = _metric_ref(metric_row)
    if created:
        announce_change()
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
    if not is_new:  # a new one is in nobody's memory
        announce_change(device=device.key)
        _look_at_statuses_soon()
    return device


@transaction.atomic
def delete_device(*, device: Device) -> None:
    """Delete a device with its credentials and latest values. Its history stays until retention drops it.

    Raises:
        StillInUseError: other devices are connected via it, or something else protects it.
    """
    notify_credentials_changed()
    _delete_unused(device, "Something still refers to the device, for example devices connected via it.")


def record_activity(*, seen: Mapping[int, datetime], via: str = "") -> None:
    """Move `last_seen_at` of devices (by small id) forward; steps under 5 s are not worth a write. They are online then.

    Times are by the database's clock; `via` names the listener.
    """
    if not seen:
        return
    step = f"{ACTIVITY_STEP.total_seconds()} s"
    ids, times = ",".join(map(str, seen)), ",".join([seen_at.isoformat() for seen_at in seen.values()])
    came_online = execute_prepared(_RECORD_ACTIVITY_SQL, {"ids": f"{{{ids}}}", "seen": f"{{{times}}}", "step": step, "via": via[:20]})
    if came_online:
        schema, due_at = current_schema(), max(seen.values())
        # What is committed stays so, whatever becomes of the timer: readings of many tenants may be.
        transaction.on_commit(lambda: set_timer(schema=schema, kind=STATUS_TIMER, due_at=due_at), robust=True)


# --- Shared by the above


def _look_at_statuses_soon() -> None:
    """Have the watch over silence see what was changed: a timeout, a gateway, a device switched on or off."""
    schema = current_schema()
    transaction.on_commit(lambda: set_timer(schema=schema, kind=STATUS_TIMER, due_at=timezone.now()))


def _delete_unused(instance: Site | Device | DeviceType | Metric, refusal: str) -> None:
    try:
        instance.delete()
    except ProtectedError as exc:
        raise StillInUseError(refusal) from exc
    announce_change(device=instance.key if isinstance(instance, Device) else "")
