"""Checks of the secret key: what is wrong, and what to do about it.

`manage.py` runs them before each command. The web server, workers and beat start without it and call `require_secret_key`.
"""

import sys
from collections.abc import Sequence
from typing import Any

from celery.signals import beat_init, worker_init
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

_MIN_KEY_BYTES = 32
# They make the key, or sign nothing.
_WITHOUT_KEY = {"up", "doctor", "with_servers", "servers", "makemigrations", "collectstatic", "spectacular", "test"}


@register(Tags.security)
def check_secret_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse to sign sessions and tokens with a key that is known or short (HS256 needs 256 bits: RFC 7518, section 3.2)."""
    if len(sys.argv) > 1 and sys.argv[1] in _WITHOUT_KEY:
        return []
    return _list_faults(settings.SECRET_KEY)


def require_secret_key() -> None:
    """Raise ImproperlyConfigured unless there is a key to sign with."""
    for fault in _list_faults(settings.SECRET_KEY):
        raise ImproperlyConfigured(f"{fault.msg} {fault.hint}")


@worker_init.connect
@beat_init.connect
def _refuse_to_work(**_: Any) -> None:
    try:
        require_secret_key()
    except ImproperlyConfigured as exc:
        raise SystemExit(str(exc)) from exc  # Celery only logs any other exception of a signal


def _list_faults(key: str) -> list[CheckMessage]:
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
