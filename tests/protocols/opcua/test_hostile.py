"""Three hundred odd values from a server: the listener lives, and every one of them is in the ledger."""

import random
import struct
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from django.db.models import Sum
from django_tenants.utils import tenant_context

from protocols.opcua.listener import OpcUaListener
from protocols.opcua.values import LastValue, Scaling, encode_values, read_data_value, remember
from telemetry.models import IngestLedger
from tenants.models import Tenant
from tests.protocols.opcua.conftest import MapNode, readings, reasons
from tests.protocols.opcua.plant import PlantServer
from tests.waiting import wait_until

NOW = datetime.now(UTC)
COUNT = 300
NUMBERS = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 1e100, -0.0)
TEXTS = ("", "\0", "x" * 1024, "x" * 1025, "x" * 300_000, "\ud800", "\u202e{}\"'", '{"value": 1}', "NaN", "ä" * 600, "\x7f\x1b[31m")


def odd_variants(rng: random.Random) -> Iterator[ua.Variant]:
    """Yield values of every kind at their limits, then arrays and structures, without end."""
    numbers = {"SByte": 8, "Int16": 16, "Int32": 32, "Int64": 64}
    while True:
        for name, bits in numbers.items():
            yield ua.Variant(-(2 ** (bits - 1)), ua.VariantType[name])
            yield ua.Variant(2**bits - 1, ua.VariantType[{"SByte": "Byte"}.get(name, f"U{name}")])
        for number in (
            float("nan"),
            float("inf"),
            float("-inf"),
            1e308,
            -1e308,
            5e-324,
            1e100,
            -0.0,
            struct.unpack("<d", rng.randbytes(8))[0],
        ):
            yield ua.Variant(number, ua.VariantType.Double)
        for text in (
            "",
            "\0",
            "x" * 1024,
            "x" * 1025,
            "x" * 300_000,
            "\ud800",
            "\u202e{}\"'",
            '{"value": 1}',
            "NaN",
            "ä" * 600,
            "\x7f\x1b[31m",
        ):
            yield ua.Variant(text, ua.VariantType.String)
        yield ua.Variant(rng.randbytes(20), ua.VariantType.ByteString)
        yield ua.Variant(uuid.UUID(int=rng.getrandbits(128)), ua.VariantType.Guid)
        yield ua.Variant(datetime(1601, 1, 1, tzinfo=UTC), ua.VariantType.DateTime)
        yield ua.Variant(datetime(9999, 12, 31, tzinfo=UTC), ua.VariantType.DateTime)
        yield ua.Variant([], ua.VariantType.Double, is_array=True)
        yield ua.Variant([[1, 2], [3, 4]], ua.VariantType.Int32)
        yield ua.Variant([ua.Variant(1.0), ua.Variant("x")], ua.VariantType.Variant)
        yield ua.Variant(["a", None], ua.VariantType.String)
        yield ua.Variant(ua.Argument(), ua.VariantType.ExtensionObject)
        yield ua.Variant(ua.LocalizedText(ua.String("Störung\0")), ua.VariantType.LocalizedText)
        yield ua.Variant(ua.QualifiedName(ua.String("name"), ua.UInt16(3)), ua.VariantType.QualifiedName)
        yield ua.Variant(ua.NodeId(ua.Int32(85)), ua.VariantType.NodeId)
        yield ua.Variant(ua.StatusCode(ua.UInt32(0x80020000)), ua.VariantType.StatusCode)
        yield ua.Variant()


def odd_times(rng: random.Random) -> Any:
    """Return a source time: mostly none at all fits."""
    return rng.choice(
        [
            None,
            datetime(1601, 1, 1, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
            NOW + timedelta(days=1),
            NOW - timedelta(microseconds=rng.randrange(10**9)),
        ]
    )


def odd_values(seed: int) -> Iterator[ua.DataValue]:
    rng = random.Random(seed)
    for number, variant in enumerate(odd_variants(rng), start=1):
        # Each code is new: a server does not tell the same bad status twice, whatever the value was.
        status = ua.StatusCode(ua.UInt32(rng.choice([0, 0, 0x40000000, 0x80000000, 0xC0000000]) | number << 16 | rng.choice([0, 0x480])))
        yield ua.DataValue(variant, status, SourceTimestamp=odd_times(rng), ServerTimestamp=rng.choice([None, ua.DateTime.now(UTC)]))


@pytest.mark.parametrize("seed", range(3))
def test_every_odd_value_becomes_exactly_one_message_or_part_of_one(seed: int) -> None:
    last, values = LastValue(None, None), []
    for data, _ in zip(odd_values(seed), range(COUNT), strict=False):
        value = read_data_value(data, metric="m", scaling=Scaling(), last=last, received_at=NOW)
        last = remember(value, last)
        values.append(value)
    messages = encode_values(values, max_bytes=262_144)
    assert sum(message.count(b'"values"') for message in messages) == COUNT
    assert all(len(message) < 2_000_000 for message in messages)


@pytest.mark.slow
def test_the_listener_takes_them_all_and_every_one_is_in_the_ledger(
    plant: PlantServer, map_node: MapNode, listener: OpcUaListener, acme: Tenant
) -> None:
    plant.add("Odd", 1.0)
    map_node("nsu=http://plant.example/;s=Odd", "program")
    map_node(plant.add("Good", 20.0), "temperature")
    wait_until(lambda: readings(acme) == [(20.0, 0)] and received(acme) >= 2)
    sent, before = 0, received(acme)
    for data, _ in zip(odd_values(7), range(COUNT), strict=False):
        if can_be_sent(data):
            plant.write("Odd", data)
            sent += 1
            if sent % 50 == 0:  # the server keeps a hundred per node until they are fetched
                wait_until(lambda wanted=before + sent: received(acme) >= wanted)  # type: ignore[misc]  # bound at once
    wait_until(lambda: received(acme) >= before + sent)
    assert sent >= 280
    assert received(acme) == before + sent
    assert {"not_finite", "invalid_shape", "text_too_long", "forbidden_character", "in_future"} <= set(reasons(acme))
    plant.write("Good", ua.DataValue(ua.Variant(21.0), SourceTimestamp=ua.DateTime.now(UTC)))
    wait_until(lambda: (21.0, 0) in readings(acme))


def received(tenant: Tenant) -> int:
    """Return what the ledger says came in, after a look whether it adds up."""
    with tenant_context(tenant):
        rows = IngestLedger.objects.filter(listener="opcua")
        total = Counter(
            rows.aggregate(
                r=Sum("received", default=0), s=Sum("stored", default=0), d=Sum("duplicate", default=0), x=Sum("rejected", default=0)
            )
        )
    assert total["r"] == total["s"] + total["d"] + total["x"]
    return total["r"]


def can_be_sent(data: ua.DataValue) -> bool:
    """Tell whether the library that plays the server can write it at all."""
    try:
        ua.ua_binary.struct_to_binary(data)
    except Exception:  # noqa: BLE001  # the test's own tool: whatever it cannot write, it cannot send
        return False
    return True
