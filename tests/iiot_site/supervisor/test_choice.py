"""Which server is used: environment, then the machine's, then the packaged, then a message that helps."""

from pathlib import Path

import pytest

from iiot_site.supervisor.choice import (
    AMQP,
    MQTT,
    POSTGRES,
    REDIS,
    Candidate,
    Mode,
    Source,
    choose,
    find_candidates,
    find_program,
    read_mode,
)
from iiot_site.supervisor.errors import ServerMissingError, SupervisorError

SYSTEM = Candidate(Source.SYSTEM, Path("/usr/lib/postgresql/15/bin"), "15")
PACKAGED = Candidate(Source.PACKAGED, Path("/venv/pginstall18/bin"), "18")


def test_a_url_in_the_environment_comes_before_any_binary() -> None:
    choice = choose(REDIS, environment={"REDIS_URL": "redis://cache:6379"}, candidates=[SYSTEM], mode=Mode.AUTO)
    assert (choice.source, choice.url) == (Source.ENVIRONMENT, "redis://cache:6379")


def test_an_empty_url_counts_as_none() -> None:
    assert choose(REDIS, environment={"REDIS_URL": ""}, candidates=[SYSTEM], mode=Mode.AUTO).source == Source.SYSTEM


def test_the_machines_binary_comes_before_the_packaged_one() -> None:
    choice = choose(POSTGRES, environment={}, candidates=[SYSTEM, PACKAGED], mode=Mode.AUTO)
    assert (choice.source, choice.major) == (Source.SYSTEM, "15")


def test_the_packaged_one_serves_where_the_machine_has_none_or_is_told_to() -> None:
    assert choose(POSTGRES, environment={}, candidates=[PACKAGED], mode=Mode.AUTO).source == Source.PACKAGED
    assert choose(POSTGRES, environment={}, candidates=[SYSTEM, PACKAGED], mode=Mode.PACKAGED).source == Source.PACKAGED


def test_a_missing_server_is_named_with_its_variable_and_its_packages() -> None:
    with pytest.raises(ServerMissingError, match=r"MQTT_URL.*mosquitto.*amqtt"):
        choose(MQTT, environment={}, candidates=[], mode=Mode.AUTO)


def test_amqp_is_off_rather_than_an_error() -> None:
    assert choose(AMQP, environment={}, candidates=[], mode=Mode.AUTO).source == Source.OFF


def test_a_data_folder_is_only_opened_by_the_major_version_that_made_it() -> None:
    choice = choose(POSTGRES, environment={}, candidates=[SYSTEM, PACKAGED], mode=Mode.AUTO, data_major="18")
    assert choice.program == PACKAGED.program
    with pytest.raises(ServerMissingError, match="made by PostgreSQL 16"):
        choose(POSTGRES, environment={}, candidates=[SYSTEM, PACKAGED], mode=Mode.AUTO, data_major="16")
    with pytest.raises(ServerMissingError, match="made by PostgreSQL 15"):
        choose(POSTGRES, environment={}, candidates=[SYSTEM, PACKAGED], mode=Mode.PACKAGED, data_major="15")


def test_an_unknown_mode_is_refused() -> None:
    assert read_mode({}) == Mode.AUTO
    with pytest.raises(SupervisorError, match="IIOT_SERVERS"):
        read_mode({"IIOT_SERVERS": "cloud"})


def test_the_packaged_servers_are_found_in_this_environment() -> None:
    for need in (POSTGRES, REDIS, MQTT):
        packaged = [candidate for candidate in find_candidates(need) if candidate.source == Source.PACKAGED]
        assert packaged, need.name
        assert packaged[0].program.exists()


def test_programs_are_found_outside_an_ordinary_users_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_program("sh") == Path("/usr/bin/sh") or find_program("sh") == Path("/bin/sh")
