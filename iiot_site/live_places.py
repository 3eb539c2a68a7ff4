"""How many live sockets one person and one tenant may have open at once in this process.

Each costs the process memory, and a push for every frame: without a bound one person's sockets would slow everybody's pages.
"""

import uuid
from collections import Counter

from django.conf import settings

from iiot_site.live_access import LiveCaller


class Places:
    """Counts the open sockets. Used from the event loop only."""

    def __init__(self) -> None:
        self._of_person: Counter[uuid.UUID | str] = Counter()
        self._of_tenant: Counter[uuid.UUID | str] = Counter()

    def take(self, caller: LiveCaller) -> bool:
        """Take a place; False where there is none."""
        if self._of_person[caller.user_id] >= settings.IIOT_LIVE_SOCKETS_PER_PERSON:
            return False
        if self._of_tenant[caller.schema] >= settings.IIOT_LIVE_SOCKETS_PER_TENANT:
            return False
        self._of_person[caller.user_id] += 1
        self._of_tenant[caller.schema] += 1
        return True

    def leave(self, caller: LiveCaller) -> None:
        """Give a place back."""
        for counts, key in ((self._of_person, caller.user_id), (self._of_tenant, caller.schema)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def count(self, caller: LiveCaller) -> tuple[int, int]:
        """Return how many sockets the person and the tenant have."""
        return self._of_person[caller.user_id], self._of_tenant[caller.schema]


places = Places()
