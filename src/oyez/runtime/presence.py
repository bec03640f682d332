"""The users in a room with presence, for handlers and back ends."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from oyez.contract.rooms import NamedRoom

MAX_USERS = 1_000
"""Users of one list, those that came first; all are counted. An answer stays below 200 KB."""


class PresentUser(NamedTuple):
    """A user with at least one socket in the room."""

    id: str
    since: float
    """When the first of its sockets came, in seconds since 1970."""
    last_seen: float
    """When a process last reported that it is there, in seconds since 1970."""
    claims: Mapping[str, str] = {}
    """The claims that `Presence(claims=…)` shows, by their fields."""


@dataclass(frozen=True, slots=True)
class RoomPresence:
    """The users in a room, on all processes together."""

    count: int
    users: list[PresentUser]
    """The first MAX_USERS of them, in the order in which they came."""


FindPresent = Callable[[NamedRoom], Awaitable[RoomPresence]]
"""Finds the users in a room. Raises ContractError if the room has no presence, DatabaseUnavailableError."""
