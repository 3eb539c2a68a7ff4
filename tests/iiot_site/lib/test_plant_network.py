"""Which addresses the platform connects to for tenants."""

import pytest

from iiot_site.lib.plant_network import DEFAULT_NETWORKS, OutsidePlantError, list_own_addresses, resolve_in_plant


@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.0.9", "172.31.0.1", "100.64.0.1", "fd00::1"])
def test_it_reaches_machines_in_private_networks(host: str) -> None:
    assert resolve_in_plant(host, 4840, networks=DEFAULT_NETWORKS) == host


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "8.8.8.8", "0.0.0.0", "0x7f000001", "2130706433"],
)
def test_it_reaches_nothing_else(host: str) -> None:
    with pytest.raises(OutsidePlantError):
        resolve_in_plant(host, 4840, networks=DEFAULT_NETWORKS)


def test_a_mapped_address_counts_as_the_one_inside() -> None:
    assert resolve_in_plant("::ffff:10.0.0.1", 502, networks=DEFAULT_NETWORKS) == "::ffff:10.0.0.1"


def test_the_installation_may_allow_its_own_networks() -> None:
    assert resolve_in_plant("127.0.0.1", 502, networks=["127.0.0.0/8"]) == "127.0.0.1"


def test_an_entry_may_open_one_port_alone() -> None:
    assert resolve_in_plant("127.0.0.1", 4841, networks=["127.0.0.1:4841"]) == "127.0.0.1"
    assert resolve_in_plant("127.0.0.1", 0, networks=["127.0.0.1:4841"]) == "127.0.0.1"
    for host, port in (("127.0.0.1", 4842), ("127.0.0.2", 4841)):
        with pytest.raises(OutsidePlantError):
            resolve_in_plant(host, port, networks=["127.0.0.1:4841"])


@pytest.mark.parametrize("host", ["no such name", "", "a" * 300])
def test_a_name_without_an_address_is_told(host: str) -> None:
    with pytest.raises(OutsidePlantError):
        resolve_in_plant(host, 502, networks=[])


@pytest.mark.parametrize("host", ["10.4.0.9", "::ffff:10.4.0.9", "fd00::9"])
def test_addresses_of_this_host_are_open_only_where_an_entry_names_them(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iiot_site.lib.plant_network.list_own_addresses", lambda: ["10.4.0.9", "fd00::9"])
    with pytest.raises(OutsidePlantError):
        resolve_in_plant(host, 502, networks=DEFAULT_NETWORKS)
    assert resolve_in_plant(host, 502, networks=[*DEFAULT_NETWORKS, "10.4.0.9:502", "fd00::9/128"])
    assert resolve_in_plant("10.4.0.8", 502, networks=DEFAULT_NETWORKS) == "10.4.0.8"


def test_this_host_has_addresses_and_loopback_is_not_among_them() -> None:
    assert "127.0.0.1" not in list_own_addresses()
