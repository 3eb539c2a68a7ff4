"""Desired and reported state side by side, one row per setting; and a document as a person wrote it. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from devices.state_merge import is_same

Standing = Literal["same", "waiting", "device_only"]
_ORDER = {"waiting": 0, "same": 1, "device_only": 2}


class UnreadableError(Exception):
    """What somebody wrote is no JSON object; the text says where and what."""


@dataclass(frozen=True, slots=True)
class StateRow:
    """One setting. `desired` and `reported` are JSON, or None where that side does not have it."""

    name: str
    desired: str | None
    reported: str | None
    standing: Standing


def list_rows(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> list[StateRow]:
    """Return the settings of both, those first that the device has not taken over."""
    wanted, said = dict(_leaves(desired)), dict(_leaves(reported))
    rows = []
    for name in sorted({*wanted, *said}):
        in_wanted, in_said = name in wanted, name in said
        standing: Standing = "device_only"
        if in_wanted:
            standing = "same" if in_said and is_same(wanted[name], said[name]) else "waiting"
        shown_wanted = _as_text(wanted[name]) if in_wanted else None
        rows.append(StateRow(name, shown_wanted, _as_text(said[name]) if in_said else None, standing))
    return sorted(rows, key=lambda row: _ORDER[row.standing])


def read_document(text: str) -> dict[str, Any]:
    """Return the JSON object that somebody wrote.

    Raises:
        UnreadableError: says what is wrong, with line and column where that is known.
    """
    try:
        document = json.loads(text or "{}", parse_constant=_refuse_constant, object_pairs_hook=_refuse_twice)
    except json.JSONDecodeError as exc:
        raise UnreadableError(f"Line {exc.lineno}, column {exc.colno}: {exc.msg}.") from exc
    except RecursionError as exc:
        raise UnreadableError("Lists and objects are nested too deeply.") from exc
    except ValueError as exc:  # a number of more digits than Python reads
        raise UnreadableError("A number has too many digits.") from exc
    if not isinstance(document, dict):
        raise UnreadableError('Write an object of settings, such as {"interval_s": 10}.')
    return document


def write_document(document: Mapping[str, Any]) -> str:
    """Return a document as a person edits it."""
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)


def _leaves(document: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{start}{key}.")
        else:
            yield start + key, value


def _as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _refuse_constant(name: str) -> Any:
    raise UnreadableError(f"{name} is no number that JSON has.")


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise UnreadableError(f"The name {key[:64]!r} stands twice in one object.")
        document[key] = value
    return document
