"""What is asked of a server to watch: the subscription, and an item for each mapped node. Source: OPC 10000-4 §5.13 and §5.14.2."""

from collections.abc import Sequence

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from connections.opcua_types import OpcUaNodeSpec, OpcUaTarget
from protocols.opcua.client import PlantClient
from protocols.opcua.node_ids import UnknownNodeError, parse_node_id

KEEP_ALIVE_SECONDS = 5.0
LIFETIME_SECONDS = 300.0
NOTIFICATIONS_PER_PUBLISH = 2_000
ITEMS_PER_REQUEST = 500
QUEUE_SIZE = 100
_UNANSWERED = "The server gave no answer for the node."

Request = ua.MonitoredItemCreateRequest


def make_subscription(target: OpcUaTarget) -> ua.CreateSubscriptionParameters:
    """Return the subscription that is asked for; the server may grant less."""
    interval = target.publishing_seconds
    parameters = ua.CreateSubscriptionParameters()
    parameters.RequestedPublishingInterval = interval * 1000
    parameters.RequestedMaxKeepAliveCount = max(1, round(KEEP_ALIVE_SECONDS / interval))
    parameters.RequestedLifetimeCount = max(3 * parameters.RequestedMaxKeepAliveCount, round(LIFETIME_SECONDS / interval))
    parameters.MaxNotificationsPerPublish = NOTIFICATIONS_PER_PUBLISH
    parameters.PublishingEnabled = True
    parameters.Priority = 0
    return parameters


class MonitoredItems:
    """The nodes of one subscription: those that are watched, by client handle, and what is wrong with the others, by mapping.

    A node counts as watched while it is asked for: its first value may come before the answer.
    """

    def __init__(self, target: OpcUaTarget) -> None:
        self.nodes: dict[int, OpcUaNodeSpec] = {}
        self.problems: dict[int, str] = {}
        self._target = target

    async def create(self, client: PlantClient, subscription_id: int) -> None:
        """Ask the server to watch all nodes of the target."""
        namespaces = await client.get_namespace_array()
        requests = [request for node in self._target.nodes if (request := self._make_request(node, namespaces)) is not None]
        for start in range(0, len(requests), ITEMS_PER_REQUEST):
            await self._create_some(client, subscription_id, requests[start : start + ITEMS_PER_REQUEST])

    def _make_request(self, node: OpcUaNodeSpec, namespaces: Sequence[str]) -> Request | None:
        try:
            node_id = parse_node_id(node.node_id, namespaces)
        except UnknownNodeError as exc:
            self.problems[node.mapping_id] = str(exc)
            return None
        request = Request()
        request.ItemToMonitor.NodeId = node_id
        request.ItemToMonitor.AttributeId = AttributeIds.Value
        request.MonitoringMode = ua.MonitoringMode.Reporting
        sampling = self._target.sampling_seconds
        request.RequestedParameters = ua.MonitoringParameters(
            ClientHandle=ua.UInt32(node.mapping_id),
            SamplingInterval=-1.0 if sampling is None else sampling * 1000,
            QueueSize=ua.UInt32(QUEUE_SIZE),
            DiscardOldest=True,
            Filter=_make_filter(node),
        )
        self.nodes[node.mapping_id] = node
        return request

    async def _create_some(self, client: PlantClient, subscription_id: int, requests: list[Request]) -> None:
        again = []
        for request, status in await _ask(client, subscription_id, requests):
            if status is not None and request.RequestedParameters.Filter is not None and "Filter" in status.name:
                request.RequestedParameters.Filter = None  # the server knows no deadband: then every change
                again.append(request)
            else:
                self._judge(request, status)
        if again:
            for request, status in await _ask(client, subscription_id, again):
                self._judge(request, status)

    def _judge(self, request: Request, status: ua.StatusCode | None) -> None:
        if status is not None and status.is_good():
            return
        mapping_id = int(request.RequestedParameters.ClientHandle)
        self.nodes.pop(mapping_id, None)
        self.problems[mapping_id] = _UNANSWERED if status is None else f"The server refused the node: {status.name}."


async def _ask(client: PlantClient, subscription_id: int, requests: list[Request]) -> list[tuple[Request, ua.StatusCode | None]]:
    """Return what became of each request; None where the server answered for fewer."""
    parameters = ua.CreateMonitoredItemsParameters()
    parameters.SubscriptionId = ua.IntegerId(subscription_id)
    parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    parameters.ItemsToCreate = requests
    results = list(await client.uaclient.session.create_monitored_items(parameters))
    statuses = [result.StatusCode for result in results[: len(requests)]]
    return list(zip(requests, statuses + [None] * (len(requests) - len(statuses)), strict=True))


def _make_filter(node: OpcUaNodeSpec) -> ua.DataChangeFilter | None:
    if not node.deadband:
        return None
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=ua.UInt32(ua.DeadbandType.Absolute), DeadbandValue=node.deadband
    )
