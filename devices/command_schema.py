"""Which commands a device type accepts, with which parameters. Pure.

A declaration is `{"name", "description", "is_dangerous", "parameters": [{"name", "type", "required", "minimum", "maximum"}]}`;
all but the names and a parameter's type may be left out. A type without declarations accepts any command.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from devices.errors import CommandRefusedError

MAX_COMMANDS, MAX_PARAMETERS, MAX_PAYLOAD_BYTES = 50, 20, 16 * 1024
NAME_PATTERN = r"[A-Za-z0-9_.-]{1,64}"
_NAME = re.compile(rf"{NAME_PATTERN}\Z")
_TYPES: dict[str, tuple[type, ...]] = {"number": (int, float), "integer": (int,), "boolean": (bool,), "text": (str,)}
_TYPE_NAMES = tuple(_TYPES)  # no mapping: what is looked up may not be hashable
_COMMAND_FIELDS = {"name", "description", "is_dangerous", "parameters"}
_PARAMETER_FIELDS = {"name", "type", "required", "minimum", "maximum"}


def find_fault(declarations: object) -> str:
    """Return what is wrong with a device type's declarations, "" where nothing is."""
    if not isinstance(declarations, list) or len(declarations) > MAX_COMMANDS:
        return f"Use a list of at most {MAX_COMMANDS} commands."
    for declared in declarations:
        if fault := _fault_of_command(declared):
            return fault
    names = [declared["name"] for declared in declarations]
    return "" if len(set(names)) == len(names) else "Every command needs a name of its own."


def _fault_of_command(declared: object) -> str:
    if not isinstance(declared, dict) or not _is_name(declared.get("name")):
        return "Every command is an object with a name of 1 to 64 letters, digits and _ . -."
    name, parameters = declared["name"], declared.get("parameters", [])
    if unknown := set(declared) - _COMMAND_FIELDS:
        return f"{name}: unknown field {min(unknown)!r}."
    if not isinstance(declared.get("description", ""), str) or not isinstance(declared.get("is_dangerous", False), bool):
        return f"{name}: description is a text, is_dangerous true or false."
    if not isinstance(parameters, list) or len(parameters) > MAX_PARAMETERS:
        return f"{name}: parameters are a list of at most {MAX_PARAMETERS}."
    return next((f"{name}: {fault}" for parameter in parameters if (fault := _fault_of_parameter(parameter))), "")


def _fault_of_parameter(parameter: object) -> str:
    if not isinstance(parameter, dict) or not _is_name(parameter.get("name")) or parameter.get("type") not in _TYPE_NAMES:
        return f"a parameter has a name and a type ({', '.join(_TYPES)})."
    if unknown := set(parameter) - _PARAMETER_FIELDS:
        return f"parameter {parameter['name']} has the unknown field {min(unknown)!r}."
    bounds = [parameter[bound] for bound in ("minimum", "maximum") if bound in parameter]
    if not isinstance(parameter.get("required", False), bool) or not all(_is_of("number", bound) for bound in bounds):
        return f"parameter {parameter['name']}: required is true or false, bounds are numbers."
    return ""


def check_command(declarations: Sequence[Mapping[str, Any]], *, name: str, payload: object) -> None:
    """Refuse a command that its device type does not accept.

    Raises:
        CommandRefusedError: unknown command, wrong parameters, or more than 16 KiB of payload.
    """
    if not _is_name(name):
        raise CommandRefusedError("A command's name has 1 to 64 letters, digits and _ . -.", errors={"name": ["Choose another name."]})
    if len(json.dumps(payload, ensure_ascii=False).encode()) > MAX_PAYLOAD_BYTES:
        raise _refused("The payload has more than 16 KiB.")
    if not declarations:
        return
    declared = next((one for one in declarations if one["name"] == name), None)
    if declared is None:
        known = ", ".join(one["name"] for one in declarations)
        raise CommandRefusedError(
            f"Devices of this type do not accept {name!r}, only: {known}.", errors={"name": ["Choose an accepted command."]}
        )
    _check_parameters(declared.get("parameters", []), {} if payload is None else payload)


def _check_parameters(parameters: Sequence[Mapping[str, Any]], payload: object) -> None:
    if not isinstance(payload, dict):
        raise _refused("The payload is an object of parameters.")
    by_name = {parameter["name"]: parameter for parameter in parameters}
    if unknown := set(payload) - set(by_name):
        raise _refused(f"There is no parameter {min(unknown)!r}.")
    for name, parameter in by_name.items():
        if name not in payload:
            if parameter.get("required"):
                raise _refused(f"The parameter {name!r} is missing.")
            continue
        _check_value(parameter, payload[name])


def _check_value(parameter: Mapping[str, Any], value: object) -> None:
    name = parameter["name"]
    if not _is_of(parameter["type"], value):
        raise _refused(f"The parameter {name!r} must be of the type {parameter['type']}.")
    low, high = parameter.get("minimum"), parameter.get("maximum")
    if isinstance(value, int | float) and not (-math.inf if low is None else low) <= value <= (math.inf if high is None else high):
        raise _refused(f"The parameter {name!r} is out of range: {_range_in_words(low, high)}.")


def _range_in_words(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"use {low} to {high}"
    return f"use {low} or more" if high is None else f"use {high} or less"


def _is_of(kind: str, value: object) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.match(value) is not None


def _refused(detail: str) -> CommandRefusedError:
    return CommandRefusedError(detail, errors={"payload": [detail]})
