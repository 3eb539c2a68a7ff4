"""Why a machine of the plant cannot be reached, in words that lead to the right cable."""

import errno

_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})


def explain_connection_error(error: OSError, where: str, *, seconds: float | None = None) -> str:
    """Tell a refusal from silence, from a missing way, and from a connection that was closed at once."""
    if isinstance(error, TimeoutError):
        limit = "in time" if seconds is None else f"within {seconds:g} s"
        return f"No answer from {where} {limit}. Is it switched on, is the address right, and does a firewall let us through?"
    if isinstance(error, ConnectionRefusedError):
        return f"Nobody listens at {where}: it refused the connection. Is its server running, and is the port right?"
    if error.errno in _NO_WAY:
        return f"There is no way to {where}: the network does not know the machine. Check cable, address and route."
    if isinstance(error, ConnectionError):
        return f"{where} closed the connection before it answered. Does another kind of server listen there?"
    return f"No connection to {where}: {error.strerror or error}."
