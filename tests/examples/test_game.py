"""The table game of `examples/game.py`: its event document, argument by argument, with official clients.

Two processes share a folder or Redis, or one server has two workers.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsDriver
from tests.support.pairs import PLACES, SECRET, Pair, open_pair
from tests.support.served import Served, serve
from tests.support.valkey import ValkeyServer

FILE = Path(__file__).parents[2] / "examples" / "game.py"
PATH = "/game/socket.io/"
NUMBERS = count(1)
ONE_PLACE = pytest.mark.parametrize("pair", ["folder"], indirect=True)
"""For what does not depend on the log or the processes: the other tests run at each of PLACES."""
DONE = {"ok": True}
AWAY: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 1_500, "randomizationFactor": 0}
"""A client that reconnects after a while."""


@pytest.fixture(scope="module", params=PLACES)
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(FILE, request.param, tmp_path_factory.mktemp("game"), valkey) as pair:
        yield pair


async def open_table(server: Served, **new: Any) -> str:
    """A new table of Ada's."""
    name = f"t{next(NUMBERS)}"
    answer = await server.request("PUT", f"/game/api/tables/{name}", {"host": "ada", **new})
    assert (answer.status_code, answer.json()) == (201, {"table": name})
    return name


async def enter(client: JsClient, table: str) -> Any:
    """The snapshot that the client receives."""
    assert await client.call("table:enter", table) == DONE
    [state] = await client.expect_event("table:state")
    return state


async def seat(host: JsClient, table: str, user: str, part: str = "player") -> Any:
    return await host.call("table:seat", {"table": table, "user": user, "part": part})


async def act(client: JsClient, table: str, kind: str, **fields: Any) -> Any:
    return await client.call("game:action", {"type": kind, "table": table, **fields})


def refused(code: str) -> dict[str, Any]:
    return {"ok": False, "error": code}


async def sit(pair: Pair, *, spectators: tuple[str, ...] = (), **new: Any) -> tuple[str, list[JsClient]]:
    """A table with its host Ada at one process, and the player Bob and spectators at the other one."""
    table = await open_table(pair.here, **new)
    clients = [await pair.connect(pair.here, "ada", role="player")]
    await enter(clients[0], table)
    await clients[0].expect_event("player:joined")
    for user, part in [("bob", "player"), *((name, "spectator") for name in spectators)]:
        assert await seat(clients[0], table, user, part) == DONE
        await expect_all(clients, "seat:changed", {"table": table, "user": user, "part": part})
        clients.append(await pair.connect(pair.there, user, role="player", **AWAY))
        await enter(clients[-1], table)
        await expect_all(clients, "player:joined", {"table": table, "user": user, "count": len(clients)})
    return table, clients


async def expect_all(clients: list[JsClient], event: str, *args: Any) -> None:
    for client in clients:
        assert await client.expect_event(event) == [*args]


async def expect_recovered(client: JsClient, replayed: int | None = None) -> None:
    """The client is connected again, and the server reports how many events it has sent again."""
    assert (await client.expect("connect"))["recovered"]
    [recovery] = await client.expect_event("oyez:recovery")
    assert recovery["recovered"]
    assert replayed in (None, recovery["replayed"])


async def finish(*clients: JsClient) -> None:
    for client in clients:
        await client.disconnect()


async def test_a_game_from_its_start_to_its_end(pair: Pair) -> None:
    table, clients = await sit(pair, spectators=("eve",), fields=3)
    ada, bob, _ = clients
    assert await ada.call("game:start", table) == DONE
    await expect_all(clients, "turn:begin", {"user": "ada", "seconds": 20})
    rolls = 0
    while True:
        player, user = ((ada, "ada"), (bob, "bob"))[rolls % 2]
        answer = await act(player, table, "roll")
        value = answer["data"]["value"]
        assert 1 <= value <= 6
        assert answer == {"ok": True, "data": {"type": "rolled", "user": user, "value": value}}
        await expect_all(clients, "game:update", answer["data"])
        rolls += 1
        if rolls == 1:
            assert await act(player, table, "pass") == {"ok": True, "data": {"type": "passed", "user": "ada"}}
            await expect_all(clients, "game:update", {"type": "passed", "user": "ada"})
        else:
            answer = await act(player, table, "move", piece=2, steps=value)
            moved = answer["data"]
            assert moved["to"] == min(moved["from"] + value, 3)
            assert answer == {
                "ok": True,
                "data": {"type": "moved", "user": user, "piece": 2, "from": moved["from"], "to": moved["to"]},
            }
            await expect_all(clients, "game:update", moved)
            if moved["to"] == 3:
                break
        await expect_all(clients, "turn:begin", {"user": "bob" if user == "ada" else "ada", "seconds": 20})
    await expect_all(clients, "game:over", {"table": table, "winner": user})
    for client in clients:
        await client.call("oyez:barrier")
        assert [name for name, _ in client.events() if name != "turn:tick"] == []
    # The host may start another game.
    assert await ada.call("game:start", table) == DONE
    await expect_all(clients, "turn:begin", {"user": "ada", "seconds": 20})
    await finish(*clients)


@ONE_PLACE
async def test_what_is_refused(pair: Pair) -> None:
    table, clients = await sit(pair, spectators=("eve",))
    ada, bob, eve = clients
    stranger = await pair.connect(pair.there, "mallory", role="player")
    for call in (
        stranger.call("table:enter", table),
        stranger.call("chat:say", {"table": table, "text": "hello"}),
        stranger.call("emote", table, "wave"),
        stranger.call("cursor:move", {"table": table, "x": 1, "y": 2}),
        seat(bob, table, "mallory"),
        bob.call("game:start", table),
        act(eve, table, "roll"),
    ):
        assert await call == refused("forbidden")
    assert await act(ada, table, "roll") == refused("not_running")
    assert await seat(ada, table, "ada", "spectator") == refused("host_stays")
    assert await seat(ada, table, "eve", "host") == refused("invalid_data")
    assert await ada.call("game:start", table) == DONE
    assert await ada.call("game:start", table) == refused("running")
    assert await seat(ada, table, "bob", "spectator") == refused("running")
    assert await seat(ada, table, "mallory") == refused("running")
    assert await act(bob, table, "roll") == refused("not_your_turn")
    assert await act(ada, table, "move", piece=1, steps=1) == refused("wrong_move")
    value = (await act(ada, table, "roll"))["data"]["value"]
    assert await act(ada, table, "roll") == refused("wrong_move")
    assert await act(ada, table, "move", piece=1, steps=value % 6 + 1) == refused("wrong_move")
    for fields in ({"piece": 4, "steps": value}, {"piece": 1, "steps": 7}, {"piece": 1}, {"piece": 1, "steps": "x"}):
        assert await act(bob, table, "move", **fields) == refused("invalid_data")
    assert await act(bob, table, "jump") == refused("invalid_data")
    assert await ada.call("emote", table, "kick") == refused("invalid_data")
    assert await ada.call("chat:say", {"table": table, "text": "", "from": "bob"}) == refused("invalid_data")
    answers = await bob.volley("game:action", {"type": "roll", "table": table}, count=20)
    assert {answer["error"] for answer in answers} == {"not_your_turn", "rate_limited"}
    # Without a callback, an error is an event.
    await stranger.emit("game:start", table)
    [error] = await stranger.expect_event("error")
    assert (error["code"], error["details"]) == ("forbidden", {"event": "game:start"})
    assert (await pair.here.request("PUT", f"/game/api/tables/{table}", {"host": "bob"})).status_code == 409
    await finish(*clients, stranger)


@ONE_PLACE
async def test_a_table_has_two_to_six_players(pair: Pair) -> None:
    table = await open_table(pair.here)
    ada = await pair.connect(pair.here, "ada", role="player")
    await enter(ada, table)
    assert await ada.call("game:start", table) == refused("wrong_seats")
    for number in range(5):
        assert await seat(ada, table, f"user{number}") == DONE
    assert await seat(ada, table, "late") == refused("wrong_seats")
    assert await seat(ada, table, "late", "spectator") == DONE
    assert await ada.call("game:start", table) == DONE
    assert await ada.expect_event("turn:begin") == [{"user": "ada", "seconds": 20}]
    await finish(ada)


@ONE_PLACE
async def test_the_others_hear_the_same(pair: Pair) -> None:
    table, clients = await sit(pair, spectators=("eve",))
    ada, bob, eve = clients
    others = [ada, bob]
    assert await eve.call("chat:say", {"table": table, "text": "Good luck!"}) == DONE
    await expect_all(others, "chat:say", {"table": table, "text": "Good luck!", "from": "eve"})
    assert await eve.call("emote", table, "wave") == DONE
    await expect_all(others, "emote", table, "wave")
    assert await eve.call("cursor:move", {"table": table, "x": 0.5, "y": 12}) == DONE
    await expect_all(others, "cursor:move", {"table": table, "x": 0.5, "y": 12})
    await eve.call("oyez:barrier")
    assert [name for name, _ in eve.events() if name in ("chat:say", "emote", "cursor:move")] == []
    # Of many positions the newest counts.
    for x in range(100):
        await bob.emit("cursor:move", {"table": table, "x": x, "y": 0})
    for client in (ada, eve):
        xs = [-1]
        while xs[-1] < 99:
            xs.append((await client.expect_event("cursor:move"))[0]["x"])
        assert xs == sorted(set(xs)) and len(xs) < 100
    await finish(*clients)


@ONE_PLACE
async def test_a_client_that_enters_receives_the_whole_table(pair: Pair) -> None:
    table, clients = await sit(pair, spectators=("eve",))
    ada, _, eve = clients
    assert await ada.call("game:start", table) == DONE
    value = (await act(ada, table, "roll"))["data"]["value"]
    moved = (await act(ada, table, "move", piece=3, steps=value))["data"]
    texts = [f"{number:>3}{'🎲' * 297}" for number in range(44)]
    for number, text in enumerate(texts):
        assert await (ada, eve)[number % 2].call("chat:say", {"table": table, "text": text}) == DONE
    for transports in (["websocket"], ["polling"]):
        late = await pair.connect(pair.here, "bob", role="player", transports=transports)
        state = await enter(late, table)
        seconds = state["turn"].pop("seconds")
        assert 0 < seconds <= 20
        assert state == {
            "table": table,
            "seats": [
                {"user": "ada", "part": "host"},
                {"user": "bob", "part": "player"},
                {"user": "eve", "part": "spectator"},
            ],
            "pieces": {"ada": [0, 0, 0, moved["to"]], "bob": [0, 0, 0, 0]},
            "turn": {"user": "bob", "rolled": None},
            "chat": [
                {"from": ("ada", "eve")[number % 2], "text": text} for number, text in list(enumerate(texts))[-40:]
            ],
        }
        assert len(msgspec.json.encode(state)) > 45_000
        # What follows is not in the snapshot.
        assert await ada.call("emote", table, "clap") == DONE
        assert await late.expect_event("emote") == [table, "clap"]
        assert [name for name, _ in late.events() if name == "chat:say"] == []
        await late.disconnect()
    await finish(*clients)


@ONE_PLACE
async def test_a_turn_expires_and_the_game_ends_if_nobody_plays(pair: Pair) -> None:
    table, clients = await sit(pair, seconds=2)
    await clients[0].call("game:start", table)
    for client in clients:
        heard: list[Any] = []
        while not heard or heard[-1][0] != "game:over":
            name, args = await client.next_event()
            heard.append((name, args))
        assert heard == [
            ("turn:begin", [{"user": "ada", "seconds": 2}]),
            ("turn:tick", [1]),
            ("turn:expired", []),
            ("turn:begin", [{"user": "bob", "seconds": 2}]),
            ("turn:tick", [1]),
            ("turn:expired", []),
            ("game:over", [{"table": table, "winner": None}]),
        ]
    await finish(*clients)


async def test_a_cut_client_receives_what_it_missed_once_and_in_order(pair: Pair) -> None:
    table, clients = await sit(pair, spectators=("eve",))
    ada, bob, eve = clients
    await bob.cut()
    await bob.expect("disconnect")
    assert await ada.call("game:start", table) == DONE
    assert await act(ada, table, "roll")
    assert await ada.call("chat:say", {"table": table, "text": "a"}) == DONE
    assert await ada.call("emote", table, "wave") == DONE
    assert await act(ada, table, "pass")
    assert await ada.call("emote", table, "laugh") == DONE
    await expect_recovered(bob, 7)
    assert (await pair.here.post({"event": "turn:expired", "to": f"table:{table}"}, system="game")).status_code == 200
    missed: dict[JsClient, list[Any]] = {bob: [], eve: []}
    for client, heard in missed.items():
        while ("turn:expired", []) not in heard:
            event = await client.next_event()
            # Ticks are not stored.
            heard += [event] if event[0] != "turn:tick" else []
    assert missed[bob] == missed[eve]
    assert [name for name, _ in missed[bob]] == [
        "turn:begin",
        "game:update",
        "chat:say",
        "emote",
        "game:update",
        "turn:begin",
        "emote",
        "turn:expired",
    ]
    await finish(*clients)


@ONE_PLACE
async def test_events_without_arguments_and_bare_strings_are_recovered(pair: Pair) -> None:
    """The last event before a cut, and all missed ones, carry no object."""
    table, clients = await sit(pair)
    ada, bob = clients
    for missed in (["turn:expired", "emote"], ["emote", "turn:expired", "turn:expired"]):
        assert await ada.call("emote", table, "clap") == DONE
        assert await bob.expect_event("emote") == [table, "clap"]
        await bob.call("oyez:barrier")
        await bob.cut()
        await bob.expect("disconnect")
        for name in missed:
            if name == "emote":
                assert await ada.call("emote", table, "wave") == DONE
            else:
                answer = await pair.here.post({"event": name, "to": f"table:{table}"}, system="game")
                assert answer.status_code == 200, answer.text
        await expect_recovered(bob, len(missed))
        for name in missed:
            assert await bob.next_event() == (name, [table, "wave"] if name == "emote" else [])
        await bob.call("oyez:barrier")
        assert bob.events() == []
    await finish(*clients)


@ONE_PLACE
async def test_a_player_with_several_clients_comes_and_goes_once(pair: Pair) -> None:
    table, clients = await sit(pair)
    ada, bob = clients
    twin = await pair.connect(pair.here, "bob", role="player")
    await enter(twin, table)
    present = await pair.here.request("GET", f"/game/rooms/table:{table}/presence")
    assert [user["id"] for user in present.json()["users"]] == ["ada", "bob"]
    await bob.disconnect()
    await ada.call("oyez:barrier")
    assert await twin.call("table:leave", table) == DONE
    [left] = await ada.expect_event("player:left")
    assert left.pop("lastSeen").endswith("Z")
    assert left == {"table": table, "user": "bob", "count": 1}
    assert await enter(twin, table)
    assert await ada.expect_event("player:joined") == [{"table": table, "user": "bob", "count": 2}]
    await ada.expect_nothing()
    await finish(ada, twin)


async def test_a_killed_process_loses_its_players_but_not_the_turn(tmp_path: Path, valkey: ValkeyServer) -> None:
    async with open_pair(FILE, "redis", tmp_path, valkey) as pair:
        table, clients = await sit(pair, seconds=3)
        ada, bob = clients
        # The game is started at the process that is killed, so its jobs are done there first.
        away = await pair.connect(pair.there, "ada", role="player")
        await enter(away, table)
        assert await away.call("game:start", table) == DONE
        await expect_all([ada, bob], "turn:begin", {"user": "ada", "seconds": 3})
        pair.there.process.send_signal(signal.SIGKILL)
        await pair.there.process.wait()
        async with asyncio.timeout(PATIENCE):
            assert await ada.expect_event("turn:expired") == []
            assert await ada.expect_event("turn:begin") == [{"user": "bob", "seconds": 3}]
            [left] = await ada.expect_event("player:left")
        assert (left["user"], left["count"]) == ("bob", 1)


async def test_a_turn_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with JsDriver.start() as js:
        async with serve(tmp_path / "data", str(FILE), JWT_SECRET=SECRET) as first:
            table = await open_table(first, seconds=4)
            auth = {"token": first.token("ada", "player")}
            again: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 200}
            ada = await js.connect(first.url, path=PATH, auth=auth, **again)
            await enter(ada, table)
            assert await seat(ada, table, "bob") == DONE
            assert await ada.call("game:start", table) == DONE
            await ada.expect_event("turn:begin")
            await ada.expect_event("turn:tick")
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
        port = first.url.rpartition(":")[2]
        async with serve(tmp_path / "data", str(FILE), JWT_SECRET=SECRET, PORT=port):
            await expect_recovered(ada)
            assert await ada.expect_event("turn:expired") == []
            assert await ada.expect_event("turn:begin") == [{"user": "bob", "seconds": 4}]
            await ada.call("oyez:barrier")
            assert [name for name, _ in ada.events() if name == "player:left"] == []
