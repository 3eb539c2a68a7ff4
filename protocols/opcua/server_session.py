"""A client's session on our server: it sees the standard's nodes and its own tenant's, and of others not even that they exist.

asyncua checks rights by kind of request only, lets any session use any subscription, and numbers its session tokens. So
each service that names a node or a subscription is checked here; what nobody needs is refused.
Source: OPC 10000-4 §5 (services), §7.39 (status codes).
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_session import InternalSession
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from protocols.opcua.command_nodes import CommandInput, read_payload
from protocols.opcua.plant_reading import TenantUser
from protocols.opcua.tree import is_of_tenant

MAX_OPERATIONS = 10_000
MAX_COMMANDS_PER_WRITE = 100
MAX_SUBSCRIPTIONS = 20  # of a session
MAX_MONITORED_ITEMS = 10_000  # of a tenant
SHORTEST_PUBLISHING_MS = 100.0
_TOKEN_BYTES = 32


class TenantSession(InternalSession):
    """What clients get instead of asyncua's session. `iserver` is a `TenantInternalServer`."""

    iserver: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iserver.unregister_external_session(self)
        self.auth_token = ua.NodeId(ua.ByteString(secrets.token_bytes(_TOKEN_BYTES)), ua.Int16(0))

    # --- Coming and going

    def activate_session(self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None) -> ua.ActivateSessionResult:
        if peer_certificate is None:  # without security a session is for discovery only, which needs no activation
            raise ServiceError(StatusCodes.BadSecurityPolicyRejected)
        before = self.user if isinstance(self.user, TenantUser) else None
        result = super().activate_session(params, peer_certificate)
        if not isinstance(self.user, TenantUser) or (before is not None and self.user.slug != before.slug):
            self.user = before  # type: ignore[assignment]  # who it was stays; None only before the first login
            raise ServiceError(StatusCodes.BadUserAccessDenied)
        self.iserver.tenant_sessions.add(self)
        return result

    async def close_session(self, delete_subs: bool = True) -> None:
        self.iserver.tenant_sessions.discard(self)
        await super().close_session(delete_subs=True)

    # --- Who sees what

    def _is_visible(self, node_id: ua.NodeId) -> bool:
        if node_id.NamespaceIndex == 0:
            return True
        if node_id.NamespaceIndex != self.iserver.plant_index or not isinstance(self.user, TenantUser):
            return False
        return isinstance(node_id.Identifier, str) and is_of_tenant(node_id.Identifier, self.user.slug)

    async def _look(self, items: Iterable[Any]) -> list[Any]:
        """Return what was asked for as a list, once the tenant's nodes stand; too much at once is refused."""
        wanted = list(items or ())
        if len(wanted) > MAX_OPERATIONS:
            raise ServiceError(StatusCodes.BadTooManyOperations)
        await self.iserver.prepare(self.user)
        return wanted

    # --- Services that name nodes

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        wanted = await self._look(params.NodesToRead)
        seen = [item for item in wanted if self._is_visible(item.NodeId)]
        params.NodesToRead = seen
        results = iter(await super().read(params))
        return [next(results) if self._is_visible(item.NodeId) else _unknown_value() for item in wanted]

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        """Queue the commands that are written; nothing else can be."""
        wanted = await self._look(params.NodesToWrite)
        commands = [self._find_command(item) for item in wanted]
        if len(commands) - commands.count(None) > MAX_COMMANDS_PER_WRITE:
            raise ServiceError(StatusCodes.BadTooManyOperations)
        return [_status(await self._write_one(item, command)) for item, command in zip(wanted, commands, strict=True)]

    def _find_command(self, item: ua.WriteValue) -> CommandInput | None:
        if not self._is_visible(item.NodeId) or item.NodeId.NamespaceIndex == 0 or item.AttributeId != AttributeIds.Value:
            return None
        found: CommandInput | None = self.iserver.find_command(self.user, item.NodeId.Identifier)
        return found

    async def _write_one(self, item: ua.WriteValue, command: CommandInput | None) -> int:
        if command is None:
            return int(StatusCodes.BadNotWritable if self._is_visible(item.NodeId) else StatusCodes.BadNodeIdUnknown)
        try:
            payload = read_payload(command, item.Value.Value)
        except ServiceError as exc:
            return int(exc.code)
        return int(await self.iserver.queue_command(self.user, command, payload))

    async def browse(self, params: ua.BrowseParameters) -> list[ua.BrowseResult]:
        wanted = await self._look(params.NodesToBrowse)
        params.NodesToBrowse = [item for item in wanted if self._is_visible(item.NodeId)]
        found = iter(await super().browse(params))
        results = []
        for item in wanted:
            result = next(found) if self._is_visible(item.NodeId) else ua.BrowseResult(_status(StatusCodes.BadNodeIdUnknown))
            result.References = [reference for reference in result.References or [] if self._is_visible(reference.NodeId)]
            results.append(result)
        return results

    async def browse_next(self, parameters: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        """Answer that there is nothing to continue: every browse was answered whole."""
        return [ua.BrowseResult(_status(StatusCodes.BadContinuationPointInvalid)) for _ in parameters.ContinuationPoints or []]

    async def translate_browsepaths_to_nodeids(self, params: list[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
        wanted = await self._look(params)
        results = []
        for path in wanted:
            if not self._is_visible(path.StartingNode):
                results.append(ua.BrowsePathResult(_status(StatusCodes.BadNodeIdUnknown)))
                continue
            [result] = await super().translate_browsepaths_to_nodeids([path])
            targets = [target for target in result.Targets or [] if self._is_visible(target.TargetId)]
            results.append(result if targets else ua.BrowsePathResult(_status(StatusCodes.BadNoMatch)))
            result.Targets = targets
        return results

    async def register_nodes(self, nodes: list[ua.NodeId]) -> list[ua.NodeId]:
        return nodes

    async def create_monitored_items(self, params: ua.CreateMonitoredItemsParameters) -> list[ua.MonitoredItemCreateResult]:
        self._check_subscription(params.SubscriptionId)
        wanted = await self._look(params.ItemsToCreate)
        room = MAX_MONITORED_ITEMS - self._count_monitored_items()
        results = []
        for item in wanted:
            if not self._is_visible(item.ItemToMonitor.NodeId):
                results.append(ua.MonitoredItemCreateResult(_status(StatusCodes.BadNodeIdUnknown)))
                continue
            if room <= 0:
                results.append(ua.MonitoredItemCreateResult(_status(StatusCodes.BadTooManyMonitoredItems)))
                continue
            room -= 1
            params.ItemsToCreate = [item]
            results += await super().create_monitored_items(params)
            await asyncio.sleep(0)  # others get their turn in between
        return results

    def _count_monitored_items(self) -> int:
        """Count those of all sessions of the tenant: it shares the server with others."""
        if not isinstance(self.user, TenantUser):
            return MAX_MONITORED_ITEMS
        slug = self.user.slug
        sessions = {session.session_id for session in self.iserver.tenant_sessions if getattr(session.user, "slug", None) == slug}
        subscriptions = self.subscription_service.subscriptions.values()
        return sum(len(sub.monitored_item_srv._monitored_items) for sub in subscriptions if sub.session_id in sessions)  # noqa: SLF001  # asyncua counts them nowhere else

    # --- Services that name subscriptions

    def _owns(self, subscription_id: int) -> bool:
        subscription = self.subscription_service.subscriptions.get(subscription_id)
        return subscription is not None and subscription.session_id == self.session_id

    def _check_subscription(self, subscription_id: int) -> None:
        if not self._owns(subscription_id):
            raise ServiceError(StatusCodes.BadSubscriptionIdInvalid)

    async def create_subscription(
        self, params: ua.CreateSubscriptionParameters, callback: Callable[..., Any], request_callback: Callable[..., Any] | None = None
    ) -> ua.CreateSubscriptionResult:
        own = [sub for sub in self.subscription_service.subscriptions.values() if sub.session_id == self.session_id]
        if len(own) >= MAX_SUBSCRIPTIONS:
            raise ServiceError(StatusCodes.BadTooManySubscriptions)
        params.RequestedPublishingInterval = max(float(params.RequestedPublishingInterval), SHORTEST_PUBLISHING_MS)
        return await super().create_subscription(params, callback, request_callback)

    def modify_subscription(self, params: ua.ModifySubscriptionParameters) -> ua.ModifySubscriptionResult:
        self._check_subscription(params.SubscriptionId)
        return super().modify_subscription(params)

    async def modify_monitored_items(self, params: ua.ModifyMonitoredItemsParameters) -> list[ua.MonitoredItemModifyResult]:
        self._check_subscription(params.SubscriptionId)
        return await super().modify_monitored_items(params)

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> list[ua.StatusCode]:
        self._check_subscription(params.SubscriptionId)
        return await super().delete_monitored_items(params)

    async def set_monitoring_mode(self, params: ua.SetMonitoringModeParameters) -> list[ua.StatusCode]:
        self._check_subscription(params.SubscriptionId)
        return await super().set_monitoring_mode(params)

    async def set_publishing_mode(self, params: ua.SetPublishingModeParameters) -> list[ua.StatusCode]:
        for subscription_id in params.SubscriptionIds or []:
            self._check_subscription(subscription_id)
        return await super().set_publishing_mode(params)

    async def delete_subscriptions(self, ids: list[int]) -> list[ua.StatusCode]:
        results = []
        for subscription_id in ids or []:
            own = self._owns(subscription_id)
            results += await super().delete_subscriptions([subscription_id]) if own else [_status(StatusCodes.BadSubscriptionIdInvalid)]
        return results

    def republish(self, params: ua.RepublishParameters) -> ua.NotificationMessage:
        self._check_subscription(params.SubscriptionId)
        return super().republish(params)

    def publish(self, acks: Iterable[ua.SubscriptionAcknowledgement] | None = None) -> tuple[int, list[ua.StatusCode]]:
        return super().publish([ack for ack in acks or [] if self._owns(ack.SubscriptionId)])

    async def transfer_subscriptions(  # type: ignore[override]  # asyncua's own session differs from its base likewise
        self, params: ua.TransferSubscriptionsParameters, callback: Callable[..., Any]
    ) -> list[ua.TransferResult]:
        """Refuse: a client that comes back subscribes anew."""
        return [ua.TransferResult(_status(StatusCodes.BadSubscriptionIdInvalid)) for _ in params.SubscriptionIds or []]

    # --- What nobody needs

    async def history_read(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        raise ServiceError(StatusCodes.BadHistoryOperationUnsupported)

    async def history_update(self, params: ua.HistoryUpdateParameters) -> list[ua.HistoryUpdateResult]:
        raise ServiceError(StatusCodes.BadHistoryOperationUnsupported)

    async def add_nodes(self, params: list[ua.AddNodesItem]) -> list[ua.AddNodesResult]:
        raise ServiceError(StatusCodes.BadServiceUnsupported)

    async def delete_nodes(self, params: ua.DeleteNodesParameters) -> list[ua.StatusCode]:
        raise ServiceError(StatusCodes.BadServiceUnsupported)

    async def add_references(self, params: list[ua.AddReferencesItem]) -> list[ua.StatusCode]:
        raise ServiceError(StatusCodes.BadServiceUnsupported)

    async def delete_references(self, params: list[ua.DeleteReferencesItem]) -> list[ua.StatusCode]:
        raise ServiceError(StatusCodes.BadServiceUnsupported)

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        return [ua.CallMethodResult(_status(StatusCodes.BadMethodInvalid)) for _ in params or []]


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))


def _unknown_value() -> ua.DataValue:
    return ua.DataValue(StatusCode=_status(StatusCodes.BadNodeIdUnknown))
