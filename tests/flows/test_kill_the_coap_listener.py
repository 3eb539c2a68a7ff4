"""kill -9 of the CoAP listener in mid-load: what was answered is stored, everything exactly once."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.platform import Platform
from tests.protocols.coap.conftest import post_datagram
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

MESSAGES = 2_000
AT_ONCE = 20
ACK_TIMEOUT_SECONDS = 2.0
STARTED_MS = int(time.time() * 1000) - MESSAGES


def without_time(number: int) -> object:
    return {"untimed_coap": number}


def with_time(number: int) -> object:
    return {"ts": STARTED_MS + number, "values": {"timed_coap": number}}


def post(endpoint: socket.socket, server: tuple[str, int], datagram: bytes) -> int:
    """Send a confirmable request as RFC 7252 §4.2 says, the same bytes up to five times; return the code of the answer."""
    pause = ACK_TIMEOUT_SECONDS
    for _ in range(5):
        endpoint.sendto(datagram, server)
        endpoint.settimeout(pause)
        try:
            while True:
                answer = endpoint.recv(2_048)
                if answer[1] == 0 and answer[2:4] == datagram[2:4]:
                    endpoint.settimeout(60)  # an empty acknowledgement: the answer comes by itself
                elif answer[0] & 0x30 == 0:
                    endpoint.sendto(b"\x60\x00" + answer[2:4], server)
                    return answer[1]
                elif answer[2:4] == datagram[2:4]:
                    return answer[1]
        except TimeoutError:
            pause *= 2
    return 0


@pytest.mark.parametrize(("metric", "message"), [("untimed_coap", without_time), ("timed_coap", with_time)])
def test_two_thousand_messages_are_two_thousand_readings(platform: Platform, metric: str, message: Callable[[int], object]) -> None:
    first_id = 0 if message is without_time else MESSAGES  # the same port with the same id would be the same request again
    coap, token = platform.demo["coap"], platform.device_entry("tank-3")["token"]
    wait_until(lambda: platform.is_ready("listen-coap"))
    numbers, lock = iter(range(MESSAGES)), threading.Lock()

    def work(_: int) -> list[int]:
        codes: list[int] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return codes
                if number == MESSAGES // 2:
                    os.kill(platform.process_id("listen-coap"), signal.SIGKILL)
                datagram = post_datagram(token, json.dumps(message(number)).encode(), mid=first_id + number)
                codes.append(post(endpoint, (coap["host"], coap["port"]), datagram))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = [code for some in pool.map(work, range(AT_ONCE)) for code in some]
    assert codes == [0x44] * MESSAGES  # 2.04
    time.sleep(0.5)  # for what should not come
    assert sorted(platform.values("tank-3", metric)) == list(range(MESSAGES))
