from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from iiot_site import asgi, web_pulse
from protocols.models import DoorPulse, OutageGap
from protocols.web_door import web_door

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_web_process_notes_that_it_was_away() -> None:
    web_pulse.beat_once()
    assert not OutageGap.objects.exists()
    DoorPulse.objects.update(beat_at=timezone.now() - timedelta(minutes=10))
    web_pulse.beat_once()
    gap = OutageGap.objects.get()
    assert (gap.listener, gap.reason) == ("http", "listener down")
    assert gap.ended_at - gap.started_at >= timedelta(minutes=10)


def test_without_the_database_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(web_pulse, "database_now", fail)
    web_pulse.beat_once()
    assert not DoorPulse.objects.exists()


async def test_it_begins_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    sent: list[str] = []
    monkeypatch.setattr(asgi, "collect_seldom", lambda: begun.append("garbage"))
    monkeypatch.setattr(asgi, "start_web_pulse", lambda: begun.append("pulse"))
    monkeypatch.setattr(web_door, "open", lambda: begun.append("door"))
    monkeypatch.setattr(web_door, "close", lambda: begun.append("door closed"))
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await asgi.application({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]  # as little as it needs
    assert (begun, sent) == (["garbage", "pulse", "door", "door closed"], ["lifespan.startup.complete", "lifespan.shutdown.complete"])
