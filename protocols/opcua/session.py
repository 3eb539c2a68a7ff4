"""One server, kept read: connect, subscribe, hand on, notice silence, come back.

Source: OPC 10000-4 §5.14 (subscriptions).

A notification is acknowledged to the server with the next Publish, so after its values are committed. A session that is
lost is made anew: the server then tells every node's present value, which is stored once by its source time.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from connections.opcua_types import OpcUaNodeSpec, OpcUaTarget
from iiot_site.lib.errors import IIoTError
from protocols.opcua.client import PlantClient, explain, open_session
from protocols.opcua.errors import CertificateNotTrustedError, LostError, OpcUaError
from protocols.opcua.identity import Identity
from protocols.opcua.monitored_items import KEEP_ALIVE_SECONDS, MonitoredItems, make_subscription
from protocols.opcua.node_ids import parse_node_id
from protocols.opcua.node_values import make_variant
from protocols.opcua.values import LastValue, NodeValue, Scaling, encode_values, has_overflowed, read_data_value, remember
from protocols.types import RawMessage
from telemetry.qualities import BAD

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 10.0
SILENT_KEEP_ALIVES = 3
OVERFLOWED = "Values came faster than they were fetched and the server dropped some. Shorten the publishing interval."
_TICK_SECONDS = 0.5
_MAX_SEQUENCE = 2**32 - 1

Deliver = Callable[[Sequence[RawMessage]], Awaitable[None]]


@dataclass(slots=True)
class SessionState:
    """What the page shows of a server. Changed by the session's loop, read from elsewhere."""

    state: str = "connecting"
    error: str = ""
    item_count: int = 0
    problems: dict[int, str] = field(default_factory=dict)  # by mapping
    offered_certificate: bytes = b""
    heard_at: datetime | None = None

    def fail(self, error: str) -> None:
        """Say why nothing is read."""
        self.state, self.error, self.item_count = "failing", error[:500], 0


class ServerSession:
    """Runs until ended. `deliver` returns once the messages are committed."""

    def __init__(
        self,
        target: OpcUaTarget,
        *,
        tenant: str,
        identity: Identity,
        networks: Sequence[str],
        deliver: Deliver,
        max_bytes: int,
        last_values: Mapping[int, LastValue] | None = None,
    ) -> None:
        self.target = target
        self._tenant = tenant
        self._label = f"{tenant}/{target.name}"
        self.state = SessionState()
        self._identity = identity
        self._networks = networks
        self._deliver = deliver
        self._max_bytes = max_bytes
        self._last = dict(last_values or {})
        self._items = MonitoredItems(target)
        self._qualities: dict[int, int] = {}
        self._lost: asyncio.Event = asyncio.Event()
        self._lost_why = ""
        self._heard = 0.0
        self._is_delivering = False
        self._is_ended = False
        self._sequence: int | None = None
        self._client: PlantClient | None = None

    def list_live_devices(self) -> set[str]:
        """Return the devices that the server vouches for: a value that does not change is not told again, and is known all the same."""
        if self.state.state != "connected":
            return set()
        return {node.device for handle, node in list(self._items.nodes.items()) if self._qualities.get(handle, BAD) != BAD}

    async def run(self) -> None:
        """Keep the server read until ended."""
        delay = FIRST_RETRY_SECONDS
        while not self._is_ended:
            began = time.monotonic()
            try:
                await self._read_server()
            except CertificateNotTrustedError as exc:
                self.state.offered_certificate = exc.certificate
                self.state.fail(exc.detail)
            except IIoTError as exc:
                self.state.fail(exc.detail)
            except Exception as exc:  # the listener's loop: whatever a server does, the others are read on
                logger.warning("the session with %s failed", self._label, exc_info=True)
                self.state.fail(explain(exc, self.target.endpoint_url).detail)
            if time.monotonic() - began > LAST_RETRY_SECONDS:
                delay = FIRST_RETRY_SECONDS
            logger.info("%s: %s; next try in %.0f s", self._label, self.state.error, delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RETRY_SECONDS)

    def end(self) -> None:
        """Make `run` end. Cancel its task too: that ends its waiting, but alone it can get lost (asyncio.wait_for before Python 3.12)."""
        self._is_ended = True

    async def _read_server(self) -> None:
        if self.target.fault:
            raise OpcUaError(self.target.fault)
        self._lost.clear()
        self._sequence = None
        async with open_session(self.target, identity=self._identity, networks=self._networks) as client:
            client.connection_lost_callback = self._on_connection_lost
            silence_seconds = await self._subscribe(client)
            self.state.state, self.state.error, self.state.offered_certificate = "connected", "", b""
            self._client = client
            try:
                await self._watch(silence_seconds)
            finally:
                self._client = None
        raise LostError(self._lost_why)

    async def write_node(self, node_id: str, value: bool | float | str, scaling: Scaling) -> None:
        """Write a value to a node, in the node's type, without time and status: many controllers take none.

        Raises:
            LostError: there is no session now.
            UnknownNodeError, UnfitValueError: there is no such node, or it does not take the value.
            UaStatusCodeError: the server refuses.
        """
        if self._client is None:
            raise LostError("The server is not connected.")
        node = self._client.get_node(parse_node_id(node_id, await self._client.get_namespace_array()))
        variant = make_variant(value, await node.read_data_type_as_variant_type(), scaling)
        await node.write_attribute(AttributeIds.Value, ua.DataValue(variant, StatusCode=None))

    async def _on_connection_lost(self, exc: Exception) -> None:
        self._lose(f"The connection was lost: {exc or type(exc).__name__}.")

    def _lose(self, why: str) -> None:
        self._lost_why = why
        self._lost.set()

    async def _watch(self, silence_seconds: float) -> None:
        """Return when the session is lost or was silent for too long while we listened."""
        self._heard = time.monotonic()
        while not self._lost.is_set() and not self._is_ended:
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._lost.wait()
            except TimeoutError:
                if self._is_delivering:
                    self._heard = time.monotonic()
                elif time.monotonic() - self._heard > silence_seconds:
                    self._lose(f"The server was silent for {silence_seconds:.0f} s; connecting again.")

    async def _subscribe(self, client: PlantClient) -> float:
        """Create the subscription with all its items; return after how many seconds of silence it counts as dead."""
        self._items = MonitoredItems(self.target)
        self._qualities = {}
        self.state.problems = self._items.problems
        created = await client.uaclient.session.create_subscription(make_subscription(self.target), self._on_publish)
        await self._items.create(client, created.SubscriptionId)
        self.state.item_count = len(self._items.nodes)
        keep_alive = max(created.RevisedPublishingInterval / 1000, 0.05) * max(created.RevisedMaxKeepAliveCount, 1)
        return float(keep_alive * SILENT_KEEP_ALIVES + KEEP_ALIVE_SECONDS)

    # --- What comes

    async def _on_publish(self, result: ua.PublishResult) -> None:
        """Take one answer to Publish; asyncua asks for the next, and acknowledges this one, after it returns."""
        self._heard = time.monotonic()
        self.state.heard_at = received_at = datetime.now(UTC)
        message = result.NotificationMessage
        self._check_sequence(int(message.SequenceNumber), is_keep_alive=not message.NotificationData)
        if not message.NotificationData:
            return
        values: dict[str, list[NodeValue]] = defaultdict(list)
        for notification in message.NotificationData:
            if isinstance(notification, ua.DataChangeNotification):
                self._read_items(notification, values, received_at)
            elif isinstance(notification, ua.StatusChangeNotification):
                self._lose(f"The server ended the subscription: {notification.Status.name}.")
        messages = [message for device, found in values.items() for message in self._make_messages(device, found, received_at)]
        if messages:
            self._is_delivering = True
            try:
                await self._deliver(messages)
            finally:
                self._is_delivering = False

    def _read_items(self, notification: ua.DataChangeNotification, values: dict[str, list[NodeValue]], received_at: datetime) -> None:
        for item in notification.MonitoredItems or []:
            node = self._items.nodes.get(int(item.ClientHandle))
            if node is None:
                continue
            last = self._last.get(node.mapping_id, LastValue(None, None))
            value = read_item(item.Value, node, last, received_at)
            self._last[node.mapping_id] = remember(value, last)
            self._qualities[node.mapping_id] = value.quality
            values[node.device].append(value)
            if has_overflowed(item.Value.StatusCode):
                self.state.problems[node.mapping_id] = OVERFLOWED

    def _make_messages(self, device: str, values: Sequence[NodeValue], received_at: datetime) -> list[RawMessage]:
        return [
            RawMessage(self._tenant, device, payload, received_at, "opcua", self._source, codec="json")
            for payload in encode_values(values, max_bytes=self._max_bytes)
        ]

    @property
    def _source(self) -> str:
        return f"{self.target.name} {self.target.endpoint_url}"[:300]

    def _check_sequence(self, sequence: int, *, is_keep_alive: bool) -> None:
        """Say it where a notification is missing: the library drops one that it cannot read.

        A keep-alive carries the number that the next notification will have (OPC 10000-4 §5.14.1.2).
        """
        if sequence == 0:  # node-opcua numbers no notification that ends the subscription
            return
        expected = None if self._sequence is None else (self._sequence % _MAX_SEQUENCE) + 1
        if expected is not None and sequence != expected:
            self.state.error = f"Notifications {expected} to {sequence - 1} could not be read or never came."
            logger.warning("%s: %s", self._label, self.state.error)
        self._sequence = sequence - 1 if is_keep_alive else sequence


def read_item(data: ua.DataValue, node: OpcUaNodeSpec, last: LastValue, received_at: datetime) -> NodeValue:
    """Read a value. One that we fail on goes to the gate as what it is not, and so into the ledger: the others came with it."""
    try:
        return read_data_value(data, metric=node.metric, scaling=Scaling(node.scale, node.offset), last=last, received_at=received_at)
    except Exception as exc:  # the listener's loop: asyncua would acknowledge the notification and drop all of it
        logger.exception("a value of the node %s could not be read", node.node_id)
        return NodeValue(node.metric, [f"unreadable: {type(exc).__name__}"], received_at, BAD)
