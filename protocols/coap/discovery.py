"""`/.well-known/core`: the links in CoRE Link Format (RFC 6690). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

LINK_FORMAT = 40
SMALL_BLOCK = 2  # pieces of 64 bytes: whoever asks in another's name does not send much more than he would himself


@dataclass(frozen=True, slots=True)
class Link:
    """A resource: its type, the content formats that it takes or gives, and whether it can be observed."""

    path: str
    resource_type: str
    formats: tuple[int, ...]
    is_observable: bool = False

    def __str__(self) -> str:
        formats = " ".join(str(number) for number in self.formats)
        return f'<{self.path}>;rt="{self.resource_type}";ct="{formats}"' + (";obs" if self.is_observable else "")

    def fits(self, parameter: str) -> bool:
        """Tell whether a query parameter lets the link through; one without a value, or of an unknown name, does not filter."""
        name, has_value, wanted = parameter.partition("=")
        values = {"href": [self.path], "rt": [self.resource_type], "ct": [str(number) for number in self.formats]}.get(name)
        if not has_value or values is None:
            return True
        if wanted.endswith("*"):
            return any(value.startswith(wanted[:-1]) for value in values)
        return wanted in values


LINKS = (
    Link("/t", "iiot.telemetry", (50, 60, 110, 112, 0)),
    Link("/c", "iiot.commands", (50, 60), is_observable=True),
    Link("/s", "iiot.state", (50, 60), is_observable=True),
    Link("/latest", "iiot.latest", (50, 60), is_observable=True),
)


def list_links(query: Sequence[str]) -> str:
    """Return the links that fit all parameters (RFC 6690 §4.1)."""
    return ",".join(str(link) for link in LINKS if all(link.fits(parameter) for parameter in query))
