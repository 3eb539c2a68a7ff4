"""A decision in the words of alerting: what happened, to what, and why. Pure."""

from alerting.types import AlertSignal
from rules.conditions.evaluation import Change, Sample
from rules.conditions.parsing import dump_condition
from rules.conditions.threshold import format_value
from rules.types import ActiveRule, Series, StateKey
from telemetry.qualities import QUALITY_NAMES


def rule_source(rule_id: object) -> str:
    """Return the `source` of a rule's signals."""
    return f"rule:{rule_id}"


def make_signal(rule: ActiveRule, series: Series, reading: Sample, change: Change) -> AlertSignal:
    """Return the signal of a change, with all that answers "why did this fire?"."""
    return AlertSignal(
        dedup_key=StateKey(rule.id, series.device_id, series.metric_id).dedup_key,
        action=change,
        severity=rule.severity,
        source=rule_source(rule.id),
        device_id=series.device_id,
        site_id=series.site_id,
        summary=summarise(rule, series, reading, change),
        occurred_at=reading.ts,
        details={
            "rule": str(rule.id),
            "rule_name": rule.name,
            "rule_version": rule.version,
            "condition": dump_condition(rule.condition),
            "metric": series.metric_key,
            "value": reading.value,
            "unit": series.unit,
            "quality": QUALITY_NAMES[reading.quality],
            "ts": reading.ts.isoformat(),
        },
    )


def summarise(rule: ActiveRule, series: Series, reading: Sample, change: Change) -> str:
    """Return one sentence such as "Motor temperature 99 °C is above 80 °C on Pump 7"."""
    name = series.metric_name or series.metric_key
    # What cleared is not simply "no longer above": with hysteresis 75 is not above 80 either and fires on.
    verdict = rule.condition.describe(unit=series.unit) if change == "trigger" else "back within limits"
    return f"{name[:1].upper()}{name[1:]} {format_value(reading.value, series.unit)} is {verdict} on {series.device_name}"
