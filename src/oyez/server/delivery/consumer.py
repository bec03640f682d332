"""The log consumer: reads the log and delivers each entry to the sockets of this process that may receive it.

Every event goes this way from the log to a socket, also an event that this process published itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto
from itertools import groupby

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log, split_position
from oyez.logger import get_logger
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.namespaces.event_frames import EventFrames
from oyez.server.namespaces.namespace import Namespace

logger = get_logger("oyez.server")

PRELOADED = 20_000
"""Entries before the start that are read first: the clients of a server that died return at once and ask for them."""
LIVE_TIMEOUT = 5.0
"""Seconds that a client waits for the consumer to be live. A consumer that only has a long backlog gets there; official
clients that are sent away reconnect by themselves."""


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
    State.LIVE: {Input.REACHED_END: State.LIVE, Input.FAILED: State.LOST, Input.EPOCH_ENDED: State.STARTING},
    State.LOST: {Input.OPENED: State.CATCHING_UP, Input.FAILED: State.LOST, Input.EPOCH_ENDED: State.STARTING},
}


class LogConsumer:
    """Reads each entry of the log once and in order, and delivers it to the sockets of this process."""

    def __init__(
        self,
        log: Log,
        namespaces: Mapping[str, Namespace],
        on_node_message: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        """`on_node_message` receives what nodes send to each other: control entries without a namespace."""
        self._log = log
        self._namespaces = namespaces
        self._on_node_message = on_node_message
        self.replay_buffer = ReplayBuffer()
        self.state = State.STARTING
        self.live = asyncio.Event()
        """Set while the state is LIVE."""
        self._live_from: tuple[str, int] = ("", 0)
        """The epoch and number of the last entry that must be delivered before the consumer is live."""
        self.waiters: list[tuple[tuple[str, int], asyncio.Future[None]]] = []
        """Positions, as epoch and number, and the futures that are resolved when delivery has reached them."""
        self.delivered = 0
        """Number of recipients that events were written to since the start."""

    @property
    def position(self) -> str:
        """All entries up to this position have been delivered."""
        return self.replay_buffer.position

    async def start(self) -> None:
        """Load the newest stored entries. Everything appended after this is delivered."""
        self.live.clear()
        await self._log.open()
        self._live_from = split_position(await self._log.position())
        self.replay_buffer.start_after(await self._log.position_before(PRELOADED))
        self._advance(Input.OPENED)

    async def run(self) -> None:
        """Deliver until cancelled or until the log is closed.

        After LogUnavailableError, or any other exception of the log, a second call continues at the same position and
        misses nothing. Raises KeyError if that position no longer exists; a second call then starts with new entries.
        """
        try:
            if self.state is State.STARTING:
                await self.start()
            elif self.state is State.LOST:
                # Deliver what was appended meanwhile before any client is let in.
                self._live_from = split_position(await self._log.position())
                self._advance(Input.OPENED)
            await self._log.tail(self.deliver, self.position)
        except KeyError:
            self._advance(Input.EPOCH_ENDED)
            raise
        finally:
            self._advance(Input.FAILED)

    async def wait_until_live(self) -> None:
        """Wait until live events are delivered. Raises LogUnavailableError after LIVE_TIMEOUT."""
        if not self.live.is_set():
            await self._wait(self.live.wait())

    async def wait_for_position(self, position: str) -> None:
        """Wait until all entries up to `position`, which must exist, have been delivered here.

        Raises KeyError if the epoch of `position` has ended, LogUnavailableError after LIVE_TIMEOUT.
        """
        reached = asyncio.get_running_loop().create_future()
        self.waiters.append((split_position(position), reached))
        self._resolve_waiters()
        await self._wait(reached)

    async def _wait(self, awaited: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(LIVE_TIMEOUT):
                await awaited
        except TimeoutError:
            raise LogUnavailableError(
                f"The log has not been delivered up to its end within {LIVE_TIMEOUT} s."
            ) from None

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write entries to the sockets that may receive them, and keep them in the replay buffer."""
        # The loop writes at once, so events for the same sockets are written together.
        for (name, rooms, excluded, control), group in groupby(entries, _target):
            namespace = self._namespaces.get(name)
            try:
                if namespace is not None and not control:
                    self._deliver_events(namespace, [namespace.message(entry) for entry in group])
                    continue
                for entry in group:
                    self.replay_buffer.advance(entry)
                    if namespace is not None:
                        namespace.apply_control(entry)
                    elif not name:
                        self._on_node_message(entry)
            except Exception:
                logger.exception("delivery failed", namespace=name, rooms=rooms, excluded=excluded, control=control)
        if self.waiters or self.state is not State.LIVE:
            self._resolve_waiters()

    def _deliver_events(self, namespace: Namespace, run: list[EventFrames]) -> None:
        for message in run:
            if message.entry.position is not None:
                self.replay_buffer.add(message)
        self.delivered += len(run) * namespace.deliver(run)

    def _advance(self, change: Input) -> None:
        self.state = TRANSITIONS[self.state][change]
        if self.state is State.LIVE:
            self.live.set()
        else:
            self.live.clear()
        if change is Input.OPENED:
            self._resolve_waiters()

    def _resolve_waiters(self) -> None:
        epoch, number = split_position(self.position)
        if self.state is State.CATCHING_UP and (epoch != self._live_from[0] or number >= self._live_from[1]):
            self._advance(Input.REACHED_END)
        for (awaited_epoch, awaited), reached in self.waiters:
            if not reached.done() and awaited_epoch != epoch:
                reached.set_exception(KeyError(f"{awaited_epoch}.{awaited}"))
            elif not reached.done() and awaited <= number:
                reached.set_result(None)
        self.waiters = [(place, reached) for place, reached in self.waiters if not reached.done()]


def _target(entry: Entry) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    return entry.namespace, entry.rooms, entry.excluded, entry.control
