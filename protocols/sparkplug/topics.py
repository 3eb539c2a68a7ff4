"""Topics of Sparkplug B: `spBv1.0/<group>/<message type>/<edge node>[/<device>]`. Pure. Source: Sparkplug 3.0.0 §4.1."""

from functools import lru_cache
from typing import NamedTuple

NAMESPACE = "spBv1.0"
SPARKPLUG_SUBSCRIPTION = f"{NAMESPACE}/#"
SPARKPLUG_START = NAMESPACE.encode() + b"/"
BIRTHS = frozenset({"NBIRTH", "DBIRTH"})
DATA = frozenset({"NDATA", "DDATA"})
DEATHS = frozenset({"NDEATH", "DDEATH"})
OF_NODES = frozenset({"NBIRTH", "NDATA", "NDEATH"})


class SparkplugAddress(NamedTuple):
    """Who sent what. `device` is "" for the edge node itself. The group is the tenant, or `<tenant>:<group>`."""

    group: str
    kind: str
    node: str
    device: str

    @property
    def tenant(self) -> str:
        return self.group.partition(":")[0]

    @property
    def key(self) -> str:
        """The device's key in the platform: a device behind an edge node is `<edge node>_<device>`."""
        return f"{self.node}_{self.device}" if self.device else self.node

    @property
    def rebirth_topic(self) -> str:
        return f"{NAMESPACE}/{self.group}/NCMD/{self.node}"


@lru_cache(maxsize=100_000)
def parse_sparkplug_topic(topic: str) -> SparkplugAddress | None:
    """Return what a topic says; None where it is no message of an edge node."""
    match topic.split("/"):
        case [prefix, group, kind, node] if prefix == NAMESPACE and kind in OF_NODES and group and node:
            return SparkplugAddress(group, kind, node, "")
        case [prefix, group, ("DBIRTH" | "DDATA" | "DDEATH") as kind, node, device] if prefix == NAMESPACE and group and node and device:
            return SparkplugAddress(group, kind, node, device)
    return None


def is_birth(topic: str) -> bool:
    """Return whether it is that of a birth certificate."""
    address = parse_sparkplug_topic(topic)
    return address is not None and address.kind in BIRTHS
