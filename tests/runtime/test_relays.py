"""Relays and shared limits, as clients of one server see them."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest

from oyez import client as oyez_client
from oyez.contract import Command, Contract, Id, Payload, Stamped, anyone, per_address, per_room
from oyez.errors import ContractError
from oyez.log.memory import MemoryLog
from oyez.runtime.bind import bind
from oyez.runtime.publisher import Publisher
from oyez.service.system import Services
from oyez.settings import Limits, Settings
from tests.support import boards
from tests.support.clock import Clock
from tests.support.market import Token
from tests.support.serving import Running, serve


class Desk:
    """One server of the boards, with a clock for its limits."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.log = MemoryLog()
        self.publisher = Publisher(boards.contract, self.log, Limits())
        self.url = ""

    def build(self) -> dict[str, Any]:
        async def verify(token: str) -> Token:
            claims = json.loads(token)
            return Token(claims["sub"], claims, None)

        services = cast(Services, self)
        return dict(
            bind(
                boards.contract,
                handlers=boards.build(services).handlers,
                verify=verify,
                settings=Settings(),
                publisher=self.publisher,
                clock=self.clock,
            )
        )

    def connect(self, subject: str, **claims: Any) -> AbstractAsyncContextManager[oyez_client.Client]:
        return oyez_client.connect(self.url, "/", auth={"token": json.dumps({"sub": subject, **claims})})


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    desk = Desk()
    running: Running
    async with serve("picows", namespaces=desk.build(), log=desk.log) as running:
        desk.url = running.url
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_desk() as desk:
        yield desk


def drawn(**fields: Any) -> dict[str, Any]:
    return {"boardId": "1", "shape": "circle", **fields}


async def refusal(client: oyez_client.Client, name: str, *args: Any) -> tuple[str, str]:
    answer = await client.call(name, *args)
    assert answer["ok"] is False, answer
    return answer["error"]["code"], answer["error"]["message"]


async def test_the_others_receive_what_a_client_sends(desk: Desk) -> None:
    async with desk.connect("ada") as ada, desk.connect("ada") as twin, desk.connect("bob") as bob:
        for client in (ada, twin, bob):
            await client.call("board:join", "1")
        assert await ada.call("drawn", drawn(tags=["x"])) == {"ok": True}
        for client in (twin, bob):
            [event] = (await client.expect_event("drawn")).args[:1]
            assert event.pop("timestamp")
            assert event == {"boardId": "1", "userId": "ada", "shape": "circle", "tags": ["x"]}
        assert await ada.call("cursor", {"at": {"boardId": "1", "x": 3}}) == {"ok": True}
        moved = {"at": {"boardId": "1", "x": 3}, "userId": "ada"}
        assert (await bob.expect_event("cursor")).args == [moved]
        await ada.expect_nothing()


async def test_a_sender_cannot_be_forged(desk: Desk) -> None:
    async with desk.connect("ada") as ada, desk.connect("bob") as bob:
        for client in (ada, bob):
            await client.call("board:join", "1")
        assert (await refusal(ada, "drawn", drawn(userId="bob")))[0] == "forbidden"
        assert (await refusal(ada, "drawn", drawn(timestamp="2026-01-31T12:00:00Z")))[0] == "invalid_data"
        assert (await refusal(ada, "drawn", drawn(userId=None)))[0] == "invalid_data"
        await bob.expect_nothing()
        assert (await ada.call("drawn", drawn(userId="ada")))["ok"]
        assert (await bob.expect_event("drawn")).args[0]["userId"] == "ada"


async def test_a_relay_goes_only_to_rooms_of_its_sender(desk: Desk) -> None:
    async with desk.connect("ada") as ada, desk.connect("bob") as bob:
        await bob.call("board:join", "1")
        assert await refusal(ada, "drawn", drawn()) == ("forbidden", "You are not in room 'board:1'.")
        assert (await refusal(ada, "cursor", {"at": {"boardId": "1", "x": 1}}))[0] == "forbidden"
        assert (await refusal(ada, "wave", {}))[0] == "forbidden_role"
        for wrong in ("", "a\nb", 5.5, None):
            assert (await refusal(ada, "drawn", drawn(boardId=wrong)))[0] == "invalid_data"
        await ada.call("board:join", "1")
        assert (await ada.call("drawn", drawn()))["ok"]
        await ada.call("board:leave", "1")
        assert (await refusal(ada, "drawn", drawn()))[0] == "forbidden"
        await bob.expect_event("drawn")
        await bob.expect_nothing()


async def test_ids_that_are_numbers(desk: Desk) -> None:
    async with desk.connect("42") as one, desk.connect("43") as other, desk.connect("042") as text:
        for client in (one, other, text):
            await client.call("board:join", "7")
        assert (await one.call("seat:taken", {"boardId": 7}))["ok"]
        assert (await one.call("seat:taken", {"boardId": 7, "userId": 42}))["ok"]
        for client in (other, text):
            for _ in range(2):
                assert (await client.expect_event("seat:taken")).args == [{"boardId": 7, "userId": 42}]
        assert (await refusal(one, "seat:taken", {"boardId": 7, "userId": 43}))[0] == "forbidden"
        assert (await refusal(one, "seat:taken", {"boardId": 8}))[0] == "forbidden"
        # One user can use half of the limit of a room.
        assert (await refusal(one, "seat:taken", {"boardId": 7}))[0] == "rate_limited"
        assert await refusal(text, "seat:taken", {"boardId": 7}) == (
            "forbidden",
            "Your user id '042' is not a whole number.",
        )
        await other.expect_nothing()


async def test_a_relay_with_positional_arguments(desk: Desk) -> None:
    async with desk.connect("42") as one, desk.connect("43") as other:
        for client in (one, other):
            await client.call("board:join", "7")
        assert await one.call("laser", "7", "hi", 3) == {"ok": True}
        assert (await other.expect_event("laser")).args[:4] == [42, "7", "hi", 3]
        assert (await one.call("laser", 7, "hi"))["ok"]
        assert (await other.expect_event("laser")).args[:4] == [42, "7", "hi", 0]
        assert (await refusal(one, "laser", 43, "7", "hi", 3))[0] == "invalid_data"
        assert (await refusal(one, "laser", "7", "x" * 60))[0] == "too_large"
        await other.expect_nothing()


async def test_a_relay_to_everyone_and_a_limit_for_an_address(desk: Desk) -> None:
    async with desk.connect("ada", role="staff") as ada, desk.connect("eve", role="staff") as eve:
        for client, other in ((ada, eve), (eve, ada)):
            assert (await client.call("wave", {}))["ok"]
            await other.expect_event("wave")
        # Both have the same address; a volatile command over a shared limit is dropped.
        assert (await refusal(ada, "wave", {}))[0] == "rate_limited"
        await ada.emit("wave", {})
        await ada.expect_nothing()
        desk.clock.now += 30
        assert (await ada.call("wave", {}))["ok"]


async def test_a_limit_for_an_hour(desk: Desk) -> None:
    async with desk.connect("ada") as ada:
        await ada.call("board:join", "1")
        for _ in range(8):
            assert (await ada.call("drawn", drawn()))["ok"]
        assert (await refusal(ada, "drawn", drawn()))[0] == "rate_limited"
    desk.clock.now += 300
    async with desk.connect("ada") as ada, desk.connect("bob") as bob:
        await ada.call("board:join", "1")
        assert (await refusal(ada, "drawn", drawn()))[0] == "rate_limited"
        desk.clock.now += 150
        assert (await ada.call("drawn", drawn()))["ok"]
        await bob.call("board:join", "1")
        assert (await bob.call("drawn", drawn()))["ok"]


async def test_one_user_cannot_use_up_the_limit_of_a_room(desk: Desk) -> None:
    async with desk.connect("ada") as ada, desk.connect("ada") as twin, desk.connect("bob") as bob:
        for client in (ada, twin, bob):
            await client.call("board:join", "1")
        outcomes = [(await client.call("vote", "1"))["ok"] for client in (ada, twin) * 5]
        assert outcomes.count(True) == 5  # Half of nine, rounded up, over both connections.
        assert [(await bob.call("vote", "1"))["ok"] for _ in range(5)] == [True] * 4 + [False]
        await bob.call("board:join", "2")
        assert (await bob.call("vote", "2"))["ok"]


async def test_who_is_not_in_a_room_does_not_use_up_its_limit(desk: Desk) -> None:
    async with desk.connect("eve") as eve, desk.connect("ada") as ada:
        await ada.call("board:join", "1")
        for _ in range(20):
            assert (await refusal(eve, "vote", "1"))[0] == "forbidden"
        assert [(await ada.call("vote", "1"))["ok"] for _ in range(5)] == [True] * 5


async def test_a_command_over_a_shared_limit_is_reported_once(desk: Desk) -> None:
    async with desk.connect("ada") as ada:
        await ada.call("board:join", "1")
        for _ in range(5):
            await ada.call("vote", "1")
        for _ in range(3):
            await ada.emit("vote", "1")
        assert (await ada.expect_event("error")).args[0]["code"] == "rate_limited"
        await ada.expect_nothing()


# Declarations.


def find_errors(declare: Any) -> str:
    contract = Contract("c", roles=("user",))
    root = contract.namespace("/")
    declare(root, root.room("board:{boardId}", members=anyone(), join="join"))
    with pytest.raises(ContractError) as error:
        contract.build()
    return str(error.value)


def test_targets_that_a_relay_cannot_have() -> None:
    def declare(root: Any, board: Any) -> None:
        @root.relay("one", to=[root.sockets.of("to"), board, root.caller], example={"to": "x"}, sender="who")
        class _One(Stamped):
            """One."""

            to: Id

        @root.relay("bad", to=[board.of("boardId")], example={"boardId": "x", "who": 1}, sender="who", volatile=True)
        class _Bad(Payload, rename="camel"):
            """Bad."""

            board_id: Id
            who: list[str]

    errors = find_errors(declare)
    assert "relay one: a relay goes to rooms that its sender is in, not to one client" in errors
    assert "relay one: goes to `board:{boardId}`, which the command does not name; write .of(" in errors
    assert "relay one: a relay does not go to the client that sends it" in errors
    assert "relay one: sender who: expected a string or integer field of _One" in errors
    assert "relay bad: sender who: expected a string or integer field of _Bad" in errors


def test_what_is_no_payload_is_one_error() -> None:
    errors = find_errors(lambda root, board: root.relay("one", to=[board.of("x")])(int))
    assert "event one: int is not a Payload" in errors


def test_limits_per_room_that_have_no_room() -> None:
    def declare(root: Any, board: Any) -> None:
        other = root.room("other:{boardId}", members=anyone())

        @root.command("a", limit=per_room("5/s"))
        class _A(Command):
            """A."""

        @root.command("b", limit=per_room("5/s", board), joins=board)
        class _B(Command, rename="camel"):
            """B."""

            board_id: Id

        @root.command("c", limit=[per_room("5/s", board), per_address("5/h")])
        class _C(Command):
            """C."""

        @root.command("d", limit=[per_room("5/s", board), per_room("5/s", other)])
        class _D(Command, rename="camel"):
            """D."""

            board_id: Id

    errors = find_errors(declare)
    assert "command a: per_room needs the kind of room that the command names" in errors
    assert "command b: per_room is for clients in a room" in errors
    assert "command c: per_room needs a string or integer field boardId, for the room board:{boardId}" in errors
    assert "command d: per_room names several kinds of room" in errors


def test_a_relay_needs_a_publisher() -> None:
    async def verify(token: str) -> Token:
        raise AssertionError

    handlers = boards.build(cast(Services, None)).handlers
    with pytest.raises(ContractError, match=r"relay cursor: .*publisher"):
        bind(boards.contract, handlers=handlers, verify=verify, settings=Settings())
