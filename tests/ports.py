"""Free ports for servers that a test starts in a moment."""

import random

from iiot_site.supervisor.ports import is_free

# Not where outgoing connections get theirs (32,768 and up), nor where the supervisor looks: somebody else would take it meanwhile.
_FIRST, _LAST = 10_000, 19_999
_given: set[int] = set()


def free_port() -> int:
    """Return a port of this machine that nobody listens on, and never the same one twice."""
    while True:
        port = random.randint(_FIRST, _LAST)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
