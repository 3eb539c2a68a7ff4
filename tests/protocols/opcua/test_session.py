"""What a plant's server says, value by value."""

from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from connections.opcua_types import OpcUaNodeSpec
from protocols.codecs.json import decode_telemetry
from protocols.errors import InvalidShapeError
from protocols.opcua.session import read_item
from protocols.opcua.values import LastValue, encode_values
from telemetry.qualities import BAD

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NODE = OpcUaNodeSpec(1, "ns=2;s=Temperature", "pump-7", "temperature")


def test_a_value_that_we_fail_on_goes_to_the_gate_by_itself_and_is_refused_there() -> None:
    bad = ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadNoCommunication)))
    value = read_item(bad, NODE, LastValue(20.0, datetime.max.replace(tzinfo=UTC)), NOW)

    assert (value.quality, value.is_plain) == (BAD, False)
    [payload] = encode_values([value], max_bytes=1_000)
    with pytest.raises(InvalidShapeError):
        decode_telemetry(payload, max_bytes=1_000)
