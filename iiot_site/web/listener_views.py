"""The listeners: how each process does, and what this tenant's devices send through it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from connections.models import ModbusConnection
from iiot_site.lib.page_parts import render_part
from iiot_site.templatetags.shell import LISTENER_TITLES as TITLES
from protocols.models import ListenerState
from protocols.selectors import ALIVE_WITHIN, find_backlog
from telemetry.ledger import load_ledger
from telemetry.types import LedgerRow
from tenants.page_access import page
from tenants.permissions import allows

RATE_SPAN = timedelta(minutes=5)
REASONS_SPAN = timedelta(hours=24)
FAILING_SHOWN = 5
REASONS_SHOWN = 3
COUNTED_BY = {"mqtt-tls": "mqtt"}  # doors that carry what a listener takes in


@dataclass(frozen=True, slots=True)
class Ledgers:
    """The tenant's ledger: the minutes of the span that rates are from, and the day that refusals are counted over."""

    recent: Sequence[LedgerRow]
    day: Sequence[LedgerRow]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What this tenant sent through one listener: messages and values a second over five minutes, refusals over a day."""

    messages_per_second: float
    values_per_second: float
    rejected: int
    reasons: Sequence[tuple[str, int]]

    @property
    def shown_reasons(self) -> Sequence[tuple[str, int]]:
        """The most frequent reasons, and all others together: they add up to `rejected`."""
        if len(self.reasons) <= REASONS_SHOWN + 1:
            return self.reasons
        others = self.reasons[REASONS_SHOWN:]
        return [*self.reasons[:REASONS_SHOWN], (f"{len(others)} other reasons", sum(count for _, count in others))]


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it reported last. `silent_since` is set where it stopped reporting."""

    reported: ListenerState
    silent_since: datetime | None

    @property
    def is_well(self) -> bool:
        return self.silent_since is None and self.reported.state == "connected"


@dataclass(frozen=True, slots=True)
class Row:
    """One listener; `processes` is empty for HTTP, which the web process serves."""

    name: str
    title: str
    processes: Sequence[Process]
    traffic: Traffic

    @property
    def only(self) -> Process | None:
        """The process, where there is one alone."""
        return self.processes[0] if len(self.processes) == 1 else None

    @property
    def counted_by(self) -> str:
        """The listener that counts what comes through this door; "" for one that does so itself."""
        return TITLES[COUNTED_BY[self.name]] if self.name in COUNTED_BY else ""

    @property
    def well_count(self) -> int:
        return sum(process.is_well for process in self.processes)

    def sums(self) -> dict[str, float]:
        """Return the totals of all processes, of what can be added up."""
        names = ("messages_per_second", "bytes_per_second", "messages", "restarts")
        return {name: sum(getattr(process.reported, name) for process in self.processes) for name in names}


@page("device:read")
@require_GET
def show_listeners(request: HttpRequest) -> HttpResponse:
    """Every listener; an htmx request gets the list alone.

    A listener serves all tenants: its health is shown to everybody, its totals and errors, which may tell of others, to
    administrators of the platform. Rates and refusals are from the tenant's own ledger.
    """
    now = timezone.now()
    permissions = request.membership.permissions  # type: ignore[attr-defined]  # set by the middleware
    sees_traffic = allows(permissions, "telemetry:read")
    ledger = load_ledgers(now) if sees_traffic else Ledgers([], [])
    context: dict[str, object] = {
        "rows": make_rows(list(ListenerState.objects.order_by("name", "number")), ledger, now),
        "sees_traffic": sees_traffic,
        "backlog": find_backlog(tenant=request.tenant.slug) if sees_traffic else None,  # type: ignore[attr-defined]  # set by the middleware
        "sees_totals": bool(getattr(request.user, "is_platform_admin", False)),
        "failing": _list_failing() if allows(permissions, "connection:read") else [],
    }
    return render_part(request, whole="web/listeners.html", part="web/_listeners.html", context=context)


def load_ledgers(now: datetime) -> Ledgers:
    """Add up in the database, which has an entry a minute and listener: the page asks again every few seconds."""
    end = now + timedelta(minutes=1)
    return Ledgers(
        load_ledger(start=now - RATE_SPAN, end=end, bucket="minute"), load_ledger(start=now - REASONS_SPAN, end=end, bucket="day")
    )


def make_rows(processes: Sequence[ListenerState], ledgers: Ledgers, now: datetime) -> list[Row]:
    """Put processes and what came through them side by side, in order of their names."""
    by_name: dict[str, list[Process]] = {}
    for process in processes:
        by_name.setdefault(process.name, []).append(Process(process, _silent_since(process, now)))
    return [
        Row(
            name=name,
            title=TITLES.get(name, name),
            processes=by_name.get(name, ()),
            traffic=sum_traffic(name, ledgers),
        )
        for name in sorted(by_name.keys() | {row.listener for row in ledgers.day})
    ]


def sum_traffic(listener: str, ledgers: Ledgers) -> Traffic:
    """Add up what came through one listener."""
    recent = [row for row in ledgers.recent if row.listener == listener]
    reasons: Counter[str] = Counter()
    for row in ledgers.day:
        if row.listener == listener:
            reasons.update(row.rejected_by_reason)
    seconds = RATE_SPAN.total_seconds()
    return Traffic(
        messages_per_second=sum(row.messages for row in recent) / seconds,
        values_per_second=sum(row.received for row in recent) / seconds,
        rejected=reasons.total(),
        reasons=reasons.most_common(),
    )


def _silent_since(process: ListenerState, now: datetime) -> datetime | None:
    return None if process.state != "stopped" and process.heartbeat_at >= now - ALIVE_WITHIN else process.heartbeat_at


def _list_failing() -> Sequence[ModbusConnection]:
    """Return some of the tenant's Modbus connections that are in trouble, the latest first."""
    troubled = ModbusConnection.objects.filter(is_enabled=True).exclude(last_error="")
    return list(troubled.select_related("device").order_by("-state_at")[:FAILING_SHOWN])
