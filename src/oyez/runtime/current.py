"""Who the present task works for, so that what users share is divided fairly among them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from oyez.log.log import split_position

NOBODY = ""
"""The task works for a back end or for the server itself."""


ORDER_SECONDS = 1.0
"""How long an acknowledgement waits for the events that its command published: when the log or the delivery has
stopped, the command has been done all the same, and the client must not take it for lost."""

Appending = Callable[[float], Awaitable[str | None]]
"""Waits, for so many seconds at most, until events are in the log. Returns a position that is not before theirs; None
if they are not there yet."""


class Published:
    """What a command has published, and how far that has come."""

    __slots__ = ("appending", "position")

    def __init__(self) -> None:
        self.position: str | None = None
        """The position of the last event in the log; None if nothing was stored."""
        self.appending: Appending | None = None
        """Set when a transaction has committed events: the relay of the outbox appends them."""

    def note(self, position: str | None) -> None:
        """Events up to `position` belong to the command. None: nothing was stored."""
        if position is not None and (self.position is None or _is_later(position, self.position)):
            self.position = position

    async def settle(self, deliver: Callable[[str, float], Awaitable[None]]) -> None:
        """Wait until the events have been delivered, for ORDER_SECONDS at most. `deliver` waits for a position."""
        if self.appending is None and self.position is None:
            return
        clock = asyncio.get_running_loop().time
        deadline = clock() + ORDER_SECONDS
        if self.appending is not None:
            self.note(await self.appending(ORDER_SECONDS))
        if self.position is not None:
            await deliver(self.position, deadline - clock())


def _is_later(position: str, other: str) -> bool:
    """True if `position` comes after `other`, or is of another epoch: the later one is noted last."""
    (epoch, number), (other_epoch, other_number) = split_position(position), split_position(other)
    return epoch != other_epoch or number > other_number


current_published: ContextVar[Published | None] = ContextVar("current_published", default=None)
"""Where a publisher notes what the command that the present task handles has published."""
current_user: ContextVar[str] = ContextVar("current_user", default=NOBODY)
"""The id of the user whose CONNECT or command the present task handles."""
