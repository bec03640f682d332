"""The publishers against a real server: typed events, events by name, members, failures and repeats."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from oyez.client import (
    Client,
    InvalidEventsError,
    NotOyezError,
    Publication,
    Publisher,
    PublisherError,
    RequestRefusedError,
    Retries,
    ServerBusyError,
    ServiceKeyError,
    SyncPublisher,
    UnreachableError,
    connect,
)
from oyez.client.publications import Encoder
from oyez.concurrency.backoff import Backoff
from oyez.contract import NamedRoom
from oyez.errors import ContractError, is_temporary
from tests.client import parcels
from tests.client.faults import FaultyServer, Reply
from tests.client.parcels import DepotOpen, Moved, Opened, Packed, Seen, contract, customer, depot, parcel, root
from tests.client.publishers import MAKERS, Both, Make
from tests.support.clock import PATIENCE
from tests.support.served import Served, serve
from tests.support.tasks import Spawn

CONTRACT = Path(parcels.__file__)
FAST = Retries(deadline=30, backoff=Backoff(0.001, 0.01))


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


@pytest.fixture
async def publisher(make: Make, served: Served) -> AsyncIterator[Both]:
    async with make(served.url, contract, served.service_key("parcels")) as publisher:
        yield publisher


@pytest.fixture
async def untyped(make: Make, served: Served) -> AsyncIterator[Both]:
    async with make(f"{served.url}/", "parcels", lambda: served.service_key("parcels")) as publisher:
        yield publisher


@pytest.fixture
async def shaken(make: Make, faulty: FaultyServer, served: Served) -> AsyncIterator[Both]:
    """A publisher behind the server that fails."""
    async with make(faulty.url, contract, served.service_key("parcels"), retries=FAST) as publisher:
        yield publisher


# What is published.


async def test_a_payload_goes_to_the_rooms_that_follow_from_it(publisher: Both, ada: Client) -> None:
    published = await publisher.publish(Packed(parcel_id="p-1", customer_id="ada"))
    assert published.rooms == ("customer:ada",)
    assert published.position is not None
    assert (await ada.expect_event("parcel:packed")).args[0]["parcel_id"] == "p-1"


async def test_arguments_in_order(publisher: Both, ada: Client) -> None:
    published = await publisher.publish(Moved(parcel_id="p-1", place="Bonn"), to=root.everyone)
    assert published.rooms == ("*",)
    assert (await ada.expect_event("parcel:moved")).args == ["p-1", "Bonn"]


async def test_rooms_and_exclusions(publisher: Both, ada: Client) -> None:
    to: list[NamedRoom | str] = [customer("ada"), "customer:bob"]
    seen = await publisher.publish(Seen(parcel_id="p-1"), to=to, excluding=customer("ada"))
    assert (seen.position, seen.rooms) == (None, ("customer:ada", "customer:bob"))
    await publisher.publish(Seen(parcel_id="p-2"), to=to, excluding=[ada.sid])
    await publisher.publish(Seen(parcel_id="p-3"), to=to)
    assert (await ada.expect_event("parcel:seen")).args == [{"parcel_id": "p-3"}]


async def test_an_event_by_name(untyped: Both, ada: Client) -> None:
    published = await untyped.publish("parcel:packed", {"parcel_id": "p-1", "customer_id": "ada"})
    assert published.rooms == ("customer:ada",)
    await untyped.publish("parcel:moved", ["p-1", "Köln"], to="*")
    assert (await ada.expect_event("parcel:packed")).args[0]["customer_id"] == "ada"
    assert (await ada.expect_event("parcel:moved")).args == ["p-1", "Köln"]


async def test_a_name_with_an_id(publisher: Both, untyped: Both, ada: Client) -> None:
    await publisher.publish(Opened(parcel_id="p-1", customer_id="ada"))
    await publisher.publish("parcel:p-2:opened", "ada")
    await untyped.publish("parcel:p-3:opened", "ada")
    for number in (1, 2, 3):
        assert (await ada.expect_event(f"parcel:p-{number}:opened")).args == ["ada"]


async def test_a_list_is_published_in_order(publisher: Both, ada: Client) -> None:
    published = await publisher.publish_all(
        [
            Publication(Packed(parcel_id="p-1", customer_id="ada")),
            Publication("parcel:packed", {"parcel_id": "p-2", "customer_id": "ada"}),
            Publication(Moved(parcel_id="p-1", place="Bonn"), to="*"),
        ]
    )
    assert [one.rooms for one in published] == [("customer:ada",), ("customer:ada",), ("*",)]
    await ada.expect_event("parcel:moved")
    assert [event.name for event in ada.pending] == ["parcel:packed", "parcel:packed"]
    assert await publisher.publish_all([]) == []


async def test_a_key_makes_a_call_repeatable(publisher: Both, ada: Client) -> None:
    packed = Packed(parcel_id="p-1", customer_id="ada")
    first = await publisher.publish(packed, idempotency_key=f"packed-{ada.sid}")
    assert await publisher.publish(packed, idempotency_key=f"packed-{ada.sid}") == first
    await ada.expect_event("parcel:packed")
    await ada.expect_nothing()
    with pytest.raises(RequestRefusedError) as refused:
        await publisher.publish(Moved(parcel_id="p", place="Bonn"), to="*", idempotency_key=f"packed-{ada.sid}")
    assert (refused.value.status, refused.value.code) == (422, "id_reused")


def test_the_namespace_is_named_where_it_makes_a_difference() -> None:
    encoder, opens = Encoder(contract), DepotOpen(open=True)
    only = encoder.encode(Publication(opens, to=depot()))
    assert msgspec.json.decode(only) == {
        "event": "depot:open",
        "data": {"open": True},
        "to": ["depot"],
        "namespace": "/",
    }
    # Servers of older versions know no `namespace`.
    assert b"namespace" not in encoder.encode(Publication(opens, to="depot"))
    assert b"namespace" not in encoder.encode(Publication(Seen(parcel_id="p"), to=customer("ada")))


# What is refused before anything is sent.


@pytest.fixture
async def nowhere(make: Make) -> AsyncIterator[Both]:
    """A publisher that cannot send anything."""
    async with make("http://127.0.0.1:1", contract, "key", retries=Retries(attempts=1)) as publisher:
        yield publisher


@pytest.mark.parametrize(
    ("event", "to", "field", "code"),
    [
        (Packed(parcel_id="", customer_id="ada"), None, "parcel_id", "invalid_data"),
        (Packed(parcel_id="p", customer_id="ada", timestamp="now"), None, "timestamp", "invalid_data"),  # type: ignore[arg-type]
        (Packed(parcel_id="p", customer_id="ada"), customer("bob"), "to", "foreign_room"),
        (Packed(parcel_id="p", customer_id="ada"), depot(), "to", "foreign_room"),
        (Seen(parcel_id="p"), None, "to", "room_required"),
        (Seen(parcel_id="p"), "cellar", "to", "unknown_room"),
        (Seen(parcel_id="p"), customer, "to", "invalid_data"),
        (Seen(parcel_id="p"), [7], "to", "invalid_data"),
        (DepotOpen(open=True), [depot(), "cellar"], "to", "unknown_room"),
        ("parcel:packt", None, "event", "unknown_event"),
        ("parcel:packed", None, "data", "invalid_data"),
        (Moved(parcel_id="p", place="\ud83d"), "*", "data", "invalid_data"),
    ],
)
async def test_a_wrong_event_is_refused_without_the_server(
    nowhere: Both, event: Any, to: Any, field: str, code: str
) -> None:
    with pytest.raises(InvalidEventsError) as refused:
        await nowhere.publish(event, to=to)
    (error,) = refused.value.errors
    assert (error.index, error.field, error.code) == (0, field, code)


async def test_a_room_without_its_values_is_explained(nowhere: Both) -> None:
    room: Any = customer
    with pytest.raises(InvalidEventsError, match="write the room's values in parentheses"):
        await nowhere.publish(Seen(parcel_id="p"), to=room)


async def test_all_errors_of_a_list_have_their_index(nowhere: Both) -> None:
    with pytest.raises(InvalidEventsError) as refused:
        await nowhere.publish_all(
            [
                Publication(Seen(parcel_id="p")),
                Publication(Seen(parcel_id="p"), to="customer:ada"),
                Publication("parcel:seen", {"parcel": "p"}, to="customer:ada"),
            ]
        )
    assert [(error.index, error.field) for error in refused.value.errors] == [(0, "to"), (2, "parcel")]
    assert str(refused.value).startswith("room_required: [0] ")


async def test_a_payload_of_another_contract(nowhere: Both, untyped: Both) -> None:
    from tests.cli.orders import OrderSeen

    with pytest.raises(ContractError, match="OrderSeen is not the payload of an event"):
        await nowhere.publish(OrderSeen(order_id="o"))
    with pytest.raises(ContractError, match="give the publisher the contract"):
        await untyped.publish(Seen(parcel_id="p"))


@pytest.mark.parametrize("url", ["localhost:5001", "ftp://localhost", "http://", "http://host:port", "http://h/?a=b"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(PublisherError, match="is no address of a server"):
        SyncPublisher(url, "parcels", "key")


# What the server refuses.


async def test_errors_of_the_server_have_field_and_index(untyped: Both) -> None:
    with pytest.raises(InvalidEventsError) as refused:
        await untyped.publish_all(
            [
                Publication("parcel:seen", {"parcel_id": "p"}, to="customer:ada"),
                Publication("parcel:packed", {"parcel_id": 7.5, "customer_id": "ada"}),
            ]
        )
    error = refused.value
    assert (error.status, error.code) == (422, "invalid_data")
    assert [(one.index, one.field, one.code) for one in error.errors] == [(1, "parcel_id", "invalid_data")]
    assert error.problem["title"] == "Unprocessable Entity"
    with pytest.raises(InvalidEventsError) as unknown:
        await untyped.publish("parcel:lost")
    assert (unknown.value.status, unknown.value.code) == (404, "unknown_event")


async def test_an_event_that_is_too_large(publisher: Both) -> None:
    with pytest.raises(InvalidEventsError) as refused:
        await publisher.publish(Moved(parcel_id="p", place="x" * 20_000), to="*")
    assert (refused.value.status, refused.value.code) == (413, "too_large")
    many = [Publication(Moved(parcel_id="p", place="x"), to="*")] * 1_001
    with pytest.raises(InvalidEventsError, match="send at most 1000"):
        await publisher.publish_all(many)


async def test_a_wrong_key(make: Make, served: Served) -> None:
    for key in ("nonsense", served.service_key("quotes"), served.token("ada")):
        async with make(served.url, contract, key) as publisher:
            with pytest.raises(ServiceKeyError, match="Use a key from `oyez token SYSTEM --service`") as refused:
                await publisher.publish(Packed(parcel_id="p", customer_id="ada"))
            assert (refused.value.status, refused.value.code) == (401, "token_invalid")


async def test_a_system_that_is_not_served(make: Make, served: Served) -> None:
    async with make(served.url, "letters", "key") as publisher:
        with pytest.raises(RequestRefusedError, match=r"There is nothing at /letters/events\. Served here: parcels"):
            await publisher.publish("letter:sent")


# Members, and other requests.


async def test_members(publisher: Both, untyped: Both, ada: Client, served: Served) -> None:
    room = parcel(f"a/b:{ada.sid}")
    assert await publisher.add_member(room, "user:ada")
    assert not await publisher.add_member(room, "user:ada", part="host")
    assert await untyped.add_member(room.name, "role:courier", namespace="/")
    assert await untyped.list_members(room.name) == {"role:courier": None, "user:ada": "host"}
    assert (await ada.call("follow", f"a/b:{ada.sid}"))["ok"]
    await publisher.remove_member(room, "user:ada")
    await publisher.remove_member(room, "user:ada")
    await publisher.publish(Moved(parcel_id="p-1", place="Bonn"), to=room)
    await ada.expect_nothing()
    assert await publisher.list_members(room) == {"role:courier": None}
    with pytest.raises(RequestRefusedError) as refused:
        await publisher.add_member(NamedRoom("/", "cellar"), "user:ada")
    assert refused.value.code == "unknown_room"


async def test_members_come_in_pages(publisher: Both, ada: Client) -> None:
    room = parcel(ada.sid)
    subjects = [f"user:{number:04}" for number in range(30)]
    await asyncio.gather(*(publisher.add_member(room, subject) for subject in subjects))
    assert [*await publisher.list_members(room)] == subjects
    page = await publisher.request("GET", f"/rooms/parcel:{ada.sid}/members", query={"limit": "1"})
    assert page == {"members": ["user:0000"], "next": "user:0000"}


# Faults.


@pytest.mark.parametrize(
    "faults",
    [
        [Reply(503, '{"code": "unavailable", "detail": "The server cannot store anything."}', "retry-after: 0\r\n")]
        * 2,
        [Reply(429), Reply(502, "<h1>Bad Gateway</h1>"), Reply(504)],
        [Reply(409, '{"code": "in_progress"}'), Reply(408), Reply(500)],
        ["cut", "lose", "lose"],
    ],
)
async def test_a_failed_attempt_is_repeated_and_the_event_is_published_once(
    shaken: Both, faulty: FaultyServer, ada: Client, faults: list[Any]
) -> None:
    faulty.faults.extend(faults)
    published = await shaken.publish(Packed(parcel_id="p-1", customer_id="ada"))
    assert published.rooms == ("customer:ada",)
    assert len(faulty.keys) == len(faults) + 1
    assert len(set(faulty.keys)) == 1
    await ada.expect_event("parcel:packed")
    await ada.expect_nothing()


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (Reply(400, '{"code": "malformed", "detail": "No."}'), RequestRefusedError, "malformed: No."),
        (Reply(409, '{"code": "already_done"}'), RequestRefusedError, "already_done"),
        (Reply(403, "<h1>Forbidden</h1>"), ServiceKeyError, "The server answered with status 403: '<h1>"),
        (Reply(404, '{"errors": [7], "detail": 1}'), RequestRefusedError, "1"),
        (Reply(302, "", "location: https://shop.example/\r\n"), NotOyezError, "redirects to https://shop.example/."),
        (Reply(200, "<h1>Hello</h1>"), NotOyezError, "is not Oyez"),
        (Reply(200, '{"positions": []}'), NotOyezError, "is not Oyez"),
        (Reply(200, "[" * 100_000), NotOyezError, "is not Oyez"),
    ],
)
async def test_other_failures_are_not_repeated(
    shaken: Both, faulty: FaultyServer, reply: Reply, kind: type[Exception], said: str
) -> None:
    faulty.faults.append(reply)
    with pytest.raises(kind, match=re.escape(said)):
        await shaken.publish(Packed(parcel_id="p-1", customer_id="ada"))
    assert len(faulty.keys) == 1


async def test_the_call_ends_at_its_deadline(make: Make, faulty: FaultyServer) -> None:
    async with make(faulty.url, "parcels", "key", retries=Retries(deadline=0.2)) as publisher:
        faulty.faults.extend(["hang"] * 5)
        with pytest.raises(UnreachableError, match="repeat it with the same idempotency key") as unreachable:
            await publisher.publish("parcel:packed")
        assert unreachable.value.idempotency_key == faulty.keys[0]
        assert is_temporary(unreachable.value)


async def test_a_server_that_asks_for_more_time_than_there_is(make: Make, faulty: FaultyServer) -> None:
    busy = '{"code": "rate_limited", "detail": "Too many."}'
    async with make(faulty.url, "parcels", "key") as publisher:
        for value in ("3600", "Thu, 31 Dec 2099 23:59:59 GMT"):
            faulty.faults.append(Reply(429, busy, f"retry-after: {value}\r\n"))
            with pytest.raises(ServerBusyError, match="rate_limited: Too many"):
                await publisher.publish("parcel:packed")
    assert len(faulty.keys) == 2


async def test_no_server_listens(make: Make) -> None:
    async with make("http://127.0.0.1:1", "parcels", "key", retries=Retries(attempts=3, backoff=FAST.backoff)) as one:
        with pytest.raises(UnreachableError, match=r"Connection refused\. 3 attempts were made\.$"):
            await one.publish("parcel:packed")


async def test_settings_of_httpx(served: Served, faulty: FaultyServer) -> None:
    """A proxy stands for all of them."""
    key = served.service_key("parcels")
    packed = Packed(parcel_id="p-1", customer_id="bob")
    with SyncPublisher(
        "http://nowhere.invalid", contract, key, http=lambda: httpx.Client(proxy=faulty.url, timeout=PATIENCE)
    ) as sync:
        faulty.faults.append(Reply(200, '{"position": "p", "rooms": []}'))
        assert (await asyncio.to_thread(sync.publish, packed)).position == "p"
    async with Publisher(
        "http://nowhere.invalid", contract, key, http=lambda: httpx.AsyncClient(proxy=faulty.url, timeout=PATIENCE)
    ) as publisher:
        faulty.faults.append(Reply(200, '{"position": "q", "rooms": []}'))
        assert (await publisher.publish(packed)).position == "q"


def find_free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def test_a_server_that_is_killed_and_started_again_publishes_each_event_once(
    tmp_path: Path, spawn: Spawn
) -> None:
    port, data, count = str(find_free_port()), tmp_path / "data", 60
    half = asyncio.Event()
    done = 0

    async def publish(publisher: Publisher, number: int) -> str | None:
        nonlocal done
        published = await publisher.publish(Packed(parcel_id=f"p-{number}", customer_id="ada"))
        done += 1
        if done >= count // 3:
            half.set()
        return published.position

    async with serve(data, str(CONTRACT), PORT=port) as first:
        key, settings = first.service_key("parcels"), first
        limits = httpx.Limits(max_connections=10)
        async with Publisher(
            first.url, contract, key, retries=FAST, http=lambda: httpx.AsyncClient(limits=limits, timeout=10)
        ) as publisher:
            start = (await publisher.publish(Packed(parcel_id="start", customer_id="ada"))).position
            work = [spawn(publish(publisher, number)) for number in range(count)]
            await half.wait()
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
            async with serve(data, str(CONTRACT), PORT=port) as second:
                positions = await asyncio.gather(*work)
                auth = {"token": settings.token("ada"), "offset": start}
                async with connect(second.url, path="/parcels/socket.io/", auth=auth) as client:
                    received = [(await client.expect_event("parcel:packed")).args[0]["parcel_id"] for _ in range(count)]
                    await client.expect_nothing("parcel:packed")
    assert len(set(positions)) == count
    assert sorted(received) == sorted(f"p-{number}" for number in range(count))


# Threads, loops and forks.


async def test_one_publisher_for_many_threads(served: Served) -> None:
    with SyncPublisher(served.url, contract, served.service_key("parcels")) as publisher:
        positions: list[str | None] = []

        def publish() -> None:
            packed = Packed(parcel_id="p", customer_id="bob")
            positions.extend([publisher.publish(packed).position for _ in range(5)])

        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert len(set(positions)) == 40


def run_program(served: Served, text: str) -> list[str]:
    head = f"""
        import asyncio, os, sys
        from oyez.client import Publisher, SyncPublisher
        url, key = {served.url!r}, {served.service_key("parcels")!r}
        event = ("parcel:packed", {{"parcel_id": "p", "customer_id": "bob"}})
    """
    program = textwrap.dedent(head) + textwrap.dedent(text)
    ended = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


async def test_a_publisher_in_several_event_loops(served: Served) -> None:
    text = """
        publisher = Publisher(url, "parcels", key)
        async def publish():
            async with publisher:
                print((await publisher.publish(*event)).position)
        asyncio.run(publish())
        asyncio.run(publish())
    """
    assert len(set(await asyncio.to_thread(run_program, served, text))) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
async def test_a_publisher_and_a_queue_in_a_forked_process(served: Served) -> None:
    text = """
        publisher = SyncPublisher(url, "parcels", key)
        with publisher.queue() as queue:
            print(publisher.publish(*event).position, queue.put(*event).result().position, flush=True)
            child = os.fork()
            for _ in range(3):
                print(publisher.publish(*event).position, queue.put(*event).result().position, flush=True)
            if child == 0:
                queue.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        publisher.close()
    """
    assert len(set(await asyncio.to_thread(run_program, served, text))) == 14


# Types.

TYPED = """
from oyez.client import Publication, Publisher, SyncPublisher
from tests.client.parcels import Packed, Seen, contract, customer, root

publisher = SyncPublisher("http://127.0.0.1:5001", contract, "key")
publisher.publish(Packed(parcel_id="p", customer_id="ada"))
publisher.publish(Seen(parcel_id="p"), to=[customer("ada"), root.everyone, "customer:bob"], excluding=customer("eve"))
publisher.publish("parcel:seen", {"parcel_id": "p"}, to="customer:ada")
publisher.publish(Packed(parcel_id=7, customer_id="ada"))  # wrong
publisher.publish(Packed(customer_id="ada"))  # wrong
publisher.publish(Packed(parcel_id="p", customer_id="ada", place="Bonn"))  # wrong
publisher.publish(Seen(parcel_id="p"), to=customer)  # wrong
publisher.publish(Seen(parcel_id="p"), to=[7])  # wrong
publisher.publish(Seen(parcel_id="p"), {"parcel_id": "p"})  # wrong
publisher.publish(7)  # wrong
publisher.publish_all([Publication(Seen(parcel_id="p"), to=customer)])  # wrong


async def publish(publisher: Publisher) -> None:
    await publisher.publish(Seen(parcel_id="p"), to=customer("ada"))
    await publisher.publish(Seen(parcel_id="p"), to=customer)  # wrong
    async with publisher.queue() as queue:
        position: str | None = (await (await queue.put(Seen(parcel_id="p"), to="customer:ada"))).position
        await queue.put(Seen(parcel="p"))  # wrong
"""


def test_mypy_finds_wrong_payloads_and_rooms(tmp_path: Path) -> None:
    file, repository = tmp_path / "publishes.py", Path(__file__).parents[2]
    file.write_text(TYPED)
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(repository / ".mypy_cache"), str(file)],
        cwd=repository,
        env={**os.environ, "MYPYPATH": f"{repository}{os.pathsep}{repository / 'src'}"},
        capture_output=True,
        text=True,
    )
    found = {int(line) for line in re.findall(r"publishes\.py:(\d+): error", ended.stdout)}
    wrong = {number for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, ended.stdout + ended.stderr
