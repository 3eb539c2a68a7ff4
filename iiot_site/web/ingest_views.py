"""Pages of the ingest ledger: what became of everything that came in, and the messages that were not stored."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from devices.models import Device
from iiot_site.lib.page_parts import render_part
from telemetry.buckets import FixedBuckets
from telemetry.ledger import BUCKETS, load_ledger
from telemetry.models import RejectedMessage
from telemetry.types import LedgerRow
from tenants.page_access import page

PAGE_SIZE = 50
PAYLOAD_SHOWN_CHARS = 600
PERCENT = 100
DEVICES_SHOWN = 300
UNKNOWN_DEVICE = "unknown"
REJECTED_FILTERS = ("q", "reason", "device", "listener", "span")


@dataclass(frozen=True, slots=True)
class Span:
    """A choice of how far back the page looks, and how wide its bars are."""

    label: str
    length: timedelta
    bucket: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One span of time in the chart; everything in per cent of the chart, for SVG (the policy allows no inline style)."""

    time: datetime
    x: float
    width: float
    stored: float
    duplicate: float
    rejected: float
    received: int

    @property
    def stored_y(self) -> float:
        return PERCENT - self.stored

    @property
    def duplicate_y(self) -> float:
        return self.stored_y - self.duplicate

    @property
    def rejected_y(self) -> float:
        return self.duplicate_y - self.rejected


@dataclass(frozen=True, slots=True)
class Total:
    """One listener, or all of them, over the whole span."""

    listener: str
    received: int
    stored: int
    duplicate: int
    rejected: int
    messages: int
    adds_up: bool


SPANS = {
    "1h": Span("1 hour", timedelta(hours=1), "minute"),
    "24h": Span("24 hours", timedelta(hours=24), "hour"),
    "7d": Span("7 days", timedelta(days=7), "hour"),
    "30d": Span("30 days", timedelta(days=30), "day"),
}


@page("telemetry:read")
@require_GET
def show_ingest(request: HttpRequest) -> HttpResponse:
    """The ledger over a span: totals, bars over time, listeners, reasons of rejection. An htmx request gets the figures alone."""
    now = timezone.now()
    chosen = request.GET.get("span", "")
    chosen = chosen if chosen in SPANS else "24h"
    span = SPANS[chosen]
    start = FixedBuckets(BUCKETS[span.bucket]).floor(now) - span.length + BUCKETS[span.bucket]
    rows = load_ledger(start=start, end=now + BUCKETS["minute"], bucket=span.bucket)
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row.rejected_by_reason)
    bars = make_bars(rows, start=start, width=BUCKETS[span.bucket], count=round(span.length / BUCKETS[span.bucket]))
    context: dict[str, object] = {
        "span": chosen,
        "spans": SPANS,
        "bucket": span.bucket,
        "total": sum_rows("", rows),
        "listeners": [sum_rows(name, [r for r in rows if r.listener == name]) for name in sorted({r.listener for r in rows})],
        "reasons": reasons.most_common(),
        "bars": bars,
        "since": start,
        "peak": max((bar.received for bar in bars), default=0),
    }
    return render_part(request, whole="web/ingest.html", part="web/_ingest.html", context=context)


@page("telemetry:read")
@require_GET
def show_rejected(request: HttpRequest) -> HttpResponse:
    """The messages that were not stored, the latest first, by reason, device, listener, time and words."""
    chosen = {name: request.GET.get(name, "").strip() for name in REJECTED_FILTERS}
    messages = RejectedMessage.objects.select_related("device").order_by("-received_at", "id")
    found = Paginator(_filter_rejected(messages, chosen, timezone.now()), PAGE_SIZE).get_page(request.GET.get("page"))
    context: dict[str, object] = {
        "rejected": found,
        "rows": [(message, show_payload(bytes(message.payload))) for message in found],
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "reasons": RejectedMessage.objects.order_by("reason").values_list("reason", flat=True).distinct(),
        "listeners": RejectedMessage.objects.order_by("protocol").values_list("protocol", flat=True).distinct(),
        "devices": Device.objects.filter(pk__in=RejectedMessage.objects.values("device")).order_by("name", "id")[:DEVICES_SHOWN],
        "spans": SPANS,
    }
    return render_part(request, whole="web/rejected.html", part="web/_rejected.html", context=context)


def _filter_rejected(messages: QuerySet[RejectedMessage], chosen: Mapping[str, str], now: datetime) -> QuerySet[RejectedMessage]:
    if chosen["reason"]:
        messages = messages.filter(reason=chosen["reason"])
    if chosen["listener"]:
        messages = messages.filter(protocol=chosen["listener"])
    if chosen["device"]:
        messages = _of_device(messages, chosen["device"])
    if chosen["span"] in SPANS:
        messages = messages.filter(received_at__gte=now - SPANS[chosen["span"]].length)
    if words := chosen["q"]:
        messages = messages.filter(Q(detail__icontains=words) | Q(source__icontains=words))
    return messages


def _of_device(messages: QuerySet[RejectedMessage], wanted: str) -> QuerySet[RejectedMessage]:
    if wanted == UNKNOWN_DEVICE:
        return messages.filter(device=None)
    try:
        return messages.filter(device__uuid=uuid.UUID(wanted))
    except ValueError:
        return messages.none()


def sum_rows(listener: str, rows: Sequence[LedgerRow]) -> Total:
    """Add up spans; it adds up where each of them does."""
    return Total(
        listener=listener,
        received=sum(row.received for row in rows),
        stored=sum(row.stored for row in rows),
        duplicate=sum(row.duplicate for row in rows),
        rejected=sum(row.rejected for row in rows),
        messages=sum(row.messages for row in rows),
        adds_up=all(row.adds_up for row in rows),
    )


def make_bars(rows: Sequence[LedgerRow], *, start: datetime, width: timedelta, count: int) -> list[Bar]:
    """Lay `count` bars side by side, scaled to the highest; listeners are added up."""
    totals = [sum_rows("", [row for row in rows if row.time == start + n * width]) for n in range(count)]
    highest = max((total.received for total in totals), default=0) or 1

    def share(part: int) -> float:
        return round(PERCENT * part / highest, 3)

    step = PERCENT / count
    return [
        Bar(
            start + n * width, round(n * step, 3), round(step * 0.85, 3), share(t.stored), share(t.duplicate), share(t.rejected), t.received
        )
        for n, t in enumerate(totals)
    ]


def show_payload(payload: bytes) -> str:
    """Return the beginning of a frame as text that shows every byte that is none, and no control character as such."""
    text = payload[:PAYLOAD_SHOWN_CHARS].decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return shown + (" …" if len(payload) > PAYLOAD_SHOWN_CHARS else "")
