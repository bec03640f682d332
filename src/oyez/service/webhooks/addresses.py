"""Where webhooks may go. A receiver's address must not lead into the operator's own network.

The name is resolved for each attempt, and the connection is made to the address that was checked: a name that changes
its meaning between the check and the connection gains nothing.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Thread
from urllib.parse import SplitResult, urlsplit

from oyez.errors import InvalidDataError, OyezError

MAX_URL = 2_000
"""Characters of a receiver's address: what servers and proxies commonly accept."""
PORTS = {"http": 80, "https": 443}
NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses in IPv6 (RFC 6052): the last 32 bits."""


class ForbiddenAddressError(OyezError):
    """A receiver's name leads to an address to which webhooks may not go."""


@dataclass(frozen=True, slots=True)
class Place:
    """A receiver's address, taken apart."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def at(self, address: str) -> str:
        """The URL with the checked address in place of the name."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{host}:{self.port}{self.target}"


def read_place(url: str, *, private: bool) -> Place:
    """Take a receiver's URL apart. `private`: True if plain HTTP and private addresses are allowed.

    Raises InvalidDataError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise InvalidDataError("url", "an address such as https://shop.example/webhooks") from None
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidDataError("url", f"at most {MAX_URL} ASCII characters without spaces")
    _check_parts(parts, private=private)
    assert parts.hostname is not None
    place = Place(parts.scheme, parts.hostname, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    if not private and _is_literal(place.host) and is_private(place.host):
        raise InvalidDataError("url", "an address that is not private: see the setting webhook_private_addresses")
    return place


def _check_parts(parts: SplitResult, *, private: bool) -> None:
    if parts.scheme not in PORTS or not parts.hostname:
        raise InvalidDataError("url", "an address such as https://shop.example/webhooks")
    if parts.scheme == "http" and not private:
        raise InvalidDataError("url", "an address that begins with https://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidDataError("url", "an address without a user, a password and a fragment")


async def resolve(place: Place, *, private: bool) -> list[str]:
    """The addresses of a receiver, in the order in which they are tried.

    Raises ForbiddenAddressError if one of them is private, and OSError if the name has no address.
    """
    addresses = await _look_up(place.host, place.port)
    forbidden = [] if private else [address for address in addresses if is_private(address)]
    if forbidden:
        raise ForbiddenAddressError(
            f"{place.host} is {forbidden[0]}, a private address. Webhooks go to public addresses only, unless the"
            " setting webhook_private_addresses is on."
        )
    return addresses


async def _look_up(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises OSError.

    In a thread of its own, not in the few that the loop has: a name server that does not answer holds a thread for half
    a minute, and connections to Redis and to back ends need look-ups too. A receiver has one look-up at a time, or two.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def finish(addresses: list[str], error: OSError | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def work() -> None:
        addresses: list[str] = []
        failed: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            failed = error if isinstance(error, OSError) else OSError(f"{host} is no name of a host")
        # The loop may have been closed meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, addresses, failed)

    Thread(target=work, name="oyez-look-up", daemon=True).start()
    return await found


def is_private(address: str) -> bool:
    """True for every address that is not a public one of a single host: loopback, link-local, private, reserved."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return True
    embedded = _find_embedded(found)
    # Of a NAT64 address, only the address behind the translator counts.
    meant = embedded if found in NAT64 else [found, *embedded]
    return any(not one.is_global or one.is_multicast or one.is_reserved for one in meant)


def _find_embedded(address: IPv4Address | IPv6Address) -> Sequence[IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [one for one in found if one is not None]


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
