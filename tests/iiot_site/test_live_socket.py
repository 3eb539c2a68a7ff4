"""The live socket: who gets in, which topics they may follow, and when they are shown out."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from iiot_site import live_consumer
from iiot_site.asgi import application
from iiot_site.lib import live
from iiot_site.lib.live import group_name, push_frames
from iiot_site.lib.turns import turns
from iiot_site.live_access import LiveCaller, may_subscribe
from iiot_site.live_places import places
from tenants.models import Membership, Tenant, User
from tenants.services import ensure_membership
from tenants.tokens import issue_tokens
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)

HOST = "localhost:8000"
Headers = list[tuple[bytes, bytes]]


def headers(*, cookie: str = "", token: str = "", origin: str | None = f"http://{HOST}", host: str = HOST, tenant: str = "") -> Headers:
    named = {
        "host": host,
        "origin": origin,
        "cookie": f"sessionid={cookie}" if cookie else None,
        "authorization": f"Bearer {token}" if token else None,
        "x-tenant": tenant or None,
    }
    return [(name.encode(), value.encode()) for name, value in named.items() if value is not None]


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def token_of(user: User, tenant: Tenant | None) -> str:
    return issue_tokens(user=user, tenant=tenant, now=timezone.now()).access


class Socket:
    """A WebSocket client in process. (`channels.testing` cannot be imported without daphne.)"""

    def __init__(self, path: str, with_headers: Headers) -> None:
        self.app: Any = ApplicationCommunicator(
            application, {"type": "websocket", "path": path, "query_string": b"", "headers": with_headers, "subprotocols": []}
        )

    async def connect(self) -> int | None:
        """Return None, or the code of the refusal."""
        await self.app.send_input({"type": "websocket.connect"})
        answer = await self.app.receive_output(timeout=WAIT_SECONDS)
        return None if answer["type"] == "websocket.accept" else int(answer["code"])

    async def disconnect(self) -> None:
        await self.app.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.app.wait(timeout=WAIT_SECONDS)

    async def say(self, **frame: Any) -> None:
        await self.app.send_input({"type": "websocket.receive", **frame})

    async def hear(self) -> Any:
        answer = await self.app.receive_output(timeout=WAIT_SECONDS)
        assert answer["type"] == "websocket.send", answer
        return json.loads(answer["text"])


async def knock(path: str, with_headers: Headers) -> int | None:
    """Try the handshake; return None where it was accepted, else the code it was closed with."""
    socket = Socket(path, with_headers)
    code = await socket.connect()
    await socket.disconnect()
    return code


@asynccontextmanager
async def opened(path: str, with_headers: Headers) -> AsyncIterator[Socket]:
    socket = Socket(path, with_headers)
    assert await socket.connect() is None
    try:
        yield socket
    finally:
        await socket.disconnect()


async def ask(socket: Socket, message: Any) -> Any:
    await socket.say(text=message if isinstance(message, str) else json.dumps(message))
    return await socket.hear()


async def closed_with(socket: Socket) -> int:
    message = await socket.app.receive_output(timeout=WAIT_SECONDS)
    assert message["type"] == "websocket.close"
    return int(message["code"])


@pytest.fixture
def device(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device()


async def test_members_get_in_by_session_and_by_token(acme: Tenant, acme_viewer: User) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    token = await sync_to_async(token_of)(acme_viewer, acme)
    assert await knock("/t/acme/ws/live", headers(cookie=session)) is None
    assert await knock("/ws/live", headers(token=token, origin=None)) is None
    assert await knock("/t/acme/ws/live", headers(token=token)) is None
    assert await knock("/ws/live", headers(cookie=session, tenant="acme")) is None


async def test_everybody_else_is_refused_alike(acme: Tenant, globex: Tenant, acme_viewer: User, globex_admin: User) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    foreign = await sync_to_async(session_of)(globex_admin)
    token = await sync_to_async(token_of)(acme_viewer, acme)
    tenantless = await sync_to_async(token_of)(acme_viewer, None)
    refused = 4404
    for path, given in [
        ("/t/acme/ws/live", headers()),
        ("/t/acme/ws/live", headers(cookie=foreign)),
        ("/t/unknown/ws/live", headers(cookie=foreign)),
        ("/t/globex/ws/live", headers(token=token)),
        ("/t/acme/ws/live", headers(token=token, tenant="globex")),
        ("/t/acme/ws/live", headers(token="nonsense", cookie=session)),
        ("/ws/live", headers(cookie=session)),
        ("/ws/live", headers(token=tenantless)),
        ("/t/acme/ws/other", headers(cookie=session)),
        ("/t/acme/ws/live", headers(cookie=session, host="elsewhere.example", origin="http://elsewhere.example")),
    ]:
        assert await knock(path, given) == refused, (path, given)


async def test_a_page_of_another_origin_is_refused(acme_viewer: User) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    foreign = ["http://evil.example", f"http://evil.{HOST}", "http://localhost", "null", "http://localhost:8001", f"file://{HOST}"]
    for origin in foreign:
        assert await knock("/t/acme/ws/live", headers(cookie=session, origin=origin)) == 4404, origin


async def test_frames_of_followed_topics_arrive_and_no_others(acme: Tenant, globex: Tenant, acme_viewer: User, device: Device) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    topic = f"device:{device.uuid}"
    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
        assert await ask(socket, {"type": "subscribe", "topics": [topic, "incidents"]}) == {
            "type": "subscribed",
            "topics": [topic, "incidents"],
        }
        push = sync_to_async(push_frames, thread_sensitive=False)
        await push(globex.schema_name, [(topic, {"type": "telemetry_update", "n": 0}), ("incidents", {"type": "incident", "n": 0})])
        await push(acme.schema_name, [("device:other", {"n": 0}), (topic, {"type": "telemetry_update", "n": 1})])
        assert await socket.hear() == {"type": "telemetry_update", "n": 1}
        assert await ask(socket, {"type": "unsubscribe", "topics": [topic, "never"]}) == {"type": "unsubscribed", "topics": [topic]}
        await push(acme.schema_name, [(topic, {"n": 2}), ("incidents", {"type": "incident", "n": 3})])
        assert await socket.hear() == {"type": "incident", "n": 3}


async def test_a_topic_needs_to_exist_here_and_to_be_readable(
    acme: Tenant, globex: Tenant, acme_viewer: User, globex_admin: User, device: Device
) -> None:
    await sync_to_async(ensure_membership)(user=globex_admin, tenant=acme, role_names=[])
    foreign = await sync_to_async(session_of)(globex_admin)
    topics = [f"device:{device.uuid}", "incidents", "overview", "device:", "device:zz", "nothing", f"device:{str(device.uuid).upper()}"]
    for path in ("/t/globex/ws/live", "/t/acme/ws/live"):  # there: not theirs; here: a member without any role
        async with opened(path, headers(cookie=foreign)) as socket:
            answer = await ask(socket, {"type": "subscribe", "topics": topics[:1]})
            assert (answer["type"], answer["code"], answer["topics"]) == ("error", "not_found", topics[:1])
    async with opened("/t/acme/ws/live", headers(cookie=await sync_to_async(session_of)(acme_viewer))) as socket:
        answer = await ask(socket, {"type": "subscribe", "topics": topics})
        assert (answer["code"], answer["topics"]) == ("not_found", topics[3:])
        assert (await socket.hear())["topics"] == topics[:3]


def test_the_overview_tells_of_devices_and_incidents_and_needs_the_right_to_both() -> None:
    for permissions, may_follow in (({"incident:read"}, False), ({"device:read"}, False), ({"incident:read", "device:read"}, True)):
        caller = LiveCaller(uuid.uuid4(), "t_acme", frozenset(permissions))
        assert may_subscribe(caller=caller, topic="overview") is may_follow


async def test_malformed_messages_are_answered_and_do_no_harm(acme_viewer: User) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
        for message in ("", "nonsense", "[1]", "[" * 50_000, '{"type": 7}', '{"type": ["a"]}', {"type": "publish"}):
            assert (await ask(socket, message))["code"] == "unknown_type"
        malformed: list[Any] = [None, "incidents", [1], [{}], ["x" * 65], ["\ud800"]]
        for topics in malformed:
            assert (await ask(socket, {"type": "subscribe", "topics": topics}))["code"] == "invalid"
        too_many = await ask(socket, {"type": "subscribe", "topics": [f"device:{n}" for n in range(51)]})
        assert too_many["code"] == "too_many_topics"
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


async def test_a_frame_too_large_or_binary_ends_the_socket(acme_viewer: User) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    for frame in ({"text": "x" * (64 * 1024 + 1)}, {"bytes": b"{}"}):
        async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
            await socket.say(**frame)
            assert await closed_with(socket) == 1009


async def test_a_flood_of_messages_ends_the_socket(acme_viewer: User) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
        for _ in range(live_consumer.MAX_MESSAGES_PER_MINUTE):
            assert await ask(socket, {"type": "ping"}) == {"type": "pong"}
        await socket.say(text='{"type": "ping"}')
        assert await closed_with(socket) == 1008


async def _log_out(user: User, acme: Tenant) -> None:
    user.set_password("another correct horse")
    await user.asave()


async def _disable(user: User, acme: Tenant) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)


async def _expel(user: User, acme: Tenant) -> None:
    await Membership.objects.filter(user=user, tenant=acme).aupdate(is_active=False)


async def _narrow(user: User, acme: Tenant) -> None:
    membership = await Membership.objects.aget(user=user, tenant=acme)
    await membership.roles.aclear()


@pytest.mark.parametrize("event", [_log_out, _disable, _expel, _narrow])
async def test_who_loses_the_right_is_shown_out_with_the_next_check(
    event: Callable[[User, Tenant], Awaitable[None]], acme: Tenant, acme_viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_consumer, "RECHECK_SECONDS", 0.2)
    session = await sync_to_async(session_of)(acme_viewer)
    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
        await ask(socket, {"type": "subscribe", "topics": ["incidents"]})
        await asyncio.sleep(0.5)
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}
        await event(acme_viewer, acme)
        assert await closed_with(socket) == 4401


async def test_a_client_that_does_not_read_is_dropped(acme: Tenant, acme_viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
        await ask(socket, {"type": "subscribe", "topics": ["incidents"]})

        async def stuck(self: object, **_: object) -> None:
            await asyncio.sleep(2 * WAIT_SECONDS)

        monkeypatch.setattr(live_consumer, "SEND_SECONDS", 0.05)
        monkeypatch.setattr(live_consumer.LiveConsumer, "send", stuck)
        await sync_to_async(push_frames, thread_sensitive=False)(acme.schema_name, [("incidents", {"type": "incident"})])
        assert await closed_with(socket) == 4408
        await socket.app.wait(timeout=WAIT_SECONDS)


def test_groups_of_two_tenants_never_share_a_name() -> None:
    assert group_name("t_acme", "incidents") != group_name("t_globex", "incidents")


async def test_an_unforeseen_error_of_the_check_ends_the_socket(acme_viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_consumer, "RECHECK_SECONDS", 0.1)
    session = await sync_to_async(session_of)(acme_viewer)
    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:

        async def fail(self: object) -> bool:
            raise LookupError

        monkeypatch.setattr(live_consumer.LiveConsumer, "_may_stay", fail)
        assert await closed_with(socket) == 4401


async def test_a_topic_left_during_the_check_is_no_lost_right(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = live_consumer.LiveConsumer()
    consumer.caller = LiveCaller(uuid.uuid4(), "t_acme", frozenset())
    consumer.topics = {"incidents", "overview"}

    async def authenticate() -> LiveCaller | None:
        return consumer.caller

    async def leave_one_and_answer(topics: list[str]) -> list[str]:
        consumer.topics.discard("overview")
        consumer.topics.add("device:later")
        consumer.topics.add("device:later still")
        return topics

    monkeypatch.setattr(consumer, "_authenticate", authenticate)
    monkeypatch.setattr(consumer, "_readable", leave_one_and_answer)
    assert await consumer._may_stay()


async def test_what_a_page_follows_is_known_while_it_is_open(acme: Tenant, globex: Tenant, acme_viewer: User, device: Device) -> None:
    session = await sync_to_async(session_of)(acme_viewer)
    topic = f"device:{device.uuid}"

    def watched(schema: str) -> Set[str] | None:
        live._load_watched.cache_clear()
        return live.list_watched_topics(schema, "device")

    async with opened("/t/acme/ws/live", headers(cookie=session)) as socket:
        await ask(socket, {"type": "subscribe", "topics": [topic, "incidents"]})
        assert await sync_to_async(watched)(acme.schema_name) == frozenset({topic})
        assert await sync_to_async(watched)(globex.schema_name) == frozenset()
    async with asyncio.timeout(WAIT_SECONDS):
        while await sync_to_async(watched)(acme.schema_name):
            await asyncio.sleep(0.02)


async def test_a_person_and_a_tenant_have_so_many_sockets_and_one_that_ends_makes_room(
    acme: Tenant, acme_viewer: User, acme_admin: User, settings: LazySettings
) -> None:
    settings.IIOT_LIVE_SOCKETS_PER_PERSON, settings.IIOT_LIVE_SOCKETS_PER_TENANT = 1, 2
    mine = headers(cookie=await sync_to_async(session_of)(acme_viewer))
    other = headers(cookie=await sync_to_async(session_of)(acme_admin))
    async with opened("/t/acme/ws/live", mine), opened("/t/acme/ws/live", mine) as refused:
        assert await closed_with(refused) == 4429
        assert await ask(refused, {"type": "subscribe", "topics": ["incidents"]}) == {
            "type": "error",
            "code": "not_found",
            "detail": "No such topic here, or your role may not read it.",
            "topics": ["incidents"],
        }
        settings.IIOT_LIVE_SOCKETS_PER_TENANT = 1
        async with opened("/t/acme/ws/live", other) as another:
            assert await closed_with(another) == 4429
    async with opened("/t/acme/ws/live", other) as socket:
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}
    assert places.count(LiveCaller(acme_viewer.pk, acme.schema_name, frozenset())) == (0, 0)


async def test_where_the_tenant_has_its_share_in_work_a_socket_is_to_try_later(
    acme_viewer: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iiot_site.lib.turns.WAIT_SECONDS", 0.01)
    settings.IIOT_DB_POOL_SIZE = 2
    mine = headers(cookie=await sync_to_async(session_of)(acme_viewer))
    async with opened("/t/acme/ws/live", mine) as socket:
        with turns.turn("acme"):
            assert await knock("/t/acme/ws/live", mine) == 1013
            await socket.say(text=json.dumps({"type": "subscribe", "topics": ["incidents"]}))
            assert await closed_with(socket) == 1013
    assert turns.count("acme") == (0, 0)


async def test_who_leaves_no_turn_for_the_check_of_rights_does_not_stay_for_ever(
    acme_viewer: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iiot_site.lib.turns.WAIT_SECONDS", 0.01)
    monkeypatch.setattr(live_consumer, "RECHECK_SECONDS", 0.05)
    settings.IIOT_DB_POOL_SIZE = 2
    mine = headers(cookie=await sync_to_async(session_of)(acme_viewer))
    async with opened("/t/acme/ws/live", mine) as socket:
        with turns.turn("acme"):
            assert await closed_with(socket) == 1013


async def test_frames_of_a_device_that_follow_each_other_closely_come_as_one(
    acme: Tenant, acme_viewer: User, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_consumer, "GATHER_SECONDS", 1.0)
    topic = f"device:{device.uuid}"

    def frame(*values: int) -> dict[str, Any]:
        return {"type": "telemetry_update", "device": str(device.uuid), "values": list(values)}

    push = sync_to_async(push_frames, thread_sensitive=False)
    async with opened("/t/acme/ws/live", headers(cookie=await sync_to_async(session_of)(acme_viewer))) as socket:
        await ask(socket, {"type": "subscribe", "topics": [topic]})
        await push(acme.schema_name, [(topic, frame(1)), (topic, frame(2, 3)), (topic, frame(4)), (topic, {"type": "command"})])
        assert await socket.hear() == frame(1)
        assert await socket.hear() == {"type": "command"}
        assert await socket.hear() == frame(2, 3, 4)
