"""Members of rooms: who counts as one, and what a system may write."""

from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest

from oyez.contract import Identity
from oyez.contract.rooms import NamedRoom
from oyez.errors import InvalidDataError, OyezError, RefusedError
from oyez.service.outbox.transaction import Transaction
from tests.service.ticket_system import Harness, back_case, case, open_harness, ticket, user

ADA = Identity(subject="ada", role="customer", claims={"shop_id": "S-1"})


NUMBERS = count(1)


@pytest.fixture(scope="module")
async def desk(make_database: Callable[[], str]) -> AsyncIterator[Harness]:
    async with open_harness(make_database()) as desk:
        yield desk


@pytest.fixture
def room() -> NamedRoom:
    """A room that no other test has."""
    return ticket(str(next(NUMBERS)))


# From Python.


@pytest.mark.parametrize("subject", ["user:ada", "role:customer", "shop:S-1"])
async def test_a_client_with_one_of_the_subjects_is_a_member(desk: Harness, room: NamedRoom, subject: str) -> None:
    await desk.outbox.run(Transaction.add_member, room, subject)
    assert await desk.members.has(ADA, room)
    assert not await desk.members.has(ADA, ticket("none"))
    await desk.outbox.run(Transaction.remove_member, room, subject)
    assert not await desk.members.has(ADA, room)


@pytest.mark.parametrize("subject", ["user:bob", "role:agent", "shop:S-2", "user:Ada", "user:customer"])
async def test_others_are_not(desk: Harness, room: NamedRoom, subject: str) -> None:
    await desk.outbox.run(Transaction.add_member, room, subject)
    assert not await desk.members.has(ADA, room)


async def test_members_are_listed_in_order_with_their_parts(desk: Harness, room: NamedRoom) -> None:
    def add(tx: Transaction) -> dict[str, str]:
        for name, part in (("eve", "host"), ("ada", ""), ("bob", "guest")):
            tx.add_member(room, f"user:{name}", part)
        return tx.list_members(room)

    found = {"user:ada": "", "user:bob": "guest", "user:eve": "host"}
    assert list((await desk.outbox.run(add)).items()) == list(found.items())
    assert await desk.members.list(room) == found
    assert await desk.members.list(room, after="user:ada", limit=1) == {"user:bob": "guest"}
    assert await desk.members.list(ticket("none")) == {}


async def test_rooms_of_one_name_have_members_of_their_own(desk: Harness) -> None:
    await desk.outbox.run(Transaction.add_member, back_case("1"), "user:ada")
    assert await desk.members.has(ADA, back_case("1"))
    assert not await desk.members.has(ADA, case("1"))


async def test_a_membership_is_rolled_back_with_its_transaction(desk: Harness, room: NamedRoom) -> None:
    def add_and_fail(tx: Transaction) -> None:
        tx.add_member(room, "user:ada")
        raise LookupError

    with pytest.raises(LookupError):
        await desk.outbox.run(add_and_fail)
    assert not await desk.members.has(ADA, room)


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
    desk: Harness, change: Callable[..., bool], room: NamedRoom, subject: str, error: type[OyezError], message: str
) -> None:
    with pytest.raises(error) as raised:
        await desk.outbox.run(change, room, subject)
    assert message in str(raised.value)
