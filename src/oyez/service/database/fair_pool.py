"""A pool of threads that serves all callers in turn, however much work one of them submits.

Work waits in queues by group (a system) and, within a group, by caller (a user). Groups take turns, and so do the
callers of a group. Every queue has a limit: if it is full, only the caller that has filled it is refused.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, NamedTuple, TypeVar

from oyez.errors import DatabaseUnavailableError
from oyez.runtime.current import NOBODY

T = TypeVar("T")


class Item(NamedTuple):
    """A piece of work, and the future that receives its result."""

    work: Callable[[], Any]
    future: "Future[Any]"

    def begin(self) -> bool:
        """True if the work is still wanted; it cannot be cancelled from now on."""
        return self.future.set_running_or_notify_cancel()

    def run(self) -> None:
        """Do the work, which has begun, and report its result."""
        try:
            result = self.work()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


Poll = Callable[[], Item | None]
"""The next piece of work if one waits; None otherwise."""
RunItem = Callable[[Item, Poll], None]
"""Does a piece of work, and possibly others that wait, together. It begins each one, and sets its future."""


def run_alone(item: Item, poll: Poll) -> None:
    """Do one piece of work."""
    if item.begin():
        item.run()


class _Group:
    """The waiting work of one group, by caller."""

    def __init__(self) -> None:
        self.callers: OrderedDict[str, deque[Item]] = OrderedDict()
        self.count = 0

    def waiting_of(self, caller: str) -> int:
        return len(self.callers.get(caller, ()))

    def put(self, item: Item, caller: str) -> None:
        self.callers.setdefault(caller, deque()).append(item)
        self.count += 1

    def take(self) -> Item:
        """The next item; its caller goes to the end of the queue. There must be an item."""
        caller, items = next(iter(self.callers.items()))
        self.callers.move_to_end(caller)
        item = items.popleft()
        self.count -= 1
        if not items:
            del self.callers[caller]
        return item

    def remove_cancelled(self) -> None:
        for caller, items in list(self.callers.items()):
            self.callers[caller] = kept = deque(item for item in items if not item.future.cancelled())
            self.count -= len(items) - len(kept)
            if not kept:
                del self.callers[caller]


class FairPool:
    """Threads, and the work that waits for them."""

    def __init__(
        self,
        name: str,
        threads: int,
        max_waiting: int,
        max_waiting_of_one: int,
        run: RunItem = run_alone,
    ) -> None:
        """`max_waiting` bounds what waits in one group, `max_waiting_of_one` what waits for one caller of it.

        The second bound does not hold for the caller NOBODY: back ends and the server itself. `run` does the work.
        """
        self._run_item = run
        self._name = name
        self._max_threads = threads
        self._max_waiting = max_waiting
        self._max_waiting_of_one = max_waiting_of_one
        self._threads: list[Thread] = []
        self._idle = 0
        self._closed = False
        self._changed = Condition()
        """Held while anything here changes; idle threads wait for it."""
        self._groups: OrderedDict[str, _Group] = OrderedDict()

    def submit(self, work: Callable[[], T], group: str, caller: str) -> "Future[T]":
        """Have `work` done by a thread when its turn comes. A future that is cancelled before is never begun.

        Raises DatabaseUnavailableError if too much waits already, and RuntimeError after `shutdown`.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(f"{self._name} is shut down.")
            self._put(Item(work, future), group, caller)
            if self._idle:
                self._idle -= 1
                self._changed.notify()
            elif len(self._threads) < self._max_threads:
                # A daemon: work that never ends must not prevent the end of the process.
                self._threads.append(Thread(target=self._run, name=self._name, daemon=True))
                self._threads[-1].start()
        return future

    def shutdown(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is done, for `timeout` seconds at most. True if it is done. Blocks."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _put(self, item: Item, name: str, caller: str) -> None:
        group = self._groups.get(name) or _Group()
        most = self._max_waiting if caller == NOBODY else self._max_waiting_of_one
        if group.count >= self._max_waiting or group.waiting_of(caller) >= most:
            # Cancelled work still takes room.
            group.remove_cancelled()
            if group.waiting_of(caller) >= most:
                raise DatabaseUnavailableError(f"{most} transactions of one user are waiting already.")
            if group.count >= self._max_waiting:
                raise DatabaseUnavailableError(f"{self._max_waiting} transactions are waiting already.")
        group.put(item, caller)
        self._groups[name] = group

    def _run(self) -> None:
        """The loop of each thread."""
        while (item := self._take()) is not None:
            self._run_item(item, self._poll)
            # A waiting thread must not hold references to the last work.
            del item

    def _take(self) -> Item | None:
        """Wait for the next item. None after `shutdown`."""
        with self._changed:
            while not self._groups:
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
            return self._take_next()

    def _poll(self) -> Item | None:
        with self._changed:
            return self._take_next() if self._groups else None

    def _take_next(self) -> Item:
        """The next item; its group goes to the end of the queue. There must be an item."""
        name, group = next(iter(self._groups.items()))
        self._groups.move_to_end(name)
        item = group.take()
        if not group.count:
            del self._groups[name]
        return item
