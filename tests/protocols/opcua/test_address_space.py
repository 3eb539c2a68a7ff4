"""A tenant's nodes while its plant changes: what has not changed stays where it stood."""

import asyncio
from typing import Any

import pytest
from asyncua.server.internal_server import InternalServer

from protocols.opcua.address_space import PlantAddressSpace
from protocols.opcua.tree import ROOT, DeviceRow, MetricRow, PlannedNode, SiteRow, plan_tree

NAMESPACE_INDEX = 2


class Plant:
    """An address space without a server around it."""

    def __init__(self) -> None:
        self._server = InternalServer()

    async def make(self) -> "Plant":
        await self._server.init()
        self.space = PlantAddressSpace(self._server, NAMESPACE_INDEX)
        await self.space.make_root()
        return self

    def follow(self, slug: str, *plans: dict[str, PlannedNode]) -> None:
        for plan in plans:
            asyncio.run(self.space.replace_plan(slug, plan))

    def find(self, node_id: str) -> Any:
        aspace = self._server.aspace
        return next((aspace[key] for key in aspace.keys() if key.Identifier == node_id), None)  # noqa: SIM118 - it is no dictionary

    def children(self, node_id: str) -> set[str]:
        references = self.find(node_id).references
        return {reference.NodeId.Identifier for reference in references if reference.IsForward and reference.NodeId.NamespaceIndex}


@pytest.fixture(scope="module")
def plant() -> Plant:
    return asyncio.run(Plant().make())


def plan(slug: str, *, hall: str = "Hall", pump: str = "Pump", metrics: tuple[str, ...] = ("flow", "flow/peak")) -> dict[str, PlannedNode]:
    device = DeviceRow("pump-1", pump, "5", [MetricRow(key, "", "", "number") for key in metrics])
    return plan_tree(slug, [SiteRow("5", "", hall)], [device])


def test_devices_stay_below_a_site_that_is_renamed(plant: Plant) -> None:
    plant.follow("a", plan("a"))
    metric = plant.find("a/pump-1/flow")

    plant.follow("a", plan("a", hall="Hall 2"))

    assert plant.children("a") == {"a/@5"}
    assert plant.children("a/@5") == {"a/pump-1"}
    assert plant.find("a/pump-1/flow") is metric, "its subscriptions are gone"


def test_metrics_stay_below_a_device_that_is_renamed(plant: Plant) -> None:
    plant.follow("b", plan("b"))
    metric = plant.find("b/pump-1/flow")

    plant.follow("b", plan("b", pump="Pump of the well"))

    assert plant.children("b/@5") == {"b/pump-1"}
    assert plant.children("b/pump-1") == {"b/pump-1/flow", "b/pump-1/flow/peak"}
    assert plant.find("b/pump-1/flow") is metric, "its subscriptions are gone"


def test_a_metric_that_is_gone_takes_nothing_with_it(plant: Plant) -> None:
    plant.follow("c", plan("c"), plan("c", metrics=("flow/peak",)))

    assert plant.children("c/pump-1") == {"c/pump-1/flow/peak"}
    assert plant.find("c/pump-1/flow") is None


def test_nothing_of_a_tenant_is_left_when_it_goes(plant: Plant) -> None:
    plant.follow("d", plan("d"))

    asyncio.run(plant.space.drop("d"))

    assert "d" not in plant.children(ROOT)
    assert plant.find("d/pump-1") is None
