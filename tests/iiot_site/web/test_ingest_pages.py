"""The pages of the ingest ledger."""

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from iiot_site.web.ingest_views import make_bars, show_payload
from telemetry.models import IngestLedger
from telemetry.services import record_ingest, record_rejections
from telemetry.types import IngestCount, LedgerRow, NewRejection
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser

START = datetime(2026, 11, 20, 8, tzinfo=UTC)


def test_the_page_shows_what_came_in_and_that_it_adds_up(acme: Tenant, acme_viewer: User, browser: MakeBrowser) -> None:
    assert "Nothing came in during this time" in browser(acme_viewer).get("/t/acme/ingest").content.decode()
    with tenant_context(acme):
        record_ingest(count=IngestCount("mqtt", 1234, 1200, 30, {"wrong_type": 4}, 400, 1, 0), now=timezone.now())
    text = browser(acme_viewer).get("/t/acme/ingest?span=1h").content.decode()
    assert "1,234" in text
    assert "Adds up" in text
    assert "?reason=wrong_type" in text
    assert 'class="ledger-rejected"' in text
    with tenant_context(acme):
        IngestLedger.objects.update(received=7)
    assert "Does not add up" in browser(acme_viewer).get("/t/acme/ingest").content.decode()


def test_a_rejected_message_is_shown_with_its_reason_and_as_text_only(
    acme: Tenant, pump: Device, acme_viewer: User, browser: MakeBrowser
) -> None:
    now = timezone.now()
    payload = b"<script>alert(1)</script>\x00\x1b[31m\xff"
    with tenant_context(acme):
        record_rejections(rejections=[NewRejection(now, "mqtt", "t/acme/pump-7/telemetry", pump.pk, "not_utf8", "Send UTF-8.", payload)])
    page = browser(acme_viewer).get("/t/acme/ingest/rejected").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x00\\x1b[31m\\xff" in page
    assert "<script>alert" not in page
    assert "Send UTF-8." in page
    other = browser(acme_viewer).get("/t/acme/ingest/rejected?reason=too_large").content.decode()
    assert "No kept message fits these filters" in other


def test_rejected_messages_are_found_by_device_listener_time_and_words(
    acme: Tenant, pump: Device, acme_viewer: User, browser: MakeBrowser
) -> None:
    now = timezone.now()
    with tenant_context(acme):
        record_rejections(
            rejections=[
                NewRejection(now, "mqtt", "t/acme/pump-7/telemetry", pump.pk, "not_utf8", "First one.", b"1"),
                NewRejection(now - timedelta(hours=3), "mqtt", "t/acme/pump-7/telemetry", pump.pk, "wrong_type", "Second one.", b"2"),
                NewRejection(now, "http", "POST /api/v1/telemetry", None, "unknown_device", "Third one.", b"3"),
            ]
        )
    viewer = browser(acme_viewer)

    def found(query: str) -> list[str]:
        page = viewer.get(f"/t/acme/ingest/rejected?{query}").content.decode()
        return [word for word in ("First", "Second", "Third") if f"{word} one." in page]

    assert found("") == ["First", "Second", "Third"]
    assert found(f"device={pump.uuid}&span=1h") == ["First"]
    assert found("device=unknown") == found("listener=http") == found("q=third") == found("reason=unknown_device") == ["Third"]
    assert found("q=pump-7") == ["First", "Second"]
    assert found("device=nonsense") == []


def test_a_long_payload_is_cut() -> None:
    assert show_payload(b"x" * 601) == "x" * 600 + " …"


def test_bars_are_as_high_as_their_share_of_the_highest() -> None:
    hour = timedelta(hours=1)
    rows = [
        LedgerRow(START, "http", 10, 10, 0, 0, {}, 10, 0, 0),
        LedgerRow(START, "mqtt", 90, 80, 5, 5, {"no_value": 5}, 90, 0, 0),
        LedgerRow(START + 2 * hour, "mqtt", 50, 50, 0, 0, {}, 50, 0, 0),
    ]
    bars = make_bars(rows, start=START, width=hour, count=4)
    assert [(bar.x, bar.stored, bar.duplicate, bar.rejected) for bar in bars] == [
        (0, 90, 5, 5),
        (25, 0, 0, 0),
        (50, 50, 0, 0),
        (75, 0, 0, 0),
    ]
    assert bars[0].rejected_y == 0
