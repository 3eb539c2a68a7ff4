"""kill -9 of the listener in mid-load: every message becomes a reading, and exactly one."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.flows.conftest import ConnectDevice
from tests.platform import Platform
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.slow

MESSAGES = 5_000


def without_time(number: int) -> object:
    return {"untimed": number}


def with_time(number: int) -> object:
    return {"ts": int(time.time() * 1000) - MESSAGES + number, "values": {"timed": number}}


@pytest.mark.parametrize(("metric", "message"), [("untimed", without_time), ("timed", with_time)])
def test_five_thousand_messages_are_five_thousand_readings(
    platform: Platform, connect: ConnectDevice, metric: str, message: Callable[[int], object]
) -> None:
    device = connect("furnace-1")
    for number in range(MESSAGES):
        device.publish(message(number), wait=False)
        if number == MESSAGES // 2:
            kill_listener(platform)
    wait_until(lambda: len(platform.values("furnace-1", metric)) >= MESSAGES, seconds=3 * WAIT_SECONDS)
    time.sleep(0.5)  # for what should not come
    assert sorted(platform.values("furnace-1", metric)) == list(range(MESSAGES))


def kill_listener(platform: Platform) -> None:
    """Wait until messages arrive again, then kill it without warning."""
    stored = platform.query("SELECT count(*) FROM t_acme.telemetry_reading")
    wait_until(lambda: platform.query("SELECT count(*) FROM t_acme.telemetry_reading") > stored)
    os.kill(platform.process_id("listen-mqtt"), signal.SIGKILL)
