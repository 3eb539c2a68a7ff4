"""Whose fault the silence of a device behind a gateway is. Pure.

A gateway is heard whenever itself or anything behind it is heard: each of them is a voice.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from devices.status import DeviceStatus

Verdict = Literal["own", "gateway", "wait"]


@dataclass(frozen=True, slots=True)
class Voice:
    """A gateway, or a device behind it, that has been seen."""

    id: int
    status: DeviceStatus
    status_since: datetime
    last_seen_at: datetime


def judge_silence(device: Voice, *, timeout: timedelta, voices: Collection[Voice], now: datetime) -> Verdict:
    """Tell whether an offline device fell silent by itself or with its gateway; "wait" while nothing proves either.

    By itself: the gateway was heard well after the device was, and has been heard for as long as the device has to report.
    With its gateway: all voices are offline. Afterwards the devices behind a gateway that is back have time to follow.
    """
    if len(voices) > 1 and all(voice.status == "offline" for voice in voices):
        return "gateway"
    others = [voice for voice in voices if voice.id != device.id]
    if not others:
        return "own"
    was_heard_later = max(voice.last_seen_at for voice in others) > device.last_seen_at + timeout
    is_heard = any(voice.status == "online" and voice.status_since <= now - timeout for voice in others)
    return "own" if was_heard_later and is_heard else "wait"
