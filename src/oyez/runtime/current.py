"""The user for whom the current task works, and the events that the task's command has published."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from oyez.log.log import split_position

NOBODY = ""
"""The value of `current_user` if the task works for a back end or for the server itself."""

ORDER_SECONDS = 1.0
"""Seconds for which an acknowledgement waits for the events of its command. If the log or the delivery is interrupted,
the command has been executed nevertheless, and the client must not take it for lost."""

Appending = Callable[[float], Awaitable[str | None]]
"""Waits at most so many seconds until the events are in the log. Returns a position that is not before theirs; None if
they are not there yet."""


class Published:
    """The events that a command has published."""

    __slots__ = ("appending", "position")

    def __init__(self) -> None:
        self.position: str | None = None
        """The position of the last event in the log; None if no event was stored."""
        self.appending: Appending | None = None
        """Set if a transaction has committed events, which the outbox appends to the log."""

    def record(self, position: str | None) -> None:
        """The command has published events up to `position`. None: no event was stored."""
        if position is not None and (self.position is None or _is_later(position, self.position)):
            self.position = position

    async def wait_until_delivered(self, deliver: Callable[[str, float], Awaitable[None]]) -> None:
        """Wait at most ORDER_SECONDS until the events are delivered. `deliver` waits for the delivery of a position."""
        if self.appending is None and self.position is None:
            return
        clock = asyncio.get_running_loop().time
        deadline = clock() + ORDER_SECONDS
        if self.appending is not None:
            self.record(await self.appending(ORDER_SECONDS))
        if self.position is not None:
            await deliver(self.position, deadline - clock())


def _is_later(position: str, other: str) -> bool:
    """True if `position` comes after `other`, or has another epoch: the newer epoch is recorded last."""
    (epoch, number), (other_epoch, other_number) = split_position(position), split_position(other)
    return epoch != other_epoch or number > other_number


current_published: ContextVar[Published | None] = ContextVar("current_published", default=None)
"""The events of the command that the current task handles. Publishers record them."""
current_user: ContextVar[str] = ContextVar("current_user", default=NOBODY)
"""The id of the user whose CONNECT or command the current task handles."""
