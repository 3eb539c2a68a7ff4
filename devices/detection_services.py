"""How devices speak that were registered as "auto": found out from their first valid message, remembered until somebody resets it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from devices.models import Device
from devices.types import Detection
from iiot_site.lib.lookups import announce_change, announce_devices

# A row that somebody else holds is skipped: the device's next message does the same again.
_RECORD_SQL = """
WITH found AS (
    SELECT d.id, s.protocol, s.codec, coalesce(nullif(d.protocol, ''), t.protocol) = 'auto' AS is_auto, t.codec = 'auto' AS is_auto_codec
    FROM unnest(%(ids)s::integer[], %(protocols)s::text[], %(codecs)s::text[]) AS s(id, protocol, codec)
    JOIN devices_device d ON d.id = s.id
    JOIN devices_devicetype t ON t.id = d.device_type_id
    ORDER BY d.id
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE devices_device d
SET detected_protocol = CASE WHEN is_auto AND d.detected_protocol = '' THEN found.protocol ELSE d.detected_protocol END,
    detected_codec = CASE WHEN is_auto_codec AND d.detected_codec = '' THEN found.codec ELSE d.detected_codec END,
    detected_at = %(now)s
FROM found
WHERE d.id = found.id
  AND (is_auto AND d.detected_protocol = '' OR is_auto_codec AND d.detected_codec = '' AND found.codec <> '')
RETURNING d.key
"""


def record_detections(*, detections: Sequence[Detection], now: datetime) -> list[str]:
    """Remember how devices speak, in one statement; return the keys of those of which it was not known. What is known stays."""
    with connection.cursor() as cursor:
        columns: dict[str, Any] = {
            "now": now,
            "ids": [detection.device_id for detection in detections],
            "protocols": [detection.protocol[:20] for detection in detections],
            "codecs": [detection.codec[:12] for detection in detections],
        }
        cursor.execute(_RECORD_SQL, columns)
        keys = [key for (key,) in cursor.fetchall()]
    if keys:
        announce_devices(keys)
    return keys


def reset_detection(*, device: Device) -> None:
    """Forget how a device speaks: its next valid message says it anew."""
    device.detected_protocol, device.detected_codec, device.detected_at = "", "", None
    device.save(update_fields=["detected_protocol", "detected_codec", "detected_at"])
    announce_change(device=device.key)
