"""Which address counts as the client's, with proxies and without."""

import pytest

from oyez.errors import SettingsError
from oyez.server.http.proxies import TrustedProxies

PROXIES = TrustedProxies("10.0.0.1, 10.1.0.0/16, 2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:470::7", "2001:470::7"),
        ("10.0.0.1", "203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:470::7]:4711", "2001:470::7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # What the client itself has sent is before the address that the proxy has appended.
        ("10.0.0.1", "127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "unknown, 10.1.2.3", "10.1.2.3"),
        ("10.0.0.1", "x" * 10_000, "10.0.0.1"),
        ("10.0.0.1", ", " * 1_000 + "203.0.113.7", "203.0.113.7"),
        # Any client may send the header.
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("", "127.0.0.1", ""),
    ],
)
def test_the_address_of_a_client(peer: str, forwarded: str | None, client: str) -> None:
    assert PROXIES.find_client(peer, forwarded) == client


def test_without_proxies_the_header_does_not_count() -> None:
    assert TrustedProxies("").find_client("10.0.0.1", "203.0.113.7") == "10.0.0.1"


@pytest.mark.parametrize("trusted", ["nginx", "10.0.0.1/8", "10.0.0.1; 10.0.0.2", "10.0.0.0/33"])
def test_proxies_that_are_no_addresses(trusted: str) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES has"):
        TrustedProxies(trusted)
