"""Changes during a replay: an upgrade, rooms that are joined or left, a lost connection. Each event comes once, in
order, and none of a room without a right to it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from oyez.client import connect
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.server.namespaces.socket import Socket
from tests.support.serving import Running, serve
from tests.support.wire import TEXT, WEBSOCKET, PollingWire, SocketWire

SMALL = {"max_replay_page": 20_000}
ANNA = {"user": "anna", "rooms": ["room", "secret"]}
BOTH = ("room", "secret")


def make_event(number: int, room: str) -> Entry:
    data = json.dumps(["news", {"n": number, "room": room, "text": "x" * 1_000}]).encode()
    return Entry(namespace="/", rooms=(room,), data=data)


async def miss(running: Running, count: int, *, in_buffer: bool = True) -> str:
    """Publish events to both rooms in turn; returns the position before them."""
    offset = running.server.progress.position
    await running.log.append([make_event(number, BOTH[number % 2]) for number in range(count)])
    await running.server.progress.wait_for_position(await running.log.position())
    if not in_buffer:
        running.server.replay_buffer.start_after(running.server.progress.position)
    return offset


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
        offset = await miss(running, 300, in_buffer=False)

        async def leave() -> None:
            find_socket(running).leave("secret")

        log.at, log.act = at, leave
        async with SocketWire.connect(running, {**ANNA, "offset": offset}) as wire:
            events = await read_until_recovered(wire)
        secret = [event["n"] for event in events if event["room"] == "secret"]
        assert [event["n"] for event in events if event["room"] == "room"] == list(range(0, 300, 2))
        # Those of the pages before, of 18 events each.
        assert len(secret) <= 9 * (at - 1) and secret == list(range(1, 2 * len(secret), 2))


@pytest.mark.parametrize("at", [1, 2], ids=["during the first page", "during a later page"])
async def test_events_of_a_room_that_is_joined_during_the_replay_come_once(at: int) -> None:
    log = InterruptedLog()
    async with serve(log=log, limits=SMALL) as running:
        offset = await miss(running, 30, in_buffer=False)

        async def join() -> None:
            find_socket(running).join("late")
            await log.append([make_event(30, "late")])
            await running.server.progress.wait_for_position(await log.position())

        log.at, log.act = at, join
        async with SocketWire.connect(running, {**ANNA, "offset": offset}) as wire:
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
        offset = await miss(running, 300, in_buffer=False)
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
    auth = {**ANNA, "recovery": True}
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 200)
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
        offset = await miss(running, 200)
        polling = await PollingWire.begin(running)
        await polling.post(f"40{json.dumps({**ANNA, 'offset': offset})}")
        packets = (await polling.get()).split("\x1e")
        async with SocketWire.open(running) as wire:
            assert (await wire.upgrade(f"{WEBSOCKET}&sid={polling.sid}")).status == 101
            wire.send_text("2probe")
            await wire.expect_text("3probe")
            await running.log.append([make_event(200, "room")])
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
