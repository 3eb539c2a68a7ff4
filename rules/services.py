"""The only way to change rules and what they know.

Evaluating takes the tenant's rules lock shared, changing a rule takes it alone: a batch never decides by a rule that is
being changed, and no alert outlives the rule that raised it.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from alerting.models import Alert
from alerting.services import handle_signals, withdraw_alerts
from alerting.types import AlertSignal
from devices.models import Metric
from iiot_site.lib.schemas import current_schema, lock_in_schema
from rules.alert_signals import make_signal, rule_source
from rules.conditions.errors import ConditionInvalidError
from rules.conditions.evaluation import BAD_QUALITY, Sample, evaluate
from rules.conditions.parsing import dump_condition, parse_condition
from rules.errors import RuleInvalidError, RuleNotFoundError
from rules.models import Rule, RuleState
from rules.selectors import load_active_rules, load_lagging_readings, load_series
from rules.state_store import StoredState, lock_states, write_states
from rules.types import ActiveRule, EvaluatedReading, Series, StateKey

SWEEP_GRACE = timedelta(seconds=10)
SWEEP_BATCH_SIZE = 500
_RULES_LOCK = "rules"
_SOURCE_PREFIX = rule_source("")
# What decides when a rule fires. After a change of any of these its states mean nothing any more.
_DECIDING_FIELDS = ("condition", "device_id", "device_type_id", "site_id")


# --- Evaluation


@transaction.atomic
def evaluate_readings(*, readings: Sequence[EvaluatedReading], now: datetime) -> list[AlertSignal]:
    """Return the changes that the readings bring, and remember them; each series' in the order of source time.

    Hand the signals to alerting in the same transaction: then a crash loses both or neither. A second run with the same
    readings returns nothing. `now` is unused by conditions that look at one reading; the ones that look at time need it.
    """
    usable = [reading for reading in readings if reading.quality < BAD_QUALITY]
    if not usable:
        return []
    _share_rules_lock()
    work = _plan_work(usable)
    states = lock_states(work.keys()) if work else {}
    signals: list[AlertSignal] = []
    moved: list[StoredState] = []
    for key in sorted(work):
        rule, series, samples = work[key]
        state = states[key]
        after = _evaluate_series(rule, series, samples, state, signals)
        if after is not state:
            moved.append(after)
    write_states(moved)
    return signals


def _plan_work(readings: Sequence[EvaluatedReading]) -> dict[StateKey, tuple[ActiveRule, Series, list[EvaluatedReading]]]:
    """Return for every rule and series it covers the readings in the order of source time."""
    by_series: dict[tuple[int, int], list[EvaluatedReading]] = {}
    for reading in sorted(readings, key=lambda reading: reading.ts):
        by_series.setdefault((reading.device_id, reading.metric_id), []).append(reading)
    rules_by_metric: dict[str, list[ActiveRule]] = {}
    for rule in load_active_rules():
        for metric_key in rule.condition.metric_keys:
            rules_by_metric.setdefault(metric_key, []).append(rule)
    return {
        StateKey(rule.id, series.device_id, series.metric_id): (rule, series, by_series[pair])
        for pair, series in load_series(by_series.keys()).items()
        for rule in rules_by_metric.get(series.metric_key, ())
        if rule.scope.covers(series.device_id, series.device_type_id, series.site_id)
    }


def _evaluate_series(
    rule: ActiveRule, series: Series, readings: Iterable[EvaluatedReading], state: StoredState, signals: list[AlertSignal]
) -> StoredState:
    """Return the state after the readings, and append what changed to `signals`."""
    for reading in readings:
        decision = evaluate(rule.condition, state.series_state, Sample(reading.ts, reading.value, reading.quality))
        if decision.state.last_ts == state.last_ts:
            continue
        state = state.moved_to(is_firing=decision.state.is_firing, ts=reading.ts, value=reading.value)
        if decision.change is not None:
            signals.append(make_signal(rule, series, reading, decision.change))
    return state


def raise_alerts(*, readings: Sequence[EvaluatedReading], now: datetime) -> list[AlertSignal]:
    """Evaluate readings and hand what changed to alerting, in one transaction."""
    with transaction.atomic():
        signals = evaluate_readings(readings=readings, now=now)
        handle_signals(signals=signals, now=now)
    return signals


def sweep_rules(*, now: datetime) -> None:
    """Do what only time can: evaluate latest readings that no task brought, and end alerts that nobody watches.

    Readings of the last seconds are left to the tasks on their way, which also know the readings before the latest.
    """
    lagging = load_lagging_readings(received_until=now - SWEEP_GRACE)
    for start in range(0, len(lagging), SWEEP_BATCH_SIZE):
        raise_alerts(readings=lagging[start : start + SWEEP_BATCH_SIZE], now=now)
    withdraw_orphans(now=now)


@transaction.atomic
def withdraw_orphans(*, now: datetime) -> int:
    """End alerts of series that no rule watches any more (a device deleted or moved, a rule gone with it); return how many."""
    lock_in_schema(_RULES_LOCK)
    _forget_states_out_of_scope()
    firing = Alert.objects.filter(resolved_at=None, source__startswith=_SOURCE_PREFIX).order_by("dedup_key")
    alerts = list(firing.values_list("dedup_key", "source"))
    if not alerts:
        return 0
    keys = RuleState.objects.filter(is_firing=True).values_list("rule_id", "device_id", "metric_id")
    watched = {StateKey(*key).dedup_key for key in keys}
    reason = "No rule watches this series any more."
    return sum(withdraw_alerts(source=source, dedup_keys=[key], reason=reason, now=now) for key, source in alerts if key not in watched)


def _forget_states_out_of_scope() -> None:
    rules = {rule.id: rule for rule in load_active_rules()}
    firing = RuleState.objects.filter(is_firing=True)
    rows = firing.values_list("id", "rule_id", "metric__key", "device_id", "device__device_type_id", "device__site_id")
    stale = [id_ for id_, rule_id, metric_key, *device in rows if not _reads(rules.get(rule_id), metric_key, device)]
    RuleState.objects.filter(id__in=stale).delete()


def _reads(rule: ActiveRule | None, metric_key: str, device: list[Any]) -> bool:
    return rule is not None and metric_key in rule.condition.metric_keys and rule.scope.covers(*device)


# --- Rules


@transaction.atomic
def save_rule(*, rule: Rule, now: datetime) -> Rule:
    """Create or change a rule. The version counts up with every change of what it says.

    When it is disabled or now decides differently, what it had firing is withdrawn and it starts afresh.

    Raises:
        ConditionInvalidError, RuleInvalidError: naming the field to correct.
        django.core.exceptions.ValidationError: another field is wrong, such as a name that exists.
    """
    lock_in_schema(_RULES_LOCK)
    check_rule(rule)
    rule.full_clean()
    stored = Rule.objects.filter(pk=rule.pk).first()
    if stored is not None:
        rule.version = stored.version + int(_says_something_else(stored, rule))
        if any(getattr(stored, field) != getattr(rule, field) for field in _DECIDING_FIELDS):
            _reset(rule, f"The rule {rule.name} was changed.", now)
        elif stored.is_enabled and not rule.is_enabled:
            _reset(rule, f"The rule {rule.name} was disabled.", now)
    rule.save()
    return rule


def check_rule(rule: Rule) -> None:
    """Bring the condition into its plain form and refuse what could never fire.

    Raises:
        ConditionInvalidError, RuleInvalidError: naming the field to correct.
    """
    condition = parse_condition(rule.condition)
    rule.condition = dump_condition(condition)
    device, device_type = rule.device, rule.device_type
    if device is not None and device_type is not None and device.device_type_id != device_type.pk:
        raise RuleInvalidError(
            "The device is of another type.", errors={"device_type": [f"Leave it out, or use the type of {device.name}: both must match."]}
        )
    type_id = device.device_type_id if device is not None else rule.device_type_id
    for key in condition.metric_keys if type_id is not None else ():
        metric = Metric.objects.filter(device_type_id=type_id, key=key).first()
        if metric is None:
            raise ConditionInvalidError("metric", f"The device type in scope has no metric {key}. Create it first, or use another.")
        if metric.data_type == Metric.DataType.TEXT:
            raise ConditionInvalidError("metric", f"The metric {key} is a text; use one of numbers.")


@transaction.atomic
def set_rule_enabled(*, rule_id: uuid.UUID, is_enabled: bool, now: datetime) -> Rule:
    """Enable or disable a rule; nothing happens where it is so already.

    Raises:
        RuleNotFoundError: no such rule.
        ConditionInvalidError, RuleInvalidError: it can no longer be enabled as it is.
    """
    lock_in_schema(_RULES_LOCK)
    rule = _get_rule(rule_id)
    if rule.is_enabled == is_enabled:
        return rule
    rule.is_enabled = is_enabled
    if is_enabled:
        check_rule(rule)
    else:
        _reset(rule, f"The rule {rule.name} was disabled.", now)
    rule.save(update_fields=["is_enabled", "updated_at"])
    return rule


@transaction.atomic
def delete_rule(*, rule_id: uuid.UUID, now: datetime) -> None:
    """Delete a rule; what it had firing is withdrawn.

    Raises:
        RuleNotFoundError: no such rule.
    """
    lock_in_schema(_RULES_LOCK)
    rule = _get_rule(rule_id)
    _reset(rule, f"The rule {rule.name} was deleted.", now)
    rule.delete()


def _reset(rule: Rule, reason: str, now: datetime) -> None:
    RuleState.objects.filter(rule=rule).delete()
    withdraw_alerts(source=rule_source(rule.pk), reason=reason, now=now)


def _says_something_else(stored: Rule, rule: Rule) -> bool:
    return any(getattr(stored, field) != getattr(rule, field) for field in (*_DECIDING_FIELDS, "name", "description", "severity"))


def _get_rule(rule_id: uuid.UUID) -> Rule:
    rule = Rule.objects.filter(pk=rule_id).first()
    if rule is None:
        raise RuleNotFoundError("There is no such rule.")
    return rule


def _share_rules_lock() -> None:
    """Wait until nobody changes rules; many may evaluate at once. The same lock as `lock_in_schema(_RULES_LOCK)`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s), hashtext(%s))", [_RULES_LOCK, current_schema()])
