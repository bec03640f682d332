"""The Membership of a node: the other nodes of its system, what it asks them, and what they ask.

Nodes send each other volatile control entries of no namespace through the log. Each node announces its address every
few seconds. Each node answers which of its sockets are connected. If a client has resumed at one node, the node
that still has its stale socket closes it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from oyez.concurrency.task_set import TaskSet
from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.server.cluster.facts import FactFinder, Facts, Release
from oyez.server.cluster.node import Node

logger = get_logger("oyez.server")

HEARTBEAT_INTERVAL = 2.0
"""Seconds between two heartbeats of a node."""
FIRST_INTERVAL = 0.1
"""Seconds between two heartbeats of a node that has not received its own yet."""
NODE_SECONDS = 3 * HEARTBEAT_INTERVAL
"""Seconds for which a node counts as alive after its last heartbeat: single heartbeats may get lost."""
FETCH_TIMEOUT = 0.5
"""Seconds to wait for the answers of the other nodes."""
DETAILED_PART = 2
"""Sockets in one message if it has their rooms too."""
MAX_ROOMS = 100
"""Rooms of one socket that are listed: some 30 KB if their names are long."""
PART = 200
"""Sockets in one message: some 40 KB, below the size limit of a message between processes."""
MAX_SOCKETS = 1_000
"""Sockets that one node lists by default; it counts all of them."""


class NodeHeartbeat(msgspec.Struct, frozen=True):
    """The node is alive. A node that has just started asks the others to announce themselves too."""

    node: str
    address: str
    new: bool = False
    facts: Facts | None = None
    """None: the node has an older version."""


class Departure(msgspec.Struct, frozen=True):
    """The node stops."""

    node: str


class Fetch(msgspec.Struct, frozen=True):
    """Asks for the sockets in any of `rooms`, or in the whole namespace if there are none."""

    request: str
    namespace: str
    rooms: tuple[str, ...]
    limit: int
    detailed: bool = False
    """True if the rooms of the sockets are asked for. Nodes of older versions do not know them."""


class Present(msgspec.Struct, frozen=True, omit_defaults=True):
    """A connected socket as other nodes see it."""

    id: str
    user: str
    """The user: the subject of the token."""
    address: str
    node: str
    rooms: tuple[str, ...] = ()
    """The first MAX_ROOMS of its rooms, if they were asked for."""
    namespace: str = ""
    """Its namespace, if it is not the one that was asked for, but was declared by that name."""


class Fetched(msgspec.Struct, frozen=True):
    """A part of the answer. Only the last part has `count`, the number of all sockets of the node."""

    request: str
    node: str
    sockets: list[Present]
    count: int | None = None


class Replacement(msgspec.Struct, frozen=True):
    """A client has resumed at `node`: its socket at any other node is stale."""

    node: str
    namespace: str
    socket: str
    generation: int = msgspec.field(name="turn", default=0)
    """Number of times that its session had been resumed before."""


class FoundSockets(msgspec.Struct, frozen=True):
    """The connected sockets, according to the nodes that have answered."""

    sockets: list[Present]
    count: int
    """Number of all of them; `sockets` may be cut."""
    nodes: int
    """Number of nodes."""
    answered: int
    """Number of nodes that have answered in time. If it is smaller, sockets may be missing."""


class NodeReport(msgspec.Struct, frozen=True):
    """A node, as this node sees it."""

    id: str
    address: str
    """Where other nodes reach it; empty if they cannot."""
    facts: Facts | None
    """None: it has an older version, or has not announced itself yet."""
    ahead: float
    """Seconds by which its clock is ahead of this node's; what a message takes makes it smaller."""


class LocalSocket(Protocol):
    """A connected socket of this node."""

    @property
    def id(self) -> str: ...

    @property
    def user_id(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def rooms(self) -> Sequence[str]: ...

    @property
    def namespace(self) -> str: ...


class LocalSockets(Protocol):
    """The sockets of this node."""

    def find(self, namespace: str, rooms: Iterable[str]) -> Sequence[LocalSocket]:
        """The connected sockets of a namespace, or of all that were declared by that name, in any of `rooms` if there
        are some.
        """

    def replace(self, namespace: str, socket: str, generation: int) -> None:
        """Close a socket whose client has resumed at another node, unless its session is newer than `generation`."""


class _Inquiry:
    """The answers to one question, as they arrive."""

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


class Membership:
    """What this node knows of the other nodes of one system. `clock` is monotonic."""

    def __init__(
        self,
        log: Log,
        node: Node,
        sockets: LocalSockets,
        clock: Callable[[], float] = time.monotonic,
        facts: FactFinder | None = None,
    ) -> None:
        self._log = log
        self.node = node
        """This node."""
        self._sockets = sockets
        self._clock = clock
        self._facts = facts or FactFinder(Release, lambda: 0, time.time)
        self._known: dict[str, tuple[NodeReport, float]] = {}
        """By id: each other node, and the time of its last heartbeat."""
        self._receives = False
        """True if this node has received what it has broadcast."""
        self._inquiries: dict[str, _Inquiry] = {}
        self._tasks = TaskSet(self._log_failure)
        # The names of the actions are those of all versions: nodes are replaced one after the other.
        self._actions: dict[str, tuple[type[msgspec.Struct], Callable[[Any], None]]] = {
            "hello": (NodeHeartbeat, self._on_heartbeat),
            "goodbye": (Departure, self._on_departure),
            "fetch": (Fetch, self._on_fetch),
            "fetched": (Fetched, self._on_fetched),
            "superseded": (Replacement, self._on_replacement),
        }

    def on(self, action: str, parameters: type[msgspec.Struct], act: Callable[[Any], None]) -> None:
        """Have `act` called with what a node, perhaps this one, has broadcast as `action`."""
        self._actions[action] = parameters, act

    # Heartbeats.

    async def run(self) -> None:
        """Announce this node every HEARTBEAT_INTERVAL seconds until cancelled."""
        await self._facts.prepare()
        while True:
            # A node that does not receive its own messages yet does not receive the answers of the others either.
            receives = self._receives
            with suppress(LogUnavailableError):
                await self.announce(new=not receives)
            interval = HEARTBEAT_INTERVAL if receives else FIRST_INTERVAL
            due = self._clock() + interval
            await asyncio.sleep(interval)
            self._facts.record_lag(self._clock() - due)

    async def announce(self, *, new: bool) -> None:
        """Announce this node to the others, and to nodes that start later. Raises LogUnavailableError."""
        id, address = self.node.id, self.node.peering.address
        if address:
            await self._log.put(_record(id), address.encode(), NODE_SECONDS)
        await self.broadcast("hello", NodeHeartbeat(id, address, new, self._facts.find()))

    async def leave(self) -> None:
        """Announce that this node stops."""
        self._tasks.cancel()
        with suppress(LogUnavailableError):
            await self._log.get_and_delete(_record(self.node.id))
            await self.broadcast("goodbye", Departure(self.node.id))

    def alive(self) -> set[str]:
        """The ids of all other nodes."""
        oldest = self._clock() - NODE_SECONDS
        self._known = {id: known for id, known in self._known.items() if known[1] > oldest}
        return set(self._known)

    def report(self) -> list[NodeReport]:
        """This node, and all others that are alive."""
        own = NodeReport(self.node.id, self.node.peering.address, self._facts.find(), 0.0)
        return [own, *(self._known[id][0] for id in sorted(self.alive()))]

    async def locate(self, id: str) -> str | None:
        """The address of a node; None if the node is unknown or has no address. Raises LogUnavailableError."""
        local = self.node.peering.local_address
        if local is not None:
            return local
        if id in self.alive():
            return self._known[id][0].address or None
        address = await self._log.get(_record(id))
        return address.decode() if address else None

    # Questions.

    async def fetch(
        self, namespace: str, rooms: Iterable[str] = (), limit: int = MAX_SOCKETS, *, detailed: bool = False
    ) -> FoundSockets:
        """The sockets that are connected to `namespace` on all nodes, in any of `rooms` if some are given.

        If `detailed`, with their rooms.

        Takes FETCH_TIMEOUT seconds at most. A client whose network has failed counts as connected until it misses a
        ping, a node until NODE_SECONDS after its last heartbeat. Raises LogUnavailableError.
        """
        others = self.alive()
        request = Fetch(secrets.token_hex(8), namespace, tuple(rooms), limit, detailed)
        inquiry = self._inquiries[request.request] = _Inquiry({self.node.id, *others})
        try:
            # This node receives it too, and answers like any other.
            await self.broadcast("fetch", request)
            with suppress(TimeoutError):
                async with asyncio.timeout(FETCH_TIMEOUT):
                    await inquiry.done.wait()
        finally:
            del self._inquiries[request.request]
        nodes = len(others) + 1
        return FoundSockets(inquiry.sockets[:limit], inquiry.count, nodes, nodes - len(inquiry.awaited))

    def replace(self, namespace: str, socket: str, node: str, generation: int) -> None:
        """Have `node`, if it is alive, close a stale socket: its client has resumed at this node.

        `generation` is the number of times that its session had been resumed before.
        """
        if node in self.alive():
            stale = Replacement(self.node.id, namespace, socket, generation)
            self._tasks.spawn(self.broadcast("superseded", stale))

    async def broadcast(self, action: str, parameters: msgspec.Struct) -> None:
        """Send `parameters` to all nodes, this one included; they may get lost. Raises LogUnavailableError."""
        data = msgspec.json.encode(parameters)
        await self._log.broadcast(Entry(namespace="", rooms=(), data=data, volatile=True, control=action))

    # What nodes broadcast.

    def handle(self, entry: Entry) -> None:
        """Act on what a node, perhaps this one, has broadcast."""
        known = self._actions.get(entry.control)
        if known is None:
            # The action of a newer version, while nodes are being replaced.
            return
        parameters, act = known
        act(msgspec.json.decode(entry.data, type=parameters))

    def _on_heartbeat(self, heartbeat: NodeHeartbeat) -> None:
        if heartbeat.node == self.node.id:
            self._receives = True
        else:
            facts = heartbeat.facts
            ahead = facts.time - self._facts.now if facts is not None else 0.0
            report = NodeReport(heartbeat.node, heartbeat.address, facts, ahead)
            self._known[heartbeat.node] = report, self._clock()
            if heartbeat.new:
                self._tasks.spawn(self.announce(new=False))

    def _on_departure(self, departure: Departure) -> None:
        self._known.pop(departure.node, None)

    def _on_fetch(self, fetch: Fetch) -> None:
        found = self._sockets.find(fetch.namespace, fetch.rooms)
        named = [self._present(one, fetch) for one in found[: fetch.limit]]
        size = DETAILED_PART if fetch.detailed else PART
        parts = [named[first : first + size] for first in range(0, len(named), size)] or [[]]
        answers = [Fetched(fetch.request, self.node.id, part) for part in parts[:-1]]
        answers.append(Fetched(fetch.request, self.node.id, parts[-1], len(found)))
        self._tasks.spawn(self._answer(answers))

    def _present(self, socket: LocalSocket, fetch: Fetch) -> Present:
        rooms = tuple(socket.rooms[:MAX_ROOMS]) if fetch.detailed else ()
        namespace = "" if socket.namespace == fetch.namespace else socket.namespace
        return Present(socket.id, socket.user_id, socket.address, self.node.id, rooms, namespace)

    async def _answer(self, answers: Iterable[Fetched]) -> None:
        for answer in answers:
            await self.broadcast("fetched", answer)

    def _on_fetched(self, part: Fetched) -> None:
        inquiry = self._inquiries.get(part.request)
        if inquiry is not None:
            inquiry.add(part)

    def _on_replacement(self, stale: Replacement) -> None:
        if stale.node != self.node.id:
            self._sockets.replace(stale.namespace, stale.socket, stale.generation)

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, LogUnavailableError):
            # A node that was to receive this receives nothing at all, and its own consumer reports it.
            logger.warning("a node could not be notified", error=str(error))
        else:
            logger.error("a node could not be notified", exc_info=error)


def _record(node: str) -> str:
    return f"node:{node}"
