"""Rights on the broker as a function, and the password file."""

from pathlib import Path

import pytest

from iiot_site.lib.broker_password import hash_broker_password, verify_broker_password
from iiot_site.supervisor.broker_files import ensure_platform_login, read_logins
from iiot_site.supervisor.broker_rights import may_publish, may_receive, may_subscribe

PUMP = "acme/pump"


def test_the_platform_may_do_everything() -> None:
    assert may_publish("iiot-platform", "t/acme/pump/commands")
    assert may_receive("iiot-platform", "t/acme/pump/telemetry")
    assert may_subscribe("iiot-platform", "#")


@pytest.mark.parametrize("part", ["telemetry", "status", "commands/response", "state/reported", "state/get"])
def test_a_device_publishes_what_it_has_to_say(part: str) -> None:
    topic = f"t/acme/pump/{part}"
    assert may_publish(PUMP, topic)
    assert not may_receive(PUMP, topic)


@pytest.mark.parametrize("topic", ["t/acme/pump/commands", "t/acme/pump/state/desired", "t/acme/pump/alerts"])
def test_a_device_receives_what_is_meant_for_it(topic: str) -> None:
    assert may_receive(PUMP, topic)
    assert not may_publish(PUMP, topic)


@pytest.mark.parametrize(
    "topic", ["t/acme/fan/telemetry", "t/globex/pump/telemetry", "t/acme/pump", "t/acme/pump/else", "$SYS/x", "t/acme/pumps/telemetry"]
)
def test_everything_else_is_closed_to_it(topic: str) -> None:
    assert not may_publish(PUMP, topic)
    assert not may_receive(PUMP, topic)


@pytest.mark.parametrize("username", ["", "acme/+", "#", "+/+"])
def test_a_username_cannot_be_a_wildcard(username: str) -> None:
    assert not may_publish(username, f"t/{username}/telemetry")
    assert not may_subscribe(username, f"t/{username}/commands")


def test_a_devices_second_name_has_the_rights_of_its_first() -> None:
    assert may_publish(f"{PUMP}~2", "t/acme/pump/telemetry")
    assert may_receive(f"{PUMP}~2", "t/acme/pump/commands")
    assert may_subscribe(f"{PUMP}~2", "t/acme/pump/#")
    assert not may_publish(f"{PUMP}~2", "t/acme/pump~2/telemetry")
    assert not may_publish(f"{PUMP}~2", "t/acme/fan/telemetry")


def test_an_edge_node_subscribes_to_its_commands_in_either_way() -> None:
    for topic_filter in ("spBv1.0/acme/NCMD/pump", "spBv1.0/acme/NCMD/pump/#", "spBv1.0/acme/DCMD/pump/+", "spBv1.0/acme/DCMD/pump/#"):
        assert may_subscribe(PUMP, topic_filter)
    for topic_filter in ("spBv1.0/acme/NCMD/fan/#", "spBv1.0/acme/NCMD/#", "spBv1.0/globex/NCMD/pump/#", "spBv1.0/#"):
        assert not may_subscribe(PUMP, topic_filter)


def test_wildcards_across_devices_cannot_be_subscribed_to() -> None:
    assert may_subscribe(PUMP, "t/acme/pump/#")
    assert not may_subscribe(PUMP, "#")
    assert not may_subscribe(PUMP, "t/acme/+/commands")


def test_the_platforms_line_is_kept_current_and_all_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text(f"{PUMP}:{hash_broker_password('pump')}\n# a remark\niiot-platform:outdated\n")
    ensure_platform_login(path, "new")
    logins = read_logins(path)
    assert verify_broker_password("pump", logins[PUMP])
    assert verify_broker_password("new", logins["iiot-platform"])
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    ensure_platform_login(path, "new")
    assert path.read_text() == before
