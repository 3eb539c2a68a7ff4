"""One device: what is asked, what is handed on, and what becomes of a device that does not answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from connections.types import ModbusTarget, RegisterSpec
from protocols.modbus import poller as polling
from protocols.modbus.listener import log_loop_error
from protocols.modbus.poller import Poller
from protocols.types import RawMessage
from tests.protocols.modbus.devices import make_hostile, pump, reply, serve, simulate
from tests.waiting import wait_until_async

REGISTERS = (
    RegisterSpec("running", "coil", 0, 1, "bool"),
    RegisterSpec("door", "discrete", 5, 1, "bool"),
    RegisterSpec("temperature", "holding", 0, 1, "int16", scale=0.1),
    RegisterSpec("flow", "holding", 2, 2, "float32"),
    RegisterSpec("serial", "holding", 10, 3, "string"),
    RegisterSpec("level", "input", 0, 1, "uint16"),
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "FIRST_BACKOFF_SECONDS", 0.1)


@pytest.fixture
def resolver() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def target(port: int, *registers: RegisterSpec, **details: Any) -> ModbusTarget:
    settings = {"connection_id": 1, "device": "pump-7", "unit_id": 1, "interval_seconds": 0.1, "timeout_seconds": 30, **details}
    return ModbusTarget(host=settings.pop("host", "127.0.0.1"), port=port, registers=registers or REGISTERS, **settings)


class Running:
    """A poller that runs, and what it has sent."""

    def __init__(self, wanted: ModbusTarget, resolver: ThreadPoolExecutor) -> None:
        self.messages: list[RawMessage] = []
        self.poller = Poller(wanted, tenant="acme", send=self._send, resolver=resolver)

    async def _send(self, message: RawMessage) -> None:
        self.messages.append(message)

    @property
    def values(self) -> list[dict[str, Any]]:
        """The values of each message, its parts put together."""
        found = []
        for message in self.messages:
            document = json.loads(message.payload)
            parts = document if isinstance(document, list) else [document]
            found.append({metric: value for part in parts for metric, value in part["values"].items()})
        return found

    async def until(self, is_true: Callable[[], bool]) -> None:
        await wait_until_async(is_true)


@asynccontextmanager
async def polling_of(wanted: ModbusTarget, resolver: ThreadPoolExecutor) -> AsyncIterator[Running]:
    running = Running(wanted, resolver)
    task = asyncio.create_task(running.poller.run())
    try:
        yield running
        assert not task.done()
    finally:
        running.poller.end()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_all_tables_and_types_are_read_and_handed_on_as_one_message(resolver: ThreadPoolExecutor) -> None:
    async with simulate(pump()) as port, polling_of(target(port), resolver) as running:
        # Registers 4 to 9 are not there: the first request that bridges them is refused and split.
        await running.until(lambda: any(len(values) == 6 for values in running.values))
        message = running.messages[-1]
        values = running.values[-1]
        report = running.poller.report
    assert values == {"running": True, "door": True, "temperature": 21.5, "flow": 21.1, "serial": "AB-12", "level": 7}
    assert (message.tenant, message.device, message.protocol, message.codec) == ("acme", "pump-7", "modbus", "json")
    assert message.source == f"modbus://127.0.0.1:{port}/1"
    for part in json.loads(message.payload):
        taken_at = datetime.fromtimestamp(part["ts"] / 1000, UTC)
        assert timedelta(0) <= message.received_at - taken_at < timedelta(minutes=1)
    assert (report.state, report.error) == ("connected", "")


async def test_an_address_that_is_not_there_is_named_and_the_others_are_read(resolver: ThreadPoolExecutor) -> None:
    wrong = RegisterSpec("wrong", "holding", 6, 1, "int16")
    async with simulate(pump()) as port, polling_of(target(port, *REGISTERS, wrong), resolver) as running:
        await running.until(lambda: running.poller.report.error.startswith("holding 6: "))
        await running.until(lambda: len(running.values[-1]) == 6 and running.poller.report.state == "connected")
        assert running.poller.report.error == "holding 6: illegal data address (Modbus exception 2)"


class Clock:
    """Stands still but for what a test lets pass."""

    passed_seconds = 0.0

    def monotonic(self) -> float:
        return self.passed_seconds

    def time(self) -> float:
        return 1_800_000_000 + self.passed_seconds


async def test_the_source_time_is_the_middle_of_the_request(resolver: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(polling, "time", clock)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            clock.passed_seconds += 10
            writer.write(reply(request, 1))

    async with serve(answer) as port, polling_of(target(port, REGISTERS[2]), resolver) as running:
        await running.until(lambda: bool(running.messages))
    assert json.loads(running.messages[0].payload)["ts"] == 1_800_000_005_000


async def test_a_device_that_falls_silent_leaves_one_bad_value_and_is_polled_again_when_it_is_back(
    resolver: ThreadPoolExecutor,
) -> None:
    is_silent = False

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            if not is_silent:
                writer.write(reply(request, 215))

    async with serve(answer) as port, polling_of(target(port, REGISTERS[2], timeout_seconds=1), resolver) as running:
        await running.until(lambda: len(running.messages) >= 2)
        bad = {"temperature": {"value": 21.5, "quality": "bad"}}
        before = running.values.count(bad)  # none, unless the machine was too busy
        is_silent = True
        await running.until(lambda: running.poller.report.state == "failing")
        await asyncio.sleep(1)  # for what should not come
        assert running.values.count(bad) == before + 1
        assert "no answer within 1 s" in running.poller.report.error
        silent_at = len(running.messages)
        is_silent = False
        await running.until(lambda: len(running.messages) > silent_at + 1 and running.poller.report.state == "connected")


async def test_a_device_that_hangs_up_after_each_answer_is_polled_all_the_same(resolver: ThreadPoolExecutor) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(await reader.readexactly(12), 215))
        await writer.drain()

    async with serve(answer) as port, polling_of(target(port, REGISTERS[2]), resolver) as running:
        await running.until(lambda: len(running.messages) >= 4)
        assert all(values == {"temperature": 21.5} for values in running.values)


async def test_nobody_is_called_outside_of_the_plant(resolver: ThreadPoolExecutor, settings: Settings) -> None:
    settings.IIOT_PLANT_NETWORKS = ["10.0.0.0/8"]
    calls = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(1)

    async with serve(answer) as port:
        for host in ("127.0.0.1", "localhost"):
            async with polling_of(target(port, host=host), resolver) as running:
                await running.until(lambda: running.poller.report.state == "failing")
                assert "outside the plant's networks" in running.poller.report.error
    assert calls == []


async def test_a_device_that_refuses_everything_is_asked_less_and_less(resolver: ThreadPoolExecutor) -> None:
    requests = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            requests.append(request)
            writer.write(request[:4] + b"\0\3" + request[6:7] + bytes([request[7] | 0x80, 11]))

    async with serve(answer) as port, polling_of(target(port, REGISTERS[2]), resolver) as running:
        await running.until(lambda: running.poller.report.state == "failing")
        await asyncio.sleep(1.5)
        assert running.poller.report.error == "holding 0: gateway target did not respond (Modbus exception 11)"
        assert len(requests) < 8
        assert running.messages == []


async def test_300_hostile_devices_crash_nothing_and_hold_up_nobody(resolver: ThreadPoolExecutor) -> None:
    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    wanted = (REGISTERS[2], REGISTERS[3])
    async with simulate(pump()) as port, polling_of(target(port), resolver) as good:
        await good.until(lambda: len(good.messages) >= 3)
        hostile: list[Running] = []
        tasks: list[asyncio.Task[None]] = []
        async with _serve_hostile(300) as ports:
            for number, bad_port in enumerate(ports):
                running = Running(replace(target(bad_port, *wanted, timeout_seconds=0.4), device=f"bad-{number}"), resolver)
                hostile.append(running)
                tasks.append(asyncio.create_task(running.poller.run()))
            try:
                enough = len(good.messages) + 15  # 1.5 s on a quiet machine; asked in turn, the hostile ones alone would take 120 s
                await good.until(lambda: len(good.messages) >= enough and not any(_is_waiting(running) for running in hostile))
                assert not any(task.done() for task in tasks)
            finally:  # servers wait for whoever is connected to them
                for running, task in zip(hostile, tasks, strict=True):
                    running.poller.end()
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    for running in hostile:
        for values in running.values:
            assert values.keys() <= {"temperature", "flow"}


def _is_waiting(running: Running) -> bool:
    return running.poller.report.state == "waiting"


@asynccontextmanager
async def _serve_hostile(count: int) -> AsyncIterator[list[int]]:
    ports = []
    servers = [serve(make_hostile(seed)) for seed in range(count)]
    for server in servers:
        ports.append(await server.__aenter__())  # noqa: PERF401  # 300 of them are entered one by one
    try:
        yield ports
    finally:
        for server in servers:
            await server.__aexit__(None, None, None)
