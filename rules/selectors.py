"""Reads of rules: as plain values, as the set of watched series, and what the sweep has to catch up with."""

import logging
import uuid
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from django.db import connection

from devices.models import Device, Metric, Site
from rules.conditions.errors import ConditionInvalidError
from rules.conditions.evaluation import BAD_QUALITY
from rules.conditions.parsing import Condition, parse_condition
from rules.models import Rule
from rules.scopes import Scope, WatchedSeries, subtree_ids
from rules.types import ActiveRule, Series, SeriesSince, StateKey

__all__ = [
    "WatchedSeries",
    "list_comparable_metrics",
    "list_states_out_of_scope",
    "load_active_rules",
    "load_lagging_series",
    "load_series",
    "load_watched_series",
]

logger = logging.getLogger(__name__)

# A site is expanded by `tree`.
_TREE_SQL = """
WITH RECURSIVE tree(root, id) AS (
    SELECT id, id FROM devices_site
    UNION
    SELECT tree.root, s.id FROM devices_site s JOIN tree ON s.parent_id = tree.id
)
"""
_IN_SCOPE_SQL = """
  AND (r.device_id IS NULL OR r.device_id = d.id)
  AND (r.device_type_id IS NULL OR r.device_type_id = d.device_type_id)
  AND (r.site_id IS NULL OR EXISTS (SELECT 1 FROM tree WHERE tree.root = r.site_id AND tree.id = d.site_id))
"""
# Series whose latest reading some rule in scope has not evaluated yet.
_LAGGING_SQL = """
{tree}
SELECT DISTINCT l.device_id, l.metric_id, l.ts
FROM unnest(%(rules)s::uuid[], %(keys)s::text[]) AS watched(rule_id, key)
JOIN rules_rule r ON r.id = watched.rule_id
JOIN devices_metric m ON m.key = watched.key
JOIN telemetry_latestreading l ON l.metric_id = m.id
JOIN devices_device d ON d.id = l.device_id
LEFT JOIN rules_rulestate s ON s.rule_id = r.id AND s.device_id = l.device_id AND s.metric_id = l.metric_id
WHERE l.value IS NOT NULL AND l.quality < %(bad)s AND l.received_at <= %(until)s
  AND (s.id IS NULL OR s.last_ts < l.ts)
{in_scope}
ORDER BY l.device_id, l.metric_id
"""
_OUT_OF_SCOPE_SQL = """
{tree}
SELECT s.id, s.rule_id, s.device_id, s.metric_id
FROM rules_rulestate s JOIN devices_device d ON d.id = s.device_id JOIN devices_metric m ON m.id = s.metric_id
WHERE NOT EXISTS (
    SELECT 1 FROM unnest(%(rules)s::uuid[], %(keys)s::text[]) AS watched(rule_id, key) JOIN rules_rule r ON r.id = watched.rule_id
    WHERE watched.rule_id = s.rule_id AND watched.key = m.key
    {in_scope}
)
"""


def load_active_rules() -> list[ActiveRule]:
    """Return the enabled rules of the tenant, in two queries at most. One that cannot be read is logged and left out."""
    return list(_iterate_active_rules())


def _iterate_active_rules() -> Iterator[ActiveRule]:
    rows = Rule.objects.filter(is_enabled=True).order_by("id")
    fields = rows.values_list("id", "name", "version", "severity", "condition", "device_id", "device_type_id", "site_id")
    parents: dict[uuid.UUID, uuid.UUID | None] | None = None
    for id_, name, version, severity, raw, device_id, device_type_id, site_id in fields:
        try:
            condition = parse_condition(raw)
        except ConditionInvalidError as exc:
            logger.warning("rule %s cannot be evaluated: %s", id_, exc)
            continue
        site_ids = None
        if site_id is not None:
            if parents is None:
                parents = dict(Site.objects.order_by().values_list("id", "parent_id"))
            site_ids = subtree_ids(site_id, parents)
        yield ActiveRule(id_, name, version, severity, condition, Scope(device_id, device_type_id, site_ids))


def load_watched_series() -> WatchedSeries:
    """Return which series of the tenant some enabled rule reads."""
    return WatchedSeries(load_watched_rules())


def load_watched_rules() -> list[tuple[str, Scope, Condition]]:
    """Return metric key, scope and condition of every enabled rule: what `WatchedSeries` is made of, as plain values."""
    return [(key, rule.scope, rule.condition) for rule in load_active_rules() for key in rule.condition.metric_keys]


def load_series(pairs: Collection[tuple[int, int]]) -> dict[tuple[int, int], Series]:
    """Return what is known about (device id, metric id) pairs, in two queries; what was deleted is left out."""
    devices = Device.objects.filter(id__in={device_id for device_id, _ in pairs}).values_list("id", "name", "device_type_id", "site_id")
    metrics = Metric.objects.filter(id__in={metric_id for _, metric_id in pairs}).values_list("id", "key", "name", "unit")
    device_rows = {row[0]: row for row in devices}
    metric_rows = {row[0]: row for row in metrics}
    return {
        (device_id, metric_id): Series(*device_rows[device_id], *metric_rows[metric_id])
        for device_id, metric_id in pairs
        if device_id in device_rows and metric_id in metric_rows
    }


def load_lagging_series(*, received_until: datetime) -> SeriesSince:
    """Return the series whose latest reading, received up to then, some rule has not evaluated yet, with its time."""
    parameters = _watched_metrics() | {"bad": BAD_QUALITY, "until": received_until}
    with connection.cursor() as cursor:
        cursor.execute(_LAGGING_SQL.format(tree=_TREE_SQL, in_scope=_IN_SCOPE_SQL), parameters)
        return {(device_id, metric_id): ts for device_id, metric_id, ts in cursor.fetchall()}


def list_states_out_of_scope() -> dict[int, StateKey]:
    """Return the states, by id, of series that their rule no longer reads: the device moved, the rule cannot be read."""
    with connection.cursor() as cursor:
        cursor.execute(_OUT_OF_SCOPE_SQL.format(tree=_TREE_SQL, in_scope=_IN_SCOPE_SQL), _watched_metrics())
        return {id_: StateKey(*key) for id_, *key in cursor.fetchall()}


def _watched_metrics() -> dict[str, Any]:
    watched = [(rule.id, key) for rule in load_active_rules() for key in rule.condition.metric_keys]
    return {"rules": [rule_id for rule_id, _ in watched], "keys": [key for _, key in watched]}


def list_comparable_metrics(*, limit: int) -> list[tuple[str, str]]:
    """Return the keys of metrics that are no texts, by name, each with the device types that have it."""
    types: dict[str, list[str]] = {}
    rows = Metric.objects.exclude(data_type=Metric.DataType.TEXT).order_by("key", "device_type__name")
    for key, device_type in rows.values_list("key", "device_type__name"):
        if key in types or len(types) < limit:
            types.setdefault(key, []).append(device_type)
    return [(key, ", ".join(names)) for key, names in types.items()]
