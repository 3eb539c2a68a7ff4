"""Numbers of listener processes: one that was restarted goes on as itself, one more is one more."""

import os
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from protocols.models import ListenerState, OutageGap
from protocols.numbers import Known, choose_number, is_running
from protocols.outages import load_down_listeners
from protocols.services import Heartbeat, claim_number, record_heartbeat

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
ENDED = 2**22 + 7  # no system gives this number to a process


def known(number: int, *, host: str = "a", pid: int = 1, state: str = "connected", age: float = 1) -> Known:
    return Known(number, host, pid, state, NOW - timedelta(seconds=age))


@pytest.mark.parametrize(
    ("others", "number"),
    [
        ([], 1),
        ([known(1)], 2),
        ([known(1), known(3)], 2),
        ([known(1, pid=ENDED)], 1),
        ([known(1), known(2, pid=ENDED)], 2),
        ([known(1, age=21)], 1),
        ([known(1, state="stopped")], 1),
        ([known(1, host="b", pid=ENDED)], 2),
        ([known(1, host="b", age=600)], 2),
        ([known(1, host="b", age=1000)], 1),
        ([known(1, host="b", state="stopped", age=30)], 1),
        ([known(1, host="b", age=1000), known(2, pid=ENDED)], 2),
        ([known(1, pid=os.getpid())], 1),
    ],
)
def test_a_process_takes_the_number_of_one_that_ended_its_own_hosts_first(others: list[Known], number: int) -> None:
    assert choose_number(others, host="a", pid=os.getpid(), now=NOW) == number


def test_a_process_that_ended_and_was_not_waited_for_does_not_run() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert is_running(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(process.pid)
    process.wait()


def beat(number: int, *, age: float = 0, state: str = "connected") -> None:
    now = timezone.now() - timedelta(seconds=age)
    record_heartbeat(heartbeat=Heartbeat("mqtt", "a", 1, state, NOW, 10, 0, "", number=number), now=now)


@pytest.mark.django_db
def test_a_restart_counts_for_its_number_alone() -> None:
    now = timezone.now()
    assert claim_number(name="mqtt", host="a", pid=1, started_at=NOW, now=now) == 1
    assert claim_number(name="mqtt", host="a", pid=os.getpid(), started_at=NOW, now=now) == 2
    assert claim_number(name="mqtt", host="a", pid=os.getpid(), started_at=NOW, now=now) == 2
    assert claim_number(name="amqp", host="a", pid=1, started_at=NOW, now=now) == 1
    assert list(ListenerState.objects.filter(name="mqtt").values_list("number", "restarts")) == [(1, 0), (2, 1)]


@pytest.mark.django_db
def test_a_listener_is_down_when_none_of_its_processes_is_up() -> None:
    beat(1)
    beat(2, age=60)
    assert load_down_listeners(now=timezone.now()) == {}
    assert load_down_listeners(now=timezone.now() + timedelta(seconds=30)).keys() == {"mqtt"}
    beat(2)
    assert not OutageGap.objects.exists()  # the other one was there meanwhile


@pytest.mark.django_db
def test_a_process_that_has_been_silent_for_long_fades_once_another_is_up() -> None:
    beat(1, age=1000)
    beat(2, state="connecting")
    assert ListenerState.objects.count() == 2
    beat(2)
    assert ListenerState.objects.get().number == 2
