"""Devices for tests: pymodbus's own server, and servers that misbehave."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pump() -> SimDevice:
    """Coils 0-2, inputs 5-13, holding registers 0-3 and a text at 10, one input register."""
    return SimDevice(
        1,
        (
            [SimData(0, values=[True, False, True], datatype=DataType.BITS)],
            [SimData(5, values=[True] * 9, datatype=DataType.BITS)],
            [
                SimData(0, values=[215, 3, 0x41A8, 0xCCCD], datatype=DataType.REGISTERS),
                SimData(10, values="AB-12 ", datatype=DataType.STRING),
            ],
            [SimData(0, values=[7], datatype=DataType.REGISTERS)],
        ),
    )


@asynccontextmanager
async def simulate(device: SimDevice, *, port: int = 0) -> AsyncIterator[int]:
    """Run pymodbus's server; yields its port."""
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # it is a server's
    finally:
        await server.shutdown()


@asynccontextmanager
async def serve(answer: Answer) -> AsyncIterator[int]:
    """Run a server that treats each connection as told; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def reply(request: bytes, *words: int) -> bytes:
    """Answer a read of registers as a device would."""
    body = struct.pack(f">BBB{len(words)}H", request[6], request[7], 2 * len(words), *words)
    return request[:4] + struct.pack(">H", len(body)) + body


def make_hostile(seed: int) -> Answer:
    """Return a server of one of many kinds of malice; what it does in detail comes from the seed."""
    rng = random.Random(seed)
    kind = _KINDS[seed % len(_KINDS)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            if await kind(rng, request, writer):
                return
            await writer.drain()

    return answer


async def _garbage(rng: random.Random, _request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(rng.randbytes(rng.randrange(1, 400)))
    return False


async def _wrong_transaction(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(rng.randbytes(2) + reply(request, 1, 2)[2:])
    return False


async def _zero_transaction(_rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"\0\0" + reply(request, 1)[2:])
    return False


async def _wrong_unit(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    answer = bytearray(reply(request, 1, 2))
    answer[6] = rng.randrange(256)
    writer.write(bytes(answer))
    return False


async def _wrong_length(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    answer = bytearray(reply(request, *range(rng.randrange(8))))
    answer[rng.choice((4, 5, 8))] = rng.randrange(256)
    writer.write(bytes(answer))
    return False


async def _wrong_count(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(reply(request, *range(rng.randrange(125))))
    return False


async def _wrong_function(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    answer = bytearray(reply(request, 1, 2))
    answer[7] = rng.randrange(256)
    writer.write(bytes(answer))
    return False


async def _wrong_protocol(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(request[:2] + rng.randbytes(2) + reply(request, 1, 2)[4:])
    return False


async def _exception(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(request[:4] + struct.pack(">HBBB", 3, request[6], request[7] | 0x80, rng.randrange(256)))
    return False


async def _silence(_rng: random.Random, _request: bytes, _writer: asyncio.StreamWriter) -> bool:
    return False


async def _slow(_rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    for byte in reply(request, 1, 2):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)
    return False


async def _huge(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(request[:4] + b"\xff\xff" + request[6:8] + rng.randbytes(100_000))
    return False


async def _hang_up(_rng: random.Random, _request: bytes, _writer: asyncio.StreamWriter) -> bool:
    return True


async def _half(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    answer = reply(request, 1, 2)
    writer.write(answer[: rng.randrange(len(answer))])
    return True


async def _twice(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(reply(request, rng.randrange(65_536), rng.randrange(65_536)) * 3)
    return False


async def _any_value(rng: random.Random, request: bytes, writer: asyncio.StreamWriter) -> bool:
    count = struct.unpack(">H", request[10:12])[0]
    writer.write(reply(request, *(rng.randrange(65_536) for _ in range(count))))
    return False


_KINDS = [
    _garbage,
    _wrong_transaction,
    _zero_transaction,
    _wrong_unit,
    _wrong_length,
    _wrong_count,
    _wrong_function,
    _wrong_protocol,
    _exception,
    _silence,
    _slow,
    _huge,
    _hang_up,
    _half,
    _twice,
    _any_value,
]
