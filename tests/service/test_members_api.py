"""Members of rooms over HTTP: what another back end may write, and what that means for those who are connected."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from oyez.errors import LogUnavailableError
from oyez.log.log import Checkpoint, Entry
from oyez.service.app import Oyez
from oyez.service.outbox import outbox
from oyez.service.system import System
from oyez.settings import Settings
from tests.service import ticket_system
from tests.service.ticket_system import contract
from tests.support.shops import Market, serve
from tests.support.tasks import Spawn

NUMBERS = count(1)


@pytest.fixture(scope="module")
async def market(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    settings = Settings(port=0, oyez_data=str(tmp_path_factory.mktemp("data")), database_url=make_database())
    async with serve(Oyez([System(contract=contract)], settings)) as market:
        yield market


@pytest.fixture
def room() -> str:
    """A room that no other test has."""
    return f"ticket:{next(NUMBERS)}"


async def ask(market: Market, method: str, path: str, **params: str) -> httpx.Response:
    return await market.call(method, f"/desk/rooms/{path}", params=params)


async def list_members(market: Market, room: str, **params: str) -> Any:
    answer = await ask(market, "GET", f"{room}/members", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_members_are_written_again_and_again(market: Market, room: str) -> None:
    member = {"namespace": "/", "room": room, "subject": "user:ada"}
    for status in (201, 200):
        answer = await ask(market, "PUT", f"{room}/members/user:ada")
        assert (answer.status_code, answer.json()) == (status, member)
    assert await list_members(market, room) == {"members": ["user:ada"], "next": None}
    for _ in range(2):
        answer = await ask(market, "DELETE", f"{room}/members/user:ada")
        assert (answer.status_code, answer.content) == (204, b"")
    assert await list_members(market, room) == {"members": [], "next": None}


@pytest.mark.parametrize("subject", ["user:Łódź", "user:a b", "user:a@b.example", "user:a:b", "user:a/b", "user:?"])
async def test_an_id_may_be_any_printable_text(market: Market, room: str, subject: str) -> None:
    assert (await ask(market, "PUT", f"{room}/members/{quote(subject, safe='')}")).json()["subject"] == subject
    assert (await list_members(market, room))["members"] == [subject]


async def test_a_long_list_has_pages(market: Market, room: str) -> None:
    for number in range(5):
        await ask(market, "PUT", f"{room}/members/user:{number}")
    first = await list_members(market, room, limit="2")
    assert first == {"members": ["user:0", "user:1"], "next": "user:1"}
    second = await list_members(market, room, limit="2", after=first["next"])
    assert second == {"members": ["user:2", "user:3"], "next": "user:3"}
    third = await list_members(market, room, limit="2", after=second["next"])
    assert third == {"members": ["user:4"], "next": None}


async def test_the_namespace_is_named_where_several_have_the_room(market: Market) -> None:
    answer = await ask(market, "PUT", "case:1/members/user:ada")
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [{"field": "namespace", "expected": "one of /, /back, which all have a room 'case:1'"}],
    )
    assert (await ask(market, "PUT", "case:1/members/user:ada", namespace="/back")).status_code == 201
    assert (await list_members(market, "case:1", namespace="/back"))["members"] == ["user:ada"]
    assert (await list_members(market, "case:1", namespace="/"))["members"] == []


@pytest.mark.parametrize(
    ("path", "params", "code", "field"),
    [
        ("nowhere/members/user:ada", {}, "unknown_room", None),
        ("user:ada/members/user:ada", {}, "invalid_data", "room"),
        ("ticket:1/members/ada", {}, "invalid_data", "subject"),
        ("ticket:1/members/user:ada", {"namespace": "/none"}, "invalid_data", "namespace"),
    ],
)
async def test_a_request_that_cannot_be_is_a_problem(
    market: Market, path: str, params: dict[str, str], code: str, field: str | None
) -> None:
    answer = await ask(market, "PUT", path, **params)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["field"] for error in answer.json().get("errors", [])] == ([field] if field else [])


@pytest.mark.parametrize("limit", ["0", "1001", "many"])
async def test_a_limit_is_a_number(market: Market, limit: str) -> None:
    answer = await ask(market, "GET", "ticket:1/members", limit=limit)
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [{"field": "limit", "expected": "a whole number from 1 to 1000"}],
    )


async def test_no_page_begins_after_what_the_database_cannot_hold(market: Market) -> None:
    answer = await ask(market, "GET", "ticket:1/members", after="user:a\0")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "members/user:ada"), ("DELETE", "members/user:ada"), ("GET", "members")]
)
async def test_without_a_service_key_nothing_is_done(market: Market, method: str, path: str) -> None:
    for key in ("nonsense", market.token("ada"), market.oyez.signer.sign_service("shop", 60.0)):
        headers = {"authorization": f"Bearer {key}"}
        answer = await market.request(method, f"/desk/rooms/ticket:1/{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


# What it means for those who are connected.


async def test_a_member_comes_in_and_is_taken_out_at_once(market: Market) -> None:
    desk = market.oyez.systems["desk"]
    async with market.connect("desk", "ada") as ada, market.connect("desk", "bob") as bob:
        for subject in ("user:ada", "user:bob"):
            await ask(market, "PUT", f"ticket:1/members/{subject}")
        for client in (ada, bob):
            assert "error" not in await client.call("join_ticket", "1")
        await desk.outbox.run(ticket_system.say, 1)
        for client in (ada, bob):
            (said,) = (await client.expect_event("said")).args
            assert said["number"] == 1
        await ask(market, "DELETE", "ticket:1/members/user:ada")
        await desk.outbox.run(ticket_system.say, 2)
        (said,) = (await bob.expect_event("said")).args
        assert said["number"] == 2
        await ada.expect_nothing()
        assert (await ada.call("join_ticket", "1"))["error"]["code"] == "forbidden"


async def test_a_removal_is_answered_when_it_is_in_the_log(
    market: Market, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    """An event published after the answer must not overtake it, in any process."""
    log = market.oyez.systems["desk"].log
    append = log.append
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def append_slowly(entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        if any(entry.control == "member_removed" for entry in entries):
            begun.set()
            await may_end.wait()
        return await append(entries, checkpoint)

    monkeypatch.setattr(log, "append", append_slowly)
    await ask(market, "PUT", "ticket:slow/members/user:ada")
    removing = spawn(ask(market, "DELETE", "ticket:slow/members/user:ada"))
    await begun.wait()
    members = (await list_members(market, "ticket:slow"))["members"]
    answered = removing.done()
    may_end.set()
    assert (members, answered) == ([], False)
    assert (await removing).status_code == 204


async def test_without_the_log_a_removal_is_answered_all_the_same(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        raise LogUnavailableError("broken")

    monkeypatch.setattr(outbox, "FLUSH_TIMEOUT", 0.2)
    await ask(market, "PUT", "ticket:away/members/user:ada")
    with monkeypatch.context() as patched:
        patched.setattr(market.oyez.systems["desk"].log, "append", fail)
        assert (await ask(market, "DELETE", "ticket:away/members/user:ada")).status_code == 204
    assert (await list_members(market, "ticket:away"))["members"] == []
    await market.oyez.systems["desk"].outbox.drained()


async def test_a_client_that_is_no_member_cannot_join(market: Market) -> None:
    async with market.connect("desk", "ada") as ada:
        assert (await ada.call("join_ticket", "1"))["error"]["code"] == "forbidden"
