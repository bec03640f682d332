"""A system at work with its whole fixture connected, through official clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from oyez.contract.policy import Member
from oyez.contract.rooms import Room
from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served
from tests.systems.matrix.cases import Fixture, Person, Place, Trial, contract_of, is_it

LIBRARIES = ("javascript", "python")
WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}
"""The transports with which a client is configured."""


class Listener(Protocol):
    """A client of any library."""

    async def call(self, event: str, *args: Any) -> Any: ...

    async def next_event(self) -> tuple[str, list[Any]]: ...

    def take_events(self) -> list[tuple[str, list[Any]]]: ...


async def receive(client: Listener, trial: Trial) -> list[tuple[str, list[Any]]]:
    """The events that the client receives next, up to the trial's."""
    events: list[tuple[str, list[Any]]] = []
    async with asyncio.timeout(PATIENCE):
        while not events or not is_it(trial, *events[-1]):
            events.append(await client.next_event())
    return events


@dataclass
class Harness:
    system: str
    fixture: Fixture
    served: Served
    js: JsDriver
    clients: dict[str, JsClient] = field(default_factory=dict)
    """All clients by name, in the rooms of the fixture."""
    gone: dict[tuple[str, str], list[JsClient]] = field(default_factory=dict)
    """For each kind of room some who were in one, and left it."""
    closed: set[str] = field(default_factory=set)
    """Those of them who left by disconnecting."""
    twins: int = 0
    """How many users have been connected with the role and the claims of another."""

    @property
    def path(self) -> str:
        return f"/{self.system}/socket.io/"

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """What the system's back end asks for; it must be granted. The JSON of the answer, where there is any."""
        response = await self.served.request(method, f"/{self.system}{path}", body)
        assert response.is_success, f"{method} {path}: {response.text}"
        return response.json() if response.content else None

    async def post_events(self, body: Any) -> httpx.Response:
        return await self.served.post(body, system=self.system)

    async def connect(
        self, name: str, person: Person | None = None, *, transports: Sequence[str] = ("websocket",), **token: Any
    ) -> JsClient:
        """One more client of a person; `token` adds to its token."""
        person = person or self.fixture.people[name]
        url = f"{self.served.url}{person.namespace.rstrip('/')}"
        auth = {"token": self.served.token(name, person.role, **person.claims, **token)}
        return await self.js.connect(url, path=self.path, auth=auth, transports=transports)

    @asynccontextmanager
    async def everybody(self, library: str, way: str) -> AsyncIterator[Mapping[str, Listener]]:
        """All persons, connected with clients of `library` over the transports `way`, and in their rooms."""
        people: dict[str, Listener] = {}
        async with AsyncExitStack() as stack:
            for name, person in self.fixture.people.items():
                if library == "javascript":
                    client = await self.connect(name, transports=WAYS[way])
                    stack.push_async_callback(client.disconnect)
                    assert await client.transport() == WAYS[way][-1]
                    people[name] = client
                    continue
                opened = py_client.connect(
                    self.served.url,
                    path=self.path,
                    namespace=person.namespace,
                    auth={"token": self.served.token(name, person.role, **person.claims)},
                    transports=WAYS[way],
                )
                people[name] = await stack.enter_async_context(opened)
            for room, place, arguments in self._rooms():
                for name in place.inside:
                    await self._join(people[name], room, arguments)
            for listener in people.values():
                # What a system sends to each new client is not the subject.
                await listener.call("oyez:barrier")
                listener.take_events()
            yield people

    async def connect_twin(self, name: str) -> JsClient:
        """A user who has sent nothing before, with the role and the claims of another: limits count for each user."""
        self.twins += 1
        return await self.connect(f"{name}-twin-{self.twins}", self.fixture.people[name])

    async def call(self, name: str, command: str, *arguments: Any) -> Any:
        """The acknowledgement of a command, sent by a client that has sent nothing before."""
        client = await self.connect(name)
        try:
            return await client.call(command, *arguments)
        finally:
            await client.disconnect()

    async def set(self) -> None:
        """Create the records, connect all clients, let them join their rooms, and let some leave."""
        if self.fixture.prepare is not None:
            await self.fixture.prepare(self)
        for name in self.fixture.people:
            self.clients[name] = await self.connect(name)
        for room, place, arguments in self._rooms():
            for name in place.inside:
                await self._join(self.clients[name], room, arguments)
            self.gone[room.namespace, room.pattern] = await self._leave(room, arguments)

    def _rooms(self) -> Iterator[tuple[Room, Place, list[str]]]:
        """Each kind of room of the system, the room of that kind, and the arguments of its name."""
        for namespace in contract_of(self.system).namespaces:
            for room in namespace.rooms.kinds:
                if place := self.fixture.places.get((namespace.name, room.pattern)):
                    yield room, place, list((room.match(place.name) or {}).values())

    async def _leave(self, room: Room, arguments: Sequence[str]) -> list[JsClient]:
        """Some who come and go, by every way there is out of a room of this kind."""
        place = self.fixture.places[room.namespace, room.pattern]
        name = min(place.inside)
        gone = [await self.connect(name)]
        await self._join(gone[0], room, arguments)
        leave = place.leave or ((room.leave, *arguments) if room.leave is not None else ())
        if leave:
            assert (await gone[0].call(*leave))["ok"]
        else:
            await gone[0].disconnect()
            self.closed.add(gone[0].name)
            if not room.on_connect:
                # A client that reconnects is in no room before it joins again.
                gone.append(await self.connect(name))
        if any(isinstance(part, Member) for part in room.rule.parts()):
            assert place.leaver is not None
            role = self.fixture.people[name].role
            removed = await self.connect(place.leaver, Person(role, {}, room.namespace))
            await self._join(removed, room, arguments)
            await self.request("DELETE", f"/rooms/{place.name}/members/user:{place.leaver}?namespace={room.namespace}")
            gone.append(removed)
        return gone

    async def _join(self, client: Listener, room: Room, arguments: Sequence[str]) -> None:
        enter = self.fixture.places[room.namespace, room.pattern].enter
        enter = enter or ((room.join, *arguments) if room.join is not None else ())
        if enter:
            answer = await client.call(*enter)
            assert answer["ok"], f"cannot join {room.pattern}: {answer}"

    async def barrier(self, clients: Sequence[JsClient]) -> None:
        """All that was sent to these clients before now has arrived."""
        await asyncio.gather(*(client.call("oyez:barrier") for client in clients if client.name not in self.closed))
