"""Checks an e-mail address and password, with a limit on failures. The login page and the API share it.

A known and an unknown address get the same answer after the same work. The limits count failures per address and
account together, so that whoever guesses does not lock the owner out elsewhere, and per address. They fail open: with
Redis away people can still log in, and the slow password hash goes on slowing down whoever guesses.
"""

import logging
from dataclasses import dataclass

import redis.exceptions
from django.contrib.auth import authenticate
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from tenants.client_address import client_address
from tenants.errors import LoginFailedError, TooManyAttemptsError
from tenants.models import User

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Limit:
    group: str
    rate: str
    key: str


def _limits(address: str, email: str) -> tuple[_Limit, ...]:
    account = f"{address} {email.lower()}"
    return (
        _Limit("login-minute", "5/m", account),
        _Limit("login-account", "10/15m", account),
        _Limit("login-address", "30/15m", address),
    )


def _seconds_to_wait(request: HttpRequest, limit: _Limit, *, counts: bool) -> int:
    """Return 0 while the limit has room. With `counts` this attempt uses some of it."""
    try:
        usage = get_usage(request, group=limit.group, key=lambda group, request: limit.key, rate=limit.rate, increment=counts)
    except redis.exceptions.RedisError as exc:
        logger.warning("login limit not checked: %s", exc)
        return 0
    if usage is None or usage["count"] < usage["limit"]:
        return 0
    return max(1, int(usage["time_left"]))


def check_login(*, request: HttpRequest, email: str, password: str) -> User:
    """Return the person. Raises LoginFailedError, and TooManyAttemptsError after five failures in a minute."""
    limits = _limits(client_address(request), email.strip())
    wait = max(_seconds_to_wait(request, limit, counts=False) for limit in limits)
    if wait:
        raise TooManyAttemptsError(wait)
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        count_failed_login(request=request, email=email)
        raise LoginFailedError("E-mail address or password is wrong, or the account is disabled.")
    return user


def count_failed_login(*, request: HttpRequest, email: str) -> None:
    """Use up some of the limits."""
    for limit in _limits(client_address(request), email.strip()):
        _seconds_to_wait(request, limit, counts=True)
