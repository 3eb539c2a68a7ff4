"""System checks of the settings: what is wrong, and what to do about it. `manage.py check` runs them, so does every start."""

import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

_MIN_KEY_BYTES = 32
# They make the key, or sign nothing.
_WITHOUT_KEY = {"up", "doctor", "with_servers", "servers", "makemigrations", "collectstatic", "spectacular", "test"}


@register(Tags.security)
def check_secret_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse to sign sessions and tokens with a key that is known or short (HS256 needs 256 bits: RFC 7518, section 3.2)."""
    key = settings.SECRET_KEY
    if len(sys.argv) > 1 and sys.argv[1] in _WITHOUT_KEY:
        return []
    if key.startswith("unset-"):
        return [
            Error(
                "There is no secret key, so sessions and tokens cannot be signed.",
                hint="`make up` makes one under var/secrets/; elsewhere set IIOT_SECRET_KEY to 50 random characters.",
                id="iiot_site.E001",
            )
        ]
    if len(key.encode()) < _MIN_KEY_BYTES:
        return [
            Error(
                f"The secret key has {len(key.encode())} bytes; tokens need {_MIN_KEY_BYTES} at least.",
                hint="Set IIOT_SECRET_KEY to 50 random characters. Sessions and tokens signed with the old key end.",
                id="iiot_site.E002",
            )
        ]
    return []
