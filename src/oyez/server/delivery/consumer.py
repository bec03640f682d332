"""The log consumer: reads the log and delivers each entry to the sockets of this process that may receive it.

Sockets receive every event this way, also those that this process published itself.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.observer import DeliveryReport, Observers
from oyez.server.delivery.progress import Input, Progress, State
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.namespaces.receipts import report_sent
from oyez.server.namespaces.table import NamespaceTable
from oyez.tracing import Tracing

logger = get_logger("oyez.server")

PRELOADED = 20_000
"""Entries before the start that are read first: the clients of a server that died return at once and ask for them."""


class LogConsumer:
    """Reads each entry of the log once and in order, and delivers it to the sockets of this process."""

    def __init__(
        self,
        log: Log,
        namespaces: NamespaceTable,
        replay_buffer: ReplayBuffer,
        progress: Progress,
        on_node_message: Callable[[Entry], None] = lambda entry: None,
        observers: Observers | None = None,
    ) -> None:
        """`on_node_message` receives what nodes send to each other: control entries without a namespace."""
        self._log = log
        self._namespaces = namespaces
        self._replay_buffer = replay_buffer
        self._progress = progress
        self._on_node_message = on_node_message
        self._observers = observers
        self._tracing = observers.tracing if observers is not None else None
        self.delivered = 0
        """Number of recipients that events were written to since the start."""

    async def start(self) -> None:
        """Load the newest stored entries. Everything appended after this is delivered."""
        await self._log.open()
        end = await self._log.position()
        self._replay_buffer.start_after(await self._log.position_before(PRELOADED))
        self._progress.open(end)

    async def run(self) -> None:
        """Deliver until cancelled or until the log is closed.

        After LogUnavailableError, or any other exception of the log, a second call continues at the same position and
        misses nothing. Raises KeyError if that position no longer exists; a second call then starts with new entries.
        """
        try:
            if self._progress.state is State.STARTING:
                await self.start()
            elif self._progress.state is State.LOST:
                # Deliver what was appended meanwhile before any client may connect.
                self._progress.open(await self._log.position())
            await self._log.tail(self.deliver, self._progress.position)
        except KeyError:
            self._progress.advance(Input.EPOCH_ENDED)
            raise
        finally:
            self._progress.advance(Input.FAILED)

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write entries to the sockets that may receive them, and keep them in the replay buffer."""
        # The loop writes at once, so events for the same sockets are written together.
        for (name, rooms, excluded, control), group in groupby(entries, _target):
            try:
                if control or not name:
                    self._apply_control(name, group)
                else:
                    self._deliver_events(name, group)
            except Exception:
                logger.exception("delivery failed", namespace=name, rooms=rooms, excluded=excluded, control=control)
        if self._progress.awaited:
            self._progress.update()

    def _apply_control(self, name: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._replay_buffer.advance(entry)
            if not name:
                self._on_node_message(entry)
            for namespace in self._namespaces.find_all(name):
                namespace.apply_control(entry)

    def _deliver_events(self, name: str, entries: Iterable[Entry]) -> None:
        namespace = self._namespaces.get(name)
        declared = namespace.declared if namespace is not None else self._namespaces.find_declared(name)
        if declared is None:
            # An operator's event for all namespaces of a form, or one for a namespace of an earlier contract.
            for entry in entries:
                self._replay_buffer.advance(entry)
                for each in self._namespaces.find_all(name):
                    each.deliver([each.message(entry)])
            return
        began = time.monotonic() if self._tracing is not None else 0.0
        make_frames = self._namespaces.find_framing(name) if namespace is None else namespace.message
        run = [make_frames(entry) for entry in entries]
        for message in run:
            if message.entry.position is not None:
                self._replay_buffer.add(message)
            else:
                message.follow(self._replay_buffer.position)
        # No client is in a namespace that does not exist, but clients that return to it have missed these events.
        recipients = namespace.deliver(run) if namespace is not None else 0
        if namespace is None and self._observers is not None:
            report_sent(self._observers, declared, run, (), replayed=False)
        self.delivered += len(run) * recipients
        if self._observers is not None:
            _report(self._observers, declared, [message.entry for message in run], recipients)
            if self._tracing is not None:
                seconds = time.monotonic() - began
                for message in run:
                    if message.entry.trace:
                        place = f"{self._observers.system}{declared}"
                        _trace(self._tracing, place, self._observers.system, message.entry, recipients, seconds)


def _report(observers: Observers, declared: str, run: Sequence[Entry], recipients: int) -> None:
    first, last = run[0], run[-1]
    names, size = tuple(entry.name for entry in run), sum(len(entry.data) for entry in run)
    position = last.position
    observers.report(DeliveryReport(observers.system, declared, names, first.rooms, position, recipients, size))


def _trace(tracing: Tracing, place: str, system: str, entry: Entry, recipients: int, seconds: float) -> None:
    attributes: dict[str, str | int | bool] = {
        "messaging.system": "oyez",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": place,
        "oyez.system": system,
        "oyez.event": entry.name,
        "oyez.rooms": len(entry.rooms),
        "oyez.recipients": recipients,
    }
    if entry.position is not None:
        attributes["messaging.message.id"] = entry.position
    tracing.record(f"deliver {entry.name}", "consumer", attributes, seconds, entry.trace)


def _target(entry: Entry) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    return entry.namespace, entry.rooms, entry.excluded, entry.control
