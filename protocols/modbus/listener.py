"""Polls the Modbus devices of all tenants.

Three threads: one runs an asyncio loop with a task per device, the main thread stores, a third follows what tenants
configure. A device that does not answer holds up nobody: each has a connection and a timeout of its own.
"""

import asyncio
import logging
import resource
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone
from django_tenants.utils import schema_context

from connections.selectors import load_modbus_targets
from connections.services import record_modbus_states
from connections.types import ConnectionReport, ModbusTarget
from protocols.following import Key, SettingsFollower, TenantSettings, share_out
from protocols.listening import ListenerCore
from protocols.modbus.poller import CONNECTED, FAILING, WAITING, Poller
from protocols.types import BatchOutcome, RawMessage

logger = logging.getLogger(__name__)

WAIT_FOR_ROOM_SECONDS = 0.05
# An answer is worth a write this much after the last one that was written.
ANSWER_STEP = timedelta(seconds=15)
RESOLVER_THREADS = 16
END_SECONDS = 10.0


class ModbusListener:
    """One listener process: `run` returns after `request_stop`, with everything taken in stored."""

    def __init__(self, *, ready_file: Path | None = None) -> None:
        self._core = ListenerCore(
            name="modbus",
            acknowledge=_acknowledge_nothing,
            ready_file=ready_file,
            on_beat=self._write_states,
            find_error=self._find_error,
            count_connections=self._count_connections,
        )
        self._follower = SettingsFollower(load=load_modbus_targets, publish=self._on_settings)
        self._resolver = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(log_loop_error)
        self._thread = threading.Thread(target=self._loop.run_forever, name="modbus", daemon=True)
        self._pollers: dict[Key, Poller] = {}  # changed in the loop's thread only
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._unpolled: dict[Key, ConnectionReport] = {}
        self._written: dict[Key, ConnectionReport] = {}

    def request_stop(self) -> None:
        """Stop polling, store what was read, then end. Only sets flags: signal handlers call it."""
        self._core.request_stop()

    def run(self) -> None:
        """Poll until told to stop."""
        _raise_file_limit()
        if self._core.wait_for_database():
            self._core.run(connect=self._connect, disconnect=self._disconnect)

    # --- Main thread

    def _connect(self) -> None:
        self._thread.start()
        self._follower.start()

    def _disconnect(self) -> None:
        self._follower.stop()
        asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(timeout=END_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=END_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()
        self._resolver.shutdown(wait=False, cancel_futures=True)

    def _count_connections(self) -> int:
        return sum(poller.report.state == CONNECTED for poller in list(self._pollers.values()))

    def _find_error(self) -> str:
        return self._follower.last_error

    def _write_states(self) -> None:
        """Write how connections do where that changed, tenant by tenant."""
        reports = {key: poller.report for key, poller in list(self._pollers.items())} | dict(self._unpolled)
        due = {key: report for key, report in reports.items() if _is_worth_writing(report, self._written.get(key))}
        now = timezone.now()
        for schema in {schema for schema, _ in due}:
            with schema_context(schema):
                record_modbus_states(reports=[report for (where, _), report in due.items() if where == schema], now=now)
        self._written = {key: due.get(key, self._written.get(key, report)) for key, report in reports.items()}

    # --- The settings' thread

    def _on_settings(self, tenants: Mapping[str, TenantSettings[list[ModbusTarget]]]) -> None:
        wanted = {(schema, target.connection_id): (tenant.slug, target) for schema, tenant in tenants.items() for target in tenant.content}
        self._loop.call_soon_threadsafe(self._apply, wanted)
        self._core.mark_connected()

    # --- The loop's thread

    def _apply(self, wanted: dict[Key, tuple[str, ModbusTarget]]) -> None:
        """Start, stop and change pollers until they are as configured."""
        limit = settings.IIOT_MODBUS_MAX_CONNECTIONS
        able = {key: entry for key, entry in wanted.items() if not entry[1].obstacle}
        served = share_out(able, limit=limit)
        kept = {key: entry for key, entry in able.items() if key in served}
        error = f"The platform polls {limit} Modbus devices at most (IIOT_MODBUS_MAX_CONNECTIONS)."
        self._unpolled = {key: ConnectionReport(key[1], FAILING, error, None) for key in able.keys() - kept.keys()}
        self._unpolled |= {key: ConnectionReport(key[1], WAITING, wanted[key][1].obstacle, None) for key in wanted.keys() - able.keys()}
        for key in list(self._pollers):
            if key not in kept or self._pollers[key].target != kept[key][1]:
                self._pollers.pop(key).end()
                self._tasks.pop(key).cancel()
        for key, (slug, target) in kept.items():
            if key not in self._pollers:
                self._pollers[key] = Poller(target, tenant=slug, send=self._send, resolver=self._resolver)
                self._tasks[key] = self._loop.create_task(self._pollers[key].run())

    async def _send(self, message: RawMessage) -> None:
        """Hand a message to the main thread, waiting while its buffer is full; at the end it is read again by the next process."""
        while not self._core.offer(message) and not self._core.is_stopping:
            await asyncio.sleep(WAIT_FOR_ROOM_SECONDS)

    async def _end_all(self) -> None:
        for poller in self._pollers.values():
            poller.end()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _is_worth_writing(report: ConnectionReport, written: ConnectionReport | None) -> bool:
    if written is None or (report.state, report.error) != (written.state, written.error):
        return True
    if report.answered_at is None or written.answered_at is None:
        return report.answered_at != written.answered_at
    return report.answered_at - written.answered_at >= ANSWER_STEP


def _acknowledge_nothing(_batch: Sequence[RawMessage], _outcome: BatchOutcome) -> None:
    """A device that is asked waits for no acknowledgement."""


def log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in a line what pymodbus could not read; the request that waits for it runs into its timeout."""
    logger.info("%s: %s", context.get("message"), context.get("exception"))


def _raise_file_limit() -> None:
    """Allow as many open connections as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
