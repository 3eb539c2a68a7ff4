"""Reads that span models or need SQL."""

import logging
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import Count, Q, QuerySet, TextField
from django.db.models.expressions import RawSQL

from devices.credential_formats import mqtt_username, slug_of_schema
from devices.models import Codec, Device, DeviceCredential, DeviceType, Metric, Protocol, Site
from devices.oscore_keys import read_oscore_keys
from devices.status import DEVICE_STATUSES, DeviceStatus
from devices.types import DeviceRef, MetricRef, OscoreCredential
from iiot_site.lib.broker_logins import certificate_login
from iiot_site.lib.encryption import UnreadableSecretError, unseal
from iiot_site.lib.schemas import current_schema

logger = logging.getLogger(__name__)

UNNAMED_METRIC = "value"
OSCORE_PURPOSE = "device oscore keys"
CERTIFICATE_PURPOSE = "device certificate login"
# UNION without ALL ends even if the rows ever formed a circle.
_SUBTREE_SQL = """
WITH RECURSIVE subtree(id) AS (
    SELECT id FROM devices_site WHERE id = %s
    UNION
    SELECT s.id FROM devices_site s JOIN subtree ON s.parent_id = subtree.id
)
SELECT id FROM subtree
"""
# For each row a walk up its few levels; the bound on them ends even a circle.
_PATH_SQL = """
(WITH RECURSIVE up(id, parent_id, name, level) AS (
    SELECT s.id, s.parent_id, s.name, 0 FROM devices_site s WHERE s.id = devices_site.id
    UNION ALL
    SELECT s.id, s.parent_id, s.name, up.level + 1 FROM devices_site s JOIN up ON s.id = up.parent_id WHERE up.level < 50
)
SELECT array_agg(name::text ORDER BY level DESC) FROM up)
"""

# By hand: it is asked for with every request of a device, and Django takes five times as long to put it together.
_REFS_SQL = """
SELECT d.id, d.uuid, d.key, d.name, d.device_type_id, d.site_id, d.is_enabled, d.protocol, d.detected_protocol, d.detected_codec,
    t.unknown_metrics, t.codec, t.line_precision, t.protocol, coalesce(g.key, ''),
    (SELECT min(m.key) FROM devices_metric m WHERE m.device_type_id = t.id HAVING count(*) = 1)
FROM devices_device d JOIN devices_devicetype t ON t.id = d.device_type_id LEFT JOIN devices_device g ON g.id = d.gateway_id
WHERE """


@dataclass(frozen=True, slots=True)
class SiteNode:
    """A site at its place in the tree; roots have depth 0."""

    site: Site
    depth: int


def load_device_refs(keys: Collection[str]) -> dict[str, DeviceRef]:
    """Return the devices that exist among `keys`, by key, in one query."""
    return {ref.key: ref for ref in _load_refs("d.key = ANY(%s)", list(keys))}


def get_device_ref(device_id: int) -> DeviceRef | None:
    """Return one device by its small id."""
    return next(iter(_load_refs("d.id = %s", device_id)), None)


def _load_refs(condition: str, value: int | list[str]) -> list[DeviceRef]:
    with connection.cursor() as cursor:
        cursor.execute(_REFS_SQL + condition, [value])
        return [_make_ref(*row) for row in cursor.fetchall()]


def _make_ref(*row: Any) -> DeviceRef:
    id_, uuid_, key, name, type_id, site_id, is_enabled, own_protocol, detected_protocol, detected_codec, *rest = row
    unknown_metrics, codec, precision, type_protocol, gateway_key, sole_metric = rest
    return DeviceRef(
        id=id_,
        uuid=uuid_,
        key=key,
        name=name,
        device_type_id=type_id,
        site_id=site_id,
        registers_unknown_metrics=unknown_metrics == DeviceType.UnknownMetrics.REGISTER,
        is_enabled=is_enabled,
        codec=codec,
        line_precision=precision,
        sole_metric=sole_metric or UNNAMED_METRIC,
        gateway_key=gateway_key,
        detected_codec=detected_codec,
        awaits_protocol=(own_protocol or type_protocol) == Protocol.AUTO and not detected_protocol,
        awaits_codec=codec == Codec.AUTO and not detected_codec,
    )


def load_metric_refs(device_type_ids: Collection[int]) -> dict[tuple[int, str], MetricRef]:
    """Return all metrics of these device types by (device type id, key), in one query."""
    rows = Metric.objects.filter(device_type_id__in=device_type_ids).values_list(
        "device_type_id", "id", "key", "unit", "data_type", "minimum", "maximum"
    )
    return {
        (type_id, key): MetricRef(id_, key, unit, data_type, minimum, maximum)
        for type_id, id_, key, unit, data_type, minimum, maximum in rows
    }


def list_site_subtree_ids(site_id: uuid.UUID) -> list[uuid.UUID]:
    """Return the site and everything below it; empty where there is no such site."""
    with connection.cursor() as cursor:
        cursor.execute(_SUBTREE_SQL, [site_id])
        return [row[0] for row in cursor.fetchall()]


def site_path() -> RawSQL:
    """Return an expression for the names from the root down to a site; ordered by it, each stands below its parent."""
    return RawSQL(_PATH_SQL, [], output_field=ArrayField(TextField()))  # noqa: S611  # a constant


def list_site_tree() -> list[SiteNode]:
    """Return all sites, each below its parent, siblings by name, in one query."""
    sites = Site.objects.annotate(path=site_path()).order_by("path")
    return [SiteNode(site, len(site.path) - 1) for site in sites]


def count_devices_by_status() -> dict[DeviceStatus, int]:
    """Return how many devices there are of each status, in one query."""
    counts = dict(Device.objects.order_by().values_list("status").annotate(count=Count("id")))
    return {status: counts.get(status, 0) for status in DEVICE_STATUSES}


def valid_credentials(now: datetime) -> QuerySet[DeviceCredential]:
    """Return the tenant's credentials that are neither revoked nor expired."""
    return DeviceCredential.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def load_broker_logins(now: datetime) -> dict[str, str]:
    """Return the MQTT logins that are valid in the current tenant, those of certificates, too: username to password hash."""
    valid = valid_credentials(now)
    passwords = valid.filter(kind=DeviceCredential.Kind.MQTT).values_list("identifier", "secret_hash")
    certificates = valid.filter(kind=DeviceCredential.Kind.X509).exclude(secret_hash="")
    slug = slug_of_schema(current_schema())
    return dict(passwords) | {
        certificate_login(mqtt_username(slug, key), fingerprint): hashed
        for key, fingerprint, hashed in certificates.values_list("device__key", "identifier", "secret_hash")
    }


def load_oscore_credentials(now: datetime) -> list[OscoreCredential]:
    """Return the OSCORE keys of the current tenant's devices that are valid and enabled, old and new ones of an overlap.

    A credential that the present secret key does not open is left out and logged: one must not keep the others from working.
    """
    valid = valid_credentials(now).filter(kind=DeviceCredential.Kind.OSCORE)
    found = []
    for id_, key, sealed in valid.filter(device__is_enabled=True).values_list("id", "device__key", "sealed_secret"):
        try:
            found.append(OscoreCredential(id_, key, read_oscore_keys(unseal(sealed, purpose=OSCORE_PURPOSE).decode())))
        except UnreadableSecretError:
            logger.warning("the OSCORE keys of %s cannot be read with the present secret key; issue new ones", key)
    return found


def list_valid_credentials(device: Device, now: datetime) -> QuerySet[DeviceCredential]:
    """Return what the device may use now, newest first."""
    return valid_credentials(now).filter(device=device)
