"""What is worth a word about a device, from figures of its last 24 hours. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

FLAPPING_FROM = 6
SKEW_FROM_SECONDS = 30.0
BAD_SHARE_FROM = 0.05
EXPIRY_WITHIN = timedelta(days=14)
FEW_METRICS_LEFT = 3_000


@dataclass(frozen=True, slots=True)
class Call:
    """A connection over which the platform reads the device."""

    name: str
    is_enabled: bool
    is_failing: bool
    error: str
    broken_nodes: int = 0  # that the server gives no values of


@dataclass(frozen=True, slots=True)
class HealthFigures:
    """What is measured; None where nothing is known."""

    status: str
    status_changes: int
    bad_share: float | None
    uncertain_share: float | None
    clock_skew_seconds: float | None
    rejected: int
    next_expiry_at: datetime | None
    has_valid_credential: bool | None
    metrics_left: int | None = None  # how many more the organisation has room for
    is_called: bool = False  # it does not send: the platform reads it
    calls: Sequence[Call] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at; "problem" is worse than "warning"."""

    code: str
    level: Literal["problem", "warning"]
    text: str


def find_health(figures: HealthFigures, now: datetime) -> list[Finding]:
    """Return what is wrong with a device, problems first."""
    found = [*_find_calls(figures), *_find_silence(figures), *_find_data(figures), *_find_credentials(figures, now)]
    return sorted(found, key=lambda finding: finding.level)


def _find_calls(figures: HealthFigures) -> list[Finding]:
    found = []
    for call in figures.calls:
        if not call.is_enabled:
            found.append(Finding("connection_off", "warning", f"{call.name} is switched off: nothing is read from there."))
        elif call.is_failing:
            found.append(Finding("connection", "problem", f"{call.name} fails: {call.error}" if call.error else f"{call.name} fails."))
        elif call.broken_nodes:
            words = f"{call.name} gives no values of {call.broken_nodes} of its nodes: look at what its page says of them."
            found.append(Finding("connection_nodes", "warning", words))
        elif call.error:
            found.append(Finding("connection", "warning", f"{call.name}: {call.error}"))
    if figures.is_called and not figures.calls:
        found.append(Finding("no_connection", "problem", "The platform is to read it, but no connection says where. Add one."))
    return found


def _find_silence(figures: HealthFigures) -> list[Finding]:
    found = []
    if figures.status == "offline":
        found.append(Finding("offline", "problem", "It is offline: look at its power and network."))
    elif figures.status == "stale":
        found.append(Finding("stale", "warning", "It has been silent for longer than its timeout."))
    if figures.status_changes >= FLAPPING_FROM:
        words = f"It came and went {figures.status_changes} times: look at its network, or give its type a longer timeout."
        found.append(Finding("flapping", "warning", words))
    return found


def _find_data(figures: HealthFigures) -> list[Finding]:
    found = []
    if figures.bad_share is not None and figures.bad_share >= BAD_SHARE_FROM:
        level: Literal["problem", "warning"] = "warning" if figures.is_called else "problem"
        found.append(Finding("bad_quality", level, f"{figures.bad_share:.0%} of its minutes had bad values: {_blame(figures)}"))
    elif figures.uncertain_share is not None and figures.uncertain_share >= BAD_SHARE_FROM:
        words = f"{figures.uncertain_share:.0%} of its minutes had uncertain values: beyond the metric's limits, or marked so."
        found.append(Finding("uncertain_quality", "warning", words))
    skew = figures.clock_skew_seconds
    if skew is not None and abs(skew) >= SKEW_FROM_SECONDS:
        how = "behind, or its values come late" if skew > 0 else "ahead"
        found.append(Finding("clock_skew", "warning", f"Its clock is {abs(skew):.0f} s {how}: let it keep time by NTP."))
    if figures.metrics_left is not None and figures.metrics_left < FEW_METRICS_LEFT:
        words = f"The organisation has room for {figures.metrics_left:,} more metrics: delete some, or let types refuse unknown ones."
        found.append(Finding("few_metrics_left", "warning", words))
    if figures.rejected:
        found.append(Finding("rejected", "warning", f"{figures.rejected} of its messages were not stored, or not whole."))
    return found


def _blame(figures: HealthFigures) -> str:
    """Say where bad values come from: what cannot be read has bad values all at once."""
    if any(call.is_failing for call in figures.calls):
        return "so are all that cannot be read. Mend its connection first."
    return "its connection failed then, or its sensors did." if figures.is_called else "look at its sensors."


def _find_credentials(figures: HealthFigures, now: datetime) -> list[Finding]:
    if figures.has_valid_credential is False:
        return [Finding("no_credential", "warning", "It has no valid credential: it cannot log in with one of the platform's.")]
    if figures.next_expiry_at is not None and figures.next_expiry_at <= now + EXPIRY_WITHIN:
        words = f"A credential expires on {figures.next_expiry_at:%Y-%m-%d %H:%M} UTC: rotate it."
        return [Finding("expiry", "warning", words)]
    return []
