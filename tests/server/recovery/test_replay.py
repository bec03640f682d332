"""Replays: any number of missed events costs bounded memory, and none is lost, repeated or out of order."""

import asyncio
import json
from typing import Any

import pytest

from oyez.client import Client, connect
from oyez.log.log import Entry
from oyez.server.recovery import replay
from oyez.server.recovery.replay import ReplayBudget
from tests.support.serving import Running, serve, transport_of, turn_until
from tests.support.wire import PollingWire, SocketWire

ANNA = {"user": "anna", "rooms": ["room"]}
SMALL = {"max_replay_page": 20_000}


async def miss(running: Running, count: int, size: int = 1_000) -> str:
    """Have `count` events published that a client has missed; returns the position before them."""
    offset = running.server.progress.position
    text = "x" * size
    for begin in range(0, count, 500):
        entries = [
            Entry(namespace="/", rooms=("room",), data=json.dumps(["news", {"n": number, "text": text}]).encode())
            for number in range(begin, min(count, begin + 500))
        ]
        await running.log.append(entries)
    await running.server.progress.wait_for_position(await running.log.position())
    return offset


async def read_numbers(client: Client, count: int) -> list[int]:
    return [(await client.expect_event("news")).args[0]["n"] for _ in range(count)]


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
@pytest.mark.parametrize("at_hand", [True, False], ids=["window", "log"])
async def test_a_long_replay_comes_in_order_and_once_beside_live_events(transports: list[str], at_hand: bool) -> None:
    async with serve(limits=SMALL) as running:
        offset = await miss(running, 300)
        if not at_hand:
            running.server.replay_buffer.start_after(running.server.progress.position)
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
        offset = await miss(running, 5_000, 2_000)
        if not at_hand:
            running.server.replay_buffer.start_after(running.server.progress.position)
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
