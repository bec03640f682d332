"""How a client receives the positions of durable events: as it asks for, or as its library can use them."""

from collections.abc import Mapping
from typing import Any

from oyez.server.namespaces.event_frames import NO_POSITION, POSITION_ARGUMENT, POSITION_EVENT
from oyez.server.types import Handshake

MAX_LENGTH = 64
"""Characters of a position or a `pid` that a client may send; ours have about 20."""
VERSION_PARAMETER, TRANSPORT_PARAMETER = "EIO=4&", "transport="


def choose_positions(handshake: Handshake, auth: Mapping[str, Any]) -> int:
    """How a client receives the positions of durable events. Only a client that asks receives one more argument."""
    asked = asks_for_recovery(auth)
    if asked is not None:
        return POSITION_ARGUMENT if asked else NO_POSITION
    shows_a_session = read_string(auth, "pid") is not None
    return POSITION_EVENT if shows_a_session or names_version_first(handshake.query_string) else NO_POSITION


def names_version_first(query: str) -> bool:
    """True if the address has `EIO` before `transport`, as that of every official JavaScript client and of its ports.

    Clients with this order are sent the event that carries a position: those that recover by themselves need it before
    they first reconnect, and no other sign distinguishes them before that. Another client with this order ignores the
    event, except in a handler for all events. Other parameters may stand between: the port in Go sorts them by name.
    """
    return TRANSPORT_PARAMETER in query.partition(VERSION_PARAMETER)[2]


def asks_for_recovery(auth: Mapping[str, Any]) -> bool | None:
    """The value of `auth.recovery`; None if the client did not send it. Some clients can send only strings."""
    asked = auth.get("recovery")
    if asked is True or asked == "true":
        return True
    return False if asked is False or asked == "false" else None


def read_string(auth: Mapping[str, Any], name: str) -> str | None:
    """`auth[name]` if it is a string that can be a position or a `pid`; otherwise None."""
    value = auth.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_LENGTH else None
