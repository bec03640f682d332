"""A club whose groups have members, on several nodes: real servers on one log, and the project's own client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from oyez import client as oyez_client
from oyez.contract import Command, Contract, Id, Identity, Joined, NamedRoom, Payload, anyone, member, own, role
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.runtime.bind import bind
from oyez.runtime.client import Client
from oyez.runtime.commands import Handlers
from oyez.runtime.hooks import Hooks
from oyez.runtime.publisher import Publisher
from oyez.server.namespaces.socket import Socket
from oyez.settings import Limits, Settings
from tests.support.application import Market
from tests.support.market import Token
from tests.support.serving import Running, serve, turn_until

contract = Contract(
    "club", roles=("guest", "agent", "admin"), default_role="guest", subjects={"garage": "garage_id", "desk": "desk"}
)
root = contract.namespace("/")
back = contract.namespace("/back")

user = root.room("user:{userId}", members=own("userId"), on_connect=True)
group = root.room("group:{groupId}", members=[member(), role("admin")], join="group:join")
ring = root.room("ring:{userId}", members=own("userId") & member(), on_connect=True)
circle = root.room("circle:{userId}", members=own("userId") & member(), on_connect=True)
board = root.room(
    "board:{period}", members=anyone(), join="board:join", leave="board:leave", values={"period": ("daily", "weekly")}
)
staff = root.room("staff", members=role("admin"))
back_group = back.room("group:{groupId}", members=member(), join="group:join")


@root.event("said", to=[group, board, user, staff, root.everyone, circle], volatile=True, example={"text": "hello"})
@back.event("said", to=[back_group], volatile=True)
class Said(Payload):
    """A member has written a note."""

    text: str


@root.event("place", to=[board, group], volatile=True, latest=60.0, example={"text": "here"})
class Place(Payload):
    """The place of a member. Clients that join later receive the newest one."""

    text: str


@root.event("note", to=[root.caller], volatile=True, example={"text": "welcome"})
class Note(Payload):
    """Something for one client."""

    text: str


@root.command("do", limit="20/s")
class Do(Command):
    """Run a function that the test supplies."""

    what: Id


@root.command("group:enter", reply=Joined)
class EnterGroup(Command):
    """Join a group by a handler."""

    group: Id


contract.build()


class Barrier(Market):
    """A namespace of each node that receives control entries, so that the test can wait for earlier entries."""

    def control(self, entry: Entry, sockets: Collection[Socket]) -> None:
        self.heard.append((entry.control, entry.data))
        self._changed.set()


class Club:
    """The nodes, and what they share: the log, the membership table, the hooks."""

    def __init__(self, hooks: Hooks) -> None:
        self.log = MemoryLog()
        self.publisher = Publisher(contract, self.log, Limits())
        self.nodes: list[Running] = []
        self.members: set[tuple[str, NamedRoom]] = set()
        self.clients: dict[str, Client] = {}
        """The clients that have sent a command, by subject."""
        self.done: list[str] = []
        self.actions: dict[str, Callable[[Client], Any]] = {"nothing": lambda client: None}
        self._hooks = hooks
        self._asked = 0
        self._barriers = 0
        self.table_fault: Exception | None = None
        """The error that the membership table raises."""
        self._hold: asyncio.Event | None = None
        self._held: NamedRoom | None = None

    def build(self) -> Any:
        return bind(
            contract,
            handlers=self._handlers(),
            verify=self._authenticate,
            settings=Settings(),
            find_parts=self._find_parts,
            hooks=self._hooks,
            publisher=self.publisher,
        )

    def _handlers(self) -> Handlers:
        async def do(command: Do, client: Client) -> None:
            self.clients[client.identity.subject] = client
            self.done.append(command.what)
            answer = self.actions[command.what](client)
            if answer is not None:
                await answer

        async def enter_group(command: EnterGroup, client: Client) -> Joined:
            await client.join(group(command.group))
            return Joined(room=str(group(command.group)))

        return {Do: do, EnterGroup: enter_group}

    async def _authenticate(self, token: str) -> Token:
        claims = json.loads(token)
        return Token(claims["sub"], claims, claims.get("exp"))

    async def _find_parts(self, identity: Identity, room: NamedRoom) -> Mapping[str, str]:
        answer = {subject: "" for subject in contract.subjects_of(identity) if (subject, room) in self.members}
        self._asked += 1
        if self.table_fault is not None:
            raise self.table_fault
        if self._hold is not None and self._held in (None, room):
            await self._hold.wait()
        return answer

    # What tests do.

    @asynccontextmanager
    async def connect(
        self, subject: str, *, node: int = 0, namespace: str = "/", transport: str = "websocket", **claims: Any
    ) -> AsyncIterator[oyez_client.Client]:
        auth = {"token": json.dumps({"sub": subject, **claims})}
        opening = oyez_client.connect(self.nodes[node].url, namespace, auth=auth, transports=[transport])
        async with opening as client:
            yield client

    def add(self, subject: str, *rooms: NamedRoom) -> None:
        self.members |= {(subject, room) for room in rooms}

    def remove(self, subject: str, room: NamedRoom) -> None:
        self.members.discard((subject, room))

    @contextmanager
    def slow_table(self, room: NamedRoom | None = None) -> Iterator[asyncio.Event]:
        """The membership table answers, with what it had when it was asked, only after the event is set.

        With `room`, only what is asked about that one.
        """
        self._hold, self._held = asyncio.Event(), room
        yield self._hold
        self._hold = None

    async def until_asked(self, times: int) -> None:
        """Waits until the table has been asked so many times."""
        await turn_until(lambda: self._asked >= times)

    @property
    def asked(self) -> int:
        return self._asked

    def said(self, text: str, *rooms: NamedRoom, excluding: tuple[str, ...] = ()) -> list[Entry]:
        """The entries of an event, stored like one that is not volatile."""
        return [
            Entry(namespace=entry.namespace, rooms=entry.rooms, excluded=entry.excluded, data=entry.data)
            for entry in self.publisher.prepare(Said(text=text), *(rooms or (root.everyone,)), excluding=excluding)
        ]

    async def append(self, *entries: Entry | list[Entry]) -> None:
        """Append all entries together; returns when every node has applied them."""
        flat = [entry for given in entries for entry in (given if isinstance(given, list) else [given])]
        self._barriers += 1
        passed = ("pass", b"%d" % self._barriers)
        await self.log.append([*flat, Entry(namespace="/barrier", rooms=(), control=passed[0], data=passed[1])])
        for node in self.nodes:
            barrier = node.applications["/barrier"]
            assert isinstance(barrier, Barrier)
            await barrier.expect(*passed)

    async def say(self, text: str, *rooms: NamedRoom) -> None:
        await self.append(self.said(text, *rooms))


@asynccontextmanager
async def open_club(
    hooks: Hooks | None = None, *, nodes: int = 1, kind: str = "picows", **options: Any
) -> AsyncIterator[Club]:
    club = Club(hooks or Hooks())
    async with AsyncExitStack() as stack:
        for _ in range(nodes):
            running = serve(kind, namespaces={**club.build(), "/barrier": Barrier()}, log=club.log, **options)
            club.nodes.append(await stack.enter_async_context(running))
        yield club


async def expect_said(client: oyez_client.Client, *texts: str) -> None:
    """The client has received exactly these."""
    for text in texts:
        assert (await client.expect_event("said")).args[0]["text"] == text
    await client.expect_nothing("said")
