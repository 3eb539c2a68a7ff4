"""Every endpoint behaves, for every method and persona, as the table in `tests/access.py` says."""

from tests.access import AccessSuite


class TestAccess(AccessSuite):
    """The whole table."""
