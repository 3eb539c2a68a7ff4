"""One connection to a Modbus TCP device: pymodbus speaks, this bounds it and checks what comes back."""

import asyncio
import logging
import time
from collections.abc import Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from protocols.modbus.blocks import Block
from protocols.unreachable import explain_connection_error

# It writes several lines for each failed request; what matters of them stands at the connection.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

FUNCTION_CODES = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
# Source: MODBUS Application Protocol Specification V1.1b3, 7
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not respond",
}
# What a device answers to addresses that it does not have; some makers use the second.
ADDRESS_EXCEPTIONS = frozenset({2, 3})


class LinkError(Exception):
    """The connection is of no more use; the text says why."""


class RefusedError(Exception):
    """The device answered one request with an exception."""

    def __init__(self, block: Block, code: int) -> None:
        super().__init__(f"{block}: {EXCEPTIONS.get(code, 'unknown exception')} (Modbus exception {code})")
        self.code = code


class ModbusClient:
    """Asks one unit at one address; no request lasts longer than the timeout."""

    def __init__(self, address: str, port: int, *, unit_id: int, timeout_seconds: float) -> None:
        self._unit_id = unit_id
        self._timeout_seconds = timeout_seconds
        self._client = AsyncModbusTcpClient(address, port=port, timeout=timeout_seconds, retries=0, reconnect_delay=0)
        self._address = (address, port)
        self._where = f"{address}:{port}"

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            LinkError: nobody answers there.
        """
        started = time.monotonic()
        if not await self._client.connect():
            raise LinkError(await self._find_cause(self._timeout_seconds - (time.monotonic() - started)))

    async def _find_cause(self, seconds_left: float) -> str:
        """Say why there is no connection: pymodbus keeps it to itself, so what failed at once is tried once more."""
        error: OSError = TimeoutError()
        if seconds_left > self._timeout_seconds / 10:
            try:
                async with asyncio.timeout(seconds_left):
                    _, writer = await asyncio.open_connection(*self._address)
            except OSError as exc:  # TimeoutError among them
                error = exc
            else:
                writer.close()
                error = ConnectionAbortedError()
        return explain_connection_error(error, self._where, seconds=self._timeout_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    async def read(self, block: Block) -> Sequence[int]:
        """Return the registers, or the coils as 0 and 1, of a block.

        Raises:
            RefusedError: the device answered with an exception.
            LinkError: it did not answer in time, or with something else than what was asked.
        """
        client = self._client
        calls = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
        }
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await calls[block.table](block.address, count=block.count, device_id=self._unit_id)
        except TimeoutError as exc:
            raise LinkError(f"{block}: no answer within {self._timeout_seconds:g} s") from exc
        except (ModbusException, OSError) as exc:
            raise LinkError(f"{block}: no usable answer within {self._timeout_seconds:g} s") from exc
        return _check_answer(block, answer)


def _check_answer(block: Block, answer: ModbusPDU) -> Sequence[int]:
    if isinstance(answer, ExceptionResponse):
        raise RefusedError(block, answer.exception_code)
    wanted = FUNCTION_CODES[block.table]
    if answer.function_code != wanted:
        raise LinkError(f"{block}: answered with function {answer.function_code} instead of {wanted}")
    if block.table in ("coil", "discrete"):
        # Whole bytes come, the last one filled up.
        if len(answer.bits) != -(-block.count // 8) * 8:
            raise LinkError(f"{block}: answered with {len(answer.bits)} bits")
        return [int(bit) for bit in answer.bits[: block.count]]
    if len(answer.registers) != block.count:
        raise LinkError(f"{block}: answered with {len(answer.registers)} registers")
    return answer.registers
