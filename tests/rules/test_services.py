"""Readings become signals by the rules; rules that change take their alerts with them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from msgspec.structs import replace
from pytest_django import DjangoAssertNumQueries

from alerting.models import Alert, Incident, Severity
from devices.models import Device, DeviceType, Metric, Site
from rules.conditions.errors import ConditionInvalidError
from rules.errors import RuleInvalidError
from rules.models import Rule, RuleState
from rules.services import delete_rule, raise_alerts, save_rule, set_rule_enabled, sweep_rules
from tests.conftest import MakeDevice
from tests.rules.conftest import HOT, NOW, MakeReading, MakeRule, evaluate, store

pytestmark = pytest.mark.usefixtures("in_acme")


@pytest.fixture
def pump(make_device: MakeDevice) -> Device:
    return make_device(metrics=("temperature", "pressure"))


# --- Evaluation


def test_what_clears_does_not_say_that_it_merely_left_the_threshold(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    Metric.objects.filter(key="temperature").update(unit="°C")
    make_rule(condition=HOT | {"clear_threshold": 70.0}, device=pump)
    _, cleared = evaluate([reading(pump, 99), reading(pump, 75, at=1), reading(pump, 69, at=2)])
    assert cleared.summary == "Temperature 69 °C is back within limits on Pump 7"


def test_a_hot_pump_raises_an_alert_that_says_why(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    Metric.objects.filter(key="temperature").update(name="motor temperature", unit="°C")
    rule = make_rule(condition=HOT | {"clear_threshold": 75.0}, severity="critical", device=pump)
    [signal] = evaluate([reading(pump, 99)])
    metric = Metric.objects.get(key="temperature")
    assert signal.summary == "Motor temperature 99 °C is above 80 °C on Pump 7"
    assert signal.dedup_key == f"rule:{rule.pk}:{pump.pk}:{metric.pk}"
    assert (signal.action, signal.severity, signal.source, signal.device_id) == ("trigger", "critical", f"rule:{rule.pk}", pump.pk)
    assert signal.details["rule_version"] == 1
    assert signal.details["condition"] == HOT | {"clear_threshold": 75.0}
    assert (signal.details["value"], signal.details["ts"]) == (99, NOW.isoformat())


def test_only_changes_become_signals_and_each_series_is_taken_in_time_order(
    pump: Device, make_rule: MakeRule, reading: MakeReading
) -> None:
    make_rule()
    readings = [reading(pump, 70, 3), reading(pump, 99, 1), reading(pump, 98, 2), reading(pump, 99, 4)]
    signals = evaluate(readings)
    assert [(signal.action, (signal.occurred_at - NOW).seconds) for signal in signals] == [("trigger", 1), ("resolve", 3), ("trigger", 4)]


def test_late_and_bad_readings_decide_nothing(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    evaluate([reading(pump, 20, 10)])
    assert evaluate([reading(pump, 99, 5), reading(pump, 99, 20, quality=2)]) == []
    assert RuleState.objects.get().last_ts == NOW + timedelta(seconds=10)


def test_the_newest_reading_is_remembered_even_without_a_change(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    evaluate([reading(pump, 20, 1)])
    evaluate([reading(pump, 21, 2)])
    state = RuleState.objects.get()
    assert (state.last_ts, state.last_value, state.since) == (NOW + timedelta(seconds=2), 21, NOW + timedelta(seconds=1))


def test_a_task_run_twice_leaves_one_alert_and_one_incident(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    readings = [reading(pump, 99, 1), reading(pump, 99, 2)]
    assert len(evaluate(readings)) == 1
    assert evaluate(readings) == []
    assert Alert.objects.get().count == 1
    assert Incident.objects.get().device == pump


def test_what_fails_after_the_decision_undoes_the_decision(
    pump: Device, make_rule: MakeRule, reading: MakeReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rule()
    since = store([reading(pump, 99)])
    with monkeypatch.context() as patch:
        patch.setattr("rules.services.handle_signals", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            raise_alerts(since=since, now=NOW)
    raise_alerts(since=since, now=NOW)
    assert Incident.objects.get().state == "new"


def test_scopes_narrow_and_two_must_both_match(pump: Device, make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading) -> None:
    plant = Site.objects.create(name="Plant")
    hall = Site.objects.create(name="Hall", parent=plant)
    inside = make_device("pump-8", name="Pump 8", site=hall)
    fan = make_device("fan-1", name="Fan 1", type_name="Fan", site=hall)
    make_rule(name="plant", site=plant)
    make_rule(name="pumps of the plant", site=plant, device_type=pump.device_type)
    make_rule(name="pump 7 alone", device=pump)
    make_rule(name="all")
    make_rule(name="off", is_enabled=False)
    signals = evaluate([reading(device, 99) for device in (pump, inside, fan)])
    fired = {(signal.details["rule_name"], signal.device_id) for signal in signals}
    assert fired == {
        ("plant", inside.pk),
        ("plant", fan.pk),
        ("pumps of the plant", inside.pk),
        ("pump 7 alone", pump.pk),
        *(("all", device.pk) for device in (pump, inside, fan)),
    }
    assert all(signal.site_id == hall.pk for signal in signals if signal.device_id != pump.pk)


def test_a_rule_that_cannot_be_read_does_not_stop_the_others(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    Rule.objects.create(name="from a newer version", condition={"type": "statistical", "metric": "temperature"})
    assert len(evaluate([reading(pump, 99)])) == 1


def test_the_number_of_queries_does_not_grow_with_devices_rules_and_readings(
    make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    pumps = [make_device(f"pump-{number}", name=f"Pump {number}") for number in range(20)]
    for number in range(5):
        make_rule(name=f"Rule {number}", site=Site.objects.create(name=f"S{number}") if number else None)
    readings = [reading(pump, 50 + second, second) for pump in pumps for second in range(5)]
    since = store(readings)
    with django_assert_max_num_queries(12):
        raise_alerts(since=since, now=NOW)
    assert RuleState.objects.filter(last_value=54).count() == 20


# --- Tasks that are lost, overtaken, or find more than they may read at once


def timeline() -> list[str]:
    return list(Incident.objects.get().events.values_list("kind", flat=True))


def test_an_excursion_is_found_though_its_task_was_overtaken(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    evaluate([reading(pump, 20, 0)])
    first, second = store([reading(pump, 99, 1)]), store([reading(pump, 20, 2)])
    raise_alerts(since=second, now=NOW)
    raise_alerts(since=first, now=NOW)
    assert timeline() == ["opened", "alert_resolved", "resolved"]


def test_an_excursion_is_found_though_its_task_was_lost(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    evaluate([reading(pump, 20, 0)])
    store([reading(pump, 99, 1)])
    evaluate([reading(pump, 20, 2)])
    assert timeline() == ["opened", "alert_resolved", "resolved"]


def test_the_sweep_finds_an_excursion_between_two_lost_tasks(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    evaluate([reading(pump, 20, 0)])
    store([reading(pump, 99, 1), reading(pump, 20, 2)])
    sweep_rules(now=NOW)
    assert timeline() == ["opened", "alert_resolved", "resolved"]


def test_a_long_gap_is_read_in_chunks(pump: Device, make_rule: MakeRule, reading: MakeReading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.services.CHUNK_READINGS", 10)
    make_rule()
    evaluate([reading(pump, 20, 0)])
    since = store([reading(pump, 99 if second == 11 else 20, second) for second in range(1, 25)])
    assert raise_alerts(since=since, now=NOW) == since
    assert raise_alerts(since=since, now=NOW) == since
    assert raise_alerts(since=since, now=NOW) == {}
    assert timeline() == ["opened", "alert_resolved", "resolved"]
    store([reading(pump, 99 if second == 45 else 20, second) for second in range(25, 60)])
    sweep_rules(now=NOW)
    assert RuleState.objects.get().last_ts == NOW + timedelta(seconds=59)
    assert Alert.objects.count() == 2


def test_a_new_rule_begins_with_what_came_not_with_what_is_stored(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule(name="old")
    evaluate([reading(pump, 20, 0)])
    store([reading(pump, 99, 1)])
    make_rule(name="new")
    signals = evaluate([reading(pump, 20, 2)])
    assert {(signal.details["rule_name"], signal.action) for signal in signals} == {("old", "trigger"), ("old", "resolve")}


def test_what_happened_while_a_device_was_elsewhere_is_not_caught_up_with(
    make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading
) -> None:
    plant = Site.objects.create(name="Plant")
    device = make_device(site=plant)
    make_rule(site=plant)
    evaluate([reading(device, 20, 0)])
    Device.objects.update(site=None)
    evaluate([reading(device, 99, 1)])
    sweep_rules(now=NOW)
    Device.objects.update(site=plant)
    evaluate([reading(device, 20, 2)])
    assert not Incident.objects.exists()


# --- The sweep


def test_the_sweep_evaluates_what_no_task_brought(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule(device=pump)
    store([reading(pump, 99)])
    sweep_rules(now=NOW)
    sweep_rules(now=NOW)
    assert Incident.objects.get().state == "new"
    assert RuleState.objects.get().is_firing


def test_the_sweep_leaves_fresh_readings_to_their_task(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    store([replace(reading(pump, 99), received_at=NOW - timedelta(seconds=1))])
    sweep_rules(now=NOW)
    assert not Incident.objects.exists()


def test_the_sweep_heeds_the_scope(pump: Device, make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading) -> None:
    plant = Site.objects.create(name="Plant")
    inside = make_device("pump-8", name="Pump 8", site=Site.objects.create(name="Hall", parent=plant))
    make_rule(site=plant, device_type=pump.device_type)
    store([reading(pump, 99)])
    store([reading(inside, 99)])
    sweep_rules(now=NOW)
    assert Incident.objects.get().device == inside


def test_the_sweep_ends_alerts_of_a_deleted_device(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    make_rule()
    evaluate([reading(pump, 99)])
    pump.delete()
    sweep_rules(now=NOW)
    incident = Incident.objects.get()
    assert (incident.state, incident.resolved_automatically) == ("resolved", True)
    assert incident.events.filter(kind="alert_withdrawn").exists()


def test_the_sweep_ends_alerts_of_a_device_that_left_the_site(make_device: MakeDevice, make_rule: MakeRule, reading: MakeReading) -> None:
    plant = Site.objects.create(name="Plant")
    device = make_device(site=plant)
    make_rule(site=plant)
    evaluate([reading(device, 99)])
    sweep_rules(now=NOW)
    assert Incident.objects.get().state == "new"
    Device.objects.update(site=None)
    sweep_rules(now=NOW)
    assert Incident.objects.get().state == "resolved"


# --- Changing rules


CHANGES: list[tuple[str, Callable[[Rule], Any]]] = [
    ("disabled", lambda rule: set_rule_enabled(rule_id=rule.pk, is_enabled=False, now=NOW)),
    ("deleted", lambda rule: delete_rule(rule_id=rule.pk, now=NOW)),
    ("changed", lambda rule: _change(rule, condition=HOT | {"threshold": 90.0})),
    ("changed", lambda rule: _change(rule, site=Site.objects.create(name="Elsewhere"))),
    ("disabled", lambda rule: _change(rule, is_enabled=False)),
]


def _change(rule: Rule, **fields: Any) -> Rule:
    for name, value in fields.items():
        setattr(rule, name, value)
    return save_rule(rule=rule, now=NOW)


@pytest.mark.parametrize(("word", "change"), CHANGES)
def test_its_alerts_end_when_a_rule_is_disabled_deleted_or_changed(
    word: str, change: Callable[[Rule], Any], pump: Device, make_rule: MakeRule, reading: MakeReading
) -> None:
    rule = make_rule()
    evaluate([reading(pump, 99)])
    change(rule)
    incident = Incident.objects.get()
    assert incident.state == "resolved"
    assert incident.events.get(kind="alert_withdrawn").text == f"The rule Hot was {word}."
    assert not RuleState.objects.exists()


def test_after_a_change_the_same_reading_counts_again(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    rule = make_rule()
    evaluate([reading(pump, 99)])
    _change(rule, condition=HOT | {"threshold": 90.0})
    evaluate([reading(pump, 99)])
    assert Incident.objects.get().state == "new"
    assert Alert.objects.get(resolved_at=None).details["rule_version"] == 2


def test_a_lowered_threshold_finds_what_had_resolved_under_the_former_one(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    rule = make_rule()
    evaluate([reading(pump, 99, 1), reading(pump, 70, 2)])
    assert Incident.objects.get().state == "resolved"
    _change(rule, condition=HOT | {"threshold": 60.0})
    sweep_rules(now=NOW)
    assert Alert.objects.filter(resolved_at=None).count() == 1


def test_a_new_name_ends_nothing_but_counts_the_version_up(pump: Device, make_rule: MakeRule, reading: MakeReading) -> None:
    rule = make_rule()
    evaluate([reading(pump, 99)])
    assert _change(rule, name="Too hot").version == 2
    assert _change(rule).version == 2
    assert Incident.objects.get().state == "new"


def test_a_disabled_rule_can_be_enabled_again(make_rule: MakeRule) -> None:
    rule = make_rule(is_enabled=False)
    assert set_rule_enabled(rule_id=rule.pk, is_enabled=True, now=NOW).is_enabled
    assert set_rule_enabled(rule_id=rule.pk, is_enabled=True, now=NOW).version == 1


def test_a_metric_must_exist_where_the_scope_tells_the_type(pump: Device, make_rule: MakeRule) -> None:
    Metric.objects.create(device_type=pump.device_type, key="state", data_type="text")
    with pytest.raises(ConditionInvalidError, match="no metric vibration"):
        make_rule(device=pump, condition=HOT | {"metric": "vibration"})
    with pytest.raises(ConditionInvalidError, match="no metric vibration"):
        make_rule(device_type=pump.device_type, condition=HOT | {"metric": "vibration"})
    with pytest.raises(ConditionInvalidError, match="is a text"):
        make_rule(device=pump, condition=HOT | {"metric": "state"})
    make_rule(condition=HOT | {"metric": "vibration"})


def test_a_device_of_another_type_than_the_scope_is_refused(pump: Device, make_rule: MakeRule) -> None:
    with pytest.raises(RuleInvalidError) as refused:
        make_rule(device=pump, device_type=DeviceType.objects.create(name="Fan"))
    assert "device_type" in refused.value.errors


def test_a_name_is_used_once(make_rule: MakeRule) -> None:
    make_rule()
    with pytest.raises(ValidationError, match="already exists"):
        make_rule()


def test_the_severities_of_rules_are_those_of_alerting(make_rule: MakeRule) -> None:
    with pytest.raises(ValidationError):
        make_rule(severity="apocalyptic")
    assert make_rule().severity == Severity.HIGH
