"""Stays in the database: each ends once, whichever processes end it, and each change of presence is published once."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from oyez.contract.rooms import NamedRoom
from oyez.errors import ContractError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publisher
from oyez.runtime.stays import LOST, Changes, Ending, StayRecord
from oyez.service.database import tables
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.stays import DatabaseStays
from oyez.settings import Limits
from tests.support.auction import contract, lot, plain

NOTHING = Changes([], [], [], [])
_ids = count(1)


class House:
    """The stays of the auction, as any number of processes store them."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.database.migrate("oyez", MIGRATIONS / "versions")
        publisher = Publisher(contract, MemoryLog(), Limits())
        self.store = DatabaseStays(contract, self.database, Outbox(self.database, publisher, MemoryLog()))

    async def begin(self, node: str, *users: str, room: str = "lot:1") -> list[StayRecord]:
        records = [StayRecord(f"id{next(_ids)}", "/", room, f"socket{next(_ids)}", user, 1.0) for user in users]
        assert await self.store.write(node, NOTHING._replace(begun=records)) is not None
        return records

    async def end(self, node: str, *records: StayRecord, keeps: bool = True) -> set[str]:
        endings = [Ending(record.id, 2.0, "leave", keeps) for record in records]
        written = await self.store.write(node, NOTHING._replace(ended=endings))
        assert written is not None
        return written.ended

    async def published(self) -> list[tuple[str, str, int]]:
        """The events about users: the event, the user and the count."""
        query = select(tables.outbox.c.data).order_by(tables.outbox.c.id)
        rows = await self.database.read(lambda connection: connection.execute(query).scalars().all())
        events: list[tuple[str, dict[str, Any]]] = [msgspec.json.decode(row) for row in rows]
        return [(name, data["userId"], data["count"]) for name, data in events]

    async def count_rows(self) -> int:
        query = select(tables.stays.c.id)
        return len(await self.database.read(lambda connection: connection.execute(query).all()))


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    house = House(database_url)
    for node in ("a", "b", "c"):
        await house.store.register(node)
    yield house
    house.database.close()


async def test_a_user_comes_with_the_first_socket_and_goes_with_the_last(house: House) -> None:
    (first,) = await house.begin("a", "ada")
    (second, bob) = await house.begin("b", "ada", "bob")
    assert await house.end("a", first) == {first.id}
    assert await house.end("b", second, keeps=False) == {second.id}
    assert await house.published() == [("lot:joined", "ada", 1), ("lot:joined", "bob", 2), ("lot:left", "ada", 1)]
    present = await house.store.find_present(lot("1"))
    assert (present.count, [user.id for user in present.users]) == (1, ["bob"])
    # The one that is kept is deleted after `left` was called.
    assert await house.count_rows() == 2
    await house.store.write("a", NOTHING._replace(done=[first.id, bob.id]))
    assert await house.count_rows() == 1


async def test_sockets_that_come_and_go_at_once_make_one_event(house: House) -> None:
    for _ in range(5):
        both = await asyncio.gather(*(house.begin(node, "ada") for node in ("a", "b", "c")))
        await asyncio.gather(*(house.end(node, *records) for node, records in zip(("a", "b", "c"), both, strict=True)))
    assert await house.published() == [("lot:joined", "ada", 1), ("lot:left", "ada", 0)] * 5


async def test_a_stay_ends_only_in_the_process_that_has_it(house: House) -> None:
    (stay,) = await house.begin("a", "ada")
    assert await house.end("b", stay) == set()
    written = await house.store.write("b", NOTHING._replace(adopted=[("/", stay.socket)]))
    assert written is not None and written.adopted == [stay]
    assert await house.end("a", stay) == set()
    assert await house.end("b", stay) == {stay.id}
    assert await house.end("b", stay) == set()


async def test_a_lost_process_is_claimed_once_and_cannot_change_anything(house: House) -> None:
    stays = await house.begin("a", *(f"user{number}" for number in range(25)))
    assert await house.store.beat("a")
    beat = (await house.store.list_nodes())["a"]
    claims = await asyncio.gather(*(house.store.claim(node, "a", beat, 10) for node in ("b", "c")))
    assert not await house.store.beat("a")
    assert await house.store.write("a", NOTHING._replace(done=["x"])) is None
    while "a" in await house.store.list_nodes():
        claims += await asyncio.gather(*(house.store.claim(node, "a", -1, 10) for node in ("b", "c")))
    claimed = [stay for page in claims for stay, _ in page or ()]
    assert sorted(claimed) == sorted(stays)
    assert {ending.reason for page in claims for _, ending in page or ()} == {LOST}
    assert len([event for event in await house.published() if event[0] == "lot:left"]) == 25


async def test_a_process_that_counts_on_is_not_claimed(house: House) -> None:
    beat = (await house.store.list_nodes())["a"]
    await house.begin("a", "ada")
    assert await house.store.beat("a")
    assert await house.store.claim("b", "a", beat, 10) is None
    assert await house.store.beat("a")


async def test_what_a_claimer_has_not_finished_is_claimed_again(house: House) -> None:
    (stay,) = await house.begin("a", "ada")
    beats = await house.store.list_nodes()
    assert await house.store.claim("b", "a", beats["a"], 10) is not None
    again = await house.store.claim("c", "b", beats["b"], 10)
    assert again is not None and [found for found, _ in again] == [stay]
    assert await house.published() == [("lot:joined", "ada", 1), ("lot:left", "ada", 0)]


async def test_a_process_that_has_stopped_stays_known_while_it_has_stays(house: House) -> None:
    (stay,) = await house.begin("a", "ada")
    for node in ("a", "b"):
        await house.store.unregister(node)
    assert sorted(await house.store.list_nodes()) == ["a", "c"]
    await house.end("a", stay, keeps=False)
    await house.store.unregister("a")
    assert sorted(await house.store.list_nodes()) == ["c"]


@pytest.mark.parametrize("user", ["x" * 1000, "nul\x00", "ü" * 200])
async def test_a_user_whose_id_does_not_fit_stops_nobody(house: House, user: str) -> None:
    await house.begin("a", user, "ada")
    published = await house.published()
    assert ("lot:joined", "ada", 2) in published
    assert (await house.store.find_present(lot("1"))).count == 2


async def test_rooms_without_presence_have_no_list(house: House) -> None:
    await house.begin("a", "ada", room="club:1")
    assert await house.published() == []
    for room in (plain("1"), NamedRoom("/", "nothing"), NamedRoom("/other", "lot:1")):
        with pytest.raises(ContractError, match="has no presence"):
            await house.store.find_present(room)
