"""Events and commands of every form, over every way of publishing, to official clients on two workers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import socketio
from websockets.asyncio.client import connect as open_websocket

from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served, serve
from tests.support.valkey import ValkeyServer

SYSTEM = Path(__file__).parent / "shapes_system.py"
TABLE = "table:7"
FOREIGN = "0dd1e5a2.7"
"""A string that looks like a position."""
NEWEST = "whispered"
"""The event of which a client that joins receives the newest, which an earlier test may have published."""
TABLE_OF = {"hand": "player:ada"}
"""Rooms of events that do not go to the table."""
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}

MOVED = {"type": "moved", "tableId": "7", "to": 3, "at": 1}
PUBLISHED: list[tuple[str, Any, list[Any]]] = [
    ("timer:expired", None, []),
    ("said", "good night", ["good night"]),
    ("said", FOREIGN, [FOREIGN]),
    ("count", 3, [3]),
    ("count", 2.0, [2]),
    ("cards", ["K", "Q"], [["K", "Q"]]),
    ("cards", [], [[]]),
    ("stock", {"red": 2}, [{"red": 2}]),
    ("hand", ["ada", ["K"], "well played"], ["ada", ["K"], "well played"]),
    ("hand", ["ada", ["K"]], ["ada", ["K"]]),
    (
        "turn",
        {"type": "moved", "tableId": "7", "to": 3, "at": 1},
        [{"type": "moved", "tableId": "7", "to": 3, "at": 1}],
    ),
    ("board", {"squares": ["x" * 100] * 2_500}, [{"squares": ["x" * 100] * 2_500}]),
    ("open", {"name": "blue", "owner": "ada"}, [{"name": "blue"}]),
    ("said", "the last word", ["the last word"]),
]
"""Durable events: name, data as it is published, arguments as clients receive them."""


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("shapes")
    async with AsyncExitStack() as stack:
        environ = {}
        if request.param == "valkey":
            valkey = ValkeyServer(folder / "valkey")
            valkey.start()
            stack.callback(valkey.kill)
            environ = {"REDIS_URL": valkey.url, "REDIS_EMITTER": "true"}
        workers = ("--workers", "2")
        yield await stack.enter_async_context(serve(folder / "data", str(SYSTEM), *workers, **environ))


@pytest.fixture
async def js() -> AsyncIterator[JsDriver]:
    async with JsDriver.start() as driver:
        yield driver


def rooms_of(name: str) -> str | None:
    return None if name in ("hand", "turn") else TABLE


async def publish(served: Served, name: str, data: Any) -> None:
    body = {"event": name} | ({} if data is None else {"data": data}) | ({"to": to} if (to := rooms_of(name)) else {})
    response = await served.post(body, system="shapes")
    assert response.status_code == 200, response.text


async def join(js: JsDriver, served: Served, transports: list[str], **options: Any) -> JsClient:
    auth = {"token": served.token("ada")}
    client = await js.connect(served.url, path="/shapes/socket.io/", auth=auth, transports=transports, **options)
    assert await client.call("table:join", "7") == {"ok": True, "room": TABLE}
    return client


async def test_official_clients_receive_every_form_and_recover_each_event_once(served: Served, js: JsDriver) -> None:
    options = {"reconnection": True, "reconnectionDelay": 300, "randomizationFactor": 0}
    clients = {name: await join(js, served, transports, **options) for name, transports in TRANSPORTS.items()}
    for name, data, arguments in PUBLISHED:
        await publish(served, name, data)
        for client in clients.values():
            assert await client.next_event() == (name, arguments), name
            # A volatile event is dropped while a long event is still being sent: the answer comes after it.
            await client.call("load", {"squares": []})
        # A volatile string of its own follows each event: no client may state it as its position.
        await publish(served, "whispered", FOREIGN)
        await publish(served, "nudged", None)
        for client in clients.values():
            assert await client.next_event() == ("whispered", [FOREIGN])
            assert await client.next_event() == ("nudged", [])
        for client in clients.values():
            await client.call("remind")
            assert await client.next_event() == ("timer:expired", [])
            assert await client.next_event() == ("said", [FOREIGN])
    for client in clients.values():
        await client.cut()
    for name, data, _ in PUBLISHED:
        await publish(served, name, data)
    for client in clients.values():
        assert (await client.expect("connect"))["recovered"]
        heard = []
        while (event := await client.next_event())[0] != "oyez:recovery":
            heard.append(event)
        result = event[1][0]
        assert result["recovered"]
        heard += [await client.next_event() for _ in range(len(PUBLISHED) - len(heard))]
        assert heard == [(name, arguments) for name, _, arguments in PUBLISHED]
        await client.call("remind")
        assert await client.next_event() == ("timer:expired", [])
        assert await client.next_event() == ("said", [FOREIGN])


async def test_timestamps_are_filled_in_as_the_field_says(served: Served, js: JsDriver) -> None:
    client = await join(js, served, ["websocket"])
    await publish(served, "turn", {"type": "moved", "tableId": "7", "to": 3})
    [moved] = await client.expect_event("turn")
    assert isinstance(moved["at"], int) and moved["at"] > 1_700_000_000_000
    await publish(served, "turn", {"type": "passed", "tableId": "7", "at": "2026-01-31T13:00:00.5+01:00"})
    [passed] = await client.expect_event("turn")
    assert passed == {"type": "passed", "tableId": "7", "at": "2026-01-31T12:00:00.5Z"}


async def test_commands_of_every_form(served: Served, js: JsDriver) -> None:
    client = await join(js, served, ["websocket"])
    assert await client.call("act", {"type": "roll", "dice": 2.0}) == {"ok": True, "done": "rolled 2"}
    assert await client.call("act", {"type": "bid", "amount": 1.5}) == {"ok": True, "done": "bid 1.5"}
    unknown = await client.call("act", {"type": "pass"})
    assert unknown["error"]["details"] == {"field": "type", "expected": "one of 'roll', 'bid'"}
    wrong = await client.call("act", {"type": "bid", "dice": 1})
    assert wrong["error"]["details"]["field"] in ("amount", "dice")
    assert await client.call("say", "7", "hello") == {"ok": True, "done": "said 1"}
    assert await client.expect_event("said") == ["hello"]
    assert await client.call("say", "7", "bye", 2, {"idempotencyKey": "k"}) == {"ok": True, "done": "said 2"}
    assert await client.call("say", "7", "bye", 2, {"idempotencyKey": "k"}) == {"ok": True, "done": "said 2"}
    assert [await client.expect_event("said") for _ in range(2)] == [["bye"], ["bye"]]
    few = await client.call("say", "7")
    assert few["error"]["details"]["expected"] == "2 to 3 arguments: tableId, text, times"
    assert await client.call("load", {"squares": ["x" * 100] * 1_500}) == {"ok": True, "done": "loaded 1500"}
    large = await client.call("load", {"squares": ["x" * 100] * 2_500})
    assert large["error"]["code"] == "too_large"
    assert await client.call("nap", {"seconds": 3, "reason": "tired"}) == {"ok": True, "done": "slept 3"}
    assert [name for name, _ in client.events() if name != NEWEST] == []


async def test_a_client_that_joins_receives_the_newest_bare_value(served: Served, js: JsDriver) -> None:
    await publish(served, "whispered", "psst")
    client = await join(js, served, ["websocket"])
    assert await client.expect_event("whispered") == ["psst"]


async def test_a_plain_websocket_and_python_receive_every_form(served: Served) -> None:
    token = served.token("ada")
    address = f"{served.url.replace('http', 'ws')}/shapes/ws?token={token}&recovery=true"
    python = py_client.connect(served.url, path="/shapes/socket.io/", auth={"token": token, "recovery": True})
    async with open_websocket(address) as plain, python as client:
        await plain.send('{"event":"table:join","data":"7","id":1}')
        frames = PlainFrames(plain)
        await frames.expect({"id": 1, "data": {"ok": True, "room": TABLE}})
        assert await client.call("table:join", "7") == {"ok": True, "room": TABLE}
        for name, data, arguments in PUBLISHED:
            await publish(served, name, data)
            event, received = await client.next_event()
            while event.startswith(("oyez:", NEWEST)):
                event, received = await client.next_event()
            assert (event, received[:-1]) == (name, arguments), "the last argument is the position"
            frame = await frames.next()
            offset = frame.pop("offset")
            assert offset == received[-1]
            wanted = arguments[0] if len(arguments) == 1 and not isinstance(arguments[0], list) else arguments
            assert frame == ({"event": name, "data": wanted} if arguments else {"event": name})


async def test_emitters_of_back_ends_publish_every_form(tmp_path: Path, js: JsDriver) -> None:
    valkey = ValkeyServer(tmp_path / "valkey")
    valkey.start()
    try:
        async with serve(tmp_path / "data", str(SYSTEM), "--workers", "2", REDIS_URL=valkey.url) as served:
            client = await join(js, served, ["websocket"])
            emitter = await js.emitter(valkey.url, key="shapes")
            python = socketio.RedisManager(valkey.url, channel="shapes", write_only=True)
            for name, data, arguments in PUBLISHED:
                await emitter.emit(name, *([data] if len(arguments) == 1 else arguments), to=TABLE_OF.get(name, TABLE))
                assert await client.next_event() == (name, arguments)
                several: Any = tuple(data) if name == "hand" else data
                python.emit(name, several, namespace="/", room=TABLE_OF.get(name, TABLE))
                assert await client.next_event() == (name, arguments)
    finally:
        valkey.kill()


class PlainFrames:
    """The frames of a plain WebSocket client, without the server's own events and the newest bare value."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket

    async def next(self) -> dict[str, Any]:
        while True:
            async with asyncio.timeout(PATIENCE):
                frame: dict[str, Any] = json.loads(await self._websocket.recv())
            if not str(frame.get("event", "")).startswith(("oyez:", "connect", NEWEST)):
                return frame

    async def expect(self, wanted: dict[str, Any]) -> None:
        assert await self.next() == wanted


REFUSED: list[tuple[str, Any, str, str]] = [
    ("timer:expired", {"a": 1}, "data", "no data"),
    ("said", 7, "text", "a string"),
    ("said", None, "text", "a string"),
    ("count", "many", "watchers", "a whole number"),
    ("cards", "K", "cards", "an array"),
    ("cards", ["K", 1], "cards[1]", "a string"),
    ("hand", ["ada"], "cards", "is required"),
    ("hand", ["ada", ["K"], "x", 1], "data", "an array of 2 to 3 arguments: playerId, cards, remark"),
    ("hand", {"playerId": "ada"}, "data", "an array of 2 to 3 arguments: playerId, cards, remark"),
    ("turn", {"type": "flew"}, "type", "one of 'moved', 'passed'"),
    ("turn", {"tableId": "7"}, "type", "is required"),
    ("turn", {"type": "passed", "tableId": "7", "at": "2026-01-31T12:00:00"}, "at", "an ISO 8601 time with its zone"),
]


async def test_data_that_does_not_fit_names_the_argument(served: Served) -> None:
    for name, data, field, expected in REFUSED:
        body = {"event": name, "data": data} | ({"to": to} if (to := rooms_of(name)) else {})
        response = await served.post(body, system="shapes")
        assert response.status_code == 422, (name, data, response.text)
        [error] = response.json()["errors"]
        assert error["field"] == field, (name, data, error)
        assert error["expected"].startswith(expected), (name, data, error)
    response = await served.post(
        {"event": "board", "data": {"squares": ["x" * 100] * 3_000}, "to": TABLE}, system="shapes"
    )
    assert response.status_code == 413
