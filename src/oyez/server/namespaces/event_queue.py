"""The order of one socket's events: while a handler waits for something, later events wait for the handler."""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from oyez.logger import get_logger
from oyez.server.types import ReceivedEvent

logger = get_logger("oyez.server")

MAX_QUEUED_EVENTS = 64
"""Events of one socket that wait for a running handler before the server stops reading from its connection."""

Handling = Coroutine[Any, Any, None]


class EventSource(Protocol):
    """The connection that the events come from."""

    def pause_reading(self) -> None:
        """The queue is full."""

    def resume_reading(self) -> None:
        """The queue has room again."""

    @property
    def full(self) -> bool:
        """True if no more may be sent before the client has received some of it."""

    async def wait_for_room(self) -> bool:
        """Wait while `full`; False if the client has received nothing for too long."""


class EventQueue:
    """Exists while a handler of a socket is running."""

    __slots__ = ("_describe", "_events", "_handle", "_reader")

    def __init__(
        self,
        handle: Callable[[ReceivedEvent], Handling | None],
        reader: EventSource,
        describe: Callable[[], Mapping[str, str]],
    ) -> None:
        """`handle` starts an event, and returns a coroutine if the event is not finished then.

        `describe` gives the fields of log lines about the socket.
        """
        self._events: deque[ReceivedEvent] = deque()
        self._handle = handle
        self._reader = reader
        self._describe = describe

    def __len__(self) -> int:
        """Number of waiting events."""
        return len(self._events)

    def add(self, event: ReceivedEvent) -> None:
        """Handle `event` after those before it."""
        self._events.append(event)
        if len(self._events) == MAX_QUEUED_EVENTS:
            self._reader.pause_reading()

    def clear(self) -> list[ReceivedEvent]:
        """Remove and return the waiting events. The running handler may finish."""
        events = list(self._events)
        self._events.clear()
        if len(events) >= MAX_QUEUED_EVENTS:
            self._reader.resume_reading()
        return events

    async def run(self, running: Handling) -> None:
        """Finish a running handler, then the events that have arrived since, in order."""
        following: Handling | None = running
        while following is not None:
            try:
                await following
            except Exception:
                logger.exception("handler failed", **self._describe())
            following = None
            # The answers to a burst of commands wait for a client that polls, not in memory.
            if self._reader.full:
                await self._reader.wait_for_room()
            while self._events and following is None:
                event = self._events.popleft()
                if len(self._events) == MAX_QUEUED_EVENTS - 1:
                    self._reader.resume_reading()
                following = self._handle(event)
