"""Queues of both publishers: events arrive in order, few requests carry them, and none is lost without a word."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from oyez.client import (
    Client,
    InvalidEventsError,
    Publisher,
    QueueClosedError,
    QueueFullError,
    QueueLimits,
    Retries,
    SyncPublisher,
    UnpublishedError,
    UnreachableError,
    queues,
)
from oyez.client.backlog import Backlog, Settled
from oyez.client.publications import Published
from oyez.concurrency.backoff import Backoff
from oyez.concurrency.sparse_log import SparseLog
from tests.client.faults import FaultyServer, Reply
from tests.client.parcels import Packed, contract
from tests.support.clock import PATIENCE
from tests.support.served import Served
from tests.support.tasks import Spawn

FAST = Retries(deadline=PATIENCE, backoff=Backoff(0.001, 0.01))
ONCE = Retries(attempts=1)
SLOW = QueueLimits(max_delay=3600)
"""Nothing is sent before the queue is flushed or a request is full."""


@pytest.fixture
async def publisher(served: Served, faulty: FaultyServer) -> AsyncIterator[Publisher]:
    async with Publisher(faulty.url, "parcels", served.service_key("parcels"), retries=FAST) as publisher:
        yield publisher


def packed(number: int) -> tuple[str, dict[str, str]]:
    return "parcel:packed", {"parcel_id": f"p-{number}", "customer_id": "ada"}


async def receive(client: Client, count: int) -> list[str]:
    events = [await client.expect_event("parcel:packed") for _ in range(count)]
    await client.expect_nothing()
    return [event.args[0]["parcel_id"] for event in events]


ORDERED = [f"p-{number}" for number in range(250)]


async def test_few_requests_carry_many_events_in_their_order(
    publisher: Publisher, faulty: FaultyServer, ada: Client
) -> None:
    async with publisher.queue(SLOW) as queue:
        outcomes = [await queue.put(*packed(number)) for number in range(250)]
    assert len(faulty.keys) == 3
    assert await receive(ada, 250) == ORDERED
    positions = [outcome.result().position for outcome in outcomes]
    assert len(set(positions)) == 250
    assert outcomes[0].result().rooms == ("customer:ada",)


async def test_threads_put_into_one_queue(served: Served, faulty: FaultyServer, ada: Client) -> None:
    def publish() -> None:
        key, limits = served.service_key("parcels"), QueueLimits(max_delay=3600, max_waiting=100)
        with SyncPublisher(faulty.url, contract, key, retries=FAST) as publisher, publisher.queue(limits) as queue:

            def put(first: int) -> None:
                for number in range(first, 250, 5):
                    queue.put(Packed(parcel_id=f"p-{number}", customer_id="ada"))

            threads = [threading.Thread(target=put, args=(first,)) for first in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    await asyncio.to_thread(publish)
    received = await receive(ada, 250)
    assert sorted(received) == sorted(ORDERED)
    # Each thread's own events keep their order.
    assert [id for id in received if int(id[2:]) % 5 == 3] == [f"p-{number}" for number in range(3, 250, 5)]
    assert len(faulty.keys) < 10


async def test_an_event_is_sent_after_the_delay(publisher: Publisher, ada: Client) -> None:
    async with publisher.queue(QueueLimits(max_delay=0.01)) as queue:
        await (await queue.put(*packed(0)))
        await ada.expect_event("parcel:packed")


async def test_attempts_are_repeated_and_each_event_is_published_once(
    publisher: Publisher, faulty: FaultyServer, ada: Client
) -> None:
    faulty.faults.extend([Reply(503), "lose", "cut"])
    async with publisher.queue(SLOW) as queue:
        for number in range(250):
            await queue.put(*packed(number))
    assert await receive(ada, 250) == ORDERED


async def test_a_refused_event_fails_alone(publisher: Publisher, ada: Client) -> None:
    with pytest.raises(UnpublishedError, match=r"1 events of the queue .* parcel_id: expected a string") as failed:
        async with publisher.queue(SLOW) as queue:
            good = await queue.put(*packed(0))
            bad = await queue.put("parcel:packed", {"parcel_id": 7.5, "customer_id": "ada"})
            other = await queue.put(*packed(1))
    assert failed.value.count == 1
    assert isinstance(bad.exception(), InvalidEventsError)
    assert good.result() and other.result()
    assert await receive(ada, 2) == ["p-0", "p-1"]


async def test_a_request_that_is_too_large_is_divided(publisher: Publisher, faulty: FaultyServer, ada: Client) -> None:
    faulty.faults.append(Reply(413, '{"code": "too_large", "detail": "The body is over 100 bytes."}'))
    async with publisher.queue(SLOW) as queue:
        for number in range(100):
            await queue.put(*packed(number))
    assert await receive(ada, 100) == ORDERED[:100]
    assert len(faulty.keys) == 3


async def test_a_typed_event_is_checked_before_it_waits(served: Served) -> None:
    async with Publisher(served.url, contract, "key") as publisher, publisher.queue() as queue:
        with pytest.raises(InvalidEventsError):
            await queue.put(Packed(parcel_id="", customer_id="ada"))


async def test_a_full_queue_refuses_or_waits(publisher: Publisher, ada: Client, spawn: Spawn) -> None:
    async with publisher.queue(QueueLimits(max_waiting=2, max_delay=3600)) as queue:
        await queue.put(*packed(0))
        await queue.put(*packed(1))
        with pytest.raises(QueueFullError, match="2 events wait in the queue"):
            await queue.put(*packed(2), wait=False)
        late = spawn(queue.put(*packed(2)))
        await queue.flush()
        await late
    assert await receive(ada, 3) == ORDERED[:3]


def fill(url: str) -> Any:
    with SyncPublisher(url, contract, "key", retries=ONCE) as publisher:
        queue = publisher.queue(QueueLimits(max_waiting=2, max_delay=3600))
        with pytest.raises(QueueClosedError):
            queue.put(Packed(parcel_id="p", customer_id="ada"))
        with pytest.raises(UnpublishedError) as failed, queue:
            outcome = queue.put(Packed(parcel_id="p", customer_id="ada"))
            queue.put(Packed(parcel_id="p", customer_id="ada"))
            with pytest.raises(QueueFullError):
                queue.put(Packed(parcel_id="p", customer_id="ada"), wait=False)
        assert isinstance(outcome.exception(), UnreachableError)
        queue.close()
        return failed.value


async def test_a_queue_says_what_it_could_not_publish(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests may have logged in the last seconds.
    monkeypatch.setattr(queues, "_sparse", SparseLog(queues.logger, interval=0.0))
    assert (await asyncio.to_thread(fill, "http://127.0.0.1:1")).count == 2
    limits = QueueLimits(max_events=1, max_delay=3600)
    async with Publisher("http://127.0.0.1:1", "parcels", "key", retries=ONCE) as publisher:
        with pytest.raises(UnpublishedError) as failed:
            async with publisher.queue(limits) as queue:
                outcomes = [await queue.put(*packed(number)) for number in range(5)]
        assert failed.value.count == 5
        assert all(outcome.exception() for outcome in outcomes)
        with pytest.raises(QueueClosedError, match="Put events inside its `with` block"):
            await queue.put(*packed(0))
    assert "events of a queue were not published" in caplog.text


async def test_a_key_that_cannot_be_read_ends_no_queue(served: Served, ada: Client) -> None:
    keys = iter(["", served.service_key("parcels")])

    def read_key() -> str:
        key = next(keys)
        if not key:
            raise OSError("no such secret")
        return key

    async with Publisher(served.url, "parcels", read_key) as publisher, publisher.queue() as queue:
        lost = await queue.put(*packed(0))
        with pytest.raises(UnpublishedError, match="no such secret"):
            await queue.flush()
        assert isinstance(lost.exception(), OSError)
        await queue.put(*packed(1))
    assert await receive(ada, 1) == ["p-1"]


async def test_a_cancelled_program_does_not_wait(publisher: Publisher, faulty: FaultyServer, spawn: Spawn) -> None:
    faulty.faults.append("hang")
    outcomes: list[asyncio.Future[Published]] = []
    begun = asyncio.Event()

    async def run() -> None:
        async with publisher.queue(QueueLimits(max_events=1)) as queue:
            outcomes.extend([await queue.put(*packed(0)), await queue.put(*packed(1))])
            begun.set()
            await asyncio.Event().wait()

    task = spawn(run())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [type(outcome.exception()) for outcome in outcomes] == [QueueClosedError] * 2


def test_a_request_holds_as_many_events_and_bytes_as_it_may() -> None:
    now = 100.0
    backlog = Backlog(QueueLimits(max_events=3, max_bytes=10, max_delay=2.0, max_waiting=6), lambda: now)
    assert backlog.delay(hurry=True) is None
    futures: list[asyncio.Future[Published]] = []
    loop = asyncio.new_event_loop()
    for body in (b"x" * 4, b"x" * 4):
        futures.append(loop.create_future())
        backlog.add(body, futures[-1])
    assert backlog.delay(hurry=False) == 2.0
    assert backlog.delay(hurry=True) == 0.0
    now = 101.5
    assert backlog.delay(hurry=False) == 0.5
    for body in (b"x" * 4, b"x" * 20, b"x", b"x"):
        backlog.add(body, loop.create_future())
    assert backlog.full
    assert backlog.delay(hurry=False) == 0.0
    batches = [backlog.take() for _ in range(4)]
    assert [[len(waiting.body) for waiting in batch] for batch in batches] == [[4, 4], [4], [20], [1, 1]]
    assert not backlog.empty
    backlog.settle([Settled(waiting, Published(None, ())) for batch in batches for waiting in batch])
    assert backlog.empty
    loop.close()
