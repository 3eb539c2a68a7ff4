"""The only way to change rules and what they know.

Evaluating takes the tenant's rules lock shared, changing a rule takes it alone: a batch never decides by a rule that is
being changed, and no alert outlives the rule that raised it.
"""

import uuid
from bisect import bisect_right
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from django.db import connection, transaction

from alerting.models import Alert
from alerting.services import handle_signals, withdraw_alerts
from alerting.types import AlertSignal
from devices.models import Metric
from iiot_site.lib.lookups import announce_change
from iiot_site.lib.schemas import current_schema, lock_in_schema
from rules.alert_signals import make_signal, rule_source
from rules.conditions.errors import ConditionInvalidError
from rules.conditions.evaluation import BAD_QUALITY, Sample, evaluate
from rules.conditions.parsing import dump_condition, parse_condition
from rules.errors import RuleInvalidError, RuleNotFoundError
from rules.models import Rule, RuleState
from rules.selectors import list_states_out_of_scope, load_active_rules, load_lagging_series, load_series
from rules.state_store import StoredState, lock_states, write_states
from rules.types import ActiveRule, Series, SeriesSince, StateKey
from telemetry.selectors import load_numbers_after

SWEEP_GRACE = timedelta(seconds=10)
SWEEP_BATCH_SIZE = 500
# What one transaction reads: readings of all series together, but a few of each so that every series moves on.
CHUNK_READINGS = 10_000
MIN_READINGS_PER_SERIES = 10
RULES_LOCK = "rules"
NAMED_METRICS = 20  # in an error
_SOURCE_PREFIX = rule_source("")
_UNWATCHED = "No rule watches this series any more."
# What decides when a rule fires. After a change of any of these its states mean nothing any more.
_DECIDING_FIELDS = ("condition", "device_id", "device_type_id", "site_id")


# --- Evaluation


@transaction.atomic
def raise_alerts(*, since: SeriesSince, now: datetime) -> SeriesSince:
    """Evaluate the stored readings that the rules have not seen yet, and hand what changed to alerting.

    Each rule goes on after the newest reading it evaluated, whichever task that was in; for a series it meets for the
    first time it begins at the time given. So it does not matter in which order tasks run, or whether all of them do.
    Reads one chunk, so that it stays short, and returns the series of which there is more.

    A crash loses both the decision and its alert or neither. `now` is unused by conditions that look at one reading;
    the ones that look at time need it.
    """
    _share_rules_lock()
    work = _plan_work(since)
    if not work:
        return {}
    states = lock_states(work.keys())  # only now, so that nobody else evaluates what is read next
    starts = {key: states[key].next_after(since[key.series]) for key in work}
    after: SeriesSince = {}
    for key, start in starts.items():
        after[key.series] = min(start, after.get(key.series, start))
    limit = max(MIN_READINGS_PER_SERIES, CHUNK_READINGS // len(after))
    points = load_numbers_after(after, better_than=BAD_QUALITY, limit=limit)
    samples = {pair: [Sample(point.ts, point.value, point.quality) for point in found] for pair, found in points.items()}
    signals: list[AlertSignal] = []
    moved: list[StoredState] = []
    for key in sorted(key for key in work if key.series in samples):
        unseen = samples[key.series][bisect_right(samples[key.series], starts[key], key=_time_of) :]
        if unseen:
            moved.append(_evaluate_series(*work[key], unseen, states[key], signals))
    write_states(moved)
    if signals:
        handle_signals(signals=signals, now=now)
    return {pair: since[pair] for pair, found in samples.items() if len(found) == limit}


def _plan_work(pairs: Collection[tuple[int, int]]) -> dict[StateKey, tuple[ActiveRule, Series]]:
    """Return every rule with each of the series that it covers."""
    rules_by_metric: dict[str, list[ActiveRule]] = {}
    for rule in load_active_rules():
        for metric_key in rule.condition.metric_keys:
            rules_by_metric.setdefault(metric_key, []).append(rule)
    return {
        StateKey(rule.id, series.device_id, series.metric_id): (rule, series)
        for series in load_series(pairs).values()
        for rule in rules_by_metric.get(series.metric_key, ())
        if rule.scope.covers(series.device_id, series.device_type_id, series.site_id)
    }


def _time_of(sample: Sample) -> datetime:
    return sample.ts


def _evaluate_series(
    rule: ActiveRule, series: Series, samples: Iterable[Sample], state: StoredState, signals: list[AlertSignal]
) -> StoredState:
    """Return the state after the readings, and append what changed to `signals`."""
    for sample in samples:
        decision = evaluate(rule.condition, state.series_state, sample)
        if decision.state.last_ts == state.last_ts:
            continue
        state = state.moved_to(is_firing=decision.state.is_firing, ts=sample.ts, value=sample.value)
        if decision.change is not None:
            signals.append(make_signal(rule, series, sample, decision.change))
    return state


def sweep_rules(*, now: datetime) -> None:
    """Do what only time can: evaluate readings that no task brought, and end alerts that nobody watches.

    A series whose latest reading came in the last seconds is left to its task, which also knows where a new rule begins.
    """
    lagging = list(load_lagging_series(received_until=now - SWEEP_GRACE).items())
    for start in range(0, len(lagging), SWEEP_BATCH_SIZE):
        rest = dict(lagging[start : start + SWEEP_BATCH_SIZE])
        while rest:
            rest = raise_alerts(since=rest, now=now)
    withdraw_orphans(now=now)


@transaction.atomic
def withdraw_orphans(*, now: datetime) -> int:
    """End alerts of series that no rule watches any more (a device deleted or moved, a rule gone with it); return how many."""
    lock_in_schema(RULES_LOCK)
    withdrawn = _forget_states_out_of_scope(now)
    firing = Alert.objects.filter(resolved_at=None, source__startswith=_SOURCE_PREFIX).order_by("dedup_key")
    alerts = list(firing.values_list("dedup_key", "source"))
    if alerts:
        keys = RuleState.objects.filter(is_firing=True).values_list("rule_id", "device_id", "metric_id")
        watched = {StateKey(*key).dedup_key for key in keys}
        orphans = [(key, source) for key, source in alerts if key not in watched]
        withdrawn += sum(withdraw_alerts(source=source, dedup_keys=[key], reason=_UNWATCHED, now=now) for key, source in orphans)
    return withdrawn


def _forget_states_out_of_scope(now: datetime) -> int:
    """Let rules begin afresh, one day, with what left their scope: what happens meanwhile is none of their business."""
    left = list_states_out_of_scope()
    RuleState.objects.filter(id__in=left).delete()
    keys_by_rule: dict[uuid.UUID, list[str]] = {}
    for key in left.values():
        keys_by_rule.setdefault(key.rule_id, []).append(key.dedup_key)
    sources = {rule_source(rule_id): keys for rule_id, keys in keys_by_rule.items()}
    return sum(withdraw_alerts(source=source, dedup_keys=keys, reason=_UNWATCHED, now=now) for source, keys in sources.items())


# --- Rules


@transaction.atomic
def save_rule(*, rule: Rule, now: datetime) -> Rule:
    """Create or change a rule. The version counts up with every change of what it says.

    When it is disabled or now decides differently, what it had firing is withdrawn and it starts afresh.

    Raises:
        ConditionInvalidError, RuleInvalidError: naming the field to correct.
        django.core.exceptions.ValidationError: another field is wrong, such as a name that exists.
    """
    lock_in_schema(RULES_LOCK)
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
    announce_change()
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
            known = Metric.objects.filter(device_type_id=type_id).exclude(data_type=Metric.DataType.TEXT).order_by("key")
            names = ", ".join(known.values_list("key", flat=True)[:NAMED_METRICS]) or "none that is a number"
            raise ConditionInvalidError("metric", f"The device type in scope has no metric {key}. It has: {names}.")
        if metric.data_type == Metric.DataType.TEXT:
            raise ConditionInvalidError("metric", f"The metric {key} is a text; use one of numbers.")


@transaction.atomic
def set_rule_enabled(*, rule_id: uuid.UUID, is_enabled: bool, now: datetime) -> Rule:
    """Enable or disable a rule; nothing happens where it is so already.

    Raises:
        RuleNotFoundError: no such rule.
        ConditionInvalidError, RuleInvalidError: it can no longer be enabled as it is.
    """
    lock_in_schema(RULES_LOCK)
    rule = _get_rule(rule_id)
    if rule.is_enabled == is_enabled:
        return rule
    rule.is_enabled = is_enabled
    if is_enabled:
        check_rule(rule)
    else:
        _reset(rule, f"The rule {rule.name} was disabled.", now)
    rule.save(update_fields=["is_enabled", "updated_at"])
    announce_change()
    return rule


@transaction.atomic
def delete_rule(*, rule_id: uuid.UUID, now: datetime) -> None:
    """Delete a rule; what it had firing is withdrawn.

    Raises:
        RuleNotFoundError: no such rule.
    """
    lock_in_schema(RULES_LOCK)
    rule = _get_rule(rule_id)
    _reset(rule, f"The rule {rule.name} was deleted.", now)
    rule.delete()
    announce_change()


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
    """Wait until nobody changes rules; many may evaluate at once. The same lock as `lock_in_schema(RULES_LOCK)`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s), hashtext(%s))", [RULES_LOCK, current_schema()])
