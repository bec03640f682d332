"""Stays of one process: what is recorded, in which order functions are called, and what an outage of the store does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from oyez.contract import Contract, NamedRoom, anyone
from oyez.errors import DatabaseUnavailableError
from oyez.protocol import engineio
from oyez.runtime import Client, Departed, RoomHooks
from oyez.runtime.stays import BATCH, LOST_SECONDS, RETURN_SECONDS, Changes, Ending, StayRecord, Stays, Written
from oyez.server.namespaces.socket import Socket
from tests.support.clock import PATIENCE, Clock, until

contract = Contract("club", roles=("user",), default_role="user")
root = contract.namespace("/")
room = root.room("room:{id}", members=anyone())
other = root.room("other:{id}", members=anyone())
contract.build()


class Store:
    """A StayStore in memory, which can be away."""

    def __init__(self) -> None:
        self.away = False
        self.nodes: dict[str, int] = {}
        self.rows: dict[str, tuple[str, StayRecord, Ending | None]] = {}
        self.transactions: list[Changes] = []

    def _check(self) -> None:
        if self.away:
            raise DatabaseUnavailableError("as asked")

    async def register(self, node: str) -> None:
        self._check()
        self.nodes[node] = 0

    async def beat(self, node: str) -> bool:
        self._check()
        if self.nodes.get(node, -1) < 0:
            return False
        self.nodes[node] += 1
        return True

    async def list_nodes(self) -> dict[str, int]:
        self._check()
        return dict(self.nodes)

    async def write(self, node: str, changes: Changes) -> Written | None:
        self._check()
        if self.nodes.get(node, -1) < 0:
            return None
        self.transactions.append(changes)
        adopted = []
        for record in changes.begun:
            self.rows[record.id] = node, record, None
        for id, (_, record, ending) in self.rows.items():
            if (record.namespace, record.socket) in changes.adopted and ending is None:
                self.rows[id] = node, record, None
                adopted.append(record)
        ended = {one.id for one in changes.ended if self.rows.get(one.id, ("", None, None))[0] == node}
        for one in changes.ended:
            if one.id in ended:
                self.rows[one.id] = node, self.rows[one.id][1], one
        for id in changes.done:
            del self.rows[id]
        return Written(adopted, ended)

    async def claim(self, node: str, lost: str, beat: int, most: int) -> list[tuple[StayRecord, Ending]] | None:
        if self.nodes.get(lost) != beat:
            return None
        self.nodes[lost] = -1
        found = [id for id, (owner, _, _) in self.rows.items() if owner == lost][:most]
        claimed = []
        for id in found:
            ending = Ending(id, 1.0, "process lost", keeps=True)
            self.rows[id] = node, self.rows[id][1], ending
            claimed.append((self.rows[id][1], ending))
        return claimed

    async def unregister(self, node: str) -> None:
        self._check()
        del self.nodes[node]


@dataclass
class FakeSession:
    generation: int = 0


@dataclass(eq=False)
class FakeSocket:
    """What Stays reads of a socket."""

    id: str
    user_id: str
    rooms: set[str] = field(default_factory=set)
    namespace: str = "/"
    session: FakeSession = field(default_factory=FakeSession)
    data: str = "client"


@dataclass
class House:
    """The stays of one process, and which functions were called."""

    stays: Stays
    store: Store
    clock: Clock
    calls: list[tuple[str, str, str]]

    def join(self, socket: FakeSocket, name: str = "room:1") -> None:
        self.stays.join(cast(Socket, socket), name)
        socket.rooms.add(name)

    def leave(self, socket: FakeSocket, name: str = "room:1") -> None:
        self.stays.leave(cast(Socket, socket), name)
        socket.rooms.discard(name)

    def end(self, socket: FakeSocket, reason: Any = engineio.TRANSPORT_CLOSE) -> None:
        self.stays.end(cast(Socket, socket), reason)

    def accept(self, socket: FakeSocket) -> None:
        self.stays.accept(cast(Socket, socket))

    async def expect(self, *calls: tuple[str, str, str]) -> None:
        await until(lambda: self.calls == [*calls])


@asynccontextmanager
async def open_house(store: Store | None = None) -> AsyncIterator[House]:
    store, clock, calls = store or Store(), Clock(), list[tuple[str, str, str]]()

    async def entered(client: Client, room: NamedRoom) -> None:
        calls.append(("entered", str(client), room.values["id"]))

    async def left(departed: Departed, room: NamedRoom) -> None:
        calls.append(("left", departed.user, departed.reason))

    hooks = {room: RoomHooks(entered=entered, left=left)}
    stays = Stays(contract, hooks, store, clock=clock, now=clock)
    async with stays.running(lambda: PATIENCE):
        yield House(stays, store, clock, calls)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as house:
        yield house


ENTERED = ("entered", "client", "1")


async def test_rooms_without_functions_are_not_recorded(house: House) -> None:
    ada = FakeSocket("s1", "ada")
    house.join(ada, "other:1")
    house.join(ada)
    await house.expect(ENTERED)
    assert [record.room for _, record, _ in house.store.rows.values()] == ["room:1"]


async def test_a_stay_that_ends_before_it_is_recorded_never_was(house: House) -> None:
    ada, bob = FakeSocket("s1", "ada"), FakeSocket("s2", "bob")
    house.join(ada)
    house.leave(ada)
    house.join(bob)
    await house.expect(ENTERED)
    assert [record.user for _, record, _ in house.store.rows.values()] == ["bob"]


async def test_many_changes_are_a_few_transactions(house: House) -> None:
    sockets = [FakeSocket(f"s{number}", "ada") for number in range(3 * BATCH)]
    for socket in sockets:
        house.join(socket)
    await house.expect(*[ENTERED] * len(sockets))
    for socket in sockets:
        house.end(socket, engineio.CLIENT_DISCONNECT)
    await house.expect(*[ENTERED] * len(sockets), *[("left", "ada", "client namespace disconnect")] * len(sockets))
    await until(lambda: not house.store.rows)
    assert len(house.store.transactions) < 20


async def test_while_the_store_is_away_everything_waits(house: House) -> None:
    ada, bob = FakeSocket("s1", "ada"), FakeSocket("s2", "bob")
    house.join(ada)
    await house.expect(ENTERED)
    house.store.away = True
    house.leave(ada)
    house.join(bob)
    house.join(ada)
    await asyncio.sleep(0.1)
    assert house.calls == [ENTERED]
    house.store.away = False
    await until(lambda: len(house.calls) >= 4)
    assert sorted(house.calls) == [*[ENTERED] * 3, ("left", "ada", "leave")]


async def test_a_client_that_recovers_here_continues(house: House) -> None:
    ada = FakeSocket("s1", "ada")
    house.join(ada)
    await house.expect(ENTERED)
    house.end(ada)
    back = FakeSocket("s1", "ada", {"room:1"}, session=FakeSession(1))
    house.accept(back)
    house.clock.now += RETURN_SECONDS + 1
    house.join(FakeSocket("s2", "bob"))
    await house.expect(ENTERED, ENTERED)
    house.leave(back)
    await house.expect(ENTERED, ENTERED, ("left", "ada", "leave"))


async def test_a_second_break_has_its_own_time(house: House) -> None:
    ada = FakeSocket("s1", "ada")
    house.join(ada)
    await house.expect(ENTERED)
    house.end(ada)
    house.clock.now += RETURN_SECONDS - 1
    back = FakeSocket("s1", "ada", {"room:1"}, session=FakeSession(1))
    house.accept(back)
    house.end(back)
    house.clock.now += 2
    house.join(FakeSocket("s2", "bob"))
    await house.expect(ENTERED, ENTERED)
    house.clock.now += RETURN_SECONDS
    house.join(FakeSocket("s3", "bob"))
    await until(lambda: ("left", "ada", "transport close") in house.calls)


async def test_a_client_that_recovers_elsewhere_continues_there() -> None:
    store = Store()
    async with open_house(store) as one, open_house(store) as two:
        ada = FakeSocket("s1", "ada")
        for name in ("room:1", "room:2"):
            one.join(ada, name)
        await one.expect(ENTERED, ("entered", "client", "2"))
        # It has lost its right to one room, and has got another.
        two.accept(FakeSocket("s1", "ada", {"room:1", "room:3"}, session=FakeSession(1)))
        one.end(ada)
        await until(lambda: len(two.calls) >= 2)
        assert sorted(two.calls) == [("entered", "client", "3"), ("left", "ada", "leave")]
        one.clock.now += RETURN_SECONDS + 1
        one.join(FakeSocket("s2", "bob"))
        await one.expect(ENTERED, ("entered", "client", "2"), ENTERED)


async def test_another_user_of_a_socket_is_another_stay(house: House) -> None:
    ada = FakeSocket("s1", "guest:1")
    house.join(ada)
    await house.expect(ENTERED)
    ada.user_id = "ada"
    house.stays.identify(cast(Socket, ada))
    house.stays.identify(cast(Socket, ada))
    await until(lambda: len(house.calls) >= 3)
    assert sorted(house.calls) == [ENTERED, ENTERED, ("left", "guest:1", "leave")]
    assert [record.user for _, record, ending in house.store.rows.values() if ending is None] == ["ada"]


async def test_a_process_that_is_taken_for_lost_begins_again(house: House) -> None:
    ada, eve = FakeSocket("s1", "ada"), FakeSocket("s2", "eve")
    house.join(ada)
    house.join(eve)
    await house.expect(ENTERED, ENTERED)
    house.end(eve)
    for node in house.store.nodes:
        house.store.nodes[node] = -1
    house.join(ada, "room:2")
    await until(lambda: len(house.calls) >= 4)
    assert sorted(house.calls[2:]) == [ENTERED, ("entered", "client", "2")]
    house.leave(ada)
    await house.expect(*house.calls[:4], ("left", "ada", "leave"))


async def test_a_process_stops_although_the_store_is_away() -> None:
    store = Store()
    async with open_house(store) as house:
        ada = FakeSocket("s1", "ada")
        house.join(ada)
        await house.expect(ENTERED)
        store.away = True
    assert len(store.nodes) == 1


async def test_a_process_that_was_stopped_itself_takes_nobody_for_lost(house: House) -> None:
    stays, store = house.stays, house.store
    ada = FakeSocket("s1", "ada")
    house.join(ada)
    await house.expect(ENTERED)
    store.nodes["other"] = 7
    find = stays._find_lost
    assert find(await store.list_nodes()) == []
    # Nothing was looked at in between.
    house.clock.now += 10 * LOST_SECONDS
    assert find(await store.list_nodes()) == []
    for _ in range(3):
        house.clock.now += LOST_SECONDS / 4
        assert find(await store.list_nodes()) == []
    house.clock.now += LOST_SECONDS / 4
    assert find(await store.list_nodes()) == [("other", 7)]
    store.nodes["other"] = 8
    assert find(await store.list_nodes()) == []
