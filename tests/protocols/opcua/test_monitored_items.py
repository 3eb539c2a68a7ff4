"""What becomes of the nodes that a server is asked to watch."""

import asyncio
from types import SimpleNamespace
from typing import Any

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from connections.opcua_types import OpcUaNodeSpec, OpcUaTarget
from protocols.opcua.monitored_items import MonitoredItems


class _Server:
    """Answers each call with the next list of status codes."""

    def __init__(self, *answers: list[int]) -> None:
        self.answers = list(answers)
        self.asked: list[list[bool]] = []  # whether each item came with a deadband
        self.uaclient = SimpleNamespace(session=self)

    async def get_namespace_array(self) -> list[str]:
        return ["http://opcfoundation.org/UA/", "urn:plant", "urn:line"]

    async def create_monitored_items(self, parameters: ua.CreateMonitoredItemsParameters) -> list[Any]:
        self.asked.append([item.RequestedParameters.Filter is not None for item in parameters.ItemsToCreate])
        return [SimpleNamespace(StatusCode=ua.StatusCode(ua.UInt32(code))) for code in self.answers.pop(0)]


def watch(server: _Server, *, deadband: float | None = None) -> MonitoredItems:
    nodes = tuple(OpcUaNodeSpec(number, f"ns=2;s=Node{number}", "pump-7", f"m{number}", deadband=deadband) for number in (1, 2, 3))
    items = MonitoredItems(OpcUaTarget(1, "Line 1", "opc.tcp://127.0.0.1:4841", nodes=nodes))
    asyncio.run(items.create(server, 7))  # type: ignore[arg-type]  # a fake at the network's edge: no server answers for fewer
    return items


def test_a_server_that_answers_for_fewer_nodes_leaves_the_rest_unwatched_and_people_know() -> None:
    items = watch(_Server([StatusCodes.Good]))
    assert list(items.nodes) == [1]
    assert items.problems == dict.fromkeys((2, 3), "The server gave no answer for the node.")


def test_a_node_that_is_refused_says_why_and_the_others_are_watched() -> None:
    items = watch(_Server([StatusCodes.Good, StatusCodes.BadNodeIdUnknown, StatusCodes.Good]))
    assert list(items.nodes) == [1, 3]
    assert items.problems == {2: "The server refused the node: BadNodeIdUnknown."}


def test_a_server_without_deadbands_is_asked_again_for_every_change() -> None:
    server = _Server([StatusCodes.BadMonitoredItemFilterUnsupported] * 3, [StatusCodes.Good] * 2)
    items = watch(server, deadband=0.5)
    assert server.asked == [[True] * 3, [False] * 3]
    assert (list(items.nodes), list(items.problems)) == ([1, 2], [3])
