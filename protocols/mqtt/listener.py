"""Takes telemetry from an MQTT broker, by version 3.1.1 or 5; a PUBACK goes out only after the commit.

Three threads: paho's reads the socket into the buffer, the main thread stores and acknowledges, a third hands on what
is stored. The session is persistent: what is not acknowledged comes again, marked DUP (MQTT 3.1.1 §4.4).
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from msgspec.structs import replace
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from alerting.device_notices import AlertNotice
from devices.types import CommandRef, StateRef
from protocols.broker_address import BrokerAddress
from protocols.commands import CommandDispatcher, encode_alert, encode_command, encode_state
from protocols.deliveries import MAX_INFLIGHT, last_delivery_count, prune_deliveries
from protocols.listening import BUSY_BATCH_SECONDS, ListenerCore
from protocols.login_sync import LoginSync
from protocols.mqtt.acknowledging import PubackOrder
from protocols.mqtt.crowding import MAX_CONNECTIONS, CrowdWatch
from protocols.mqtt.link import BulkClient
from protocols.mqtt.packets import Publish
from protocols.mqtt.topics import CHANNELS, SUBSCRIPTIONS, alerts_topic, command_topic, parse_topic, state_topic
from protocols.sparkplug.nodes import EdgeNodes
from protocols.sparkplug.topics import DEATHS, SPARKPLUG_START, SPARKPLUG_SUBSCRIPTION, is_birth, parse_sparkplug_topic
from protocols.types import STATUS, BatchOutcome, Delivery, RawMessage

logger = logging.getLogger(__name__)

PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}
PROTOCOL = "mqtt"
SPARKPLUG = "sparkplug"
PUBACK_SECONDS = 5.0
MAX_RECONNECT_SECONDS = 30


class MqttListener:
    """One listener process: `run` returns after `request_stop`, with everything taken in stored and acknowledged."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        ready_file: Path | None = None,
        login_sync: LoginSync | None = None,
        shut_out: Callable[[str], bool] | None = None,
        version: str = "3.1.1",
        shared_group: str = "",
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._protocol = PROTOCOLS[version]
        share = f"$share/{shared_group}/" if shared_group else ""
        self._subscriptions = [share + topics for topics in (*SUBSCRIPTIONS, SPARKPLUG_SUBSCRIPTION)]
        self._login_sync = login_sync
        self._shut_out = shut_out
        self._crowd_watch = CrowdWatch(address, shut_out=self._end_crowd) if shut_out is not None else None
        self._core = ListenerCore(
            name=PROTOCOL,
            acknowledge=self._acknowledge,
            # A third of what the broker sends without acknowledgement: one part is stored while others arrive. Large, so that
            # a batch of many tenants has enough of each to be worth its transaction.
            batch_size=MAX_INFLIGHT // 3,
            busy_batch_seconds=BUSY_BATCH_SECONDS,
            ready_file=ready_file,
            on_beat=self._prune,
            find_error=lambda: (login_sync.last_error if login_sync else "") or self._dispatcher.last_error,
        )
        self._client = self._make_client()
        self._pubacks = PubackOrder(self._client.acknowledge)
        self._nodes = EdgeNodes(self._client.publish)
        self._dispatcher = CommandDispatcher(
            protocol=PROTOCOL,
            send=self._send_command,
            send_state=self._send_state,
            send_alert=self._send_alert,
            is_ready=self._client.is_connected,
        )
        self._delivery_count = 0
        self._stored_count = 0

    @property
    def last_error(self) -> str:
        """What went wrong last."""
        return self._core.last_error

    def request_stop(self) -> None:
        """Stop reading, store and acknowledge what was read, then end. Only sets flags: signal handlers call it."""
        self._core.request_stop()

    def run(self) -> None:
        """Listen until told to stop."""
        if not self._core.wait_for_database(self._continue_count):
            return
        if self._login_sync is not None:
            self._login_sync.start()
        self._core.run(connect=self._connect, disconnect=self._disconnect)

    # --- Database side, main thread

    def _continue_count(self) -> None:
        """Continue where the former process was."""
        self._nodes.load()
        self._delivery_count = last_delivery_count(consumer=self._client_id)

    def _connect(self) -> None:
        self._client.connect_keeping_session(self._address.host, self._address.port)
        self._client.loop_start()
        self._dispatcher.start()
        if self._crowd_watch is not None:
            self._crowd_watch.start()

    def _disconnect(self) -> None:
        if self._crowd_watch is not None:
            self._crowd_watch.stop()
        self._dispatcher.stop(timeout_seconds=2 * PUBACK_SECONDS)
        self._client.close()

    def _acknowledge(self, batch: Sequence[RawMessage], outcome: BatchOutcome) -> None:
        deliveries = [message.delivery for message in batch if message.delivery is not None]
        if deliveries:
            self._stored_count = deliveries[-1].count
            self._pubacks.acknowledge(deliveries)
        for index, message in enumerate(batch):
            if message.codec == SPARKPLUG and index not in outcome.refused and is_birth(message.source):
                self._core.offer(replace(message, payload=b"online", delivery=None, codec="", channel=STATUS))

    def _prune(self) -> None:
        self._nodes.save()
        prune_deliveries(consumer=self._client_id, count=self._stored_count)

    # --- The watch's thread

    def _end_crowd(self, username: str) -> None:
        if self._shut_out is not None and self._shut_out(username):
            self._core.report_error(f"{username} had more than {MAX_CONNECTIONS} connections: its login is refused for a minute or two")

    # --- Commands, the dispatcher's thread

    def _send_command(self, tenant: str, command: CommandRef) -> bool:
        return self._publish(command_topic(tenant, command.device_key), encode_command(command))

    def _send_state(self, tenant: str, state: StateRef) -> bool:
        return self._publish(state_topic(tenant, state.device_key), encode_state(state))

    def _send_alert(self, tenant: str, notice: AlertNotice) -> bool:
        return self._publish(alerts_topic(tenant, notice.device_key), encode_alert(notice))

    def _publish(self, topic: str, payload: bytes) -> bool:
        """Publish to a device; True once the broker has confirmed it."""
        published = self._client.publish(topic, payload, qos=1)
        published.wait_for_publish(PUBACK_SECONDS)
        return published.is_published()

    # --- Broker side, paho's thread

    def _make_client(self) -> BulkClient:
        client = BulkClient(
            client_id=self._client_id, protocol=self._protocol, on_publishes=self._on_publishes, on_failure=self._on_failure
        )
        client.username_pw_set(self._address.username, self._address.password)
        if self._address.uses_tls:
            client.tls_set()
        client.reconnect_delay_set(1, MAX_RECONNECT_SECONDS)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if reason.is_failure:
            self._core.report_error(f"the broker refused the connection: {reason}")
            return
        self._pubacks.begin_connection(count=self._delivery_count)
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            client.subscribe([(topics, SubscribeOptions(qos=1)) for topics in self._subscriptions])
        else:
            client.subscribe([(topics, 1) for topics in self._subscriptions])

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Properties | None) -> None:
        if any(reason.is_failure for reason in reasons):
            self._core.report_error(f"the broker refused a subscription to one of {', '.join(self._subscriptions)}")
            return
        logger.info("listening on %s at %s:%d", self._subscriptions[0], self._address.host, self._address.port)
        self._core.mark_connected()

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _props: Properties | None
    ) -> None:
        self._core.mark_connecting(f"disconnected from the broker: {reason}")

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._core.mark_connecting(f"no connection to the broker at {self._address.host}:{self._address.port}")

    def _on_failure(self, failure: Exception) -> None:
        """End the process, which reads nothing any more: its supervisor starts another."""
        logger.error("the thread that reads the broker's messages failed", exc_info=failure)
        self._core.report_error(f"stopped: {type(failure).__name__}: {failure}"[:500])
        self._core.request_stop()

    def _on_publishes(self, publishes: Sequence[Publish]) -> None:
        """Queue messages; waits while the buffer is full, which stops reading from the socket."""
        received_at = datetime.now(UTC)
        messages: list[RawMessage] = []
        for publish in publishes:
            address = parse_topic(publish.topic)
            if address is None and publish.topic.startswith(SPARKPLUG_START):
                messages += self._take_sparkplug(publish, received_at)
                continue
            # A retained message comes again with every subscription; it was taken in when it was published.
            if address is None or publish.is_retained or address.channel not in CHANNELS:
                self._ignore(publish)
                continue
            delivery = self._count_delivery(publish)
            messages.append(
                RawMessage(
                    address.tenant,
                    address.device,
                    publish.payload,
                    received_at,
                    PROTOCOL,
                    address.topic,
                    delivery,
                    channel=CHANNELS[address.channel],
                )
            )
        if messages:
            self._core.put_all(messages)

    def _ignore(self, publish: Publish) -> None:
        if publish.packet_id:
            self._pubacks.ignore(publish.packet_id, count=self._delivery_count)

    def _count_delivery(self, publish: Publish) -> Delivery | None:
        if not publish.packet_id:
            return None
        self._delivery_count += 1
        return Delivery(self._client_id, self._delivery_count, publish.packet_id, publish.is_repeated)

    def _take_sparkplug(self, publish: Publish, received_at: datetime) -> list[RawMessage]:
        """Return the message of an edge node with names in place of aliases; none where nothing in it is to be stored."""
        topic = publish.topic.decode(errors="replace")
        address = parse_sparkplug_topic(topic)
        is_death = address is not None and address.kind in DEATHS
        if (
            address is None
            or publish.is_retained
            or (is_death and not self._nodes.is_over(publish.payload, address, is_repeated=publish.is_repeated))
        ):
            self._ignore(publish)
            return []
        via = address.node if address.device else ""
        if is_death:
            delivery = self._count_delivery(publish)
            return [RawMessage(address.tenant, address.key, b"offline", received_at, PROTOCOL, topic, delivery, via=via, channel=STATUS)]
        payload = self._nodes.take(publish.payload, address, is_repeated=publish.is_repeated)
        delivery = self._count_delivery(publish)
        return [RawMessage(address.tenant, address.key, payload, received_at, PROTOCOL, topic, delivery, codec=SPARKPLUG, via=via)]
