"""A fair pool: a user with many calls waits longer than users with few, and queues have a limit."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from oyez.errors import DatabaseUnavailableError
from oyez.runtime.current import NOBODY
from oyez.service.database.fair_pool import FairPool


class Held:
    """A pool with one thread, which waits until it is let go; notes in which order the rest is done."""

    def __init__(self, max_waiting: int = 1_000, max_waiting_of_one: int = 500) -> None:
        self.pool = FairPool("held", 1, max_waiting, max_waiting_of_one)
        self.order: list[str] = []
        self.futures: list[Future[None]] = []
        self._hold = threading.Event()
        begun = threading.Event()

        def hold() -> None:
            begun.set()
            self._hold.wait()

        self.pool.submit(hold, "hold", NOBODY)
        begun.wait()

    def ask(self, name: str, times: int = 1, group: str = "shop") -> None:
        for _ in range(times):
            self.futures.append(self.pool.submit(lambda: self.order.append(name), group, name.rstrip("0123456789")))

    def let_go(self) -> list[str]:
        self._hold.set()
        self.pool.shutdown()
        return self.order


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.let_go()


def test_one_caller_does_not_keep_another_waiting(held: Held) -> None:
    held.ask("ada", 400)
    held.ask("bob")
    held.ask("cleo", 2)

    assert held.let_go()[:6] == ["ada", "bob", "cleo", "ada", "cleo", "ada"]
    assert len(held.order) == 403


def test_one_group_does_not_keep_another_waiting(held: Held) -> None:
    for number in range(400):
        held.ask(f"ada{number}")
    held.ask("bob", 2, group="bank")

    assert held.let_go()[:4] == ["ada0", "bob", "ada1", "bob"]


def test_a_full_queue_refuses_the_client_that_filled_it() -> None:
    held = Held(max_waiting=10, max_waiting_of_one=5)
    held.ask("ada", 5)
    with pytest.raises(DatabaseUnavailableError, match="5 transactions of one user"):
        held.ask("ada")
    held.ask("bob", 5)
    with pytest.raises(DatabaseUnavailableError, match="10 transactions are waiting"):
        held.ask("cleo")
    held.ask("cleo", group="bank")

    # A cancelled call makes room.
    assert held.futures[0].cancel()
    held.ask("ada")
    assert held.let_go().count("ada") == 5


def test_the_server_itself_may_use_the_whole_queue() -> None:
    held = Held(max_waiting=10, max_waiting_of_one=5)
    for _ in range(10):
        held.pool.submit(lambda: None, "shop", NOBODY)
    held.let_go()


def test_the_caller_receives_the_result_or_the_error() -> None:
    pool = FairPool("plain", 2, 10, 10)
    assert pool.submit(lambda: 7, "shop", "ada").result() == 7
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0, "shop", "ada").result()
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(lambda: 7, "shop", "ada")


def test_work_that_never_ends_does_not_keep_anybody_waiting() -> None:
    held = Held()
    assert held.pool.shutdown(0.05) is False
    held.let_go()
    assert held.pool.shutdown(5.0) is True


def test_there_are_as_many_threads_as_are_needed() -> None:
    pool, together = FairPool("three", 3, 10, 10), threading.Barrier(3)
    futures = [pool.submit(lambda: together.wait(5), "shop", "ada") for _ in range(3)]
    assert sorted(future.result() for future in futures) == [0, 1, 2]
    # They wait for more.
    for _ in range(3):
        futures = [pool.submit(lambda: together.wait(5), "shop", "ada") for _ in range(3)]
        assert sorted(future.result() for future in futures) == [0, 1, 2]
    pool.shutdown()
