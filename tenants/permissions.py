"""Who may do what: the catalogue of permissions, the built-in roles and the one question `allows`.

A permission is `resource:action` with the actions `read` and `write`. A role may also hold `*` (everything) and
`*:read` (every read).
"""

from collections.abc import Collection, Iterable

READ = "read"
WRITE = "write"
EVERYTHING = "*"
EVERY_READ = "*:read"

RESOURCES = (
    "site",
    "device_type",
    "metric",
    "device",
    "credential",
    "connection",
    "telemetry",
    "command",
    "state",
    "rule",
    "alert",
    "incident",
    "member",
    "api_key",
)
PERMISSIONS = tuple(f"{resource}:{action}" for resource in RESOURCES for action in (READ, WRITE))

_ADMINISTRATION = {"credential", "member", "api_key"}
_PLANT = ("site", "device_type", "metric", "device", "credential", "connection", "telemetry", "rule")

_VIEWER = tuple(f"{resource}:{READ}" for resource in RESOURCES if resource not in _ADMINISTRATION)
_OPERATOR = (*_VIEWER, "incident:write", "command:write", "state:write")
_DEVELOPER = (*_OPERATOR, "credential:read", *(f"{resource}:{WRITE}" for resource in _PLANT))

BUILT_IN_ROLES: dict[str, tuple[str, ...]] = {
    "admin": (EVERYTHING,),
    "developer": _DEVELOPER,
    "operator": _OPERATOR,
    "viewer": _VIEWER,
    "auditor": (EVERY_READ,),
}

# Models that are managed under another resource's permission; every other model is its own resource in snake case.
_RESOURCE_OF_MODEL = {
    "devicetype": "device_type",
    "devicecredential": "credential",
    "provisioningkey": "credential",
    "claimcode": "device",
    "modbusconnection": "connection",
    "modbusregister": "connection",
    "modbusregistermap": "connection",
    "opcuanode": "connection",
    "opcuaserver": "connection",
    "desiredstate": "state",
    "desiredstatechange": "state",
    "reading": "telemetry",
    "textreading": "telemetry",
    "latestreading": "telemetry",
    "rejectedmessage": "telemetry",
    "ingestledger": "telemetry",
    "rulestate": "rule",
    "incidentevent": "incident",
    "membership": "member",
    "apikey": "api_key",
}


def allows(permissions: Collection[str], needed: str) -> bool:
    """Tell whether a holder of `permissions` may do `needed` (`resource:action`)."""
    if needed in permissions or EVERYTHING in permissions:
        return True
    return needed.endswith(f":{READ}") and EVERY_READ in permissions


def allows_all(permissions: Collection[str], needed: Iterable[str]) -> bool:
    """Tell whether `permissions` cover all of `needed`, so that nobody hands out more than they have."""
    return all(allows(permissions, permission) for permission in needed)


def is_permission(name: str) -> bool:
    """Tell whether `name` may stand in a role or an API key."""
    return name in PERMISSIONS or name in {EVERYTHING, EVERY_READ}


def permission_of_codename(codename: str) -> str:
    """Translate Django's `action_model` (`view_device`) to `resource:action` (`device:read`)."""
    action, _, model = codename.partition("_")
    return f"{_RESOURCE_OF_MODEL.get(model, model)}:{READ if action == 'view' else WRITE}"
