"""A device's last frames with what the platform reads from them: those it stored, and those it refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from django.conf import settings

from devices.models import Device
from devices.selectors import get_device_ref
from devices.types import DeviceRef
from iiot_site.lib.schemas import current_schema
from protocols.codecs.registry import FrameContext, decode_frame
from protocols.errors import MessageError
from protocols.frames import Frame, load_frames, watch_frames
from protocols.types import Sample
from telemetry.models import RejectedMessage

MAX_FRAMES = 50
MAX_SAMPLES = 50
# Where answers to commands, connection words and states come in: topics of MQTT, keys of AMQP, paths of CoAP.
_NO_TELEMETRY = re.compile(r"[/.](commands[/.]response([/.][^/.]*)?|status|state[/.](reported|get))\Z|\APOST /[cs](/| from )")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a frame, or some values of it, were not stored."""

    reason: str
    detail: str


@dataclass(slots=True)
class SeenFrame:
    """A frame, what is read from it, and what became of it. `is_whole` says that all of it was kept."""

    received_at: datetime
    protocol: str
    source: str
    payload: bytes
    payload_bytes: int
    outcome: Literal["stored", "partly", "rejected"]
    codec: str
    samples: Sequence[Sample]
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return len(self.payload) == self.payload_bytes


@dataclass(frozen=True, slots=True)
class FrameView:
    """Frames, newest first. `is_collecting` says whether those that come now will be kept."""

    frames: Sequence[SeenFrame]
    is_collecting: bool


def view_frames(*, device: Device, limit: int) -> FrameView:
    """Return the last frames of a device of the current tenant, and have the next ones kept."""
    schema = current_schema()
    is_collecting = watch_frames(schema=schema, device=device.key)
    ref = get_device_ref(device.pk)
    seen = [_stored(frame, ref) for frame in load_frames(schema=schema, device=device.key, limit=limit)]
    # Many frames may come in one read, so the time of receipt alone names none of them.
    known = {(frame.received_at, frame.source, frame.payload): frame for frame in seen}
    for row in RejectedMessage.objects.filter(device=device).order_by("-received_at")[:limit]:
        key = (row.received_at, row.source, bytes(row.payload))
        if key not in known:
            known[key] = _rejected(row, ref)
            seen.append(known[key])
        elif known[key].outcome == "stored":
            known[key].outcome = "partly"
        known[key].problems.append(Problem(row.reason, row.detail))
    newest = sorted(seen, key=lambda frame: frame.received_at, reverse=True)
    return FrameView(newest[:limit], is_collecting)


def _stored(frame: Frame, ref: DeviceRef | None) -> SeenFrame:
    is_whole = len(frame.payload) == frame.payload_bytes
    codec, samples = _read(frame.payload, frame.codec, frame.received_at, ref) if is_whole else ("", [])
    return SeenFrame(frame.received_at, frame.protocol, frame.source, frame.payload, frame.payload_bytes, "stored", codec, samples)


def _rejected(row: RejectedMessage, ref: DeviceRef | None) -> SeenFrame:
    payload = bytes(row.payload)
    is_readable = len(payload) == row.payload_bytes and not _NO_TELEMETRY.search(row.source)
    codec, samples = _read(payload, "", row.received_at, ref) if is_readable else ("", [])
    return SeenFrame(row.received_at, row.protocol, row.source, payload, row.payload_bytes, "rejected", codec, samples)


def _read(payload: bytes, codec: str, received_at: datetime, ref: DeviceRef | None) -> tuple[str, Sequence[Sample]]:
    """Read a frame again, as the device's type says now; nothing where it cannot be read."""
    if ref is None:
        return "", []
    context = FrameContext(settings.IIOT_MAX_MESSAGE_BYTES, received_at, ref.key, ref.sole_metric, ref.line_precision)
    try:
        frame = decode_frame(payload, codec=codec or ref.codec, context=context)
    except MessageError:
        return "", []
    return frame.codec, frame.samples[:MAX_SAMPLES]
