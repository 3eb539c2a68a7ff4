"""The listener against pymodbus's server: readings arrive, settings are followed, hostile devices upset no ledger."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django_tenants.utils import tenant_context

from connections.models import ModbusConnection, ModbusRegister
from connections.services import save_modbus_connection, save_modbus_register
from devices.models import Device, DeviceType, Metric
from protocols.modbus.listener import ModbusListener
from protocols.models import ListenerState
from telemetry.ledger import list_broken_entries, list_day_differences
from telemetry.models import IngestLedger, LatestReading, Reading
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.modbus.devices import make_hostile, pump, serve, simulate
from tests.protocols.running import running
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Serve = Callable[..., list[int]]


@pytest.fixture
def plant() -> Iterator[Serve]:
    """Return `plant(*servers)`: run these in a thread until the test ends; gives their ports."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()

    async def start(servers: tuple[Any, ...]) -> list[int]:
        return [await stack.enter_async_context(server) for server in servers]

    def run(*servers: Any) -> list[int]:
        return asyncio.run_coroutine_threadsafe(start(servers), loop).result(WAIT_SECONDS)

    yield run
    asyncio.run_coroutine_threadsafe(_end(stack), loop).result(WAIT_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(WAIT_SECONDS)
    loop.close()


async def _end(stack: AsyncExitStack) -> None:
    await stack.aclose()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=WAIT_SECONDS) if others else None


@asynccontextmanager
async def quiet_pump() -> AsyncIterator[int]:
    async with simulate(pump()) as port:
        yield port


RunListener = Callable[[], AbstractContextManager[ModbusListener]]


@pytest.fixture
def run_listener(transactional_db: None, tmp_path: Path) -> RunListener:
    """Return a context in which a listener runs; leaving it stops the listener as SIGTERM would."""

    @contextmanager
    def run() -> Iterator[ModbusListener]:
        ready_file = tmp_path / "ready"
        with running(ModbusListener(ready_file=ready_file), ready_file=ready_file) as listener:
            yield listener

    return run


@pytest.fixture
def device(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        device = make_device("pump-7")
        save_modbus_register(register=ModbusRegister(device_type=device.device_type, metric="temperature", scale=0.1, address=0))
        return device


def connect(device: Device, port: int, *, timeout_seconds: float = 30) -> ModbusConnection:
    poll_interval, timeout = timedelta(seconds=0.1), timedelta(seconds=timeout_seconds)
    return save_modbus_connection(
        modbus_connection=ModbusConnection(device=device, host="127.0.0.1", port=port, poll_interval=poll_interval, timeout=timeout)
    )


def count(tenant: Tenant, *devices: Device) -> int:
    """Return how many readings are stored, of all devices or of these."""
    with tenant_context(tenant):
        readings = Reading.objects.filter(device_id__in=[device.id for device in devices]) if devices else Reading.objects
        return readings.count()


def reload(tenant: Tenant, connection: ModbusConnection) -> ModbusConnection:
    with tenant_context(tenant):
        return ModbusConnection.objects.get(pk=connection.pk)


def test_registers_become_readings_of_their_tenant_alone(
    acme: Tenant, globex: Tenant, device: Device, plant: Serve, run_listener: RunListener
) -> None:
    [port] = plant(quiet_pump())
    with tenant_context(acme):
        connection = connect(device, port)
    with run_listener():
        wait_until(lambda: count(acme) >= 3)
        wait_until(lambda: reload(acme, connection).state == "connected")
    with tenant_context(acme):
        assert set(Reading.objects.values_list("value", "quality")) == {(21.5, 0)}
        assert {row.listener for row in IngestLedger.objects.all()} == {"modbus"}
        assert (list_broken_entries(), list_day_differences()) == ([], [])
        assert ModbusConnection.objects.get().last_answer_at is not None
    assert count(globex) == 0
    state = ListenerState.objects.get(name="modbus")
    assert (state.state, state.rejected, state.last_error) == ("stopped", 0, "")


def test_changes_are_followed_without_a_restart(acme: Tenant, device: Device, plant: Serve, run_listener: RunListener) -> None:
    [port] = plant(quiet_pump())
    with run_listener():
        with tenant_context(acme):
            connection = connect(device, port)
        wait_until(lambda: count(acme) > 0)
        with tenant_context(acme):
            save_modbus_register(register=ModbusRegister(device_type=device.device_type, metric="flow", address=2, data_type="float32"))
        wait_until(lambda: tenant_has(acme, "flow", 21.1))
        connection.is_enabled = False
        with tenant_context(acme):
            save_modbus_connection(modbus_connection=connection)
        wait_until(lambda: stands_still(acme))


def test_a_missing_register_map_is_named_until_it_is_there(acme: Tenant, device: Device, plant: Serve, run_listener: RunListener) -> None:
    [port] = plant(quiet_pump())
    with tenant_context(acme):
        ModbusRegister.objects.all().delete()
        connection = ModbusConnection.objects.create(device=device, host="127.0.0.1", port=port)
    with run_listener():
        wait_until(lambda: "has no register map" in reload(acme, connection).last_error)
        with tenant_context(acme):
            save_modbus_register(register=ModbusRegister(device_type=device.device_type, metric="temperature", address=0))
        wait_until(lambda: (reload(acme, connection).state, reload(acme, connection).last_error) == ("connected", ""))


def tenant_has(tenant: Tenant, metric: str, value: float) -> bool:
    with tenant_context(tenant):
        return LatestReading.objects.filter(metric_id__in=Metric.objects.filter(key=metric).values("id"), value=value).exists()


def stands_still(tenant: Tenant) -> bool:
    before = count(tenant)
    threading.Event().wait(0.5)
    return count(tenant) == before


def test_a_device_that_is_away_says_so_and_comes_back(acme: Tenant, device: Device, plant: Serve, run_listener: RunListener) -> None:
    [port] = plant(serve(make_hostile(9)))  # never answers
    with tenant_context(acme):
        connection = connect(device, port, timeout_seconds=0.5)
    with run_listener():
        wait_until(lambda: reload(acme, connection).state == "failing")
        assert reload(acme, connection).last_error == "holding 0: no answer within 0.5 s"
        [connection.port] = plant(quiet_pump())
        connection.timeout = timedelta(seconds=30)
        with tenant_context(acme):
            save_modbus_connection(modbus_connection=connection)
        wait_until(lambda: count(acme) > 0)
        wait_until(lambda: reload(acme, connection).state == "connected")
    assert reload(acme, connection).last_error == ""


def test_the_ledger_adds_up_with_300_hostile_devices(acme: Tenant, device: Device, plant: Serve, run_listener: RunListener) -> None:
    good, *bad = plant(quiet_pump(), *(serve(make_hostile(seed)) for seed in range(300)))
    with tenant_context(acme):
        connect(device, good)
        fiend = DeviceType.objects.create(name="Fiend", unknown_metrics=DeviceType.UnknownMetrics.REGISTER)
        for number, data_type in enumerate(("float32", "float64", "string", "uint64", "bool")):
            register = ModbusRegister(device_type=fiend, metric=data_type, address=number * 4, data_type=data_type, length=4, scale=1e30)
            save_modbus_register(register=register)
        devices = Device.objects.bulk_create(Device(key=f"bad-{n}", name=f"Bad {n}", device_type=fiend) for n in range(len(bad)))
        for one, port in zip(devices, bad, strict=True):
            connect(one, port, timeout_seconds=0.5)
    with run_listener():
        wait_until(lambda: count(acme) > 0)
        before = count(acme)
        wait_until(lambda: not connections_waiting(acme))
        wait_until(lambda: count(acme) > before + 30)
        wait_until(lambda: count(acme, device) > 5)
    with tenant_context(acme):
        assert (list_broken_entries(), list_day_differences()) == ([], [])
        assert sum(row.received - row.stored - row.duplicate - row.rejected for row in IngestLedger.objects.all()) == 0


def connections_waiting(tenant: Tenant) -> bool:
    with tenant_context(tenant):
        return ModbusConnection.objects.filter(state="waiting").exists()
