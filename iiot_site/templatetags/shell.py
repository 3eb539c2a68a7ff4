"""`{% load shell %}`: icons, ages, numbers, permission checks and the import map of our script modules."""

import json
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.humanize.templatetags.humanize import ordinal
from django.http import QueryDict
from django.template import Context, Library
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from tenants.permissions import allows as permissions_allow

register = Library()
register.filter("ordinal", ordinal)

SCRIPT_MODULES = ("ages", "chart-box", "device-chart", "live", "toast")
SEVERITY_ICONS = {
    "critical": "alert-octagon",
    "high": "alert-triangle",
    "medium": "alert-circle",
    "low": "circle-arrow-down",
    "info": "info-circle",
}
STATE_ICONS = {"new": "bell", "acknowledged": "user-check", "investigating": "tool", "resolved": "circle-check"}
STATUS_ICONS = {"online": "circle-check", "stale": "clock-pause", "offline": "wifi-off", "never": "circle-dashed"}
STATUS_WORDS = {"online": "Online", "stale": "Stale", "offline": "Offline", "never": "Never seen"}
CREDENTIAL_TAGS = {
    "valid": ("online", "circle-check", "Valid"),
    "rotated": ("stale", "clock-pause", "Replaced, still valid"),
    "expired": ("offline", "alert-triangle", "Expired"),
    "revoked": ("never", "x", "Revoked"),
}
COMMAND_TAGS = {
    "queued": ("low", "hourglass", "Queued"),
    "sent": ("low", "send", "Sent"),
    "acknowledged": ("good", "check", "Acknowledged"),
    "failed": ("bad", "x", "Failed"),
    "expired": ("uncertain", "clock-pause", "Expired"),
}
_MOMENT = re.compile(r"(?<!\d)(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)( UTC|Z|[+-]\d\d:\d\d)(?!\w)")
LISTENER_TITLES = {
    "mqtt": "MQTT",
    "amqp": "AMQP",
    "coap": "CoAP",
    "opcua": "OPC UA",
    "modbus": "Modbus TCP",
    "http": "HTTP",
    "mqtt-tls": "MQTT over TLS",
}
ABBREVIATIONS = {"json": "JSON", "cbor": "CBOR", "utf8": "UTF-8", "senml": "SenML", "oscore": "OSCORE"}
QUALITY_ICONS = {"good": "check", "uncertain": "question-mark", "bad": "x"}


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """An icon of the sprite, hidden from screen readers: a word always stands beside it."""
    classes = f"icon icon-{size}" if size else "icon"
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}#{}"></use></svg>', classes, static("img/icons.svg"), name)


def _tag(kind: str, icon_name: str, word: str) -> SafeString:
    return format_html('<span class="tag tag-{}">{} {}</span>', kind, icon(icon_name), word)


@register.simple_tag
def severity_tag(severity: str, count: int | None = None) -> SafeString:
    """A severity as icon and word, with a count where one is given."""
    word = severity.capitalize()
    return _tag(severity, SEVERITY_ICONS.get(severity, "info-circle"), word if count is None else f"{count} {word.lower()}")


@register.simple_tag
def state_tag(state: str) -> SafeString:
    """An incident's state as icon and word."""
    return _tag(state, STATE_ICONS.get(state, "info-circle"), state.capitalize())


@register.simple_tag
def status_tag(status: str) -> SafeString:
    """A device's status as icon and word."""
    return _tag(status, STATUS_ICONS[status], STATUS_WORDS[status])


@register.simple_tag
def credential_tag(state: str) -> SafeString:
    """A credential's state as icon and word."""
    return _tag(*CREDENTIAL_TAGS[state])


@register.simple_tag
def command_tag(state: str) -> SafeString:
    """A command's state as icon and word."""
    return _tag(*COMMAND_TAGS[state])


@register.filter
def as_json(value: object) -> str:
    """A value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


@register.simple_tag
def quality_tag(quality: str) -> SafeString:
    """A reading's quality as icon and word."""
    return _tag(quality, QUALITY_ICONS[quality], quality.capitalize())


@register.simple_tag
def age(moment: datetime | None, mode: str = "") -> SafeString:
    """How long ago `moment` was; `ages.js` keeps it true. `mode="ago"` adds the word."""
    if moment is None:
        return mark_safe('<span class="text-secondary">never</span>')
    text = format_age((timezone.now() - moment).total_seconds()) + (" ago" if mode == "ago" else "")
    return format_html('<time class="num nowrap" datetime="{}" data-age="{}">{}</time>', moment.isoformat(), mode, text)


@register.simple_tag
def local_time(moment: datetime | None) -> SafeString | str:
    """A moment in the reader's time zone as far as the server knows it; `ages.js` writes it shorter."""
    if moment is None:
        return "—"
    text = f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"
    return format_html('<time class="num nowrap" datetime="{}" data-local title="{}">{}</time>', moment.isoformat(), text, text)


@register.simple_tag
def reader_zone() -> str:
    """The time zone in which the page's times are written and read."""
    return timezone.get_current_timezone_name()


@register.filter
def local_times(text: object) -> SafeString:
    """Words in which moments stand, such as 2026-11-21 13:16:43 UTC, with these as `local_time` writes them."""
    parts, end, words = [], 0, str(text)
    for found in _MOMENT.finditer(words):
        if (moment := _read_moment(*found.groups())) is not None:
            parts += [conditional_escape(words[end : found.start()]), local_time(moment)]
            end = found.end()
    return mark_safe("".join([*parts, conditional_escape(words[end:])]))  # noqa: S308 - each part is escaped


def _read_moment(day: str, clock: str, zone: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in ('Z', ' UTC') else zone}")
    except ValueError:
        return None


def format_age(seconds: float) -> str:
    """Return a duration in its two largest units: 42 s, 7 min, 3 h 5 min, 2 d 4 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        hours, minutes = whole // 3600, whole % 3600 // 60
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = whole // 86_400, whole % 86_400 // 3600
    return f"{days} d {hours} h" if hours else f"{days} d"


@register.filter
def number(value: object) -> str:
    """A measured value at six significant digits, without an exponent where a person would not use one; a count as it is."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.6g}"
    return text if "e" in text else f"{float(text):,}".removesuffix(".0")


@register.filter
def reason_words(reason: str) -> str:
    """A reason of rejection as a person reads it: unknown_device → Unknown device, malformed_json → Malformed JSON."""
    words = [ABBREVIATIONS.get(word, word) for word in reason.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


@register.filter
def listener_title(name: str) -> str:
    """A listener as a person calls it."""
    return LISTENER_TITLES.get(name, name)


@register.simple_tag
def percent(share: float | None) -> str:
    """A share of 1 in per cent; a dash where nothing is known."""
    return "\N{EN DASH}" if share is None else f"{share:.1%}".replace(".0%", "%")


@register.filter
def allows(permissions: Collection[str], permission: str) -> bool:
    """Whether the page's reader may do `resource:action`."""
    return permissions_allow(frozenset(permissions or ()), permission)


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: object) -> str:
    """The page's query string with some parameters changed; an empty value removes one."""
    params: QueryDict = context["request"].GET
    kept = {key: value for key, value in params.items() if key not in changes and value}
    return "?" + urlencode(kept | {key: value for key, value in changes.items() if value not in (None, "")})


@register.simple_tag(takes_context=True)
def script_modules(context: Context) -> SafeString:
    """The import map: our module names to hashed files, so that they may import each other and be cached for ever."""
    imports = {f"iiot/{name}.js": static(f"js/{name}.js") for name in SCRIPT_MODULES}
    data = json.dumps({"imports": imports}).replace("<", "\\u003c")
    return format_html('<script type="importmap" nonce="{}">{}</script>', context.get("CSP_NONCE", ""), mark_safe(data))  # noqa: S308 - escaped above


EVENT_ICONS = {
    "opened": "alert-triangle",
    "alert_joined": "alert-triangle",
    "alert_resolved": "check",
    "alert_withdrawn": "bell-off",
    "severity_raised": "circle-arrow-up",
    "acknowledged": "user-check",
    "investigating": "tool",
    "resolved": "circle-check",
    "reopened": "rotate-clockwise",
    "noted": "message-circle",
    "assigned": "user",
    "unassigned": "user",
}


@register.filter
def event_icon(kind: str) -> str:
    """The icon of a line in an incident's timeline."""
    return EVENT_ICONS.get(kind, "info-circle")


@register.filter
def explain(details: dict[str, Any]) -> list[tuple[str, str]]:
    """Why an alert fired, as labels and words: what a rule says first, then whatever else the source told."""
    rest = dict(details)
    for known in ("rule", "ts", "type", "metric"):
        rest.pop(known, None)
    lines = []
    if name := rest.pop("rule_name", None):
        version = rest.pop("rule_version", None)
        lines.append(("Rule", f"{name}, version {version}" if version else name))
    if "value" in rest:
        lines.append(("Value", value_words(rest)))
        rest = {key: value for key, value in rest.items() if key not in ("value", "unit")}
    if isinstance(condition := rest.pop("condition", None), dict):
        lines.append(("Condition", _condition_in_words(condition)))
    return lines + [(key.replace("_", " ").capitalize(), _in_words(value)) for key, value in rest.items() if value not in (None, "")]


@register.filter
def value_words(details: dict[str, Any]) -> str:
    """The value that an alert fired at, with its unit; nothing where it names none."""
    return f"{number(details['value'])} {details.get('unit', '')}".strip() if "value" in details else ""


def _condition_in_words(condition: dict[str, Any]) -> str:
    if "operator" not in condition or "threshold" not in condition:
        return _in_words(condition)
    words = f"{condition.get('metric', '')} {condition['operator']} {number(condition['threshold'])}".strip()
    clear = condition.get("clear_threshold")
    return words if clear is None else f"{words}, clears at {number(clear)}"


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_in_words(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return ", ".join(_in_words(inner) for inner in value)
    return number(value)


@register.filter
def duration(length: timedelta) -> str:
    """A duration as `format_age` writes it."""
    return format_age(length.total_seconds())


@register.filter
def quality_name(quality: int) -> str:
    """Good, uncertain or bad, from what is stored."""
    return ("good", "uncertain", "bad")[quality]


@register.filter
def indent(depth: int) -> str:
    """Blanks that show in a list of choices how deep a site lies."""
    return "\u00a0\u00a0\u00a0" * depth


@register.filter
def is_text(value: object) -> bool:
    """Whether a value is words, which no chart can draw."""
    return isinstance(value, str)
