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
    """At most `count` failures per `period` of whoever `who` names."""

    name: str
    count: int
    period: str
    who: str


class _Attempt:
    """One attempt, counted before the password is looked at, so that many at once cannot all get through.

    django-ratelimit only counts up, so what did not fail is counted as given back, in windows that are the same.
    """

    def __init__(self, request: HttpRequest, email: str) -> None:
        address = client_address(request)
        account = f"{address} {email.strip().lower()}"
        self._request = request
        self._limits = (
            _Limit("minute", 5, "m", account),
            _Limit("account", 10, "15m", account),
            _Limit("address", 30, "15m", address),
        )

    def count(self) -> int:
        """Use up some of the limits; return the seconds to wait, 0 where there was room."""
        try:
            return max(self._seconds_to_wait(limit) for limit in self._limits)
        except redis.exceptions.RedisError as exc:
            logger.warning("login limit not checked: %s", exc)
            return 0

    def give_back(self) -> None:
        """Undo `count`: only failures use up the limits."""
        try:
            for limit in self._limits:
                self._usage(limit, "given-back", counts=True)
        except redis.exceptions.RedisError as exc:
            logger.warning("login limit not given back: %s", exc)

    def _seconds_to_wait(self, limit: _Limit) -> int:
        tries, time_left = self._usage(limit, "tries", counts=True)
        given_back, _ = self._usage(limit, "given-back", counts=False)
        return max(1, time_left) if tries - given_back > limit.count else 0

    def _usage(self, limit: _Limit, ledger: str, *, counts: bool) -> tuple[int, int]:
        """Return how many were counted in this window, and the seconds until it ends."""
        usage = get_usage(
            self._request,
            group=f"login-{limit.name}-{ledger}",
            key=lambda group, request: limit.who,
            rate=f"{limit.count}/{limit.period}",
            increment=counts,
        )
        return (int(usage["count"]), int(usage["time_left"])) if usage else (0, 0)


def check_login(*, request: HttpRequest, email: str, password: str) -> User:
    """Return the person. Raises LoginFailedError, and TooManyAttemptsError after five failures in a minute."""
    attempt = _Attempt(request, email)
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
    _Attempt(request, email).count()
