"""What a command's payload is to the node that it is written to. Pure. Source: OPC 10000-6 §5.1.2 (built-in types)."""

from math import isfinite
from typing import Any

from asyncua import ua

from protocols.opcua.values import Scaling

_INTEGER_BITS = {"SByte": 8, "Byte": 8, "Int16": 16, "UInt16": 16, "Int32": 32, "UInt32": 32, "Int64": 64, "UInt64": 64}
_UNSIGNED = {"Byte", "UInt16", "UInt32", "UInt64"}
_LARGEST_FLOAT = 3.4028234663852886e38
_ROUNDING = 1e-6  # what scaling there and back may cost


class UnfitValueError(ValueError):
    """A payload that cannot be written to this node; the text says why."""


def pick_value(payload: Any) -> bool | float | str:
    """Return what a command writes: its payload, or the only parameter in it; `true` where there is none.

    Raises:
        UnfitValueError: there are several, or it is no single value.
    """
    if payload is None or payload == {}:
        return True
    if isinstance(payload, dict) and len(payload) == 1:
        [payload] = payload.values()
    if isinstance(payload, bool | int | float | str):
        return payload
    raise UnfitValueError("A command that is written to a node has one value: a number, true or false, or a text.")


def make_variant(value: bool | float | str, kind: ua.VariantType, scaling: Scaling) -> ua.Variant:
    """Return the raw value, `(value - offset) / scale` of a number, in the node's type.

    Raises:
        UnfitValueError: the type does not take it.
    """
    name = kind.name
    if name == "Boolean" and isinstance(value, bool):
        return ua.Variant(value, kind)
    if name == "String" and isinstance(value, str):
        return ua.Variant(value, kind)
    if not isinstance(value, bool | str) and (name in _INTEGER_BITS or name in {"Float", "Double"}):
        return ua.Variant(_make_raw(value, name, scaling), kind)
    raise UnfitValueError(f"The node is of the type {name}, which does not take {value!r:.60}.")


def _make_raw(value: float, name: str, scaling: Scaling) -> float:
    raw = value if scaling == Scaling() else (value - scaling.offset) / scaling.scale
    if name not in _INTEGER_BITS:
        if not isfinite(raw) or (name == "Float" and abs(raw) > _LARGEST_FLOAT):
            raise UnfitValueError(f"{value!r:.60} is out of the range of {name}.")
        return float(raw)
    if not isfinite(raw) or abs(raw - round(raw)) > _ROUNDING:
        raise UnfitValueError(f"The node takes whole numbers; {value!r:.60} makes {raw!r:.60}.")
    bits, whole = _INTEGER_BITS[name], round(raw)
    least, most = (0, 2**bits - 1) if name in _UNSIGNED else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not least <= whole <= most:
        raise UnfitValueError(f"{value!r:.60} is out of the range of {name}.")
    return whole
