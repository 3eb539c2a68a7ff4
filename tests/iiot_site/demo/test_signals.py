"""The simulated signals: quiet while all is well, over a rule's threshold in a fault, and back again."""

import operator
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from iiot_site.demo.plant import COMMANDS, DEVICE_TYPES, RULES, TENANTS, DemoRule
from iiot_site.demo.signals import SIGNALS, Machine

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
COMPARE: dict[str, Callable[[float, float], bool]] = {">": operator.gt, "<": operator.lt}
DAY_SECONDS = 86_400


def run(machine: Machine, *, seconds: int, step: int, start: datetime = START) -> Iterator[dict[str, float | bool | str]]:
    for offset in range(0, seconds, step):
        yield machine.values(start + timedelta(seconds=offset))


def is_broken(rule: DemoRule, values: dict[str, float | bool | str]) -> bool:
    return COMPARE[rule.operator](float(values[rule.metric]), rule.threshold)


def rules_of(kind: str) -> list[DemoRule]:
    return [rule for rule in RULES if rule.kind == kind]


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_healthy_machine_breaks_no_rule_for_a_day(kind: str) -> None:
    for seed in ("a", "b", "c"):
        for values in run(Machine(kind, seed), seconds=DAY_SECONDS, step=60):
            assert [rule.name for rule in rules_of(kind) if is_broken(rule, values)] == []


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_fault_breaks_a_rule_and_passes(kind: str) -> None:
    machine = Machine(kind, "a")
    list(run(machine, seconds=600, step=2))
    begin = START + timedelta(seconds=600)
    machine.start_fault(begin, seconds=60)
    during = list(run(machine, seconds=60, step=2, start=begin))
    assert any(is_broken(rule, values) for rule in rules_of(kind) for values in during)
    after = list(run(machine, seconds=60, step=2, start=begin + timedelta(seconds=60)))
    assert not any(is_broken(rule, after[-1]) for rule in rules_of(kind))
    assert not machine.is_faulty


@pytest.mark.parametrize("kind", SIGNALS)
def test_it_sends_what_its_type_declares_within_the_plausible_range(kind: str) -> None:
    metrics = {metric.key: metric for metric in DEVICE_TYPES[kind]}
    for values in run(Machine(kind, "a"), seconds=7_200, step=30):
        assert set(values) == set(metrics)
        for key, value in values.items():
            metric = metrics[key]
            if metric.minimum is not None and metric.maximum is not None:
                assert metric.minimum <= float(value) <= metric.maximum


def test_the_same_machine_has_the_same_signals() -> None:
    assert list(run(Machine("Pump", "a"), seconds=60, step=2)) == list(run(Machine("Pump", "a"), seconds=60, step=2))


def test_ninety_nine_degrees_break_a_rule_on_every_kind_of_device() -> None:
    for kind in {device.kind for plant in TENANTS for device in plant.devices}:
        assert any(is_broken(rule, {"temperature": 99}) for rule in rules_of(kind) if rule.metric == "temperature")


def test_a_pump_obeys() -> None:
    pump = Machine("Pump", "a")
    before = pump.values(START)
    assert pump.obey("set_speed", {"rpm": 725}) == {"running": True, "rpm": 725}
    slower = pump.values(START)
    assert float(slower["pressure"]) < float(before["pressure"]) / 3
    assert float(slower["current"]) < float(before["current"]) / 6
    assert pump.obey("stop", None) == {"running": False, "rpm": 0}
    stopped = pump.values(START)
    assert (stopped["running"], stopped["current"]) == (False, 0)


@pytest.mark.parametrize(
    ("name", "payload"), [("explode", None), ("set_speed", {"rpm": 9000}), ("set_speed", {"rpm": "fast"}), ("set_speed", 1)]
)
def test_what_a_pump_cannot_do_it_says(name: str, payload: object) -> None:
    with pytest.raises(ValueError, match="a pump cannot do"):
        Machine("Pump", "a").obey(name, payload)


def test_what_the_types_declare_their_machines_obey() -> None:
    for kind, commands in COMMANDS.items():
        for command in commands:
            for bound in ("minimum", "maximum"):
                Machine(kind, "a").obey(command["name"], {p["name"]: p[bound] for p in command.get("parameters", [])})
