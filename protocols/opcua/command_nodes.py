"""Commands as nodes of our OPC UA server: what may be written to them, and what command that makes. Pure but for asyncua's types.

A command without parameters is a Boolean to which `true` is written, one with a single parameter has its type, one with
several takes them as JSON text. Source: OPC 10000-4 §5.11.4 (Write) and its status codes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.status_codes import StatusCodes

from devices.command_schema import MAX_PAYLOAD_BYTES
from protocols.codecs.gate import parse_json
from protocols.errors import MessageError

FOLDER = "@commands"  # no metric has this key
InputKind = Literal["number", "integer", "boolean", "text"]
_INTEGERS = frozenset(getattr(ua.VariantType, name) for name in ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"))
_NUMBERS = _INTEGERS | {ua.VariantType.Float, ua.VariantType.Double}


@dataclass(frozen=True, slots=True)
class CommandInput:
    """A command that a device accepts, and what is written for it. `parameter` is "" where it has none or several."""

    device: str
    name: str
    description: str
    kind: InputKind
    parameter: str = ""
    is_document: bool = False


def plan_inputs(device: str, declarations: Sequence[Mapping[str, Any]]) -> list[CommandInput]:
    """Return what can be written for the commands that a device type declares (see `devices.command_schema`)."""
    return [_plan_input(device, declared) for declared in declarations]


def _plan_input(device: str, declared: Mapping[str, Any]) -> CommandInput:
    name, description, parameters = declared["name"], declared.get("description", ""), declared.get("parameters", [])
    if not parameters:
        return CommandInput(device, name, description, "boolean")
    if len(parameters) == 1:
        return CommandInput(device, name, description, parameters[0]["type"], parameters[0]["name"])
    return CommandInput(device, name, description, "text", is_document=True)


def read_payload(command: CommandInput, variant: ua.Variant | None) -> Any:
    """Return the command's payload.

    Raises:
        ServiceError: BadTypeMismatch or BadOutOfRange.
    """
    value = _read_scalar(command.kind, variant)
    if command.is_document:
        return _read_document(value)
    if command.parameter:
        return {command.parameter: value}
    if value is not True:
        raise ServiceError(StatusCodes.BadOutOfRange)
    return None


def _read_scalar(kind: InputKind, variant: ua.Variant | None) -> Any:
    """Return the value; a whole number may come as any number, as tools that guess the type send it."""
    if variant is None or variant.is_array or isinstance(variant.Value, list | tuple):
        raise ServiceError(StatusCodes.BadTypeMismatch)
    value, sent = variant.Value, variant.VariantType
    if kind == "boolean" and sent == ua.VariantType.Boolean:
        return bool(value)
    if kind == "text" and sent == ua.VariantType.String and isinstance(value, str):
        return str(value)
    if kind not in {"number", "integer"} or sent not in _NUMBERS:
        raise ServiceError(StatusCodes.BadTypeMismatch)
    if sent in _INTEGERS:
        return int(value)
    if not isfinite(value) or (kind == "integer" and not float(value).is_integer()):
        raise ServiceError(StatusCodes.BadOutOfRange)
    return int(value) if kind == "integer" else float(value)


def _read_document(text: str) -> Any:
    try:
        return parse_json(text.encode(), max_bytes=MAX_PAYLOAD_BYTES)
    except (MessageError, UnicodeEncodeError) as exc:
        raise ServiceError(StatusCodes.BadOutOfRange) from exc
