"""Limits: how often a command may be sent, as a contract declares it.

`limit="10/s"` counts for each user. `limit=["10/s", "200/h", per_room("50/s"), per_address("100/m")]` also counts for
a long time, for all users in a room together, and for all users of an address together. `runtime/usage.py` counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from oyez.concurrency.token_bucket import Rate
from oyez.contract.rooms import Room
from oyez.errors import ContractError

_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TEXTS = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour"}
Scope = Literal["user", "room", "address"]


@dataclass(frozen=True, slots=True)
class Limit(Rate):
    """`count` commands at once, refilled evenly over `period` seconds."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The limit written as `10/s`, `30/m` or `100/h`. Raises ContractError."""
        match = re.fullmatch(r"([1-9]\d{0,5})/([smh])", text, re.ASCII) if isinstance(text, str) else None
        if match is None:
            raise ContractError(
                f"limit {text!r}: expected a number of commands a second, minute or hour, such as 10/s, 30/m or 100/h"
            )
        return cls(int(match[1]), _PERIODS[match[2]])

    @property
    def text(self) -> str:
        """The limit as documents show it."""
        return f"{self.count} {_TEXTS[self.period]}"

    @property
    def half(self) -> "Limit":
        """Half of it, at least one: the share of a limit that one of several users may use."""
        return Limit((self.count + 1) // 2, self.period)


@dataclass(frozen=True, slots=True)
class SharedLimit:
    """A limit besides the first one of each user: of all users in a room or of an address, or for another period."""

    limit: Limit
    scope: Scope
    room: Room | None = None
    """The kind of room whose placeholders the command's fields fill; None: the rooms to which a relay goes."""

    @property
    def text(self) -> str:
        """The limit as documents show it."""
        places = {"user": "", "room": " in each room", "address": " from each address"}
        return self.limit.text + places[self.scope]


@dataclass(frozen=True, slots=True)
class WrittenLimit:
    """A limit as a contract declares it. `read_limits` reads it, so that an error is reported with the command."""

    text: str
    scope: Scope
    room: Room | None = None


def per_room(limit: str, room: Room | None = None) -> WrittenLimit:
    """A limit of all users in a room together. One user can use at most half of it.

    `room` is the room of a command: its fields have the names of the room's placeholders, and only clients in that room
    may send the command. A relay counts for each room to which it goes.
    """
    return WrittenLimit(limit, "room", room)


def per_address(limit: str) -> WrittenLimit:
    """A limit of all users with the same address together; of IPv6, with the same first 64 bits."""
    return WrittenLimit(limit, "address")


Limits = str | WrittenLimit | Sequence[str | WrittenLimit]
"""What `limit=` takes."""

DEFAULT_LIMIT = Limit(20, 1.0)
"""For commands without a limit: more than a person clicks, and enough for a front end that joins its rooms again after
a reconnection."""


def read_limits(given: Limits | None) -> tuple[Limit, tuple[SharedLimit, ...]]:
    """The first limit of each user, and all others. Raises ContractError with one line for each error."""
    listed: Sequence[Any] = [] if given is None else given if isinstance(given, list | tuple) else [given]
    parsed: list[SharedLimit] = []
    errors: list[str] = []
    for one in listed:
        written = one if isinstance(one, WrittenLimit) else WrittenLimit(one, "user")
        try:
            parsed.append(SharedLimit(Limit.parse(written.text), written.scope, written.room))
        except ContractError as error:
            errors.append(str(error))
    if errors:
        raise ContractError("\n".join(errors))
    first = next((one for one in parsed if one.scope == "user"), None)
    return first.limit if first else DEFAULT_LIMIT, tuple(one for one in parsed if one is not first)
