"""Members of rooms: who counts as one, and what another back end may write."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from oyez.contract import Identity
from oyez.contract.rooms import NamedRoom
from oyez.errors import InvalidDataError, OyezError, RefusedError
from oyez.service.app import Oyez
from oyez.service.outbox import Transaction
from oyez.service.system import System
from oyez.settings import Settings
from tests.service import desks
from tests.service.desks import Desk, back_case, case, contract, open_desk, ticket, user
from tests.service.shops import Market, serve

ADA = Identity(subject="ada", role="customer", claims={"shop_id": "S-1"})


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with open_desk(database_url) as desk:
        yield desk


# From Python.


@pytest.mark.parametrize("subject", ["user:ada", "role:customer", "shop:S-1"])
async def test_whoever_is_one_of_the_subjects_is_a_member(desk: Desk, subject: str) -> None:
    await desk.outbox.run(Transaction.add_member, ticket("1"), subject)
    assert await desk.members.has(ADA, ticket("1"))
    assert not await desk.members.has(ADA, ticket("2"))
    await desk.outbox.run(Transaction.remove_member, ticket("1"), subject)
    assert not await desk.members.has(ADA, ticket("1"))


@pytest.mark.parametrize("subject", ["user:bob", "role:agent", "shop:S-2", "user:Ada", "user:customer"])
async def test_others_are_not(desk: Desk, subject: str) -> None:
    await desk.outbox.run(Transaction.add_member, ticket("1"), subject)
    assert not await desk.members.has(ADA, ticket("1"))


async def test_rooms_of_one_name_have_members_of_their_own(desk: Desk) -> None:
    await desk.outbox.run(Transaction.add_member, back_case("1"), "user:ada")
    assert await desk.members.has(ADA, back_case("1"))
    assert not await desk.members.has(ADA, case("1"))


async def test_a_membership_is_rolled_back_with_its_transaction(desk: Desk) -> None:
    def add_and_fail(tx: Transaction) -> None:
        tx.add_member(ticket("1"), "user:ada")
        raise LookupError

    with pytest.raises(LookupError):
        await desk.outbox.run(add_and_fail)
    assert not await desk.members.has(ADA, ticket("1"))


@pytest.mark.parametrize(
    ("room", "subject", "error", "message"),
    [
        (NamedRoom("/", "nowhere"), "user:ada", RefusedError, "no room 'nowhere'"),
        (NamedRoom("/none", "case:1"), "user:ada", InvalidDataError, "namespace: one of /, /back; got '/none'"),
        (user("ada"), "user:ada", InvalidDataError, "room: a room that has members, ticket:{id} or case:{id}"),
        (ticket("1"), "ada", InvalidDataError, "subject: user:… or role:… or shop:…; got 'ada'"),
        (ticket("1"), "garage:1", InvalidDataError, "subject: user:… or role:… or shop:…; got 'garage:1'"),
        (ticket("1"), "role:admin", InvalidDataError, "subject: role: with one of customer, agent; got 'role:admin'"),
        (ticket("1"), "user:", InvalidDataError, "subject: user: with an id; got 'user:'"),
        (ticket("1"), "user:a\nb", InvalidDataError, "subject: user: with an id"),
        (ticket("1"), "user:" + "x" * 129, InvalidDataError, "subject: user: with an id"),
    ],
)
@pytest.mark.parametrize("change", [Transaction.add_member, Transaction.remove_member])
async def test_what_cannot_be_is_refused(
    desk: Desk, change: Callable[..., bool], room: NamedRoom, subject: str, error: type[OyezError], message: str
) -> None:
    with pytest.raises(error) as raised:
        await desk.outbox.run(change, room, subject)
    assert message in str(raised.value)


# Over HTTP.


@pytest.fixture
async def market(database_url: str, tmp_path: Path) -> AsyncIterator[Market]:
    settings = Settings(port=0, oyez_data=str(tmp_path), database_url=database_url)
    async with serve(Oyez([System(contract=contract)], settings)) as market:
        yield market


async def ask(market: Market, method: str, path: str, **params: str) -> httpx.Response:
    key = {"authorization": f"Bearer {market.oyez.signer.sign_service('desk', 60.0)}"}
    return await market.request(method, f"/desk/rooms/{path}", headers=key, params=params)


async def list_members(market: Market, room: str, **params: str) -> Any:
    answer = await ask(market, "GET", f"{room}/members", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_members_are_written_again_and_again(market: Market) -> None:
    member = {"namespace": "/", "room": "ticket:1", "subject": "user:ada"}
    for status in (201, 200):
        answer = await ask(market, "PUT", "ticket:1/members/user:ada")
        assert (answer.status_code, answer.json()) == (status, member)
    assert await list_members(market, "ticket:1") == {"members": ["user:ada"], "next": None}
    for _ in range(2):
        answer = await ask(market, "DELETE", "ticket:1/members/user:ada")
        assert (answer.status_code, answer.content) == (204, b"")
    assert await list_members(market, "ticket:1") == {"members": [], "next": None}


@pytest.mark.parametrize("subject", ["user:Łódź", "user:a b", "user:a@b.example", "user:a:b", "user:a/b", "user:?"])
async def test_an_id_may_be_any_printable_text(market: Market, subject: str) -> None:
    assert (await ask(market, "PUT", f"ticket:1/members/{quote(subject, safe='')}")).json()["subject"] == subject
    assert (await list_members(market, "ticket:1"))["members"] == [subject]


async def test_a_long_list_has_pages(market: Market) -> None:
    for number in range(5):
        await ask(market, "PUT", f"ticket:1/members/user:{number}")
    first = await list_members(market, "ticket:1", limit="2")
    assert first == {"members": ["user:0", "user:1"], "next": "user:1"}
    second = await list_members(market, "ticket:1", limit="2", after=first["next"])
    assert second == {"members": ["user:2", "user:3"], "next": "user:3"}
    third = await list_members(market, "ticket:1", limit="2", after=second["next"])
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
        [{"field": "limit", "expected": "a number from 1 to 1000"}],
    )


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
    outbox = market.oyez.systems["desk"].outbox
    async with market.connect("desk", "ada") as ada, market.connect("desk", "bob") as bob:
        for subject in ("user:ada", "user:bob"):
            await ask(market, "PUT", f"ticket:1/members/{subject}")
        for client in (ada, bob):
            assert "error" not in await client.call("join_ticket", "1")
        await outbox.run(desks.say, 1)
        for client in (ada, bob):
            (said,) = (await client.expect_event("said")).args
            assert said["number"] == 1
        await ask(market, "DELETE", "ticket:1/members/user:ada")
        await outbox.run(desks.say, 2)
        (said,) = (await bob.expect_event("said")).args
        assert said["number"] == 2
        await ada.expect_nothing()
        assert (await ada.call("join_ticket", "1"))["error"]["code"] == "forbidden"


async def test_who_is_no_member_does_not_come_in(market: Market) -> None:
    async with market.connect("desk", "ada") as ada:
        assert (await ada.call("join_ticket", "1"))["error"]["code"] == "forbidden"
