"""Desired and reported state as documents: merging patches, telling what differs, refusing what cannot be kept. Pure.

Source: RFC 7396 (JSON Merge Patch): a patch's members are merged into the target, `null` removes one, lists are replaced whole.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from devices.errors import StateRefusedError

MAX_STATE_BYTES = 16 * 1024
MAX_DEPTH = 6
MAX_KEY_LENGTH = 128
State = dict[str, Any]


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> State:
    """Return `target` with `patch` merged in; neither is changed.

    Raises:
        StateRefusedError: the patch cannot be kept, or the result is too large.
    """
    check_state(patch)
    merged = _merge(target, patch)
    check_state(merged)
    return merged


def _merge(target: Mapping[str, Any], patch: Mapping[str, Any]) -> State:
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def find_delta(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> State:
    """Return the part of `desired` that is not in `reported`: what the device still has to take over.

    What only the device reports is no difference: nobody asked for it, nor against it.
    """
    delta: State = {}
    for key, wanted in desired.items():
        if key not in reported:
            delta[key] = wanted
        elif isinstance(wanted, dict) and isinstance(reported[key], dict):
            if below := find_delta(wanted, reported[key]):
                delta[key] = below
        elif not is_same(wanted, reported[key]):
            delta[key] = wanted
    return delta


def make_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> State:
    """Return the merge patch that turns `before` into `after`."""
    patch: State = dict.fromkeys(key for key in before if key not in after)
    for key, value in after.items():
        if key not in before:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(before[key], dict):
            if below := make_patch(before[key], value):
                patch[key] = below
        elif not is_same(value, before[key]):
            patch[key] = value
    return patch


def is_same(one: object, other: object) -> bool:
    """Tell whether two JSON values are equal. 1 and 1.0 are; 1 and true are not, as they would be to Python."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or float(one) == float(other)  # jsonb gives 1e300 back as a whole number of 301 digits
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and one == other


def check_state(document: object) -> None:
    """Refuse what is no object, has more than 16 KiB or 6 levels, or a text or number that cannot be stored.

    Raises:
        StateRefusedError: says what, and where in the document.
    """
    if not isinstance(document, dict):
        raise StateRefusedError('Send an object of settings, such as {"interval_s": 10}.')
    _check_value(document, path="", depth=0)
    size = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_STATE_BYTES:
        raise StateRefusedError(f"The document has {size} bytes; a state may have {MAX_STATE_BYTES}.")


def _check_value(value: object, *, path: str, depth: int) -> None:
    where = path or "The document"
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value, where)
    elif isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            raise StateRefusedError(f"{where} is nested deeper than {MAX_DEPTH} levels; keep it flatter.")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str):
                _check_key(key, where)
            _check_value(inner, path=f"{path}.{key}".lstrip("."), depth=depth + 1)


def _check_key(key: str, where: str) -> None:
    _check_text(key, f"A name in {where}" if where != "The document" else "A name")
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise StateRefusedError(f"{where} has a name of {len(key)} characters; use 1 to {MAX_KEY_LENGTH}.")


def _check_text(text: str, where: str) -> None:
    if "\0" in text:
        raise StateRefusedError(f"{where} contains the character NUL (U+0000); remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise StateRefusedError(f"{where} contains half of a surrogate pair; write the whole character.") from exc


def _check_number(number: float, where: str) -> None:
    try:
        is_finite = math.isfinite(number)
    except OverflowError:  # a whole number beyond what a 64-bit float reaches
        is_finite = False
    if not is_finite:
        raise StateRefusedError(f"{where} is not a finite number that a 64-bit float can hold; use a smaller one, or null to remove it.")
