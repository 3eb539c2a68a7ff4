"""Live frames with new readings, for the pages that show their device."""

from collections.abc import Iterable
from typing import Any

from devices.models import Metric
from devices.types import DeviceRef, MetricRef
from iiot_site.lib.live import list_watched_topics, push_frames
from iiot_site.lib.times import format_time
from telemetry.models import Quality
from telemetry.types import NewReading, as_shown

# Keeps a frame under 64 KiB when a device floods; the page reads what it missed from the API.
MAX_VALUES_PER_FRAME = 300


def push_readings(schema: str, values: Iterable[tuple[DeviceRef, MetricRef, NewReading]]) -> None:
    """Send one frame per device that somebody watches, with its new values, to `device:<uuid>`; call it after commit. Best effort."""
    topics = list_watched_topics(schema, "device")
    if topics is not None and not topics:
        return
    frames: dict[str, list[dict[str, Any]]] = {}
    is_watched: dict[int, bool] = {}
    for device, metric, reading in values:
        if device.id not in is_watched:
            is_watched[device.id] = topics is None or f"device:{device.uuid}" in topics
        if is_watched[device.id]:
            frames.setdefault(str(device.uuid), []).append(_live_value(metric, reading))
    push_frames(
        schema,
        [
            (f"device:{device}", {"type": "telemetry_update", "device": device, "values": live[-MAX_VALUES_PER_FRAME:]})
            for device, live in frames.items()
        ],
    )


def _live_value(metric: MetricRef, reading: NewReading) -> dict[str, Any]:
    return {
        "metric": metric.key,
        "value": as_shown(reading.value, reading.text, is_boolean=metric.data_type == Metric.DataType.BOOLEAN),
        "unit": metric.unit,
        "quality": Quality(reading.quality).label,
        "time": format_time(reading.ts),
    }
