"""Events whose last argument is a string, or that have no argument: no client takes that string for a position."""

import json
from typing import Any

import pytest

from oyez.client import connect
from tests.server.recovery.test_recovery import ANNA, reconnect
from tests.server.recovery.test_replay import SMALL, miss
from tests.support.js_client import JsClient, JsDriver
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import SocketWire

FOREIGN = "0dd1e5a2.7"
"""A string that looks like a position."""


async def check_recovered(js: JsDriver, running: Running, client: JsClient) -> None:
    """Reconnect the client; it receives what it missed, once, and nothing that it had received before."""
    report = await reconnect(js, running, client, ["missed"])
    assert report["recovered"]
    assert await client.expect_event("news") == ["missed"]
    assert (await client.expect_event("oyez:recovery"))[0]["replayed"] == 1
    await client.expect_nothing()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("volatile", [True, False], ids=["volatile", "durable"])
@pytest.mark.parametrize(
    "arguments", [["text"], [FOREIGN], [], [{"a": 1}, "text"]], ids=["text", "position", "signal", "two"]
)
async def test_an_official_client_recovers_after_an_event_that_ends_with_a_string(
    running: Running, js: JsDriver, transport: str, volatile: bool, arguments: list[Any]
) -> None:
    client = await js.connect(running.url, auth=ANNA, transports=[transport], reconnection=True, reconnectionDelay=200)
    await running.publish("news", {"n": 1}, to="room")
    assert await client.expect_event("news") == [{"n": 1}]
    await running.publish("text", *arguments, to="room", volatile=volatile)
    assert await client.expect_event("text") == arguments
    await check_recovered(js, running, client)


async def test_an_official_client_recovers_after_a_string_for_it_alone(running: Running, js: JsDriver) -> None:
    client = await js.connect(running.url, auth=ANNA, transports=["websocket"], reconnection=True)
    await running.publish("news", {"n": 1}, to="room")
    assert await client.expect_event("news") == [{"n": 1}]
    running.market.socket(client.id).send(b'["text","for you"]')
    assert await client.expect_event("text") == ["for you"]
    await check_recovered(js, running, client)


@pytest.mark.parametrize("text", ["text", "news", "a.b.c", FOREIGN, ""])
async def test_a_client_that_states_a_string_and_no_position_is_recovered(running: Running, text: str) -> None:
    """Its session has the position that was last confirmed; the events after that come, and some of them again."""
    async with connect(running.url, auth=ANNA, transports=["websocket"]) as client:
        await running.publish("news", 1, to="room")
        await client.expect_event("news")
        pid = client.recovery["pid"]
        client.connection.drop()
        await turn_until(lambda: not running.server.registry.connections)
        await running.publish("news", 2, to="room")
        auth = {**ANNA, "pid": pid, "offset": text}
        async with connect(running.url, auth=auth, transports=["websocket"]) as back:
            result = (await back.expect_event("oyez:recovery")).args[0]
            assert result["recovered"], result
            assert back.recovery["pid"] == pid
            missed = [(await back.expect_event("news")).args[0] for _ in range(result["replayed"])]
            assert missed in ([2], [1, 2])


async def test_a_string_that_is_sent_before_the_client_is_accepted_is_followed_by_a_position(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text(f"40{json.dumps({**ANNA, 'text': FOREIGN, 'pid': 'unknown'})}")
        await wire.expect_event("text", FOREIGN)
        assert (await wire.read_frame()).payload.startswith(b"40")
        await wire.expect_event("oyez:position", running.server.progress.position)


async def test_a_volatile_string_during_a_replay_is_followed_by_the_position_of_the_replay() -> None:
    async with serve(limits={**SMALL, "max_send_buffer": 100_000}) as running:
        offset = await miss(running, 3_000, size=2_000)
        auth = {**ANNA, "offset": offset, "recovery": True}
        async with SocketWire.connect(running, auth, receive_buffer=4_096) as wire:
            socket = running.namespace.sockets[wire.id]
            await turn_until(lambda: socket.session.replaying is not None)
            await running.publish("text", "volatile", to="room", volatile=True)
            socket.send(b'["text","direct"]')
            numbers: list[int] = []
            positions = [offset]
            texts: list[str] = []
            while len(numbers) < 3_000:
                event = json.loads((await wire.read_frame()).payload[2:])
                if event[0] == "news":
                    numbers.append(event[1]["n"])
                    positions.append(event[2])
                else:
                    texts.append(event[1])
                    assert event[2] == positions[-1] != running.server.progress.position
            assert numbers == list(range(3_000))
            assert sorted(texts) == ["direct", "volatile"]


async def test_a_client_that_takes_positions_as_arguments_receives_one_with_every_string(running: Running) -> None:
    async with connect(running.url, auth={**ANNA, "recovery": True}, transports=["websocket"]) as client:
        await running.publish("text", FOREIGN, to="room", volatile=True)
        assert (await client.expect_event("text")).args == [FOREIGN]
        assert client.offset == running.server.progress.position
        await running.publish("signal", to="room", volatile=True)
        assert (await client.expect_event("signal")).args == []


async def test_a_client_without_positions_receives_strings_as_they_are(running: Running) -> None:
    async with connect(running.url, auth=ANNA, transports=["websocket"]) as client:
        await running.publish("text", FOREIGN, to="room")
        assert (await client.expect_event("text")).args == [FOREIGN]
        await client.expect_nothing()
