"""The address of a client that connects through proxies of the operator, which state it in `X-Forwarded-For`.

Anybody can send that header. So it counts only if the connection comes from a proxy that the setting `trusted_proxies`
names, and only from its end on: each proxy appends the address from which it received the request.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from oyez.errors import SettingsError

MAX_HOPS = 20
"""Addresses in one header that are read: more than there are proxies in a row."""

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies of the operator."""

    def __init__(self, trusted: str) -> None:
        """`trusted` are addresses and networks, separated by commas. Raises SettingsError."""
        self._networks = []
        for text in filter(None, map(str.strip, trusted.split(","))):
            try:
                self._networks.append(ip_network(text))
            except ValueError:
                raise SettingsError(
                    f"TRUSTED_PROXIES has {text!r}. Write addresses or networks, such as 10.0.0.1, 10.1.0.0/16."
                ) from None

    def find_client(self, peer: str, forwarded: str | None) -> str:
        """The address of the client whose request came from `peer` with this X-Forwarded-For."""
        if forwarded is None or not self._networks or not self._trusts(_parse(peer)):
            return peer
        client = peer
        for text in reversed(forwarded.split(",")[-MAX_HOPS:]):
            address = _parse(text.strip())
            if address is None:
                # What is before it was not written by a trusted proxy.
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _parse(text: str) -> Address | None:
    """The address in a text, which may have a port, brackets or a zone; None if there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
