"""The values that pass between the layers of the server: the opening request, an event, the way to answer it."""

import socket
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl

import msgspec

KEPT_HEADERS = ("authorization", "cookie", "origin", "user-agent")
"""Request headers that are kept in memory as long as the client is connected."""

WHOLE_BODY = "oyez.body"
"""The key of a request's scope that holds the whole body, if it came with the head: nothing is left to wait for."""

_MAPPED = bytes(10) + b"\xff\xff"
"""Prefix of an IPv6 address that stands for an IPv4 address, as a server that listens on both receives it."""


def network_of(address: str) -> str:
    """The network that counts as one address in limits: an IPv4 address, or the first 64 bits of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed.startswith(_MAPPED):
        return socket.inet_ntoa(packed[12:])
    return packed[:8].hex()


class Guest(NamedTuple):
    """A client without credentials, that returns by the `pid` of its session."""

    subject: str
    """The guest's id, which others may know."""
    key: str
    """The end of the `pid`, which only the guest knows."""


class Handshake(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The HTTP request that opened the connection."""

    headers: dict[str, str]
    """Lower-case names; only KEPT_HEADERS, and those that an application names."""
    query_string: str
    address: str
    secure: bool
    time: float
    """When the request was received, in seconds since 1970."""

    def __repr__(self) -> str:
        # Without the values of headers and query, which hold credentials, because a log may show it.
        return f"<Handshake from {self.address or 'unknown'} with {', '.join(self.headers) or 'no headers'}>"

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def network(self) -> str:
        """The network of `address`, for limits."""
        return network_of(self.address)

    @property
    def ignores_close(self) -> bool:
        """True for socket.io-client-java, which notices the end of the TCP connection, but no CLOSE frame.

        Its OkHttp stops reading at a CLOSE and waits for an answer by a method that this client does not have: the
        client would be deaf until its ping time-out. The User-Agent decides nothing but how such a connection is
        closed.
        """
        return self.headers.get("user-agent", "").startswith("okhttp/") and "EIO=" in self.query_string


class Acknowledge(Protocol):
    """Acknowledges an event. `data` is a JSON array with a placeholder for each attachment."""

    def __call__(self, data: bytes, attachments: tuple[bytes, ...] = ()) -> None: ...


class ReceivedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event from a client. `data` is its JSON array, name included, with a placeholder for each attachment."""

    name: str
    data: bytes
    attachments: tuple[bytes, ...] = ()
    ack: Acknowledge | None = None
    """Sends the acknowledgement; None if the client did not ask for one."""
