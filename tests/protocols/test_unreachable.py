"""What is said of machines that cannot be reached."""

import asyncio
import socket

import pytest

from protocols.modbus.client import LinkError, ModbusClient
from protocols.opcua.client import explain
from protocols.unreachable import explain_connection_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 4842)"), "Nobody listens at plc:4840"),
        (TimeoutError(), "No answer from plc:4840 within 3 s"),
        (OSError(113, "No route to host"), "There is no way to plc:4840"),
        (ConnectionError("connection lost"), "plc:4840 closed the connection before it answered"),
        (OSError(24, "Too many open files"), "No connection to plc:4840: Too many open files."),
    ],
)
def test_each_failure_has_words_of_its_own(error: OSError, words: str) -> None:
    assert explain_connection_error(error, "plc:4840", seconds=3.0).startswith(words)


def test_opcua_says_the_same() -> None:
    assert explain(ConnectionRefusedError(111, "refused"), "opc.tcp://plc:4840").detail.startswith("Nobody listens at opc.tcp://plc:4840")


def test_modbus_tells_a_closed_port_from_silence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        port = taken.getsockname()[1]

        async def connect() -> None:
            await ModbusClient("127.0.0.1", port, unit_id=1, timeout_seconds=3.0).connect()

        with pytest.raises(LinkError, match=f"Nobody listens at 127.0.0.1:{port}: it refused"):
            asyncio.run(connect())
