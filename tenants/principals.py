"""Who is behind a request: a person, a program or a device, with what it may do in the request's tenant."""

from dataclasses import dataclass
from typing import Any, Literal

from tenants.models import ApiKey, User


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller. `device` is whatever the app `devices` knows it by."""

    kind: Literal["user", "api_key", "device"]
    permissions: frozenset[str]
    user: User | None = None
    api_key: ApiKey | None = None
    device: Any = None

    @property
    def name(self) -> str:
        """What logs and timelines call the caller."""
        return str(self.user or self.api_key or self.device)
