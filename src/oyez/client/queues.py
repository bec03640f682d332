"""Queues of a publisher: events that are put one by one, and published together in the background.

Both keep the events in a `Backlog`, and publish them in the order in which they were put.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, overload

from msgspec import UNSET

from oyez.client.backlog import Backlog, QueueLimits, Settled, fail
from oyez.client.flows import Flows
from oyez.client.publications import Publication, Published, Targets
from oyez.client.publisher_errors import QueueClosedError, QueueFullError
from oyez.client.requests import Flow
from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.types import Payload
from oyez.errors import UnavailableError
from oyez.logger import get_logger

logger = get_logger("oyez.client")

CLOSED = "The queue is closed. Put events inside its `with` block."
INTERRUPTED = "The queue ended before it published the event."
AWAY = "The server could not be reached, and the queue did not wait for it any longer."

_sparse = SparseLog(logger, interval=10.0)
"""While the server is away, every request fails."""


class PublishQueue:
    """A queue for asyncio. It works inside of `async with`; at the end of the block, it publishes what is left."""

    def __init__(
        self, flows: Flows, run: Callable[[Flow[list[Settled]]], Awaitable[list[Settled]]], limits: QueueLimits
    ) -> None:
        self._flows = flows
        self._run = run
        self._limits = limits
        self._backlog = Backlog(limits, time.monotonic)
        self._changed = asyncio.Condition()
        self._hurry = 0
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                await self.flush()
        finally:
            await self._stop()

    @overload
    async def put(
        self, event: Payload, /, *, to: Targets | None = None, excluding: Targets = (), wait: bool = True
    ) -> "asyncio.Future[Published]": ...
    @overload
    async def put(
        self, event: str, data: Any = UNSET, /, *, to: Targets | None = None, excluding: Targets = (), wait: bool = True
    ) -> "asyncio.Future[Published]": ...
    async def put(
        self,
        event: Payload | str,
        data: Any = UNSET,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        wait: bool = True,
    ) -> "asyncio.Future[Published]":
        """Put an event into the queue. If the queue is full, wait for room.

        Returns a future for those who want to know what became of the event: `await (await queue.put(…))`. Raises
        InvalidEventsError, QueueClosedError; without `wait`, QueueFullError if the queue is full.
        """
        body = self._flows.encode(Publication(event, data, to, excluding))
        async with self._changed:
            if self._backlog.full and not wait:
                raise full(self._limits)
            await self._changed.wait_for(lambda: self._worker is None or not self._backlog.full)
            if self._worker is None:
                raise QueueClosedError(CLOSED)
            outcome: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
            # Without this, asyncio reports an error that nobody has looked at; the queue reports it itself.
            outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._backlog.add(body, outcome)
            self._changed.notify_all()
        return outcome

    async def flush(self) -> None:
        """Publish the waiting events at once, and wait for their end. Raises UnpublishedError if some have failed."""
        async with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                await self._changed.wait_for(lambda: self._worker is None or self._backlog.empty)
            finally:
                self._hurry -= 1
        self._backlog.raise_failures()

    async def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        await self._settle(fail(self._backlog.take_all(), QueueClosedError(INTERRUPTED)))

    async def _work(self) -> None:
        while True:
            async with self._changed:
                while (delay := self._backlog.delay(hurry=self._hurry > 0)) != 0:
                    await self._sleep(delay)
                batch = self._backlog.take()
            try:
                settled = await self._run(self._flows.publish_batch(batch))
            except Exception as error:
                settled = fail(batch, error)
            except BaseException:
                await self._settle(fail(batch, QueueClosedError(INTERRUPTED)))
                raise
            if self._hurry and find_outage(settled):
                # Each further request would take as long as this one.
                settled += fail(self._backlog.take_all(), QueueClosedError(AWAY))
            await self._settle(settled)

    async def _settle(self, settled: Sequence[Settled]) -> None:
        report(settled)
        async with self._changed:
            self._backlog.settle(settled)
            self._changed.notify_all()

    async def _sleep(self, delay: float | None) -> None:
        """Wait for a change, at most `delay` seconds."""
        try:
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            pass


class SyncPublishQueue:
    """A queue with a thread. It works inside of `with`; at the end of the block, it publishes what is left.

    Any number of threads may put events. After a fork, the child has an empty queue with a thread of its own.
    """

    def __init__(self, flows: Flows, run: Callable[[Flow[list[Settled]]], list[Settled]], limits: QueueLimits) -> None:
        self._flows = flows
        self._run = run
        self._limits = limits
        self._open = False
        self._process = 0
        self._begin()

    def __enter__(self) -> Self:
        self._open = True
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @overload
    def put(
        self, event: Payload, /, *, to: Targets | None = None, excluding: Targets = (), wait: bool = True
    ) -> "Future[Published]": ...
    @overload
    def put(
        self, event: str, data: Any = UNSET, /, *, to: Targets | None = None, excluding: Targets = (), wait: bool = True
    ) -> "Future[Published]": ...
    def put(
        self,
        event: Payload | str,
        data: Any = UNSET,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        wait: bool = True,
    ) -> "Future[Published]":
        """As `PublishQueue.put`; the future is one of `concurrent.futures`."""
        body = self._flows.encode(Publication(event, data, to, excluding))
        self._follow_fork()
        with self._changed:
            if self._backlog.full and not wait:
                raise full(self._limits)
            self._changed.wait_for(lambda: not self._open or not self._backlog.full)
            if not self._open:
                raise QueueClosedError(CLOSED)
            outcome: Future[Published] = Future()
            self._backlog.add(body, outcome)
            self._changed.notify_all()
        return outcome

    def flush(self) -> None:
        """As `PublishQueue.flush`."""
        self._follow_fork()
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._backlog.empty)
            finally:
                self._hurry -= 1
            self._backlog.raise_failures()

    def close(self) -> None:
        """Publish what is left, and end the thread. Raises UnpublishedError if some events have failed."""
        if not self._open:
            return
        try:
            self.flush()
        finally:
            with self._changed:
                self._open = False
                self._changed.notify_all()
            self._thread.join()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._backlog = Backlog(self._limits, time.monotonic)
        self._changed = threading.Condition()
        self._hurry = 0
        self._thread = threading.Thread(target=self._work, name="oyez-publish-queue", daemon=True)

    def _start(self) -> None:
        self._follow_fork()
        if not self._thread.is_alive():
            self._thread.start()

    def _follow_fork(self) -> None:
        if self._process != os.getpid():
            self._begin()
            if self._open:
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (delay := self._backlog.delay(hurry=self._hurry > 0)) != 0:
                    if not self._open:
                        return
                    self._changed.wait(delay)
                batch = self._backlog.take()
            try:
                settled = self._run(self._flows.publish_batch(batch))
            except Exception as error:
                settled = fail(batch, error)
            with self._changed:
                if self._hurry and find_outage(settled):
                    # Each further request would take as long as this one.
                    settled += fail(self._backlog.take_all(), QueueClosedError(AWAY))
            # Without the lock, because it runs the callbacks of the program.
            report(settled)
            with self._changed:
                self._backlog.settle(settled)
                self._changed.notify_all()


def report(settled: Sequence[Settled]) -> None:
    """Finish the futures of events, and log those that have failed."""
    for one in settled:
        one.report()
    errors = [one.result for one in settled if isinstance(one.result, Exception)]
    if errors:
        _sparse.warning("events of a queue were not published", count=len(errors), first=str(errors[0]))


def find_outage(settled: Sequence[Settled]) -> bool:
    """True if the server could not be reached."""
    return any(isinstance(one.result, UnavailableError) for one in settled)


def full(limits: QueueLimits) -> QueueFullError:
    """The error of an event for which there is no room."""
    return QueueFullError(f"{limits.max_waiting} events wait in the queue. Put the event again later, or wait.")
