"""Reads the OPC UA servers of all tenants, writes the commands of their devices there, and runs our own.

Five threads: one runs an asyncio loop with a session per server, the main thread stores, a third follows what tenants
configure, a fourth serves, a fifth writes. A server that does not answer holds up nobody.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone
from django_tenants.utils import schema_context

from connections.opcua_services import record_opcua_report
from connections.opcua_types import OpcUaReport, OpcUaTarget
from devices.services import record_activity
from iiot_site.lib.clock import put_on_database_clock
from iiot_site.lib.schemas import current_schema
from protocols.commands import CommandDispatcher
from protocols.following import Key, SettingsFollower, TenantSettings, share_out
from protocols.listening import ListenerCore
from protocols.opcua.commits import Commits
from protocols.opcua.identity import Identity
from protocols.opcua.node_commands import NodeCommands
from protocols.opcua.serving import ServerThread
from protocols.opcua.session import ServerSession
from protocols.opcua.settings import OpcUaSettings, load_opcua_settings
from protocols.opcua.values import LastValue
from protocols.resolution import resolve_devices
from protocols.types import BatchOutcome, RawMessage

logger = logging.getLogger(__name__)

PROTOCOL = "opcua"
WAIT_FOR_ROOM_SECONDS = 0.05
# That a server said something is worth a write this much after the last one that was written.
HEARD_STEP = timedelta(seconds=15)
END_SECONDS = 10.0
CLOSING_SECONDS = 0.1  # for sockets that were closed to be gone
Wanted = dict[Key, tuple[str, OpcUaTarget, Mapping[int, LastValue]]]


class OpcUaListener:
    """One listener process: `run` returns after `request_stop`, with everything taken in stored and acknowledged."""

    def __init__(self, identity: Identity, *, ready_file: Path | None = None) -> None:
        self._identity = identity
        self._core = ListenerCore(
            name=PROTOCOL, acknowledge=self._acknowledge, ready_file=ready_file, on_beat=self.write_states, find_error=self._find_error
        )
        self._commits = Commits()
        self._follower = SettingsFollower(load=self._load_settings, publish=self._on_settings)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_loop_error)
        self._thread = threading.Thread(target=self._loop.run_forever, name="opcua", daemon=True)
        self._server = ServerThread(identity)
        self._follower_has_loaded = threading.Event()
        self._sessions: dict[Key, ServerSession] = {}  # changed in the loop's thread only
        self._dispatcher = CommandDispatcher(
            protocol=PROTOCOL, send=NodeCommands(self._sessions, self._loop).send, is_ready=self._follower_has_loaded.is_set
        )
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._surplus: dict[Key, OpcUaReport] = {}
        self._written: dict[Key, OpcUaReport] = {}

    def request_stop(self) -> None:
        """Stop reading, store what was read, then end. Only sets flags: signal handlers call it."""
        self._core.request_stop()

    def run(self) -> None:
        """Read until told to stop."""
        if self._core.wait_for_database():
            self._core.run(connect=self._connect, disconnect=self._disconnect)

    # --- Main thread

    def _connect(self) -> None:
        self._thread.start()
        self._follower.start()
        self._server.start()
        self._dispatcher.start()

    def _disconnect(self) -> None:
        self._dispatcher.stop(timeout_seconds=END_SECONDS)
        self._follower.stop()
        self._server.stop()
        try:
            asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(timeout=END_SECONDS)
        except TimeoutError:
            logger.warning("some servers did not let us go in time")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=END_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _acknowledge(self, batch: Sequence[RawMessage], _outcome: BatchOutcome) -> None:
        self._commits.acknowledge(batch)

    def _find_error(self) -> str:
        """What is wrong with the listener; a tenant's server shows its own errors to that tenant."""
        return self._follower.last_error or self._server.last_error or self._dispatcher.last_error

    def write_states(self) -> None:
        """Write how servers do where that changed."""
        reports = {key: _report(session) for key, session in list(self._sessions.items())} | dict(self._surplus)
        now = timezone.now()
        written = {}
        for key, report in reports.items():
            if _is_worth_writing(report, self._written.get(key)):
                with schema_context(key[0]):
                    record_opcua_report(report=report, now=now)
                    self._record_activity(key, report.heard_at)
                written[key] = report
            else:
                written[key] = self._written[key]
        self._written = written

    def _record_activity(self, key: Key, heard_at: datetime | None) -> None:
        session = self._sessions.get(key)
        if session is not None and heard_at is not None:
            devices = resolve_devices(key[0], session.list_live_devices())
            seen_at = put_on_database_clock(heard_at)
            record_activity(seen={device.id: seen_at for device in devices.values()}, via=PROTOCOL)

    # --- The settings' thread

    def _load_settings(self) -> OpcUaSettings:
        schema = current_schema()
        return load_opcua_settings(is_read=lambda target: self._is_read((schema, target.server_id), target))

    def _is_read(self, key: Key, target: OpcUaTarget) -> bool:
        session = self._sessions.get(key)
        return session is not None and session.target == target

    def _on_settings(self, tenants: Mapping[str, TenantSettings[OpcUaSettings]]) -> None:
        wanted = {
            (schema, target.server_id): (tenant.slug, target, tenant.content.last_values)
            for schema, tenant in tenants.items()
            for target in tenant.content.targets
        }
        self._loop.call_soon_threadsafe(self._apply, wanted)
        self._core.mark_connected()

    # --- The loop's thread

    def _apply(self, wanted: Wanted) -> None:
        """Start, stop and change sessions until they are as configured."""
        limit = settings.IIOT_OPCUA_MAX_SERVERS
        served = share_out(wanted, limit=limit)
        kept = {key: entry for key, entry in wanted.items() if key in served}
        error = f"The platform reads {limit} OPC UA servers at most (IIOT_OPCUA_MAX_SERVERS)."
        self._surplus = {key: OpcUaReport(key[1], "failing", error, 0, None) for key in wanted.keys() - kept.keys()}
        for key in list(self._sessions):
            if key not in kept or self._sessions[key].target != kept[key][1]:
                self._sessions.pop(key).end()
                self._tasks.pop(key).cancel()
        for key, (slug, target, last_values) in kept.items():
            if key not in self._sessions:
                session = self._sessions[key] = ServerSession(
                    target,
                    tenant=slug,
                    identity=self._identity,
                    networks=settings.IIOT_PLANT_NETWORKS,
                    deliver=self._deliver,
                    max_bytes=settings.IIOT_MAX_MESSAGE_BYTES,
                    last_values=last_values,
                )
                self._tasks[key] = self._loop.create_task(session.run())
        self._follower_has_loaded.set()

    async def _deliver(self, messages: Sequence[RawMessage]) -> None:
        """Return once all of these are committed. At the end some are not taken in: those are never acknowledged."""
        committed = self._commits.expect(messages)
        try:
            for message in messages:
                while not self._core.offer(message) and not self._core.is_stopping:
                    await asyncio.sleep(WAIT_FOR_ROOM_SECONDS)
            await committed
        finally:
            self._commits.forget(messages)

    async def _end_all(self) -> None:
        for session in self._sessions.values():
            session.end()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(CLOSING_SECONDS)


def _report(session: ServerSession) -> OpcUaReport:
    state = session.state
    return OpcUaReport(
        session.target.server_id,
        state.state,
        state.error,
        state.item_count,
        state.heard_at,
        state.offered_certificate,
        dict(state.problems),
    )


def _is_worth_writing(report: OpcUaReport, written: OpcUaReport | None) -> bool:
    if written is None:
        return True
    if (report.state, report.error, report.item_count, report.offered_certificate, report.problems) != (
        written.state,
        written.error,
        written.item_count,
        written.offered_certificate,
        written.problems,
    ):
        return True
    if report.heard_at is None or written.heard_at is None:
        return report.heard_at != written.heard_at
    return report.heard_at - written.heard_at >= HEARD_STEP


def _log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.info("%s: %s", context.get("message"), context.get("exception"))
