"""Fixtures for the tests of readings."""

import pytest

from telemetry import reading_tables


@pytest.fixture(params=["at once", "staged"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store few readings in one statement as always, and then by way of the staging table too."""
    if request.param == "staged":
        monkeypatch.setattr(reading_tables, "AT_ONCE_ROWS", 0)
