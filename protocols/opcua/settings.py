"""What the listener reads of a tenant: its servers with their nodes, and the last values of nodes whose session is to begin."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import connection

from connections.opcua_selectors import load_opcua_targets
from connections.opcua_types import OpcUaTarget
from protocols.opcua.values import LastValue

_LAST_VALUES_SQL = """
SELECT n.id, l.value, l.text, l.ts
FROM connections_opcuanode n
JOIN devices_device d ON d.id = n.device_id
JOIN devices_metric m ON m.device_type_id = d.device_type_id AND m.key = n.metric
JOIN telemetry_latestreading l ON l.device_id = n.device_id AND l.metric_id = m.id
WHERE n.id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class OpcUaSettings:
    """Servers to read; last values by mapping, for nodes that turn bad before they gave one."""

    targets: tuple[OpcUaTarget, ...]
    last_values: Mapping[int, LastValue] = field(default_factory=dict)


def load_opcua_settings(*, is_read: Callable[[OpcUaTarget], bool]) -> OpcUaSettings:
    """Return the settings of the current tenant. A session that runs knows its last values: `is_read` tells of which target."""
    targets = tuple(load_opcua_targets())
    new_ids = [node.mapping_id for target in targets if not is_read(target) for node in target.nodes]
    return OpcUaSettings(targets, _load_last_values(new_ids) if new_ids else {})


def _load_last_values(mapping_ids: Sequence[int]) -> dict[int, LastValue]:
    with connection.cursor() as cursor:
        cursor.execute(_LAST_VALUES_SQL, [list(mapping_ids)])
        return {mapping_id: LastValue(value if text is None else text, ts) for mapping_id, value, text, ts in cursor.fetchall()}
