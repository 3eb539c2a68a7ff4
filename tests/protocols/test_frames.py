"""A device's raw frames: kept while somebody looks, shown with what is read from them and why some were refused."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from iiot_site.lib.redis_guard import redis_client
from protocols import frames
from protocols.frame_view import view_frames
from protocols.frames import FRAMES_KEPT, forget_watched, keep_frames, list_watched, load_frames, watch_frames
from protocols.pipeline import process_messages
from telemetry.services import record_rejections
from telemetry.types import NewRejection
from tenants.models import Tenant, User
from tests.conftest import MakeApi, MakeBrowser, MakeDevice
from tests.protocols.conftest import MakeMessage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Leave no frame of another test in Redis or in the process."""

    def clear() -> None:
        forget_watched()
        for key in redis_client(0).scan_iter("frames*"):
            redis_client(0).delete(key)

    clear()
    yield
    clear()


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device()


@pytest.fixture
def send(make_message: MakeMessage, pump: Device, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(frames, "REFRESH_SECONDS", 0.0)

    def make(*payloads: str, device: str = "pump-7") -> None:
        for payload in payloads:
            message = make_message(payload, device=device)
            process_messages(messages=[message], now=message.received_at)

    return make


def fetch(client: Any, device: Device, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/api/v1/devices/{device.uuid}/frames{query}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_frames_are_kept_once_somebody_looks(send: Any, pump: Device, acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    client = api(acme_viewer, acme)
    send('{"temperature": 1}')
    assert fetch(client, pump) == {"is_collecting": True, "results": []}
    send('{"temperature": 2}', '{"temperature": {"value": 3, "quality": "bad", "unit": "K"}}')  # the first one tells the hand-off
    [frame] = fetch(client, pump)["results"]
    assert (frame["outcome"], frame["codec"], frame["protocol"], frame["problems"]) == ("stored", "json", "mqtt", [])
    assert base64.b64decode(frame["payload_base64"]) == b'{"temperature": {"value": 3, "quality": "bad", "unit": "K"}}'
    assert frame["values"] == [{"metric": "temperature", "value": 3, "unit": "K", "time": None, "quality": "bad"}]


def test_refused_frames_are_there_for_whoever_looks_later(send: Any, pump: Device, acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    send("{oops")
    [frame] = fetch(api(acme_viewer, acme), pump)["results"]
    assert (frame["outcome"], frame["codec"], frame["values"]) == ("rejected", "", [])
    assert frame["problems"][0]["reason"] == "malformed_json"
    assert base64.b64decode(frame["payload_base64"]) == b"{oops"


def test_a_frame_of_which_a_part_was_refused_says_so_once(
    send: Any, pump: Device, acme: Tenant, acme_viewer: User, api: MakeApi, make_message: MakeMessage
) -> None:
    client = api(acme_viewer, acme)
    fetch(client, pump)
    send('{"temperature": 1}', '{"temperature": 2, "": 3}')
    [frame] = fetch(client, pump)["results"]
    assert (frame["outcome"], len(frame["problems"]), len(frame["values"])) == ("partly", 1, 2)


def test_the_ring_is_bounded_and_newest_first(pump: Device, acme: Tenant, make_message: MakeMessage) -> None:
    messages = [make_message(f'{{"temperature": {n}}}') for n in range(FRAMES_KEPT + 10)]
    keep_frames(acme.schema_name, messages)
    kept = load_frames(schema=acme.schema_name, device="pump-7", limit=100)
    assert len(kept) == FRAMES_KEPT
    assert kept[0].payload == messages[-1].payload
    keep_frames(acme.schema_name, [make_message("x" * 10_000)])
    assert (len(load_frames(schema=acme.schema_name, device="pump-7", limit=1)[0].payload), FRAMES_KEPT) == (4096, 50)


def test_only_so_many_devices_are_looked_at_at_once(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_WATCHED_PER_TENANT", 2)
    assert [watch_frames(schema=acme.schema_name, device=f"d-{n}") for n in (1, 2, 3, 1)] == [True, True, False, True]
    assert watch_frames(schema="t_globex", device="d-3")
    keep_frames(acme.schema_name, [])
    assert list_watched(acme.schema_name) == {"d-1", "d-2"}
    assert list_watched("t_globex") == {"d-3"}


def test_without_redis_nothing_is_kept_and_nothing_breaks(
    send: Any, pump: Device, acme: Tenant, acme_viewer: User, api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(frames, "redis_client", lambda _: broken)
        send('{"temperature": 1}', "{oops")
        view = fetch(api(acme_viewer, acme), pump)
    assert (view["is_collecting"], [frame["outcome"] for frame in view["results"]]) == (False, ["rejected"])
    broken.close()


def test_another_tenants_device_of_the_same_name_shares_nothing(
    send: Any, pump: Device, globex: Tenant, globex_admin: User, api: MakeApi, make_device: MakeDevice
) -> None:
    with tenant_context(globex):
        other = make_device()
    watch_frames(schema="t_acme", device="pump-7")
    send('{"temperature": 1}', '{"temperature": 2}')
    assert len(load_frames(schema="t_acme", device="pump-7", limit=5)) == 1
    client = api(globex_admin, globex)
    assert fetch(client, other)["results"] == []
    assert client.get(f"/api/v1/devices/{pump.uuid}/frames").status_code == 404


@pytest.mark.parametrize("query", ["?limit=0", "?limit=51", "?limit=x"])
def test_a_limit_out_of_bounds_is_refused(query: str, pump: Device, acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    assert api(acme_viewer, acme).get(f"/api/v1/devices/{pump.uuid}/frames{query}").status_code == 400


def test_the_page_shows_hostile_bytes_as_text(send: Any, pump: Device, acme_viewer: User, browser: MakeBrowser) -> None:
    client, url = browser(acme_viewer), f"/t/acme/devices/{pump.uuid}/frames"
    assert "No frame yet" in client.get(url).content.decode()
    send('{"temperature": 1}', '{"temperature": 2}', "<script>alert(1)</script>\x00")
    page = client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x00" in page
    assert "Stored" in page
    assert "Rejected" in page


def test_what_is_no_telemetry_is_not_read_as_such(pump: Device, acme: Tenant, acme_viewer: User, browser: MakeBrowser) -> None:
    sources = ("t/acme/pump-7/commands/response", "acme.pump-7.state.reported", "POST /c/1 from 10.0.0.7", "t/acme/pump-7/telemetry")
    now = timezone.now()
    with tenant_context(acme):
        rows = [NewRejection(now, "mqtt", source, pump.pk, "invalid_response", "No such.", b'{"id": 21.5}') for source in sources]
        record_rejections(rejections=rows)
        shown = {frame.source: len(frame.samples) for frame in view_frames(device=pump, limit=10).frames}
    assert shown == dict.fromkeys(sources[:3], 0) | {sources[3]: 1}
    assert sources[0] in browser(acme_viewer).get(f"/t/acme/devices/{pump.uuid}/frames").content.decode()
