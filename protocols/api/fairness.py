"""How much of the web server one tenant's devices may take: each request that stores holds a connection of the pool.

A table that somebody locks makes each such request wait; without a bound one tenant's devices, which repeat what is not
answered, would take the pool from all others.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from django.conf import settings
from django.db import OperationalError

from protocols.errors import TenantBusyError
from protocols.holding import find_sqlstate

PAUSE_SECONDS = 3.0
_LOCKED = ("55P03", "57014")  # lock_not_available, query_canceled: see PostgreSQL's appendix A
_DETAIL = "The organisation's tables are busy; send it again in some seconds."


class Fairness:
    """Counts the requests in work of each tenant, in all threads of a web process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._in_work: Counter[str] = Counter()
        self._closed_until: dict[str, float] = {}

    @contextmanager
    def take_turn(self, tenant: str) -> Iterator[None]:
        """Work for a tenant.

        Raises:
            TenantBusyError: half of the pool works for it already, or its tables were locked a moment ago.
        """
        with self._lock:
            if self._in_work[tenant] >= max(1, settings.IIOT_DB_POOL_SIZE // 2) or self._clock() < self._closed_until.get(tenant, 0.0):
                raise TenantBusyError(_DETAIL)
            self._in_work[tenant] += 1
        try:
            yield
        except OperationalError as error:
            if find_sqlstate(error) in _LOCKED:
                with self._lock:
                    self._closed_until[tenant] = self._clock() + PAUSE_SECONDS
            raise
        finally:
            with self._lock:
                self._in_work[tenant] -= 1
                if not self._in_work[tenant]:
                    del self._in_work[tenant]


fairness = Fairness()
