"""kill -9 of the CoAP listener in mid-load: what was answered is stored, everything exactly once."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable

import pytest
from aiocoap import POST, Context, Message

from tests.platform import Platform, wait_until

pytestmark = pytest.mark.slow

MESSAGES = 1_000
AT_ONCE = 20


def without_time(number: int) -> object:
    return {"untimed_coap": number}


def with_time(number: int) -> object:
    return {"ts": int(time.time() * 1000) - MESSAGES + number, "values": {"timed_coap": number}}


async def send_all(url: str, message: Callable[[int], object], kill: Callable[[], None]) -> int:
    """Post all messages, each from a socket that repeats it until it is answered; return how many were stored."""
    clients = [await Context.create_client_context(transports=["udp6"]) for _ in range(AT_ONCE)]
    numbers = iter(range(MESSAGES))
    stored = 0

    async def work(client: Context) -> None:
        nonlocal stored
        for number in numbers:
            if number == MESSAGES // 2:
                await asyncio.to_thread(kill)
            request = Message(code=POST, uri=url, payload=json.dumps(message(number)).encode(), content_format=50)
            stored += (await client.request(request).response).code.is_successful()

    await asyncio.gather(*(work(client) for client in clients))
    for client in clients:
        await client.shutdown()
    return stored


@pytest.mark.parametrize(("metric", "message"), [("untimed_coap", without_time), ("timed_coap", with_time)])
def test_a_thousand_messages_are_a_thousand_readings(platform: Platform, metric: str, message: Callable[[int], object]) -> None:
    coap, token = platform.demo["coap"], platform.device_entry("tank-3")["token"]
    wait_until(lambda: platform.is_ready("listen-coap"))

    def kill() -> None:
        os.kill(platform.process_id("listen-coap"), signal.SIGKILL)

    assert asyncio.run(send_all(f"coap://{coap['host']}:{coap['port']}/t?k={token}", message, kill)) == MESSAGES
    time.sleep(0.5)  # for what should not come
    assert sorted(platform.values("tank-3", metric)) == list(range(MESSAGES))
