"""The plant's networks as an installation has them, not those of the tests' own servers."""

import pytest
from pytest_django.fixtures import Settings

from iiot_site.lib.plant_network import DEFAULT_NETWORKS


@pytest.fixture(autouse=True)
def _plant_networks(settings: Settings) -> None:
    settings.IIOT_PLANT_NETWORKS = list(DEFAULT_NETWORKS)
