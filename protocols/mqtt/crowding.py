"""Counts the connections of each login at the platform's own mosquitto, which has no bound for them, and ends those of a crowd.

mosquitto tells on `$SYS/broker/log/N` who came and who went. A login with far more connections than a device has is taken from
the broker for a minute, which ends them all: else one device could take every place. It ends nobody else's, and a device of
another login that comes meanwhile finds room. What was there before this process looked is not known to it.
Source: mosquitto 2.0, src/handle_connect.c and src/loop.c, the texts of `connection_messages`.
"""

import re
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from iiot_site.lib.broker_logins import PLATFORM_USER
from protocols.broker_address import BrokerAddress

LOG_TOPIC = "$SYS/broker/log/N"
MAX_CONNECTIONS = 200
SHUT_OUT_SECONDS = 60.0
# The name stands at the end, behind whatever a client calls itself; a client's own name stands before the last of these words.
_CAME = re.compile(r"\S+: New client connected from \S+ as (.*) \(p\d+, c\d+, k\d+, u'([^']*)'\)\.\Z", re.DOTALL)
_WENT = re.compile(
    r"\S+: Client (.*?)(?: disconnected[^.]*\.| closed its connection\.| has exceeded timeout, disconnecting\.)\Z", re.DOTALL
)


class Crowd:
    """Who is connected, by what the log says. Pure."""

    def __init__(self) -> None:
        self._login_of: dict[str, str] = {}  # by client id: of one id there is one connection
        self._count: dict[str, int] = {}

    def note(self, line: str) -> str:
        """Take up a line of the log; return the login that has too many connections with it, "" otherwise."""
        if came := _CAME.match(line):
            client, login = came.groups()
            self._leave(client)
            self._login_of[client] = login
            self._count[login] = self._count.get(login, 0) + 1
            return login if login != PLATFORM_USER and self._count[login] > MAX_CONNECTIONS else ""
        if went := _WENT.match(line):
            self._leave(went[1])
        return ""

    def _leave(self, client: str) -> None:
        login = self._login_of.pop(client, None)
        if login is not None:
            self._count[login] -= 1
            if not self._count[login]:
                del self._count[login]


class CrowdWatch:
    """Reads the broker's log in a thread of its own; `shut_out` is called with a login that has too many connections."""

    def __init__(self, address: BrokerAddress, *, shut_out: Callable[[str], None]) -> None:
        self._address = address
        self._shut_out = shut_out
        self._crowd = Crowd()
        self.is_looking = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(address.username, address.password)
        self._client.on_connect = self._begin
        self._client.on_message = self._take
        self._client.on_subscribe = self._note_subscribed

    def start(self) -> None:
        """Look from now on."""
        self._client.connect_async(self._address.host, self._address.port)
        self._client.loop_start()

    def stop(self) -> None:
        """End the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _begin(self, client: paho.Client, *_: Any) -> None:
        self._crowd = Crowd()  # who went meanwhile is not known
        client.subscribe(LOG_TOPIC)

    def _note_subscribed(self, *_: Any) -> None:
        self.is_looking = True

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if login := self._crowd.note(message.payload.decode(errors="replace")):
            self._shut_out(login)
