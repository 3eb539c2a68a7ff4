"""Checks an e-mail address and password, with a limit on failures. The login page and the API share it.

A known and an unknown address get the same answer after the same work. The limits count failures per address and
account together, so that whoever guesses does not lock the owner out elsewhere, and per address. They fail open: with
Redis away people can still log in, and the slow password hash goes on slowing down whoever guesses.
"""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime

import redis.exceptions
from django.contrib.auth import authenticate
from django.core.cache import caches
from django.http import HttpRequest
from django.utils import timezone

from tenants.client_address import client_address
from tenants.errors import LoginFailedError, TooManyAttemptsError
from tenants.models import User

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Limit:
    """At most `count` attempts per `seconds` of the clock, counted in the cache."""

    name: str
    count: int
    seconds: int


_BY_ACCOUNT = (_Limit("minute", 5, 60), _Limit("account", 10, 900))
_BY_ADDRESS = (_Limit("address", 30, 900),)


class _Attempt:
    """One attempt, counted before the password is looked at, so that many at once cannot all get through."""

    def __init__(self, *, address: str, email: str, now: datetime) -> None:
        self._seconds = int(now.timestamp())
        account = hashlib.sha256(f"{address} {email.strip().lower()}".encode(errors="surrogatepass")).hexdigest()
        self._limits = [(limit, account) for limit in _BY_ACCOUNT] + [(limit, address) for limit in _BY_ADDRESS]

    def _keys(self) -> list[tuple[_Limit, str]]:
        return [(limit, f"login:{limit.name}:{who}:{self._seconds // limit.seconds}") for limit, who in self._limits]

    def count(self) -> int:
        """Use up some of the limits; return the seconds to wait, 0 where there was room."""
        wait = 0
        try:
            for limit, key in self._keys():
                caches["shared"].add(key, 0, timeout=2 * limit.seconds)
                if caches["shared"].incr(key) > limit.count:
                    wait = max(wait, limit.seconds - self._seconds % limit.seconds)
        except redis.exceptions.RedisError as exc:
            logger.warning("login limit not checked: %s", exc)
            return 0
        return wait

    def give_back(self) -> None:
        """Undo `count`: only failures use up the limits."""
        try:
            for _, key in self._keys():
                caches["shared"].decr(key)
        except (redis.exceptions.RedisError, ValueError) as exc:  # ValueError: not counted, Redis was away or emptied
            logger.warning("login limit not given back: %s", exc)


def check_login(*, request: HttpRequest, email: str, password: str) -> User:
    """Return the person. Raises LoginFailedError, and TooManyAttemptsError after five failures in a minute."""
    attempt = _Attempt(address=client_address(request), email=email, now=timezone.now())
    wait = attempt.count()
    if wait:
        attempt.give_back()
        raise TooManyAttemptsError(wait)
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        raise LoginFailedError("E-mail address or password is wrong, or the account is disabled.")
    attempt.give_back()
    return user


def count_failed_login(*, request: HttpRequest, email: str) -> None:
    """Use up some of the limits."""
    _Attempt(address=client_address(request), email=email, now=timezone.now()).count()
