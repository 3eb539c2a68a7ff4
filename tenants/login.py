"""Checks an e-mail address and password, with a limit on failures. The login page and the API share it.

A known and an unknown address get the same answer after the same work. The limits count failures per address and
account together, so that whoever guesses does not lock the owner out elsewhere, and per address. They need no Redis.
"""

from datetime import datetime, timedelta

from django.contrib.auth import authenticate
from django.http import HttpRequest

from tenants.client_address import client_address
from tenants.errors import LoginFailedError, TooManyAttemptsError
from tenants.login_limits import LoginLimit, count_attempt, give_back
from tenants.models import User


def check_login(*, request: HttpRequest, email: str, password: str, now: datetime) -> User:
    """Return the person. Raises LoginFailedError, and TooManyAttemptsError after five failures in a minute.

    The attempt is counted before the password is looked at, so that many at once cannot all get through.
    """
    attempt = count_attempt(limits=_limits(request, email), now=now)
    if attempt.wait_seconds:
        raise TooManyAttemptsError(attempt.wait_seconds)
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        raise LoginFailedError("E-mail address or password is wrong, or the account is disabled.")
    give_back(attempt)
    return user


def count_failed_login(*, request: HttpRequest, email: str, now: datetime) -> None:
    """Use up some of the limits."""
    count_attempt(limits=_limits(request, email), now=now)


def _limits(request: HttpRequest, email: str) -> tuple[LoginLimit, ...]:
    address = client_address(request)
    account = f"{address} {email.strip().lower()}"
    return (
        LoginLimit("minute", 5, timedelta(minutes=1), account),
        LoginLimit("account", 10, timedelta(minutes=15), account),
        LoginLimit("address", 30, timedelta(minutes=15), address),
    )
