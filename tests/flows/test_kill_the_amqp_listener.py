"""kill -9 of the AMQP listener in mid-load: every message becomes a reading, and exactly one."""

import json
import os
import signal
import time
from collections.abc import Callable

import pika
import pytest

from tests.platform import Platform
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.slow

MESSAGES = 5_000


def without_time(number: int) -> object:
    return {"untimed_amqp": number}


def with_time(number: int) -> object:
    return {"ts": int(time.time() * 1000) - MESSAGES + number, "values": {"timed_amqp": number}}


@pytest.mark.parametrize(("metric", "message"), [("untimed_amqp", without_time), ("timed_amqp", with_time)])
def test_five_thousand_messages_are_five_thousand_readings(platform: Platform, metric: str, message: Callable[[int], object]) -> None:
    if "amqp" not in platform.demo:
        pytest.skip("RabbitMQ is not installed")
    wait_until(lambda: platform.is_ready("listen-amqp"))  # RabbitMQ starts last
    device, amqp = platform.device_entry("furnace-2"), platform.demo["amqp"]
    login = pika.PlainCredentials(device["username"], device["password"])
    connection = pika.BlockingConnection(pika.ConnectionParameters(amqp["host"], amqp["port"], credentials=login))
    channel = connection.channel()
    for number in range(MESSAGES):
        channel.basic_publish("iiot.telemetry", "acme.furnace-2.telemetry", json.dumps(message(number)))
        if number == MESSAGES // 2:
            kill_listener(platform, metric)
    connection.close()
    wait_until(lambda: len(platform.values("furnace-2", metric)) >= MESSAGES, seconds=3 * WAIT_SECONDS)
    time.sleep(0.5)  # for what should not come
    assert sorted(platform.values("furnace-2", metric)) == list(range(MESSAGES))


def kill_listener(platform: Platform, metric: str) -> None:
    """Wait until messages are stored, then kill it without warning."""
    wait_until(lambda: bool(platform.values("furnace-2", metric)))
    os.kill(platform.process_id("listen-amqp"), signal.SIGKILL)
