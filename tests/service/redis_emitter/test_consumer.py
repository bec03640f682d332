"""Emitters in Node, the official package, and what reaches official clients: with one node, several, and faults."""

import asyncio
import os
import pickle
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import socketio

from oyez.errors import LogUnavailableError
from oyez.log.log import Checkpoint, Entry
from oyez.log.memory import MemoryLog
from oyez.observer import EMITTER, Observer, Observers, PublishReport
from oyez.runtime import Publisher
from oyez.service.app import Oyez
from oyez.service.redis_emitter import consumer
from oyez.service.redis_emitter.consumer import KEEP_SECONDS, TRANSITIONS, EmitterConsumer, Input, State
from oyez.service.redis_emitter.decoder import EmitterDecoder, EmitterMessageError
from oyez.service.system import System
from oyez.settings import Limits, Settings
from oyez.systems.loader import load_system
from tests.runtime import versions_system
from tests.service import emitter_system
from tests.service.emitter_system import contract
from tests.support.clock import PATIENCE, until
from tests.support.js_client import JsClient, JsDriver, JsEmitter
from tests.support.logged import capture_logs
from tests.support.served import Served, serve
from tests.support.tasks import Spawn
from tests.support.valkey import ValkeyServer

DRAIN = 5.0
HALL = str(Path(emitter_system.__file__).resolve())


# In this process: several nodes on one log.


class Shared(MemoryLog):
    """A log that records broadcasts, and can be made to fail or to hang."""

    def __init__(self) -> None:
        super().__init__()
        self.volatile: list[Entry] = []
        self.fails = False
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.appended = 0
        self.numbers: dict[str, int] = {}
        """Of the stored events, by their positions."""

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        if self.fails:
            raise LogUnavailableError("on purpose")
        positions = await super().append(entries, checkpoint)
        self.appended += len(entries)
        for position, entry in zip(positions, entries, strict=True):
            self.numbers.setdefault(position, msgspec.json.decode(entry.data)[1]["number"])
        await self.hangs.wait()
        return positions

    async def broadcast(self, entry: Entry) -> None:
        if self.fails:
            raise LogUnavailableError("on purpose")
        self.volatile.append(entry)


class Harness:
    """The nodes, their log, and an emitter that speaks to them alone."""

    def __init__(self, url: str, emitter: JsEmitter, key: str) -> None:
        self.log = Shared()
        self.emitter = emitter
        self._url = url
        self._key = key

    @asynccontextmanager
    async def open(
        self, drain: float = DRAIN, clock: Callable[[], float] = time.monotonic, observers: Observers | None = None
    ) -> AsyncIterator[EmitterConsumer]:
        publisher = Publisher(contract, self.log, Limits(), observers=observers)
        node = EmitterConsumer(self._url, publisher, [self._key], prefix=self._key, clock=clock)
        async with node.running(drain):
            yield node

    async def call(self, *numbers: int) -> None:
        for number in numbers:
            await self.emitter.emit("called", {"number": number})

    @property
    def numbers(self) -> list[int]:
        return list(self.log.numbers.values())

    async def expect(self, *numbers: int) -> None:
        """Exactly these are in the log by now."""
        await until(lambda: len(self.numbers) >= len(numbers))
        assert self.numbers == list(numbers)


@pytest.fixture
async def harness(js: JsDriver, valkey: ValkeyServer) -> Harness:
    key = f"hall-{uuid.uuid4().hex[:8]}"
    return Harness(valkey.url, await js.emitter(valkey.url, key=key), key)


async def test_what_is_emitted_is_in_the_log_once_and_in_order_with_any_number_of_nodes(harness: Harness) -> None:
    async with harness.open() as first, harness.open() as second, harness.open() as third:
        await harness.call(1, 2, 2, 3, 3, 3)
        await harness.expect(1, 2, 2, 3, 3, 3)
        assert sorted(node.accepted for node in (first, second, third)) == [0, 0, 6]


async def test_what_is_volatile_keeps_its_place_and_is_not_stored(harness: Harness) -> None:
    async with harness.open(), harness.open():
        await harness.call(1)
        await harness.emitter.emit("waved", {"number": 2})
        await harness.call(3)
        await harness.expect(1, 3)
    assert [entry.data for entry in harness.log.volatile] == [b'["waved",{"number":2}]']


async def test_observers_receive_that_an_emitter_has_published(harness: Harness) -> None:
    class Seen(Observer):
        def published(self, report: PublishReport) -> None:
            seen.append((report.name, report.origin))

    seen: list[tuple[str, str]] = []
    async with harness.open(observers=Observers("hall", [Seen()])):
        await harness.call(1)
        await until(lambda: bool(seen))
    assert seen == [("called", EMITTER)]


async def test_when_the_leader_goes_another_one_takes_over_at_once(harness: Harness) -> None:
    async with harness.open() as second:
        async with harness.open():
            await harness.call(1, 2)
            await harness.expect(1, 2)
        await harness.call(3)
        await harness.expect(1, 2, 3)
        assert second.accepted == 3


async def test_what_a_leader_had_appended_and_not_announced_is_not_appended_again(harness: Harness) -> None:
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(harness.open(drain=0.01))
        await harness.call(1, 2)
        await harness.expect(1, 2)
        async with harness.open() as follower:
            # No message that both have received is logged.
            harness.log.hangs.clear()
            await harness.call(3)
            await harness.expect(1, 2, 3)
            await harness.call(4)
            await stack.aclose()
            harness.log.hangs.set()
            await harness.expect(1, 2, 3, 4)
            # It has dealt with 3 as well, and the log knew it.
            await until(lambda: follower.accepted == 2)
            assert leader.accepted == 3
            assert harness.log.appended == 5


async def test_a_stopping_leader_appends_what_it_has_received(harness: Harness) -> None:
    async with harness.open():
        harness.log.hangs.clear()
        await harness.call(1)
        await harness.expect(1)
        await harness.call(2, 3)
        asyncio.get_running_loop().call_later(0.05, harness.log.hangs.set)
    await harness.expect(1, 2, 3)


async def test_without_the_log_what_is_emitted_waits_in_order(harness: Harness) -> None:
    async with harness.open():
        harness.log.fails = True
        with capture_logs() as logged:
            await harness.call(1, 2)
            await harness.emitter.emit("waved", {"number": 3})
            await until(lambda: bool(logged))
        harness.log.fails = False
        await harness.call(4)
        await harness.expect(1, 2, 4)
        assert [line["event"] for line in logged][:1] == ["what was emitted waits for the log"]


async def test_a_refused_message_is_logged_and_counted_and_stops_nothing(harness: Harness) -> None:
    async with harness.open() as node:
        with capture_logs() as logged:
            await harness.emitter.emit("called", {"number": "one"})
            await harness.emitter.emit("cried", {})
            await harness.emitter.emit("called", {"number": 1}, to="nowhere")
            await harness.emitter.emit("called", {"number": 1}, to="balcony:7")
            await harness.emitter.emit("called", {"number": {"base64": "AAEC"}})
            await harness.emitter.emit("called")
            await harness.emitter.say(("serverSideEmit", "called", 1))
            await harness.call(2)
            await harness.expect(2)
        refused = [line for line in logged if line["event"] == "an emitter was refused"]
        assert [(line["what"], line["code"]) for line in refused] == [
            ("called", "invalid_data"),
            ("cried", "unknown_event"),
            ("called", "unknown_room"),
            ("called", "unknown_room"),
            ("called", "invalid_data"),
            ("called", "invalid_data"),
            ("serverSideEmit", "unknown_event"),
        ]
        assert {line["log_level"] for line in refused} == {"warning"}
        assert refused[0]["reason"].startswith("number: expected a whole number, got ")
        assert node.refused == {"invalid_data": 3, "unknown_event": 2, "unknown_room": 2}


async def test_what_is_refused_all_the_time_does_not_flood_the_log(harness: Harness) -> None:
    async with harness.open() as node:
        with capture_logs() as logged:
            for _ in range(50):
                await harness.emitter.emit("cried", {})
            await harness.call(1)
            await harness.expect(1)
        assert node.refused == {"unknown_event": 50}
        assert 10 <= len(logged) < 20


async def test_too_much_is_refused_and_not_kept(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "MAX_WAITING_BYTES", 1_000)
    async with harness.open() as node:
        harness.log.hangs.clear()
        await harness.call(1)
        await harness.expect(1)
        await harness.call(*range(2, 20))
        await until(lambda: bool(node.refused))
        harness.log.hangs.set()
        assert node.refused.keys() == {"unavailable"}
    assert harness.numbers[:3] == [1, 2, 3]


async def test_unannounced_records_are_not_kept_for_ever(harness: Harness) -> None:
    now = 0.0
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(harness.open(drain=0.01))
        async with harness.open(clock=lambda: now) as follower:
            harness.log.hangs.clear()
            await harness.call(1)
            await harness.expect(1)
            now = KEEP_SECONDS + 1
            await stack.aclose()
            harness.log.hangs.set()
            await harness.call(2)
            await harness.expect(1, 2)
            assert follower.accepted == 1


# Redis dies and is started again.


async def test_when_redis_is_back_emitters_work_again(js: JsDriver, own_valkey: ValkeyServer) -> None:
    harness = Harness(own_valkey.url, await js.emitter(own_valkey.url, key="hall"), "hall")
    async with harness.open(), harness.open():
        await harness.call(1)
        await harness.expect(1)
        with capture_logs() as logged:
            own_valkey.restart()
            harness.emitter = await js.emitter(own_valkey.url, key="hall")
            # The consumer does not receive yet: send again until it does.
            number = 1
            async with asyncio.timeout(PATIENCE):
                while len(harness.numbers) < 2:
                    number += 1
                    await harness.call(number)
                    await asyncio.sleep(0.05)
        await harness.call(1000)
        await until(lambda: harness.numbers[-1] == 1000)
        assert harness.numbers == sorted(set(harness.numbers))
        assert "messages of emitters are not received at the moment" in [line["event"] for line in logged]


# Served.


@asynccontextmanager
async def serve_hall(folder: Path, valkey: ValkeyServer, *systems: str, **environ: str) -> AsyncIterator[Served]:
    environ |= {"REDIS_URL": valkey.url, "REDIS_PREFIX": folder.name, "JWT_SECRET": "s" * 32}
    async with serve(folder / "data", HALL, *systems, **environ) as served:
        yield served


async def connect(js: JsDriver, served: Served, subject: str, namespace: str = "/") -> JsClient:
    return await js.connect(
        f"{served.url}{namespace}",
        path="/hall/socket.io/",
        auth={"token": served.token(subject)},
        transports=["websocket"],
    )


async def expect_called(client: JsClient, *numbers: int) -> None:
    """The client receives exactly these, in order."""
    heard = [(await client.expect_event("called"))[0]["number"] for _ in numbers]
    assert heard == list(numbers)
    assert client.events() == []


async def test_every_client_receives_an_event_once_on_any_node(
    js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    emitter = await js.emitter(own_valkey.url)
    async with serve_hall(tmp_path, own_valkey) as first, serve_hall(tmp_path, own_valkey) as second:
        nodes = (first, second)
        adas = [await connect(js, node, "ada") for node in nodes]
        bobs = [await connect(js, node, "bob") for node in nodes]
        behind = [await connect(js, node, "ada", "/back") for node in nodes]

        await emitter.emit("called", {"number": 1})
        await emitter.emit("called", {"number": 2}, to="user:ada")
        await emitter.emit("called", {"number": 3}, to=["user:ada", "user:bob"])
        await emitter.say(("except", "user:ada"), ("emit", "called", {"number": 4}))
        await emitter.say(("of", "/back"), ("emit", "called", {"number": 5}))
        await emitter.say(("volatile",), ("emit", "waved", {"number": 6}))
        await emitter.emit("called", {"number": 7}, to=adas[1].id)
        await emitter.emit("called", {"number": 8})
        await emitter.say(("of", "/back"), ("emit", "called", {"number": 9}))

        for client in (*adas, *bobs):
            assert await client.expect_event("waved") == [{"number": 6}]
        for client in adas:
            await expect_called(client, 1, 2, 3, 8)
        for client in bobs:
            await expect_called(client, 1, 3, 4, 8)
        for client in behind:
            await expect_called(client, 5, 9)


async def test_sockets_join_leave_and_are_disconnected_on_every_node(
    js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    emitter = await js.emitter(own_valkey.url)
    async with serve_hall(tmp_path, own_valkey) as first, serve_hall(tmp_path, own_valkey) as second:
        adas = [await connect(js, node, "ada") for node in (first, second)]
        bob = await connect(js, second, "bob")

        await emitter.say(("in", "user:ada"), ("socketsJoin", ["row:1", "row:2"]))
        await emitter.emit("called", {"number": 1}, to="row:1")
        await emitter.say(("in", adas[0].id), ("socketsLeave", "row:1"))
        await emitter.emit("called", {"number": 2}, to="row:1")
        await emitter.emit("called", {"number": 3}, to="row:2")
        # An emitter cannot put a client into the room of another user or into a room with members.
        await emitter.say(("in", "user:bob"), ("socketsJoin", ["user:ada", "box:1"]))
        await emitter.emit("called", {"number": 4}, to=["user:ada", "box:1"])
        await emitter.emit("called", {"number": 5})
        await expect_called(adas[0], 1, 3, 4, 5)
        await expect_called(adas[1], 1, 2, 3, 4, 5)
        await expect_called(bob, 5)

        response = await first.request("PUT", "/hall/rooms/box:1/members/user:bob")
        assert response.is_success, response.text
        async with asyncio.timeout(PATIENCE):
            while not bob.events():
                # The table is read at the same time.
                await emitter.say(("in", "user:bob"), ("socketsJoin", "box:1"))
                await emitter.emit("called", {"number": 6}, to="box:1")
                await asyncio.sleep(0.05)

        await emitter.say(("in", "user:ada"), ("except", adas[1].id), ("disconnectSockets",))
        await adas[0].expect("disconnect", reason="io server disconnect")
        await emitter.say(("disconnectSockets", True))
        await adas[1].expect("disconnect")
        await bob.expect("disconnect")


async def test_a_node_that_is_killed_takes_nothing_with_it(
    js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    emitter = await js.emitter(own_valkey.url)
    async with serve_hall(tmp_path, own_valkey) as leader, serve_hall(tmp_path, own_valkey) as other:
        client = await connect(js, other, "ada")
        for number in range(100):
            await emitter.emit("called", {"number": number})
            if number == 40:
                os.kill(leader.process.pid, signal.SIGKILL)
        await expect_called(client, *range(100))


async def test_a_back_end_needs_no_more_rights_in_redis_than_the_page_says(
    js: JsDriver, own_valkey: ValkeyServer
) -> None:
    page = Path(__file__).parents[3] / "docs" / "emitters.md"
    (rights,) = re.findall(r"`(-@all [^`]*)`", page.read_text())
    with own_valkey.connect() as redis:
        redis.execute_command("ACL", "SETUSER", "backend", "reset", "on", ">word", *rights.split())
    url = own_valkey.url.replace("redis://", "redis://backend:word@")
    quotes, harness = await js.emitter(url, key="quotes"), await js.emitter(url, key="hall")
    await quotes.say(("of", "/"), ("to", "chat:user:ada"), ("emit", "chat:delivered", {}))
    await quotes.say(("disconnectSockets",))
    for call in (("emit", "called", {"number": 1}), ("disconnectSockets",)):
        with pytest.raises(RuntimeError, match="NOPERM"):
            await harness.say(call)


async def test_several_systems_are_distinguished_by_the_key(
    js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    async with serve_hall(tmp_path, own_valkey, "quotes") as served:
        client = await connect(js, served, "ada")
        await (await js.emitter(own_valkey.url)).emit("called", {"number": 1})
        await (await js.emitter(own_valkey.url, key="quotes")).emit("called", {"number": 2})
        await (await js.emitter(own_valkey.url, key="hall")).emit("called", {"number": 3})
        await expect_called(client, 3)


async def test_two_installations_on_one_redis_are_distinguished_by_their_keys(
    js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    async with (
        serve_hall(here, own_valkey) as first,
        serve_hall(there, own_valkey, REDIS_EMITTER_KEY="there") as second,
    ):
        ours, theirs = await connect(js, first, "ada"), await connect(js, second, "ada")
        await (await js.emitter(own_valkey.url)).emit("called", {"number": 1})
        await (await js.emitter(own_valkey.url, key="hall")).emit("called", {"number": 2})
        await (await js.emitter(own_valkey.url, key="there")).emit("called", {"number": 3})
        # After all messages of the emitters.
        await first.publish("called", {"number": 4}, "*", system="hall")
        await expect_called(theirs, 3)
        await expect_called(ours, 1, 2, 4)


async def test_emitters_can_be_switched_off(js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path) -> None:
    async with serve_hall(tmp_path, own_valkey, REDIS_EMITTER="false") as served:
        client = await connect(js, served, "ada")
        await (await js.emitter(own_valkey.url, key="hall")).emit("called", {"number": 1})
        await served.publish("called", {"number": 2}, "*", system="hall")
        await expect_called(client, 2)


async def test_each_client_receives_the_form_of_its_version(
    js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    environ = {"REDIS_URL": own_valkey.url, "REDIS_PREFIX": tmp_path.name, "JWT_SECRET": "s" * 32}
    async with serve(tmp_path / "data", versions_system.__file__, **environ) as served:
        clients = [
            await js.connect(
                served.url,
                path="/shop/socket.io/",
                auth={"token": served.token("ada"), "version": version},
                transports=["websocket"],
            )
            for version in ("1", "3")
        ]
        for client, name in zip(clients, ("order:update", "order:moved"), strict=True):
            await client.call("order:watch", "o1")
            await client.expect_event(name)
        emitter = await js.emitter(own_valkey.url)
        # Only the newest form is published, by emitters too.
        await emitter.emit("order:update", "o1", "LOST", to="order:o1")
        moved = {"orderId": "o1", "place": {"name": "van", "shelf": 2}}
        await emitter.emit("order:moved", moved, to="order:o1")
        old, new = clients
        assert (await old.expect_event("order:update"))[:2] == ["o1", "VAN"]
        assert (await new.expect_event("order:moved"))[0]["place"] == moved["place"]


async def test_managers_of_python_socketio(js: JsDriver, own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """What back ends in Flask, Django or Celery have: nothing changes there."""
    manager = socketio.RedisManager(own_valkey.url, write_only=True)

    def publish(number: int, **options: object) -> None:
        manager.emit("called", {"number": number, "timestamp": "2026-01-31T13:00:00+01:00"}, **options)

    async with serve_hall(tmp_path, own_valkey) as served:
        ada, bob = await connect(js, served, "ada"), await connect(js, served, "bob")
        await asyncio.to_thread(publish, 1)
        await asyncio.to_thread(publish, 2, room="user:ada")
        await asyncio.to_thread(publish, 3, skip_sid=ada.id)
        await asyncio.to_thread(publish, 4, room=["user:ada", "user:bob"])
        # Neither is read, and the following messages are published.
        await asyncio.to_thread(manager.redis.publish, "socketio", pickle.dumps({"method": "emit", "event": "called"}))
        await asyncio.to_thread(publish, 5, room="nowhere")
        await asyncio.to_thread(publish, 6, namespace="/")
        await expect_called(ada, 1, 2, 4, 6)
        await expect_called(bob, 1, 3, 4, 6)
        await asyncio.to_thread(manager.enter_room, ada.id, "/", "row:9")
        await asyncio.to_thread(publish, 7, room="row:9")
        await asyncio.to_thread(manager.leave_room, ada.id, "/", "row:9")
        await asyncio.to_thread(publish, 8, room="row:9")
        await asyncio.to_thread(publish, 9)
        await expect_called(ada, 7, 9)
        await expect_called(bob, 9)


async def test_a_message_for_no_system_is_logged_once(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """With several systems an emitter has to name one; python-socketio's default channel names none."""
    quotes = load_system("quotes")
    settings = Settings(port=0, oyez_data=str(tmp_path), redis_url=own_valkey.url, redis_prefix=tmp_path.name)
    oyez = Oyez([System(contract=contract), quotes], settings)
    manager = socketio.RedisManager(own_valkey.url, write_only=True)
    with capture_logs() as lines:
        async with oyez.running():
            for number in range(3):
                await asyncio.to_thread(manager.emit, "called", {"number": number})
            await until(lambda: any("no system" in line["event"] for line in lines))
            await asyncio.to_thread(manager.redis.publish, "hall", "{}")
            await until(lambda: any(line["event"] == "an emitter was refused" for line in lines))
    [line] = [line for line in lines if "no system" in line["event"]]
    assert (line["channel"], line["keys"]) == ("socketio", ["hall", "quotes"])


def test_pickles_are_not_read() -> None:
    reader = EmitterDecoder(Publisher(contract, MemoryLog(), Limits()), ["hall", "socket.io"])

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return (pytest.fail, ("a pickle was read",))

    for body in (pickle.dumps(Trap()), pickle.dumps({"method": "emit"}, 0)):
        for channel in ("socketio", "hall"):
            assert reader.is_emitter_message(channel, body)
            with pytest.raises(EmitterMessageError) as refused:
                reader.read(channel, body)
            assert "python-socketio 5.14 or later" in str(refused.value)


# Its states.


@pytest.mark.parametrize(
    ("state", "signal", "then"),
    [
        (State.FOLLOWING, Input.LEASE_ACQUIRED, State.LEADING),
        (State.FOLLOWING, Input.STOP, State.CLOSED),
        (State.LEADING, Input.LEASE_LOST, State.FOLLOWING),
        (State.LEADING, Input.STOP, State.DRAINING),
        (State.DRAINING, Input.DRAINED, State.CLOSED),
    ],
)
def test_transitions(state: State, signal: Input, then: State) -> None:
    assert TRANSITIONS[state][signal] is then


def test_there_are_no_other_transitions() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert sum(map(len, TRANSITIONS.values())) == 5


async def test_a_consumer_follows_leads_drains_and_closes(harness: Harness, spawn: Spawn) -> None:
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(harness.open())
        await until(lambda: leader.state is State.LEADING)
        async with harness.open() as follower:
            states = [follower.state]
        states.append(follower.state)
        assert states == [State.FOLLOWING, State.CLOSED]
        harness.log.hangs.clear()
        await harness.call(1)
        await harness.expect(1)
        closing = spawn(stack.aclose())
        await until(lambda: leader.state is State.DRAINING)
        harness.log.hangs.set()
        await closing
    assert leader.state is State.CLOSED
