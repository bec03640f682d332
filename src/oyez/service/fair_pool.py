"""A pool of threads that serves all who ask in turn, however much one of them asks for.

Work waits by group (a system) and, within a group, by caller (a user). Groups take turns, and so do the callers of a
group. Every queue is bounded: when it is full, only the one who filled it is refused.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from oyez.contract.current import NOBODY
from oyez.errors import DatabaseUnavailableError

T = TypeVar("T")


class _Item(NamedTuple):
    """A piece of work, and who learns how it ends."""

    work: Callable[[], Any]
    future: "Future[Any]"

    def run(self) -> None:
        try:
            result = self.work()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class _Group:
    """What waits in one group, by caller."""

    def __init__(self) -> None:
        self.callers: OrderedDict[str, deque[_Item]] = OrderedDict()
        self.count = 0

    def waiting_of(self, caller: str) -> int:
        return len(self.callers.get(caller, ()))

    def put(self, item: _Item, caller: str) -> None:
        self.callers.setdefault(caller, deque()).append(item)
        self.count += 1

    def take(self) -> _Item:
        """The next item, which there must be; its caller goes to the end of the queue."""
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

    def __init__(self, name: str, threads: int, max_waiting: int, max_waiting_of_one: int) -> None:
        """`max_waiting` bounds what waits in one group, `max_waiting_of_one` what waits for one caller of it.

        The second bound does not hold for the caller NOBODY: back ends and the server itself.
        """
        self._executor = ThreadPoolExecutor(threads, name)
        self._max_waiting = max_waiting
        self._max_waiting_of_one = max_waiting_of_one
        self._lock = Lock()
        self._groups: OrderedDict[str, _Group] = OrderedDict()

    def submit(self, work: Callable[[], T], group: str, caller: str) -> "Future[T]":
        """Have `work` done by a thread when its turn comes. A future that is cancelled before is never begun.

        Raises DatabaseUnavailableError if too much waits already, and RuntimeError after `shutdown`.
        """
        future: Future[T] = Future()
        with self._lock:
            self._put(_Item(work, future), group, caller)
        self._executor.submit(self._do_next)
        return future

    def shutdown(self) -> None:
        """Wait until all that was submitted is done. Blocks."""
        self._executor.shutdown()

    def _put(self, item: _Item, name: str, caller: str) -> None:
        group = self._groups.setdefault(name, _Group())
        most = self._max_waiting if caller == NOBODY else self._max_waiting_of_one
        if group.count >= self._max_waiting or group.waiting_of(caller) >= most:
            # Those who wait no longer still take room.
            group.remove_cancelled()
            if group.waiting_of(caller) >= most:
                raise DatabaseUnavailableError(f"{most} transactions of one caller wait already.")
            if group.count >= self._max_waiting:
                raise DatabaseUnavailableError(f"{self._max_waiting} transactions wait already.")
        group.put(item, caller)

    def _do_next(self) -> None:
        while (item := self._take()) is not None:
            if item.future.set_running_or_notify_cancel():
                item.run()
                return

    def _take(self) -> _Item | None:
        """The next item; its group goes to the end of the queue."""
        with self._lock:
            while self._groups:
                name, group = next(iter(self._groups.items()))
                item = group.take() if group.count else None
                self._groups.move_to_end(name)
                if not group.count:
                    del self._groups[name]
                if item is not None:
                    return item
        return None
