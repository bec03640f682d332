"""The Neighbours of a server: the other nodes of its system, what they are asked, and what they ask.

What nodes have to tell each other goes through the log, as volatile control entries of no namespace: each says every
few seconds that it is there and where; who is connected is asked of all of them; a client that came back to one is
ended at another that still takes it for connected.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from oyez.concurrency.task_set import TaskSet
from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.server.cluster.node import Node

if TYPE_CHECKING:
    from oyez.server.namespaces.namespace import Namespace

logger = get_logger("oyez.server")

HELLO_INTERVAL = 2.0
"""Seconds between two signs of life of a node."""
FIRST_INTERVAL = 0.1
"""Seconds between two of a node that does not hear the log yet."""
NODE_SECONDS = 3 * HELLO_INTERVAL
"""How long a node counts as alive behind its last one: some may get lost."""
FETCH_TIMEOUT = 0.5
"""Seconds in which nodes say who is connected; one that takes longer has other worries."""
PART = 200
"""Sockets in one message: some 40 KB, below what one message between processes may have."""
MAX_SOCKETS = 1_000
"""Sockets that one node tells of by default; it counts them all."""


class Hello(msgspec.Struct, frozen=True):
    """The node is there. One that has just come asks to be told the same."""

    node: str
    address: str
    new: bool = False


class Goodbye(msgspec.Struct, frozen=True):
    """The node goes."""

    node: str


class Fetch(msgspec.Struct, frozen=True):
    """Who is in one of `rooms` (in the namespace, where there are none)?"""

    request: str
    namespace: str
    rooms: tuple[str, ...]
    limit: int


class Present(msgspec.Struct, frozen=True):
    """A connected socket as other nodes see it."""

    id: str
    user: str
    """Whose it is: the subject of the token."""
    address: str
    node: str


class Fetched(msgspec.Struct, frozen=True):
    """A part of the answer; the last one says how many sockets there are."""

    request: str
    node: str
    sockets: list[Present]
    count: int | None = None


class Superseded(msgspec.Struct, frozen=True):
    """A client has come back to `node`: wherever else its socket still is, it is dead without being known to be."""

    node: str
    namespace: str
    socket: str
    turn: int = 0
    """How often its session had been taken up before."""


class Presence(msgspec.Struct, frozen=True):
    """Who is connected, as far as the nodes have said."""

    sockets: list[Present]
    count: int
    """All of them, where `sockets` had to stop."""
    nodes: int
    """How many nodes there are."""
    answered: int
    """How many of them have said so in time: where they are fewer, somebody may be missing."""


class _Inquiry:
    """An answer as it comes in."""

    def __init__(self, awaited: set[str]) -> None:
        self.awaited = awaited
        self.sockets: list[Present] = []
        self.count = 0
        self.done = asyncio.Event()

    def add(self, part: Fetched) -> None:
        self.sockets += part.sockets
        if part.count is not None:
            self.count += part.count
            self.awaited.discard(part.node)
        if not self.awaited:
            self.done.set()


class Neighbours:
    """What the server with these `namespaces` knows of the others. `clock` is monotonic."""

    def __init__(
        self,
        log: Log,
        node: Node,
        namespaces: "Mapping[str, Namespace]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self.node = node
        """This one."""
        self._namespaces = namespaces
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}
        """By id the address of each, and when it was last heard of."""
        self._hears = False
        """Whether what this node said has come back to it."""
        self._inquiries: dict[str, _Inquiry] = {}
        self._tasks = TaskSet(self._log_failure)
        self._actions: dict[str, tuple[type[msgspec.Struct], Callable[[Any], None]]] = {
            "hello": (Hello, self._hear_hello),
            "goodbye": (Goodbye, self._hear_goodbye),
            "fetch": (Fetch, self._hear_fetch),
            "fetched": (Fetched, self._hear_fetched),
            "superseded": (Superseded, self._hear_superseded),
        }

    def on(self, action: str, parameters: type[msgspec.Struct], act: Callable[[Any], None]) -> None:
        """Have `act` called with what a node, perhaps this one, has broadcast as `action`."""
        self._actions[action] = parameters, act

    # Being there.

    async def run(self) -> None:
        """Say so every HELLO_INTERVAL seconds until cancelled."""
        while True:
            # Whoever does not hear itself yet does not hear the answers of the others either.
            hears = self._hears
            with suppress(LogUnavailableError):
                await self.greet(new=not hears)
            await asyncio.sleep(HELLO_INTERVAL if hears else FIRST_INTERVAL)

    async def greet(self, *, new: bool) -> None:
        """Say that this node is there, for those who listen now and for those who come. Raises LogUnavailableError."""
        if self.node.address:
            await self._log.put(_record(self.node.id), self.node.address.encode(), NODE_SECONDS)
        await self._tell("hello", Hello(self.node.id, self.node.address, new))

    async def take_leave(self) -> None:
        """Say that this node goes."""
        self._tasks.cancel()
        with suppress(LogUnavailableError):
            await self._log.get_and_delete(_record(self.node.id))
            await self._tell("goodbye", Goodbye(self.node.id))

    def alive(self) -> set[str]:
        """The ids of all other nodes."""
        oldest = self._clock() - NODE_SECONDS
        self._known = {id: known for id, known in self._known.items() if known[1] > oldest}
        return set(self._known)

    async def locate(self, id: str) -> str | None:
        """The address of a node; None where there is none, or it is not to be reached. Raises LogUnavailableError."""
        near = self.node.locate(id)
        if near is not None:
            return near
        if id in self.alive():
            return self._known[id][0] or None
        address = await self._log.get(_record(id))
        return address.decode() if address else None

    # Asking.

    async def fetch(self, namespace: str, rooms: Iterable[str] = (), limit: int = MAX_SOCKETS) -> Presence:
        """Who is connected to `namespace`, in any of `rooms` where some are given, on all nodes.

        Takes FETCH_TIMEOUT seconds at most. A client that has vanished without a word counts as connected until its
        ping is missed, a node until NODE_SECONDS behind its last sign of life. Raises LogUnavailableError.
        """
        others = self.alive()
        request = Fetch(secrets.token_hex(8), namespace, tuple(rooms), limit)
        inquiry = self._inquiries[request.request] = _Inquiry({self.node.id, *others})
        try:
            # Its own consumer hears it as well, and answers like any other.
            await self._tell("fetch", request)
            with suppress(TimeoutError):
                async with asyncio.timeout(FETCH_TIMEOUT):
                    await inquiry.done.wait()
        finally:
            del self._inquiries[request.request]
        nodes = len(others) + 1
        return Presence(inquiry.sockets[:limit], inquiry.count, nodes, nodes - len(inquiry.awaited))

    def supersede(self, namespace: str, socket: str, node: str, turn: int) -> None:
        """A client has come back here that was connected to `node`: that one is to forget it, if it is alive.

        `turn` is how often its session had been taken up before.
        """
        if node in self.alive():
            self._tasks.spawn(self._tell("superseded", Superseded(self.node.id, namespace, socket, turn)))

    async def broadcast(self, action: str, parameters: msgspec.Struct) -> None:
        """Send something to all nodes, this one included; it may get lost. Raises LogUnavailableError."""
        await self._tell(action, parameters)

    async def _tell(self, action: str, parameters: msgspec.Struct) -> None:
        data = msgspec.json.encode(parameters)
        await self._log.broadcast(Entry(namespace="", rooms=(), data=data, volatile=True, control=action))

    # Hearing.

    def hear(self, entry: Entry) -> None:
        """What a node, perhaps this one, has told all of them."""
        known = self._actions.get(entry.control)
        if known is None:
            # Of a newer version, while nodes are being replaced.
            return
        parameters, act = known
        act(msgspec.json.decode(entry.data, type=parameters))

    def _hear_hello(self, hello: Hello) -> None:
        if hello.node == self.node.id:
            self._hears = True
        else:
            self._known[hello.node] = (hello.address, self._clock())
            if hello.new:
                self._tasks.spawn(self.greet(new=False))

    def _hear_goodbye(self, goodbye: Goodbye) -> None:
        self._known.pop(goodbye.node, None)

    def _hear_fetch(self, fetch: Fetch) -> None:
        namespace = self._namespaces.get(fetch.namespace)
        found = namespace.fetch_sockets(fetch.rooms) if namespace is not None else []
        told = [Present(info.id, info.user_id, info.address, self.node.id) for info in found[: fetch.limit]]
        parts = [told[first : first + PART] for first in range(0, len(told), PART)] or [[]]
        answers = [Fetched(fetch.request, self.node.id, part) for part in parts[:-1]]
        answers.append(Fetched(fetch.request, self.node.id, parts[-1], len(found)))
        self._tasks.spawn(self._answer(answers))

    async def _answer(self, answers: Iterable[Fetched]) -> None:
        for answer in answers:
            await self._tell("fetched", answer)

    def _hear_fetched(self, part: Fetched) -> None:
        inquiry = self._inquiries.get(part.request)
        if inquiry is not None:
            inquiry.add(part)

    def _hear_superseded(self, superseded: Superseded) -> None:
        namespace = self._namespaces.get(superseded.namespace)
        if superseded.node != self.node.id and namespace is not None:
            older = namespace.sockets.get(superseded.socket)
            # It may have come back once more meanwhile.
            if older is not None and older.session.generation <= superseded.turn:
                older.replace()

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, LogUnavailableError):
            # A node that was to receive this receives nothing at all, and its own consumer reports it.
            logger.warning("a node could not be notified", error=str(error))
        else:
            logger.error("a node could not be notified", exc_info=error)


def _record(node: str) -> str:
    return f"node:{node}"
