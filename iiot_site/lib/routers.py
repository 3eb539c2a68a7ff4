"""Routes of the API: our URLs end without a slash, and one at the end is forgiven."""

from rest_framework.routers import SimpleRouter

UUID_PATTERN = "-".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12))


class OptionalSlashRouter(SimpleRouter):
    """Routes `devices` and `devices/` to the same view."""

    def __init__(self) -> None:
        super().__init__(trailing_slash=False)
        self.trailing_slash = "/?"
