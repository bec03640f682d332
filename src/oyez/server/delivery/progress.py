"""How far the log has been delivered to the sockets of this process, and which tasks wait for that."""

import asyncio
from collections.abc import Awaitable
from enum import Enum, auto

from oyez.errors import LogUnavailableError
from oyez.log.log import split_position
from oyez.server.delivery.replay_buffer import ReplayBuffer

LIVE_TIMEOUT = 5.0
"""Seconds that a client waits for live delivery: enough to deliver a long backlog. Official clients that are
disconnected after it reconnect by themselves."""


class State(Enum):
    """The life of a log consumer."""

    STARTING = auto()
    """Nothing has been read, or the log has a new epoch."""
    CATCHING_UP = auto()
    """Entries from before the start, or from before the log was lost, are being delivered."""
    LIVE = auto()
    """All entries that existed at the start have been delivered. Only now may clients enter."""
    LOST = auto()
    """The log cannot be read. Delivery continues from the same position when it can."""


class Input(Enum):
    """What changes the state of a log consumer."""

    OPENED = auto()
    REACHED_END = auto()
    FAILED = auto()
    EPOCH_ENDED = auto()
    """The position at which delivery stopped is in an epoch that no longer exists."""


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.STARTING: {Input.OPENED: State.CATCHING_UP, Input.FAILED: State.STARTING, Input.EPOCH_ENDED: State.STARTING},
    State.CATCHING_UP: {
        Input.REACHED_END: State.LIVE,
        Input.FAILED: State.LOST,
        Input.EPOCH_ENDED: State.STARTING,
    },
    State.LIVE: {Input.FAILED: State.LOST, Input.EPOCH_ENDED: State.STARTING},
    State.LOST: {Input.OPENED: State.CATCHING_UP, Input.FAILED: State.LOST, Input.EPOCH_ENDED: State.STARTING},
}


class Progress:
    """The position up to which everything has been delivered. Only the log consumer changes it."""

    def __init__(self, replay_buffer: ReplayBuffer) -> None:
        self._replay_buffer = replay_buffer
        self.state = State.STARTING
        self.live = asyncio.Event()
        """Set while the state is LIVE."""
        self._live_from: tuple[str, int] = ("", 0)
        """The epoch and number of the last entry that must be delivered before the state is LIVE."""
        self._waiters: list[tuple[tuple[str, int], asyncio.Future[None]]] = []
        """Positions, as epoch and number, and the futures that are resolved when delivery has reached them."""

    @property
    def position(self) -> str:
        """All entries up to this position have been delivered."""
        return self._replay_buffer.position

    @property
    def awaited(self) -> bool:
        """True if `update` must be called after a delivery."""
        return bool(self._waiters) or self.state is not State.LIVE

    def open(self, end: str) -> None:
        """The log can be read; the state is LIVE after everything up to `end` has been delivered."""
        self._live_from = split_position(end)
        self.advance(Input.OPENED)
        self.update()

    def advance(self, change: Input) -> None:
        """Change the state."""
        self.state = TRANSITIONS[self.state][change]
        if self.state is State.LIVE:
            self.live.set()
        else:
            self.live.clear()

    def update(self) -> None:
        """Change the state if its end is reached, and resolve the waiters whose position is."""
        epoch, number = split_position(self.position)
        if self.state is State.CATCHING_UP and (epoch != self._live_from[0] or number >= self._live_from[1]):
            self.advance(Input.REACHED_END)
        for (awaited_epoch, awaited), reached in self._waiters:
            if not reached.done() and awaited_epoch != epoch:
                reached.set_exception(KeyError(f"{awaited_epoch}.{awaited}"))
            elif not reached.done() and awaited <= number:
                reached.set_result(None)
        self._waiters = [(place, reached) for place, reached in self._waiters if not reached.done()]

    async def wait_until_live(self) -> None:
        """Wait until live events are delivered. Raises LogUnavailableError after LIVE_TIMEOUT."""
        if not self.live.is_set():
            await _wait(self.live.wait())

    async def wait_for_position(self, position: str) -> None:
        """Wait until all entries up to `position`, which must exist, have been delivered here.

        Raises KeyError if the epoch of `position` has ended, LogUnavailableError after LIVE_TIMEOUT.
        """
        reached = asyncio.get_running_loop().create_future()
        self._waiters.append((split_position(position), reached))
        self.update()
        await _wait(reached)


async def _wait(awaited: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(LIVE_TIMEOUT):
            await awaited
    except TimeoutError:
        raise LogUnavailableError(f"The log has not been delivered up to its end within {LIVE_TIMEOUT} s.") from None
