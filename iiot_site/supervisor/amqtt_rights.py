"""Logins and rights for amqtt, the same that mosquitto would have.

What amqtt 0.12 leaves open is closed here: a client id belongs to its user, logins are checked before a session is
touched, last wills and retained messages obey the rights.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.errors import MQTTError
from amqtt.mqtt.connack import BAD_USERNAME_PASSWORD, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.plugins.manager import PluginManager
from amqtt.session import Session

from iiot_site.lib.broker_password import verify_broker_password
from iiot_site.supervisor.amqtt_delivery import KeepingHandler
from iiot_site.supervisor.broker_files import read_logins
from iiot_site.supervisor.broker_rights import may_publish, may_receive, may_subscribe

_LOG = logging.getLogger(__name__)


class Logins:
    """The password file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}

    def hash_of(self, username: str) -> str:
        """Return the hash of a login; "" for an unknown one."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            return ""
        if seen != self._seen:
            self._hashes, self._seen = read_logins(self._path), seen
        return self._hashes.get(username, "")


class LoginCheckingHandler(KeepingHandler):
    """Refuses a wrong login before the broker looks at sessions, and gives every user client ids of their own."""

    logins: Logins

    @classmethod
    async def init_from_connect(
        cls,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        plugins_manager: PluginManager[Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> tuple[BrokerProtocolHandler, Session]:
        handler, session = await super().init_from_connect(reader, writer, plugins_manager, loop)
        username = session.username or ""
        if not verify_broker_password(session.password or "", cls.logins.hash_of(username)):
            await ConnackPacket.build(0, BAD_USERNAME_PASSWORD).to_stream(writer)
            await writer.close()
            raise MQTTError(f"wrong login for {username!r}")
        session.client_id = f"{username} {session.client_id}"
        if session.will_flag and not may_publish(username, session.will_topic or ""):
            session.will_flag = False
            _LOG.warning("last will of %r dropped: its topic is not theirs", username)
        return handler, session


class Authenticated(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Says yes: nobody gets here without having passed LoginCheckingHandler."""

    async def authenticate(self, *, session: Session) -> bool:
        return bool(session.username)


class OwnTopics(BaseTopicPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Applies the rights to every subscription, publication and delivery; a removed login has none."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._checks = {Action.PUBLISH: may_publish, Action.RECEIVE: may_receive, Action.SUBSCRIBE: may_subscribe}

    async def topic_filtering(self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None) -> bool:
        if session is None or topic is None or action is None:
            return False
        username = session.username or ""
        return bool(LoginCheckingHandler.logins.hash_of(username)) and self._checks[action](username, topic)

    @dataclass
    class Config:
        """No options."""


class RestrictedBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """amqtt's broker, with shared subscriptions taken as plain ones and rights on retained messages."""

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        topic_filter, qos = subscription
        return int(await super().add_subscription((_without_share(topic_filter), qos), session))

    def _del_subscription(self, a_filter: str, session: Session) -> int:
        return int(super()._del_subscription(_without_share(a_filter), session))

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Session) -> None:
        topic_filter, qos = _without_share(subscription[0]), subscription[1]
        if not any(owner is session for owner, _ in self._subscriptions.get(topic_filter, [])):
            return
        handler = self._get_handler(session)
        for topic, message in list(self._retained_messages.items()):
            if handler and self._matches(topic, topic_filter) and may_receive(session.username or "", topic):
                await handler.mqtt_publish(topic, message.data, min(qos, message.qos or qos), retain=True)


def _without_share(topic_filter: str) -> str:
    if topic_filter.startswith("$share/") and topic_filter.count("/") > 1:
        return topic_filter.split("/", 2)[2]
    return topic_filter
