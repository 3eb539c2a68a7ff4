"""Sends commands, desired state and alerts to devices, for any protocol that can reach them, and takes in what devices say back.

`CommandDispatcher(protocol, send)` is a thread beside a listener. It wakes when a command is queued (LISTEN) and looks
every two seconds at the timers, one query over all tenants. For each command that is due it calls
`send(tenant_slug, CommandRef) -> bool`, in the dispatcher's thread, oldest first: True says that the command has left
for good as far as this side can tell (MQTT: the broker's PUBACK; AMQP: the publisher confirm; CoAP: the acknowledged
notification) and makes it `sent`. False, and an exception, leave it as it is, to be tried again after 30 s. Sent
commands that are not answered come again after 30 s, doubled up to 10 minutes, until they expire: they are kept here
and not by a broker, so `send` needs no queue of its own. A device knows a repetition by the id.
With `send_state` and `send_alert` it tells devices their desired state and their alerts too, in the same turns and with the
same meaning of True and False.

Answers come in as `RawMessage(channel=RESPONSE)` and connection messages as `RawMessage(channel=STATUS)` through the
listener's buffer like readings, and are acknowledged after their commit like readings.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone
from django_tenants.utils import tenant_context

from alerting.device_notices import AlertNotice, claim_notices, mark_told, next_notice_at
from devices.command_services import claim_commands, mark_sent, next_send_at
from devices.reaching import COMMANDS_CHANNEL, timer_kind
from devices.state_services import claim_states, mark_states_sent, next_state_at
from devices.types import CommandRef, StateRef
from iiot_site.lib.times import format_time
from protocols.notices import listen_to, take_notices
from tenants.models import Tenant
from tenants.timers import ClaimedTimer, claim_due_timers, finish_timer

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
STOP_CHECK_SECONDS = 0.1
RETRY_SECONDS = 5.0
COMMANDS_PER_TURN = 100

Send = Callable[[str, CommandRef], bool]
SendState = Callable[[str, StateRef], bool]
SendAlert = Callable[[str, AlertNotice], bool]
T = TypeVar("T", CommandRef, StateRef, AlertNotice)


def encode_command(command: CommandRef) -> bytes:
    """Return a command as devices get it, in JSON."""
    document: dict[str, Any] = {
        "id": str(command.id),
        "name": command.name,
        "payload": command.payload,
        "expires_at": format_time(command.expires_at),
        "attempt": command.attempt,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def encode_state(state: StateRef) -> bytes:
    """Return a desired state as devices get it, in JSON."""
    return json.dumps(describe_state(state), ensure_ascii=False, separators=(",", ":")).encode()


def describe_state(state: StateRef) -> dict[str, Any]:
    """Return a desired state as devices get it."""
    return {"version": state.version, "desired": state.desired, "delta": state.delta}


def encode_alert(notice: AlertNotice) -> bytes:
    """Return an alert's newest state as its device gets it, in JSON."""
    document = {
        "id": str(notice.alert_id),
        "state": "raised" if notice.cleared_at is None else "cleared",
        "severity": notice.severity,
        "summary": notice.summary,
        "raised_at": format_time(notice.raised_at),
        "cleared_at": None if notice.cleared_at is None else format_time(notice.cleared_at),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class CommandDispatcher:
    """A thread that sends what is due over one protocol until it is stopped. `is_ready` says whether `send` can work at all."""

    def __init__(
        self,
        *,
        protocol: str,
        send: Send,
        is_ready: Callable[[], bool],
        send_state: SendState | None = None,
        send_alert: SendAlert | None = None,
    ) -> None:
        self._protocol = protocol
        self._send = send
        self._send_state = send_state
        self._send_alert = send_alert
        self._is_ready = is_ready
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"commands-{protocol}", daemon=True)
        self.last_error = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """End after the command that is being sent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as exc:  # the listener's loop: whatever it was, commands must go on
                self.last_error = f"commands are not sent: {type(exc).__name__}: {exc}"[:500]
                logger.exception("commands are not sent for the moment")
                self._stopping.wait(RETRY_SECONDS)
            finally:
                connection.close()

    def _follow(self) -> None:
        with listen_to(COMMANDS_CHANNEL) as notices:
            while not self._stopping.is_set():
                if self._is_ready():
                    self.last_error = ""
                    self.dispatch_due(now=timezone.now())
                self._wait(notices)

    def _wait(self, notices: psycopg.Connection) -> None:
        """Wait for a notice, for the next turn or for the end."""
        until = time.monotonic() + POLL_SECONDS
        while not self._stopping.is_set() and time.monotonic() < until:
            if take_notices(notices, wait_seconds=STOP_CHECK_SECONDS):
                return

    def dispatch_due(self, *, now: datetime) -> None:
        """Send what is due in every tenant that has something; one whose tables fail comes again after the lease of its timer."""
        timers = {timer.schema: timer for timer in claim_due_timers(kind=timer_kind(self._protocol), now=now)}
        if not timers:
            return
        active = Tenant.objects.filter(schema_name__in=timers, status=Tenant.Status.ACTIVE)
        for tenant in active:
            if self._stopping.is_set():
                return
            try:
                with tenant_context(tenant):
                    self._dispatch_tenant(tenant.slug, timers[tenant.schema_name], now)
            except (DatabaseError, InterfaceError) as exc:
                self.last_error = f"commands of {tenant.slug} are not sent: {type(exc).__name__}: {exc}"[:500]
                logger.warning("%s", self.last_error)
                connection.close()

    def _dispatch_tenant(self, slug: str, timer: ClaimedTimer, now: datetime) -> None:
        protocol = self._protocol
        commands = claim_commands(protocol=protocol, now=now, limit=COMMANDS_PER_TURN)
        sent = [command.id for command in commands if self._try(self._send, slug, command)]
        if sent:
            mark_sent(command_ids=sent, now=timezone.now())
        next_times = [next_send_at(protocol=protocol, now=now)]
        if self._send_state is not None:
            states = claim_states(protocol=protocol, now=now, limit=COMMANDS_PER_TURN)
            if told := [state for state in states if self._try(self._send_state, slug, state)]:
                mark_states_sent(states=told, now=timezone.now())
            next_times.append(next_state_at(protocol=protocol, now=now))
        if self._send_alert is not None:
            notices = claim_notices(protocol=protocol, now=now, limit=COMMANDS_PER_TURN)
            mark_told([notice for notice in notices if self._try(self._send_alert, slug, notice)])
            next_times.append(next_notice_at(protocol=protocol))
        finish_timer(timer=timer, next_due_at=min((at for at in next_times if at is not None), default=None))

    def _try(self, send: Callable[[str, T], bool], slug: str, what: T) -> bool:
        if self._stopping.is_set():
            return False
        try:
            return send(slug, what)
        except Exception as exc:  # the listener's loop: one command must not hold up the others
            self.last_error = f"a command was not sent: {type(exc).__name__}: {exc}"[:500]
            logger.exception("something for %s was not sent", what.device_key)
            return False
