"""Three hundred hostile messages, and thousands of hostile datagrams: the listener goes on, and every message is in the ledger."""

import asyncio
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiocoap import POST, Message
from django_tenants.utils import tenant_context

from protocols.models import ListenerState, UnroutedCount
from telemetry.ledger import list_broken_entries, list_day_differences
from telemetry.models import IngestLedger, RejectedMessage
from tenants.models import Tenant
from tests.protocols.coap.conftest import Client, RunListener, Wire, post_datagram
from tests.protocols.hostile import hostile_payloads

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 300
AT_ONCE = 25
FORMATS = (None, None, 0, 50, 60, 110, 112, 42, 65_535)
OPTION_HEADS = (b"\xd1\x0d", b"\x11", b"\x1e\xff\xff", b"\xed\xff\xff\x00", b"\xf0", b"\x0f", b"\xdd\xff", b"\x00" * 1_200)


async def post_all(client: Client, url: str, payloads: list[bytes], chance: random.Random) -> list[Any]:
    """Post payloads, some at a time, and return the responses."""
    answers: list[Any] = []
    for start in range(0, len(payloads), AT_ONCE):
        messages = [Message(code=POST, uri=url, payload=payload) for payload in payloads[start : start + AT_ONCE]]
        for message in messages:
            message.opt.content_format = chance.choice(FORMATS)
        answers += await asyncio.gather(*(client.context.request(message).response for message in messages))
    return answers


def test_every_hostile_message_is_in_the_ledger(acme: Tenant, token: str, client: Client, run_listener: RunListener) -> None:
    chance = random.Random(4711)
    with run_listener() as listener:
        url = f"coap://127.0.0.1:{listener.port}/t?token={token}"
        # Bodies at once of one sender would overwrite each other without a Request-Tag: the large ones go one by one.
        payloads = hostile_payloads(COUNT, seed=4711)
        small, large = [p for p in payloads if len(p) <= 1_024], [p for p in payloads if len(p) > 1_024]
        answers = client.wait(post_all(client, url, small, chance), seconds=120)
        answers += [client.post(url, payload, seconds=60) for payload in large]
    assert len(answers) == COUNT
    assert {str(answer.code)[:4] for answer in answers} <= {"2.04", "4.00", "4.13", "4.15"}
    with tenant_context(acme):
        assert sum(entry.messages for entry in IngestLedger.objects.all()) == COUNT
        assert (list_broken_entries(), list_day_differences()) == ([], [])
        assert "internal_error" not in {row.reason for row in RejectedMessage.objects.all()}
        assert sum(entry.messages_rejected for entry in IngestLedger.objects.all()) > COUNT // 2


def hostile_datagram(token: str, chance: random.Random) -> bytes:
    """Return a datagram that is broken, or whole and malicious."""
    mid = chance.randrange(65_536)
    whole = post_datagram(token, b'{"temperature": 1}', mid=mid)
    block = chance.choice((b"\xf4\x24\x0a", b"\x0f", b"\x08", b"\xff\xff\xff", b"\xff\xff\xff\xff"))
    flipped = bytearray(whole)
    for _ in range(chance.randrange(1, 5)):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    makers: list[Callable[[], bytes]] = [
        lambda: whole[: chance.randrange(len(whole))],
        lambda: chance.randbytes(chance.choice((1, 3, 4, 20, 500, 1_500))),
        lambda: bytes([0x40 | chance.randrange(9, 16)]) + whole[1:],  # token lengths that do not exist
        lambda: chance.randbytes(2) + whole[2:],  # other versions, types, codes
        lambda: whole[:4] + b"\xaa\xbb" + chance.choice(OPTION_HEADS) + chance.randbytes(chance.randrange(40)),
        # A block far away, or of a size that does not exist: Block1 is 27, twelve behind Uri-Query.
        lambda: post_datagram(token, b"x" * chance.choice((0, 16, 64)), mid=mid, tail=bytes([0xC0 | len(block)]) + block),
        lambda: struct.pack("!BBH", 0x40, 2, mid) + b"\xb2\xff\xfe" + b"\x02\xc3\x28",  # a path that is no text
        lambda: post_datagram(f"iiot_dev_acme.{chance.randrange(10**9)}.x", b"{}", mid=mid),
        lambda: bytes(flipped),
    ]
    return chance.choice(makers)()


def test_no_datagram_stops_the_listener(
    acme: Tenant, token: str, client: Client, run_listener: RunListener, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(815)
    answers: set[int] = set()
    with run_listener() as listener:
        wires = [Wire(listener.port, seconds=0.0001) for _ in range(8)]
        for number in range(3_000):
            wire = chance.choice(wires)
            wire.send(hostile_datagram(token, chance))
            if answer := wire.receive():
                answers.add(answer[1])
            if number % 50 == 0:
                time.sleep(0.02)  # so that the socket's buffer holds what comes
        assert client.post(f"coap://127.0.0.1:{listener.port}/t?k={token}", '{"temperature": 42}').code.is_successful()
        for wire in wires:
            wire.close()
    assert not {code for code in answers if code >> 5 == 5 and code != 0xA5}, "only 5.05, to those who take us for a proxy"
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    with tenant_context(acme):
        counted = sum(entry.messages for entry in IngestLedger.objects.all())
        assert (list_broken_entries(), list_day_differences()) == ([], [])
    assert counted + sum(row.messages for row in UnroutedCount.objects.all()) == ListenerState.objects.get().messages
