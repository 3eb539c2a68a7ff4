from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices.command_schema import check_command, find_fault
from devices.command_states import TRANSITIONS, next_offer_at, transition
from devices.errors import CommandRefusedError, IllegalCommandEventError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEED = {"name": "set_speed", "parameters": [{"name": "rpm", "type": "integer", "required": True, "minimum": 0, "maximum": 3000}]}


def test_an_answered_command_is_not_sent_and_does_not_expire() -> None:
    for state in ("acknowledged", "failed", "expired"):
        for event in ("send", "expire"):
            with pytest.raises(IllegalCommandEventError):
                transition(state, event)
    assert transition("expired", "acknowledge") == "acknowledged"
    assert {state for state, _ in TRANSITIONS} == {"queued", "sent", "acknowledged", "failed", "expired"}


def test_waits_between_attempts_double_up_to_ten_minutes() -> None:
    waits = [next_offer_at(attempts=n, now=NOW) - NOW for n in (1, 2, 3, 6, 1000)]
    assert waits == [timedelta(seconds=s) for s in (30, 60, 120, 600, 600)]


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("reboot", {}),
        ("set_speed", None),
        ("set_speed", [1]),
        ("set_speed", {"rpm": "fast"}),
        ("set_speed", {"rpm": True}),
        ("set_speed", {"rpm": 3001}),
        ("set_speed", {"rpm": 1, "colour": 2}),
        ("set speed", {"rpm": 1}),
    ],
)
def test_what_the_type_does_not_accept_is_refused(name: str, payload: Any) -> None:
    with pytest.raises(CommandRefusedError):
        check_command([SPEED], name=name, payload=payload)


@pytest.mark.parametrize(
    ("bounds", "value", "words"),
    [
        ({"minimum": 600, "maximum": 1500}, 2000, "use 600 to 1500"),
        ({"minimum": 0.5}, 0, "use 0.5 or more"),
        ({"maximum": -1}, 0, "use -1 or less"),
    ],
)
def test_a_value_out_of_range_is_told_the_range(bounds: dict[str, float], value: float, words: str) -> None:
    declared = {"name": "set_speed", "parameters": [{"name": "rpm", "type": "number", **bounds}]}
    with pytest.raises(CommandRefusedError, match=words):
        check_command([declared], name="set_speed", payload={"rpm": value})


def test_a_type_that_declares_nothing_accepts_anything_up_to_16_kib() -> None:
    check_command([SPEED], name="set_speed", payload={"rpm": 1450})
    check_command([], name="anything", payload=[1, "x", None])
    with pytest.raises(CommandRefusedError):
        check_command([], name="anything", payload="x" * 16_384)


@pytest.mark.parametrize(
    "declarations",
    [
        {},
        [{"name": "a b"}],
        [{"name": "a", "color": 1}],
        [{"name": "a"}, {"name": "a"}],
        [{"name": "a", "parameters": [{"name": "x", "type": "blob"}]}],
        [{"name": "a", "parameters": [{"name": "x", "type": ["number"]}]}],
        [{"name": "a", "parameters": [{"name": "x", "type": "number", "minimum": "0"}]}],
        [{"name": "a", "is_dangerous": "yes"}],
        [{"name": str(n)} for n in range(51)],
    ],
)
def test_a_wrong_declaration_is_named(declarations: Any) -> None:
    assert find_fault(declarations)


def test_a_right_declaration_passes() -> None:
    assert find_fault([]) == find_fault([SPEED, {"name": "reboot", "is_dangerous": True, "description": "Restarts."}]) == ""
