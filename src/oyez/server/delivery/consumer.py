"""The Hub: reads the log and hands every entry to the sockets of this process it goes to.

It is the only way from the log to a socket, for what this process published as for what others did.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log, split_position
from oyez.logger import get_logger
from oyez.server.delivery.replay_buffer import Window
from oyez.server.namespaces.namespace import Namespace
from oyez.server.transports.outgoing import Message

logger = get_logger("oyez.server")

PRELOADED = 20_000
"""Entries of before the start that are read at first: those who were connected to a server that died come back for
them at once."""
READY_TIMEOUT = 5.0
"""Seconds for which somebody who wants to be let in waits for what has to be delivered before: a hub that only has
much to read gets there, and official clients come back by themselves when they are sent away."""


class Hub:
    """Where every entry of the log comes by, once and in order, on its way to the sockets of this process."""

    def __init__(
        self, log: Log, namespaces: Mapping[str, Namespace], hear: Callable[[Entry], None] = lambda entry: None
    ) -> None:
        """`hear` takes what nodes tell each other: control entries of no namespace."""
        self._log = log
        self._namespaces = namespaces
        self._hear = hear
        self.window = Window()
        self.ready = asyncio.Event()
        """Set while live events are delivered, and not those of before the start."""
        self._started = False
        self._live: tuple[str, int] = ("", 0)
        self.waiting: list[tuple[tuple[str, int], asyncio.Future[None]]] = []
        """Who waits for delivery to reach a position."""
        self.delivered = 0
        """Recipients written to since the start."""

    @property
    def position(self) -> str:
        """All entries up to this position have been delivered."""
        return self.window.position

    async def start(self) -> None:
        """What is appended from now on will be delivered; what was kept from before is at hand when this returns."""
        self.ready.clear()
        await self._log.open()
        self._live = split_position(await self._log.position())
        self.window.begin(await self._log.position_before(PRELOADED))
        self._started = True
        self._tell_reached()

    async def run(self) -> None:
        """Deliver until cancelled or the log is closed.

        Run again after LogUnavailableError, or anything else that a log should not raise, it goes on where it stopped:
        nothing is missing. Raises KeyError where that can be no more; then it begins anew with what comes next.
        """
        try:
            if self._started:
                # What came meanwhile is delivered before anybody is let in.
                self._live = split_position(await self._log.position())
                self._tell_reached()
            else:
                await self.start()
            await self._log.tail(self.deliver, self.position)
        except KeyError:
            self._started = False
            raise
        finally:
            # Nobody is let in until it is known again what they are to hear.
            self.ready.clear()

    async def be_ready(self) -> None:
        """Wait until `ready`. Raises LogUnavailableError after READY_TIMEOUT."""
        if not self.ready.is_set():
            await self._wait(self.ready.wait())

    async def reach(self, position: str) -> None:
        """Wait until all entries up to `position`, which exists, have been delivered here.

        Raises KeyError where its epoch has ended, LogUnavailableError after READY_TIMEOUT.
        """
        reached = asyncio.get_running_loop().create_future()
        self.waiting.append((split_position(position), reached))
        self._tell_reached()
        await self._wait(reached)

    async def _wait(self, awaited: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await awaited
        except TimeoutError:
            raise LogUnavailableError(
                f"The log has not been delivered up to its end within {READY_TIMEOUT} s."
            ) from None

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Hand entries to the sockets they are for, and to the window that those who come back are served from."""
        # A loop writes at once when it is asked to, so what goes to the same sockets is handed over together.
        for (name, rooms, excluded, control), group in groupby(entries, _target):
            namespace = self._namespaces.get(name)
            try:
                if namespace is not None and not control:
                    self._deliver_events(namespace, [namespace.message(entry) for entry in group])
                    continue
                for entry in group:
                    self.window.advance(entry)
                    if namespace is not None:
                        namespace.apply_control(entry)
                    elif not name:
                        self._hear(entry)
            except Exception:
                logger.exception("delivery failed", namespace=name, rooms=rooms, excluded=excluded, control=control)
        if self.waiting or not self.ready.is_set():
            self._tell_reached()

    def _deliver_events(self, namespace: Namespace, run: list[Message]) -> None:
        for message in run:
            if message.entry.position is not None:
                self.window.add(message)
        self.delivered += len(run) * namespace.deliver(run)

    def _tell_reached(self) -> None:
        epoch, number = split_position(self.position)
        if epoch != self._live[0] or number >= self._live[1]:
            self.ready.set()
        for (awaited_epoch, awaited), reached in self.waiting:
            if not reached.done() and awaited_epoch != epoch:
                reached.set_exception(KeyError(f"{awaited_epoch}.{awaited}"))
            elif not reached.done() and awaited <= number:
                reached.set_result(None)
        self.waiting = [(place, reached) for place, reached in self.waiting if not reached.done()]


def _target(entry: Entry) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    return entry.namespace, entry.rooms, entry.excluded, entry.control
