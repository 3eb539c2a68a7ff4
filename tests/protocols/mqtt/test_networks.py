"""Whom the TLS door takes for one sender."""

import pytest

from protocols.mqtt.tls_door import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::7", "2001:db8:1:2::/64"),
        ("fe80::7%eth0", "fe80::/64"),
    ],
)
def test_a_sender_is_known_by_what_it_cannot_choose_anew(address: str, network: str) -> None:
    assert network_of(address) == network
