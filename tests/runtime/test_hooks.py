"""Hooks: a system is notified when clients connect, disconnect and are ended, and when tokens expire."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from oyez import client as oyez_client
from oyez.contract.limits import DEFAULT_LIMIT
from oyez.errors import FORBIDDEN, ContractError, DatabaseUnavailableError, RefusedError
from oyez.protocol import engineio
from oyez.runtime.client import Client
from oyez.runtime.hooks import Hooks
from oyez.server.types import Handshake
from tests.runtime.club import Note, back_group, board, expect_said, group, open_club, user
from tests.support.clock import Clock
from tests.support.logged import capture_logs
from tests.support.server_steps import open_requests
from tests.support.serving import turn_until
from tests.support.tasks import Spawn
from tests.support.wire import SocketWire


class Diary:
    """Hooks that record their calls, and send an event to the client if that is possible."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def hooks(self, **others: Any) -> Hooks:
        return Hooks(**{"ending": self.ending, "disconnected": self.disconnected, **others})

    def ending(self, client: Client, reason: str) -> None:
        self.lines.append(("ending", client.identity.subject, reason))
        client.emit(Note(text=reason))

    def disconnected(self, client: Client, reason: str) -> None:
        self.lines.append(("disconnected", client.identity.subject, reason))
        client.emit(Note(text="nobody hears this"))

    async def until_gone(self, times: int = 1) -> None:
        await turn_until(lambda: [line[0] for line in self.lines].count("disconnected") >= times)


# Connected.


async def test_commands_wait_for_the_connected_hook(spawn: Spawn) -> None:
    may, order = asyncio.Event(), []

    async def connected(client: Client) -> None:
        await may.wait()
        order.append(f"connected in {client.namespace}")
        await client.join(board("daily"))
        client.emit(Note(text="welcome"))

    async with open_club(Hooks(connected=connected)) as club, club.connect("u1") as client:
        club.actions |= {"first": lambda _: order.append("first"), "second": lambda _: order.append("second")}
        calls = [spawn(client.call("do", {"what": name})) for name in ("first", "second")]
        # Events that the server sends need not wait.
        await club.say("meanwhile", user("u1"))
        assert (await client.expect_event("said")).args == [{"text": "meanwhile"}]
        assert order == []
        may.set()
        assert await asyncio.gather(*calls) == [{"ok": True}, {"ok": True}]
        assert order == ["connected in /", "first", "second"]
        assert (await client.expect_event("note")).args == [{"text": "welcome"}]
        await club.say("daily", board("daily"))
        await expect_said(client, "daily")


@pytest.mark.parametrize("fault", [ZeroDivisionError, ConnectionRefusedError, DatabaseUnavailableError])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_failing_hook_leaves_no_client_half_connected(
    fault: type[Exception], transport: str, spawn: Spawn
) -> None:
    """The connection is cut, so official clients reconnect; the log has the reason."""
    faults = [fault("on purpose")]

    sent = asyncio.Event()

    async def connected(client: Client) -> None:
        if faults:
            await sent.wait()
            raise faults.pop()
        await client.join(board("daily"))

    with capture_logs() as logged:
        async with open_club(Hooks(connected=connected)) as club:
            async with club.connect("u1", transport=transport) as client:
                calling = spawn(client.call("do", {"what": "nothing"}))
                await asyncio.sleep(0)
                # After the command.
                await client.catch_up()
                sent.set()
                assert (await calling)["error"]["code"] == "unavailable"
                assert await client.expect_disconnect() in ("transport close", "transport error")
                assert club.done == []
            async with club.connect("u1", transport=transport) as client:
                assert await client.call("do", {"what": "nothing"}) == {"ok": True}
                await club.say("daily", board("daily"))
                await expect_said(client, "daily")
    warnings = [line for line in logged if line["log_level"] == "warning"]
    assert [line["reason"] for line in warnings] == [f"{fault.__name__}: on purpose"]
    assert (warnings[0]["exc_info"] is None) is (fault is not ZeroDivisionError)


async def test_the_connecting_hook_runs_before_the_client_is_notified() -> None:
    faults: list[Exception] = []
    seen: list[tuple[str, str]] = []

    async def connecting(client: Client) -> None:
        if faults:
            raise faults.pop()
        client.state["daily"] = board("daily")

    async def connected(client: Client) -> None:
        await client.join(client.state["daily"])

    def refused(handshake: Handshake, error: RefusedError) -> dict[str, str]:
        seen.append((error.refusal.code, error.message))
        return {"hint": "Ask us."}

    async with open_club(Hooks(connecting=connecting, connected=connected, refused=refused)) as club:
        faults.append(DatabaseUnavailableError("on purpose"))
        with pytest.raises(oyez_client.ConnectFailed):
            async with club.connect("u1"):
                pass
        faults.append(RefusedError(FORBIDDEN, "Your account is closed."))
        with pytest.raises(oyez_client.ConnectRefused) as caught:
            async with club.connect("u1"):
                pass
        assert caught.value.data == {"code": "forbidden", "hint": "Ask us."}
        assert seen == [("forbidden", "Your account is closed.")]
        async with club.connect("u1") as client:
            await client.call("do", {"what": "nothing"})
            await club.say("daily", board("daily"))
            await expect_said(client, "daily")


async def test_a_hook_that_refuses_is_final() -> None:
    async def connected(client: Client) -> None:
        raise RefusedError(FORBIDDEN, "Your account is closed.")

    async with open_club(Hooks(connected=connected)) as club, club.connect("u1") as client:
        problem = (await client.expect_event("error")).args[0]
        assert (problem["code"], problem["message"]) == ("forbidden", "Your account is closed.")
        assert await client.expect_disconnect() == "io server disconnect"


async def test_a_client_that_leaves_during_the_connected_hook() -> None:
    may, diary = asyncio.Event(), Diary()
    joined: list[frozenset[str]] = []

    async def connected(client: Client) -> None:
        await may.wait()
        client.emit(Note(text="too late"))
        await client.join(board("daily"))
        joined.append(client.rooms)

    async with open_club(diary.hooks(connected=connected)) as club:
        async with club.connect("u1"):
            pass
        await diary.until_gone()
        may.set()
        await turn_until(lambda: bool(joined))
        assert joined == [frozenset()]
        assert club.nodes[0].namespace.rooms == {}


async def test_the_hooks_apply_to_every_namespace() -> None:
    heard = []

    async def connected(client: Client) -> None:
        heard.append(client.namespace)

    async with open_club(Hooks(connected=connected)) as club, club.connect("u1") as client:
        await oyez_client.join(client.connection, "/back", {"token": json.dumps({"sub": "u1"})})
        await turn_until(lambda: len(heard) == 2)
    assert heard == ["/", "/back"]


# Ending.


def disconnect(client: Client) -> None:
    client.socket.disconnect()


def close(client: Client) -> None:
    client.socket.disconnect(close=True)


@pytest.mark.parametrize("kind", ["picows", "asgi"])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("act", [disconnect, close])
async def test_a_disconnected_client_receives_the_last_event(
    kind: str, transport: str, act: Callable[[Client], None]
) -> None:
    diary = Diary()
    async with open_club(diary.hooks(), kind=kind) as club, club.connect("u1", transport=transport) as client:
        club.actions["go"] = act
        await client.emit("do", {"what": "go"})
        assert (await client.expect_event("note")).args == [{"text": "disconnected"}]
        await client.expect_disconnect()
        await diary.until_gone()
        assert diary.lines == [
            ("ending", "u1", "disconnected"),
            ("disconnected", "u1", "server namespace disconnect"),
        ]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_stopping_server_notifies_first(transport: str) -> None:
    diary = Diary()
    async with open_club(diary.hooks()) as club, club.connect("u1", transport=transport) as client:
        if transport == "polling":
            await open_requests(club.nodes[0], polls=1)
        stopping = club.nodes[0].stop()
        assert (await client.expect_event("note")).args == [{"text": "server_shutdown"}]
        await client.expect_disconnect()
        await stopping
        assert diary.lines == [("ending", "u1", "server_shutdown"), ("disconnected", "u1", "server shutting down")]


async def test_an_operator_disconnects() -> None:
    diary = Diary()
    async with open_club(diary.hooks()) as club, club.connect("u1") as client, club.connect("u2") as other:
        club.nodes[0].server.disconnect_sockets("/", ["user:u1"])
        assert (await client.expect_event("note")).args == [{"text": "disconnected"}]
        await client.expect_disconnect()
        await other.expect_nothing()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_client_that_breaks_the_protocol_receives_the_last_event(transport: str) -> None:
    diary = Diary()
    async with open_club(diary.hooks()) as club, club.connect("u1", transport=transport) as client:
        await client.connection.send(engineio.Packet(engineio.PacketType.MESSAGE, b"nonsense"))
        assert (await client.expect_event("note")).args == [{"text": "forced_close"}]
        await client.expect_disconnect()
        assert diary.lines[0] == ("ending", "u1", "forced_close")


async def test_a_hook_may_disconnect_the_client_and_a_failing_one_stops_nothing() -> None:
    heard = []

    def ending(client: Client, reason: str) -> None:
        heard.append(reason)
        client.socket.disconnect(close=True)
        raise ZeroDivisionError("on purpose")

    diary = Diary()
    with capture_logs() as logged:
        async with open_club(diary.hooks(ending=ending)) as club, club.connect("u1") as client:
            club.actions["go"] = disconnect
            await client.emit("do", {"what": "go"})
            await client.expect_disconnect()
            await diary.until_gone()
    assert heard == ["disconnected"]
    assert [line[0] for line in diary.lines] == ["disconnected"]
    assert "ending handler failed" in [line["event"] for line in logged]


# Leaving.


@pytest.mark.parametrize("kind", ["picows", "asgi"])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize(
    ("leave", "reason"),
    [
        (lambda client: client.disconnect(), "client namespace disconnect"),
        (lambda client: client.connection.close(), "transport close"),
    ],
    ids=["disconnect", "close"],
)
async def test_ending_is_not_called_if_the_client_leaves(
    kind: str, transport: str, leave: Callable[[Any], Awaitable[None]], reason: str
) -> None:
    diary = Diary()
    async with open_club(diary.hooks(), kind=kind) as club, club.connect("u1", transport=transport) as client:
        await leave(client)
        await diary.until_gone()
    assert diary.lines == [("disconnected", "u1", reason)]


@pytest.mark.parametrize("kind", ["picows", "asgi"])
async def test_ending_is_not_called_if_the_network_is_cut(kind: str) -> None:
    diary = Diary()
    async with open_club(diary.hooks(), kind=kind) as club, club.connect("u1") as client:
        client.connection.drop()
        await diary.until_gone()
    assert [line[0] for line in diary.lines] == ["disconnected"]


async def test_ending_is_not_called_after_a_ping_timeout() -> None:
    diary = Diary()
    async with open_club(diary.hooks(), clock=Clock()) as club, club.connect("u1") as client:
        client.connection.answers_pings = False
        node = club.nodes[0]
        node.pass_time(26.0)
        node.pass_time(21.0)
        await diary.until_gone()
    assert diary.lines == [("disconnected", "u1", "ping timeout")]


@pytest.mark.parametrize("kind", ["picows", "asgi"])
async def test_ending_is_not_called_if_the_client_does_not_read(kind: str) -> None:
    diary = Diary()
    async with open_club(diary.hooks(), kind=kind, limits={"max_send_buffer": 100_000}) as club:
        token = {"token": json.dumps({"sub": "u1"})}
        async with SocketWire.connect(club.nodes[0], token, receive_buffer=4_096):
            sent = 0
            while not diary.lines:
                await club.append(*[club.said("x" * 10_000, user("u1"))] * 5)
                sent += 50_000
                assert sent < 20_000_000, "no bound"
    assert diary.lines == [("disconnected", "u1", "slow consumer")]


async def test_spawned_work_of_a_client_is_finished_before_the_server_stops() -> None:
    finished = []

    async def tidy(client: Client, rounds: int) -> None:
        await asyncio.sleep(0)
        finished.append(rounds)
        if rounds:
            client.spawn(tidy(client, rounds - 1))

    hooks = Hooks(disconnected=lambda client, reason: client.spawn(tidy(client, 2)))
    async with open_club(hooks) as club, club.connect("u1"):
        await club.nodes[0].stop()
        assert finished == [2, 1, 0]


# Tokens that run out.

STILL: dict[str, Any] = {"ping_interval": 100_000.0}
"""No pings while tests advance the clock."""


def ends_in(seconds: float) -> float:
    return time.time() + seconds


async def test_an_expiring_token_is_announced_once_and_then_ends_the_client() -> None:
    diary = Diary()
    heard = []

    async def expiring(client: Client) -> None:
        heard.append(client.identity.subject)
        client.emit(Note(text="soon"))

    hooks = diary.hooks(expiring=expiring, expiring_before=60.0)
    async with open_club(hooks, clock=Clock(), **STILL) as club, club.connect("u1", exp=ends_in(600)) as client:
        node = club.nodes[0]
        node.pass_time(530.0)
        await client.expect_nothing()
        node.pass_time(15.0)
        assert (await client.expect_event("note")).args == [{"text": "soon"}]
        node.pass_time(30.0)
        await client.expect_nothing()
        node.pass_time(30.0)
        assert (await client.expect_event("note")).args == [{"text": "token_expired"}]
        await client.expect_disconnect()
        assert heard == ["u1"]
        assert diary.lines == [("ending", "u1", "token_expired"), ("disconnected", "u1", "token expired")]


async def test_a_renewed_token_applies_and_is_announced_later() -> None:
    heard = []

    async def expiring(client: Client) -> None:
        heard.append(client.identity.subject)
        if len(heard) == 1:
            # The wall clock stands still here, so the life of the new token begins where the old one's did.
            client.renew(replace(client.identity, expires_at=ends_in(600)))

    hooks = Hooks(expiring=expiring, expiring_before=60.0)
    async with open_club(hooks, clock=Clock(), **STILL) as club, club.connect("u1", exp=ends_in(600)) as client:
        node = club.nodes[0]
        node.pass_time(550.0)
        await club.nodes[0].namespace.tasks.drain()
        node.pass_time(100.0)
        assert await client.call("do", {"what": "nothing"}) == {"ok": True}
        assert heard == ["u1"]
        node.pass_time(450.0)
        await club.nodes[0].namespace.tasks.drain()
        assert heard == ["u1", "u1"]
        assert await client.call("do", {"what": "nothing"}) == {"ok": True}
        node.pass_time(60.0)
        await client.expect_disconnect()


async def test_a_short_token_is_announced_after_half_its_life() -> None:
    heard = []

    async def expiring(client: Client) -> None:
        heard.append(client.namespace)
        client.renew(replace(client.identity, expires_at=None))

    hooks = Hooks(expiring=expiring, expiring_before=60.0)
    async with open_club(hooks, clock=Clock(), **STILL) as club, club.connect("u1", exp=ends_in(20)) as client:
        node = club.nodes[0]
        node.pass_time(8.0)
        await club.nodes[0].namespace.tasks.drain()
        assert heard == []
        node.pass_time(4.0)
        await club.nodes[0].namespace.tasks.drain()
        assert heard == ["/"]
        node.pass_time(10_000.0)
        assert await client.call("do", {"what": "nothing"}) == {"ok": True}


async def test_a_renewed_token_leaves_rooms_without_a_right() -> None:
    async with open_club() as club, club.connect("u1", role="admin", garage_id="G-1") as client:
        club.add("garage:G-1", group("g1"))
        for room in ("g1", "g2"):
            assert (await client.call("group:join", room))["ok"]
        await client.call("board:join", "daily")
        await client.call("do", {"what": "nothing"})
        connected = club.clients["u1"]
        connected.renew(replace(connected.identity, claims={"garage_id": "G-1"}))
        assert connected.rooms == {"user:u1", "group:g1", "group:g2", "board:daily"}
        connected.renew(replace(connected.identity, role="guest"))
        assert connected.rooms == {"user:u1", "board:daily"}
        # What the table decides has to be asked for again where the token names other subjects.
        assert (await client.call("group:join", "g1"))["ok"]
        connected.renew(replace(connected.identity, expires_at=ends_in(100)))
        assert connected.rooms == {"user:u1", "board:daily", "group:g1"}
        connected.renew(replace(connected.identity, claims={"garage_id": "G-2"}))
        assert connected.rooms == {"user:u1", "board:daily"}


async def test_a_pending_join_is_decided_by_the_renewed_token(spawn: Spawn) -> None:
    async with open_club() as club, club.connect("u1", garage_id="G-1") as client:
        club.add("garage:G-1", group("g1"))
        await client.call("do", {"what": "nothing"})
        connected, asked = club.clients["u1"], club.asked
        with club.slow_table() as answers:
            joining = spawn(client.call("group:join", "g1"))
            await club.until_asked(asked + 1)
            connected.renew(replace(connected.identity, claims={}))
            answers.set()
            assert (await joining)["error"]["code"] == "forbidden"
        assert connected.rooms == {"user:u1"}


async def test_another_users_token_is_refused() -> None:
    async with open_club() as club, club.connect("u1") as client:
        await client.call("do", {"what": "nothing"})
        connected = club.clients["u1"]
        with pytest.raises(RefusedError) as refused:
            connected.renew(replace(connected.identity, subject="u2"))
        assert refused.value.refusal.code == "forbidden"
        assert connected.identity.subject == "u1"


# Refused, and limited.


async def test_the_refused_hook_adds_fields() -> None:
    def refused(handshake: Handshake, error: RefusedError) -> dict[str, Any]:
        return {"again_in": 5, "from": handshake.address in ("127.0.0.1", "::1")}

    async with open_club(Hooks(refused=refused)) as club:
        with pytest.raises(oyez_client.ConnectRefused) as answer:
            async with oyez_client.connect(club.nodes[0].url, auth={}):
                pass
    assert answer.value.data == {"code": "token_missing", "again_in": 5, "from": True}


async def test_the_limited_hook_is_called_when_the_client_is_notified() -> None:
    heard: list[tuple[str, int, bool]] = []

    def limited(client: Client, times: int, wait: float) -> None:
        heard.append((client.identity.subject, times, wait > 0))
        client.emit(Note(text="slowly"))

    async with open_club(Hooks(limited=limited)) as club, club.connect("u1") as client:
        for _ in range(DEFAULT_LIMIT.count + 10):
            await client.emit("do", {"what": "nothing"})
        await client.expect_event("note")
        assert (await client.expect_event("error")).args[0]["code"] == "rate_limited"
        # If it asked for an answer, the answer says so.
        assert (await client.call("do", {"what": "nothing"}))["error"]["code"] == "rate_limited"
    assert heard == [("u1", 1, True)]


# What a handler knows of its client.


async def test_a_client_knows_its_rooms_and_its_rights() -> None:
    async with open_club() as club, club.connect("u1") as client:
        club.add("user:u1", group("g1"))
        await client.call("group:join", "g1")
        await client.call("do", {"what": "nothing"})
        connected = club.clients["u1"]
        assert connected.namespace == "/"
        assert connected.rooms == {"user:u1", "group:g1"}
        assert connected.is_in(group("g1"))
        assert connected.is_in("user:u1")
        assert not connected.is_in(group("g2"))
        assert await connected.allows(group("g1"))
        assert await connected.allows(board("daily"))
        assert not await connected.allows(group("g2"))
        with pytest.raises(RefusedError, match="There is no room 'board:never'"):
            await connected.allows("board:never")
        for act in (connected.is_in, connected.leave, connected.decide):
            with pytest.raises(ContractError, match="room group:g1 is of namespace /back; the client is in /"):
                act(back_group("g1"))
