"""How often devices may ask to be registered: 120 times a minute per address, 600 per key.

Fails open: with Redis away devices can still register, and a key has 256 bits nobody guesses.
"""

import logging

import redis.exceptions
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from tenants.client_address import client_address
from tenants.errors import TooManyAttemptsError

logger = logging.getLogger(__name__)

PER_ADDRESS = "120/m"
PER_KEY = "600/m"


def check_provisioning_limit(request: HttpRequest, *, prefix: str) -> None:
    """Count this request.

    Raises:
        TooManyAttemptsError: the address or the key has used up its minute.
    """
    try:
        for group, who, rate in (("address", client_address(request), PER_ADDRESS), ("key", prefix, PER_KEY)):
            usage = get_usage(request, group=f"provision-{group}", key=lambda _group, _request, who=who: who, rate=rate, increment=True)
            if usage and usage["should_limit"]:
                raise TooManyAttemptsError(max(1, int(usage["time_left"])))
    except redis.exceptions.RedisError as exc:
        logger.warning("limit of provisioning not checked: %s", exc)
