"""Whose connections are ended, and that nothing is forgotten where that fails."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from protocols.amqp.logins import BrokerControl, ConnectionEnder


class Broker:
    """Notes whose connections it ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.is_broken = False

    def end(self, usernames: Sequence[str]) -> None:
        if self.is_broken:
            raise OSError("rabbitmqctl failed")
        self.ended += usernames


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def ender(broker: Broker, tmp_path: Path) -> ConnectionEnder:
    return ConnectionEnder(tmp_path / "logins.json", broker.end)


def test_lost_and_changed_logins_are_ended_and_no_others(ender: ConnectionEnder, broker: Broker) -> None:
    assert ender.replace_device_logins({"acme/a": "1", "acme/b": "1", "acme/c": "1"})
    assert broker.ended == []
    assert ender.replace_device_logins({"acme/b": "2", "acme/c": "1", "acme/d": "1"})
    assert broker.ended == ["acme/a", "acme/b"]
    assert not ender.replace_device_logins({"acme/b": "2", "acme/c": "1", "acme/d": "1"})


def test_what_was_revoked_while_no_listener_ran_is_ended_at_its_start(ender: ConnectionEnder, broker: Broker, tmp_path: Path) -> None:
    ender.replace_device_logins({"acme/a": "1"})
    ConnectionEnder(tmp_path / "logins.json", broker.end).replace_device_logins({})
    assert broker.ended == ["acme/a"]


def test_what_could_not_be_ended_is_tried_again(ender: ConnectionEnder, broker: Broker) -> None:
    ender.replace_device_logins({"acme/a": "1"})
    broker.is_broken = True
    with pytest.raises(OSError, match="failed"):
        ender.replace_device_logins({})
    broker.is_broken = False
    ender.replace_device_logins({})
    assert broker.ended == ["acme/a"]


def test_a_broker_that_does_not_answer_is_a_failure_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.amqp.logins.CONTROL_SECONDS", 0.1)
    program = tmp_path / "rabbitmqctl"
    program.write_text("#!/bin/sh\nexec sleep 10\n")
    program.chmod(0o700)
    (tmp_path / "control.json").write_text(f'{{"program": "{program}", "env": {{}}}}')
    with pytest.raises(OSError, match="did not answer"):
        BrokerControl(tmp_path / "control.json").end_connections(["acme/a"])


def test_no_name_reaches_the_shell_or_erlang_that_is_not_a_plain_one(tmp_path: Path) -> None:
    program = tmp_path / "rabbitmqctl"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nexit 69\n')
    program.chmod(0o700)
    (tmp_path / "control.json").write_text(f'{{"program": "{program}", "env": {{}}}}')
    BrokerControl(tmp_path / "control.json").end_connections(["acme/a", 'x">>]), init:stop(), ([<<"', "acme/b~2"])
    assert (tmp_path / "words").read_text().endswith('[<<"acme/a">>, <<"acme/b~2">>]).\n')
