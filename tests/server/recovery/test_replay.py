"""Replays: any number of missed events costs bounded memory, and none is lost, repeated or out of order."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from oyez.client import Client, connect
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.server.namespaces.socket import Socket
from oyez.server.recovery import replay
from oyez.server.recovery.replay import ReplayBudget
from tests.support.serving import Running, serve, transport_of, turn_until
from tests.support.wire import TEXT, WEBSOCKET, PollingWire, SocketWire

ANNA = {"user": "anna", "rooms": ["room"]}
BOTH = ("room", "secret")
MEMBER = {"user": "anna", "rooms": BOTH}
SMALL = {"max_replay_page": 20_000}


def make_news(number: int, room: str = "room", size: int = 1_000) -> Entry:
    data = json.dumps(["news", {"n": number, "room": room, "text": "x" * size}]).encode()
    return Entry(namespace="/", rooms=(room,), data=data)


async def miss(
    running: Running, count: int, rooms: Sequence[str] = ("room",), *, size: int = 1_000, at_hand: bool = True
) -> str:
    """Publish events to the rooms in turn; returns the position before them."""
    offset = running.server.progress.position
    for begin in range(0, count, 500):
        numbers = range(begin, min(count, begin + 500))
        await running.log.append([make_news(number, rooms[number % len(rooms)], size) for number in numbers])
    await running.server.progress.wait_for_position(await running.log.position())
    if not at_hand:
        running.server.replay_buffer.start_after(running.server.progress.position)
    return offset


async def read_numbers(client: Client, count: int) -> list[int]:
    return [(await client.expect_event("news")).args[0]["n"] for _ in range(count)]


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
@pytest.mark.parametrize("at_hand", [True, False], ids=["window", "log"])
async def test_a_long_replay_comes_in_order_and_once_beside_live_events(transports: list[str], at_hand: bool) -> None:
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 300, at_hand=at_hand)
        auth = {**ANNA, "offset": offset}
        async with connect(running.url, auth=auth, transports=transports) as client:
            live = Entry(namespace="/", rooms=("room",), data=b'["news",{"n":300}]')
            await running.log.append([live])
            assert await read_numbers(client, 301) == list(range(301))
            answer = (await client.expect_event("oyez:recovery")).args[0]
            assert answer["recovered"] and answer["replayed"] in (300, 301)
            await client.expect_nothing("news")
            assert client.offset == running.server.progress.position
            assert await client.call("echo", "served") == "served"


@pytest.mark.parametrize("at_hand", [True, False], ids=["window", "log"])
async def test_a_client_that_does_not_read_is_sent_one_page(at_hand: bool) -> None:
    async with serve(limits={**SMALL, "max_send_buffer": 100_000}) as running:
        offset = await miss(running, 5_000, size=2_000, at_hand=at_hand)
        auth = {**ANNA, "offset": offset}
        async with SocketWire.connect(running, auth, receive_buffer=4_096) as wire:
            socket = running.namespace.sockets[wire.id]
            transport: Any = transport_of(socket)
            # The kernel takes some megabytes; then the replay waits.
            await turn_until(lambda: transport._buffer is not None)
            for _ in range(100):
                await asyncio.sleep(0)
            assert socket.session.replaying is not None and not socket.connection.closed
            assert transport._buffer.size <= 20_000
            assert transport._network.get_write_buffer_size() < 200_000
            # It reads after all, and gets everything.
            numbers: list[int] = []
            while len(numbers) < 5_000:
                event = json.loads((await wire.read_frame()).payload[2:])
                if event[0] == "news":
                    numbers.append(event[1]["n"])
            assert numbers == list(range(5_000))


async def test_a_polling_client_gets_a_page_with_each_poll() -> None:
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 100)
        client = await PollingWire.begin(running)
        await client.post(f"40{json.dumps({**ANNA, 'offset': offset})}")
        numbers: list[int] = []
        while len(numbers) < 100:
            payload = await client.get()
            assert len(payload) < 25_000
            events = [json.loads(packet[2:]) for packet in payload.split("\x1e") if packet.startswith('42["news"')]
            numbers += [event[1]["n"] for event in events]
        assert numbers == list(range(100))
        await client.leave()


async def test_commands_wait_until_the_replay_is_complete() -> None:
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 200)
        async with SocketWire.connect(running, {**ANNA, "offset": offset}) as wire:
            wire.send_text('427["echo","after"]')
            heard: list[str] = []
            while not heard or not heard[-1].startswith("437"):
                heard.append((await wire.read_frame()).payload.decode())
            assert sum(text.startswith('42["news"') for text in heard) == 200
            assert heard[-2].startswith('42["oyez:recovery"')


async def test_a_replay_that_breaks_off_goes_on_from_where_the_client_is() -> None:
    # The position comes with its event, so no break falls between the two.
    auth = {**ANNA, "recovery": True}
    async with serve(limits=SMALL) as running:
        async with connect(running.url, auth=auth, transports=["websocket"]) as first:
            first.connection.drop()
            await running.market.expect_gone(first.sid)
        await miss(running, 200)
        async with connect(running.url, auth={**auth, **first.recovery}, transports=["websocket"]) as client:
            numbers = await read_numbers(client, 30)
            client.connection.drop()
            await running.market.expect_gone(client.sid)
        numbers += [event.args[0]["n"] for event in client.pending if event.name == "news"]
        async with connect(running.url, auth={**auth, **client.recovery}, transports=["websocket"]) as back:
            assert numbers + await read_numbers(back, 200 - len(numbers)) == list(range(200))
            assert back.sid == client.sid == first.sid


async def test_a_connection_that_asks_again_and_again_is_slowed_down() -> None:
    async with serve(limits={**SMALL, "max_replayed_bytes": 100_000}) as running:
        auth = json.dumps({**ANNA, "offset": await miss(running, 100)})
        async with SocketWire.begin(running) as wire:
            wire.send_text(f"40{auth}")
            while not (await wire.read_frame()).payload.startswith(b'42["oyez:recovery"'):
                pass
            for _ in range(10):
                wire.send_text("41")
                wire.send_text(f"40{auth}")
                # It is let in, and has to wait for what it has had already.
                assert (await wire.read_frame()).payload.startswith(b"40")
                await wire.expect_pong()


# Changes during a replay: each event comes once, in order, and none of a room without a right to it.


class InterruptedLog(MemoryLog):
    """A log in which something happens during its `at`-th read, after the entries were read."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0
        self.act: Callable[[], Awaitable[object]]

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        entries = await super().read(after, namespace, rooms, limit)
        self.at -= 1
        if self.at == 0:
            await self.act()
        return entries


def find_socket(running: Running) -> Socket:
    return running.market.sockets[-1]


async def read_until_recovered(wire: SocketWire) -> list[dict[str, Any]]:
    """The events up to the end of the replay."""
    found: list[dict[str, Any]] = []
    while True:
        name, data, *_ = json.loads((await wire.read_frame()).payload.decode().lstrip("0123456789"))
        if name == "oyez:recovery":
            assert data["recovered"], data
            return found
        found.append(data)


@pytest.mark.parametrize("at", [1, 3], ids=["during the first page", "during a later page"])
async def test_no_event_of_a_room_is_sent_after_it_was_left(at: int) -> None:
    """A revocation removes the socket from the room while a page is read: the page is not sent."""
    log = InterruptedLog()
    async with serve(log=log, limits=SMALL) as running:
        offset = await miss(running, 300, BOTH, at_hand=False)

        async def leave() -> None:
            find_socket(running).leave("secret")

        log.at, log.act = at, leave
        async with SocketWire.connect(running, {**MEMBER, "offset": offset}) as wire:
            events = await read_until_recovered(wire)
        secret = [event["n"] for event in events if event["room"] == "secret"]
        assert [event["n"] for event in events if event["room"] == "room"] == list(range(0, 300, 2))
        # Those of the pages before, of 18 events each.
        assert len(secret) <= 9 * (at - 1) and secret == list(range(1, 2 * len(secret), 2))


@pytest.mark.parametrize("at", [1, 2], ids=["during the first page", "during a later page"])
async def test_events_of_a_room_that_is_joined_during_the_replay_come_once(at: int) -> None:
    log = InterruptedLog()
    async with serve(log=log, limits=SMALL) as running:
        offset = await miss(running, 30, BOTH, at_hand=False)

        async def join() -> None:
            find_socket(running).join("late")
            await log.append([make_news(30, "late")])
            await running.server.progress.wait_for_position(await log.position())

        log.at, log.act = at, join
        async with SocketWire.connect(running, {**MEMBER, "offset": offset}) as wire:
            events = await read_until_recovered(wire)
            if len(events) < 31:
                # It came after the end of the replay.
                [_, data, *_] = json.loads((await wire.read_frame()).payload[2:])
                events.append(data)
            await wire.expect_echo()
        assert [event["n"] for event in events] == list(range(31))


async def test_the_replay_of_a_room_stops_when_the_right_to_it_ends() -> None:
    """A member is removed while it joins the room again: it receives nothing of the room after that."""
    log = InterruptedLog()
    async with serve(log=log, limits=SMALL) as running:
        offset = await miss(running, 300, BOTH, at_hand=False)
        allowed = [True]

        async def remove() -> None:
            allowed.clear()

        async with SocketWire.connect(running, {"user": "anna"}) as wire:
            log.at, log.act = 2, remove
            await running.namespace.sockets[wire.id].replay_room("secret", offset, lambda: bool(allowed))
            wire.send_text('427["echo","after"]')
            texts = [(await wire.read_frame()).payload.decode()]
            while not texts[-1].startswith("437"):
                texts.append((await wire.read_frame()).payload.decode())
        numbers = [json.loads(text[2:])[1]["n"] for text in texts if text.startswith('42["news"')]
        # The first page, of 18 events.
        assert numbers == list(range(1, 2 * len(numbers), 2)) and 0 < len(numbers) < 20
        assert not any("oyez:recovery" in text for text in texts)


async def test_a_client_that_gave_only_its_position_continues_a_replay_that_broke_off() -> None:
    """Its new session must not count what the lost connection did not bring as received."""
    auth = {**MEMBER, "recovery": True}
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 200, BOTH)
        events: list[list[Any]] = []
        async with SocketWire.connect(running, {**auth, "offset": offset}) as wire:
            pid = find_socket(running).session.pid
            while len(events) < 30:
                events.append(json.loads((await wire.read_frame()).payload[2:]))
            wire.abort()
        await running.settle()
        async with connect(running.url, auth={**auth, "pid": pid, "offset": events[-1][2]}) as back:
            numbers = [event[1]["n"] for event in events]
            numbers += [(await back.expect_event("news")).args[0]["n"] for _ in range(170)]
            await back.expect_nothing("news")
        assert numbers == list(range(200))


async def test_a_client_that_upgrades_between_two_pages_gets_each_event_once() -> None:
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 200, BOTH)
        polling = await PollingWire.begin(running)
        await polling.post(f"40{json.dumps({**MEMBER, 'offset': offset})}")
        packets = (await polling.get()).split("\x1e")
        async with SocketWire.open(running) as wire:
            assert (await wire.upgrade(f"{WEBSOCKET}&sid={polling.sid}")).status == 101
            wire.send_text("2probe")
            await wire.expect_text("3probe")
            await running.log.append([make_news(200, "room")])
            packets += (await polling.get()).split("\x1e")
            wire.send_text("5")
            while not packets[-1].startswith('42["oyez:recovery"'):
                frame = await wire.read_frame()
                assert frame.opcode == TEXT
                packets.append(frame.payload.decode())
            numbers = [json.loads(packet[2:])[1]["n"] for packet in packets if packet.startswith('42["news"')]
            if len(numbers) < 201:
                numbers.append(json.loads((await wire.read_frame()).payload[2:])[1]["n"])
            assert numbers == list(range(201))


# The budget of a user.


def test_a_budget_is_used_up_and_comes_back() -> None:
    now = [100.0]
    budget = ReplayBudget(6_000, lambda: now[0])
    assert budget.delay("anna") == 0
    budget.take("anna", 7_000)
    assert budget.delay("anna") == pytest.approx(10)
    assert budget.delay("ben") == 0
    now[0] += 10
    assert budget.delay("anna") == 0
    budget.take("anna", 100)
    assert budget.delay("anna") == pytest.approx(1)


def test_budgets_that_are_full_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_USERS", 3)
    now = [0.0]
    budget = ReplayBudget(60, lambda: now[0])
    for user in "abc":
        budget.take(user, 30)
    now[0] = 40.0
    budget.take("d", 1)
    assert list(budget._users) == ["d"]
    for user in "efg":
        budget.take(user, 90)
    assert len(budget._users) == 3 and budget.delay("g") > 0
