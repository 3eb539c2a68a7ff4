"""How often Python looks for garbage in circles. All other garbage goes at once, without being looked for."""

import gc

# Python's own 700 are passed hundreds of times while a batch is taken in, and each time the batch itself is looked through.
NEW_CONTAINERS = 20_000


def collect_seldom() -> None:
    """Look seldom from now on, and never again at what is loaded by now."""
    gc.freeze()
    gc.set_threshold(NEW_CONTAINERS)
