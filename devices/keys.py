"""What names a metric on the wire. Pure."""

import re

METRIC_KEY_PATTERN = r"[A-Za-z_][A-Za-z0-9_.:/ -]{0,63}"
_METRIC_KEY = re.compile(METRIC_KEY_PATTERN)


def is_metric_key(key: str) -> bool:
    """Tell whether a metric may have this key."""
    return _METRIC_KEY.fullmatch(key) is not None
