"""Random operations against real servers: does each client receive its own events, once, in order, and no others?

    .venv/bin/python -m chaos.random_operations
    .venv/bin/python -m chaos.random_operations --log sqlite --seed 17 --operations 5000

Some clients behave like the official JavaScript client (`pid`, `offset`, buffering), some only send `auth.offset`. They
join and leave rooms, gain and lose memberships, are cut off (noticed by the server or not, with frames in flight), and
reconnect to the same node or to another. Meanwhile events are published, nodes are killed and started again, and the
log is unavailable for moments. Networks are in memory and everything runs in one process, so that a seed gives one
sequence of operations; the servers, the contract, the sessions and the logs are the real ones.

The promise: a client that has joined a room receives, from the acknowledgement on, all events of the room until it
leaves or loses its right, each once and in the order of positions, or is informed that it was not recovered. No client
receives an event of a room to which it has no right, or an event that excludes it.
"""

import argparse
import asyncio
import io
import logging
import random
import shlex
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from bench.table import RELIABILITY, write_rows, write_section
from tests.support.valkey import ValkeyServer, serve_valkey

from chaos.crowd import read_frame
from oyez.contract import Contract, Identity, NamedRoom, anyone, auth, member, own
from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log, number_of
from oyez.log.memory import MemoryLog
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.session import Session, State
from oyez.runtime import control
from oyez.runtime.authentication import Verified
from oyez.runtime.bind import bind
from oyez.server.connections.connection import Connection
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.server import Server
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.transport import Transport
from oyez.server.types import Handshake
from oyez.settings import Limits, Settings

LOGS = ("memory", "sqlite", "redis")
CLIENTS = 12
NODES = 2
TICKETS = 5
ROUND = 400
"""Operations between two checks. At a check all clients reconnect, read all events, and are compared with the model."""
OPERATIONS = {"memory": 600_000, "sqlite": 400_000, "redis": 40_000}
RUN_OPERATIONS = 20_000
"""Operations of one seed."""
WINDOW_BYTES = 40_000
"""Bytes of the replay buffer: so few that clients reconnect from before it, and pages are read from the log."""
RETENTION = 300.0
TURNS = 20_000
"""Iterations of the loop after which an expected event counts as missing."""
PATIENCE = 60.0
"""Seconds for one operation or comparison; the longest take a few seconds."""

contract = Contract("random", roles=("user",), default_role="user", tokens=(auth("token"),))
root = contract.namespace("/")
everybody = root.room("all", members=anyone(), on_connect=True)
user = root.room("user:{user}", members=own("user", claim="sub"), on_connect=True)
ticket = root.room("ticket_{ticket}", members=member(), join="join", leave="leave")
contract.build()


class Violation(Exception):
    """The promise was broken; the message explains how."""


@dataclass
class Published:
    """A published event. `position` is its number in the log; for a volatile event, that of the last stored event."""

    number: int
    rooms: tuple[str, ...]
    excluded: tuple[str, ...]
    position: int
    volatile: bool


class Faulty:
    """A log that can be unavailable: the next `down` calls fail. Deliveries to subscribers continue."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.down = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.log, name)
        if name in ("tail", "open", "close"):
            return method

        async def call(*args: Any) -> Any:
            if self.down:
                self.down -= 1
                raise LogUnavailableError("unavailable on purpose")
            return await method(*args)

        return call


class Wire(Transport):
    """A network connection in memory: what the server has written and the client has not read yet."""

    def __init__(self, connection: Connection, direct: bool) -> None:
        self.write = self._write if direct else None
        self.arriving: deque[bytes | None] = deque()
        """None is the end of the connection."""
        self._closing = False
        self.cut = False
        connection.attach(self)

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def max_buffer(self) -> int:
        return 10_000_000

    @property
    def unsent(self) -> int:
        return 0

    def _write(self, frames: bytes) -> None:
        start = 0
        while (frame := read_frame(frames, start)) is not None:
            _, text, start = frame
            self._arrive(text)

    def _arrive(self, text: bytes | None) -> None:
        if not self.cut:
            self.arriving.append(text)

    def send(self, packet: OutboundPacket) -> None:
        if not self._closing:
            self._arrive(packet.text)
            if packet.follower:
                self._arrive(packet.follower)

    def close(self, reason: CloseReason) -> None:
        if not self._closing:
            self._closing, self.write = True, None
            self._arrive(None)

    async def drained(self) -> None:
        """The client accepts everything; other tasks run first."""
        await asyncio.sleep(0)

    def abort(self) -> None:
        self.close(engineio.TRANSPORT_CLOSE)

    def pause_reading(self) -> None:
        """Clients send few commands."""

    def resume_reading(self) -> None:
        """See pause_reading."""


@dataclass
class Node:
    """A server, its log and its tasks."""

    server: Server
    log: Faulty
    tasks: set[asyncio.Task[Any]]


@dataclass
class Token:
    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    expires_at: float | None = None


class World:
    """The log, the nodes, the membership table, the clients, and what was published."""

    def __init__(self, seed: int, make_log: Callable[[Callable[[], float]], Log], shared: bool) -> None:
        self.chance = random.Random(seed)
        self.now = time.time()
        self._make_log: Callable[[], Log] = lambda: make_log(lambda: self.now)
        self._shared = self._make_log() if shared else None
        self.nodes: list[Node] = []
        self.events: list[Published] = []
        self.by_room: dict[str, list[Published]] = {}
        self.last = 0
        """The number of the newest entry."""
        self.members: set[tuple[str, str]] = set()
        self.rights: dict[tuple[str, str], list[list[float]]] = {}
        """For each user and room, the intervals of positions in which the user may be in the room."""
        self.clients: list[Client] = []
        self.counts: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=60)
        self.steps = 0
        """Number of operations and comparisons that began."""
        self._publisher: Log

    async def start(self) -> None:
        self._publisher = self._shared or self._make_log()
        await self._publisher.open()
        self.last = number_of(await self._publisher.position())
        for number in range(NODES):
            self.nodes.append(await self.start_node(number))
        for number in range(CLIENTS):
            name = f"u{number}"
            self.rights[name, "all"] = self.rights[name, f"user:{name}"] = [[0, float("inf")]]
            self.clients.append(Client(self, name, javascript=number % 3 > 0, direct=number % 4 > 0))

    async def start_node(self, number: int) -> Node:
        log = Faulty(self._shared or self._make_log())
        await log.open()
        applications = bind(
            contract,
            handlers={},
            verify=authenticate,
            settings=Settings(),
            find_parts=self._find_parts,
            # Limits are not the subject: this clock leaves enough time between two commands.
            clock=count(0.0, 1_000.0).__next__,
        )
        # Pages of a few events, so that everything else interrupts a replay.
        limits = Limits(max_connections_per_address=1_000_000, max_replay_page=500, max_replayed_bytes=10_000_000_000)
        server = Server(applications, log, Settings(log_retention=RETENTION, shutdown_timeout=1.0, limits=limits))
        server.replay_buffer = ReplayBuffer(WINDOW_BYTES)
        before = asyncio.all_tasks()
        await server.start()
        return Node(server, log, asyncio.all_tasks() - before)

    async def _find_parts(self, identity: Identity, room: NamedRoom) -> Mapping[str, str]:
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        return {identity.subject: ""} if (identity.subject, room.name) in self.members else {}

    async def stop(self) -> None:
        for node in self.nodes:
            self.kill(node)
            if self._shared is None:
                await node.log.close()
        await self._publisher.close()

    # Operations.

    async def publish(self) -> None:
        entries: list[Entry] = []
        made: list[Published] = []
        volatile = self.chance.random() < 0.1
        for _ in range(1 if volatile else self.chance.choice((1, 1, 1, 2, 5, 30))):
            names = ["all", *(f"user:u{n}" for n in range(CLIENTS)), *(f"ticket_{n}" for n in range(TICKETS))]
            weights = [6, *([1] * CLIENTS), *([4] * TICKETS)]
            rooms = tuple(dict.fromkeys(self.chance.choices(names, weights, k=self.chance.choice((1, 1, 2, 3)))))
            if self.chance.random() < 0.05:
                rooms = ()
            away = (f"user:u{self.chance.randrange(CLIENTS)}",) if self.chance.random() < 0.2 else ()
            number = len(self.events) + len(made)
            made.append(Published(number, rooms, away, self.last, volatile))
            data = msgspec.json.encode(["news", {"n": number}])
            entries.append(Entry(namespace="/", rooms=rooms, excluded=away, data=data, volatile=volatile))
        self.events += made
        if volatile:
            await self._publisher.broadcast(entries[0])
            return
        positions = await self._publisher.append(entries)
        for one, position in zip(made, positions, strict=True):
            one.position = number_of(position)
            for room in one.rooms or ("",):
                self.by_room.setdefault(room, []).append(one)
        self.last = made[-1].position
        self.counts["published"] += len(made)

    def add_member(self) -> None:
        name, room = f"u{self.chance.randrange(CLIENTS)}", f"ticket_{self.chance.randrange(TICKETS)}"
        if (name, room) not in self.members:
            self.members.add((name, room))
            self.rights.setdefault((name, room), []).append([self.last, float("inf")])

    async def remove_member(self) -> None:
        if not self.members:
            return
        name, room = self.chance.choice(sorted(self.members))
        self.members.discard((name, room))
        for client in self.clients:
            if client.name == name:
                client.lose_right(room)
        entry = control.member_removed(NamedRoom("/", room), f"user:{name}")
        # The membership table already refuses before the entry is in the log.
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        (position,) = await self._publisher.append([entry])
        self.last = number_of(position)
        self.rights[name, room][-1][1] = self.last

    def kill(self, node: Node) -> None:
        """Kill a node as SIGKILL does: it writes nothing more, and all connections end."""
        for task in node.tasks:
            task.cancel()
        for tasks in node.server.namespaces.tasks:
            tasks.cancel()
        node.log.down = 1_000_000_000
        for client in self.clients:
            if client.node is node:
                client.disconnect()

    async def restart(self, *, kill: bool) -> None:
        number = self.chance.randrange(NODES)
        node = self.nodes[number]
        if kill:
            self.kill(node)
            await asyncio.gather(*node.tasks, return_exceptions=True)
        else:
            node.log.down = 0
            for client in self.clients:
                if client.node is node:
                    client.disconnect()
            await node.server.stop()
        if self._shared is None:
            await node.log.close()
        self.nodes[number] = await self.start_node(number)
        self.counts["restarts"] += 1

    async def act(self) -> None:
        """One random operation."""
        chance = self.chance
        client = chance.choice(self.clients)
        (what,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        self.trace.append(f"{what} {client.name}")
        if what == "publish":
            await self.publish()
        elif what == "read":
            client.read(chance.choice((1, 2, 5, 50)))
        elif what == "turn":
            for _ in range(chance.choice((1, 2, 5, 20))):
                await asyncio.sleep(0)
        elif what == "join":
            client.join(f"ticket_{chance.randrange(TICKETS)}")
        elif what == "leave" and client.wanted:
            client.leave(chance.choice(sorted(client.wanted)))
        elif what == "cut":
            client.cut(noticed=chance.random() < 0.6)
        elif what == "connect":
            client.connect(chance.choice(self.nodes))
        elif what == "ping" and client.connection is not None and not client.connection.closed:
            client.connection.ping()
        elif what == "add member":
            self.add_member()
        elif what == "remove member":
            await self.remove_member()
        elif what in ("kill", "stop"):
            await self.restart(kill=what == "kill")
        elif what == "outage":
            chance.choice(self.nodes).log.down = chance.choice((1, 1, 2, 5))
        elif what == "long absence":
            await self.wait_long()
        self.counts[what] += 1

    async def wait_long(self) -> None:
        """Let the retention pass: clients that stay connected must not miss anything."""
        await self.come_together()
        for client in self.clients:
            if self.chance.random() < 0.3:
                client.cut(noticed=True)
        await self.reach()
        self.now += 3 * RETENTION
        await self.publish()

    # Checks.

    async def reach(self) -> None:
        """Return when all nodes have delivered the whole log and written their sessions."""
        for node in self.nodes:
            node.log.down = 0
            await node.server.progress.wait_for_position(await self._publisher.position())
            with suppress(LogUnavailableError):
                await node.server.sessions.flush()

    async def come_together(self) -> None:
        """Return when all clients are connected and have read all events."""
        await self.reach()
        for turn in range(TURNS):
            for client in self.clients:
                client.read(1_000_000)
                if client.connection is None:
                    client.connect(self.chance.choice(self.nodes))
            if all(client.quiet for client in self.clients):
                break
            await asyncio.sleep(0 if turn < 1_000 else 0.001)
        else:
            raise Violation(f"clients make no progress: {[c.name for c in self.clients if not c.quiet]}")
        await self.reach()
        for _ in range(5):
            await asyncio.sleep(0)
        for client in self.clients:
            client.read(1_000_000)

    async def check(self) -> None:
        await self.come_together()
        for client in self.clients:
            client.check()

    def may_receive(self, name: str, event: Published) -> bool:
        """True if the user has a right to one of the rooms until after the event, and is not excluded."""
        if f"user:{name}" in event.excluded:
            return False
        intervals = (one for room in event.rooms or ("all",) for one in self.rights.get((name, room), ()))
        return any(end >= event.position for _, end in intervals)


async def authenticate(token: str) -> Verified:
    return Token(token)


WEIGHTS = {
    "publish": 25.0,
    "read": 30.0,
    "turn": 12.0,
    "join": 8.0,
    "leave": 2.0,
    "cut": 6.0,
    "connect": 8.0,
    "ping": 4.0,
    "add member": 3.0,
    "remove member": 1.0,
    "kill": 0.25,
    "stop": 0.1,
    "outage": 0.3,
    "long absence": 0.02,
}


class Client:
    """A client. `javascript`: it recovers as the official client does; otherwise by `auth.offset` alone."""

    def __init__(self, world: World, name: str, *, javascript: bool, direct: bool) -> None:
        self.world = world
        self.name = name
        self.javascript = javascript
        self.direct = direct
        self.node: Node | None = None
        self.connection: Connection | None = None
        self.wire: Wire | None = None
        self.connected = False
        self.settled = False
        """True if it has joined its rooms again; before that, a client with only an offset has nothing to recover."""
        self.pid: str | None = None
        self.offset: str | None = None
        self.wanted: set[str] = set()
        """Rooms whose join was acknowledged and that it has not left."""
        self.since: dict[str, int] = {}
        """For each room, the position after which it must receive everything."""
        self.rejoining: dict[str, int] = {}
        """The same for the rooms that it is joining again."""
        self.caught_up: set[str] = set()
        self.acks: dict[int, tuple[str, str]] = {}
        self.got: set[int] = set()
        self.newest = 0
        self.newest_late = 0
        self.unpositioned: int | None = None
        """The event whose position must come next, if positions are sent as events of their own."""
        self.buffer: list[list[Any]] = []
        """Events that came before the answer to CONNECT, kept as the official client keeps them."""
        self._ids = count()

    @property
    def quiet(self) -> bool:
        if self.connection is not None and any(one.session.replaying for one in self.connection.sockets.values()):
            return False
        return self.connected and self.settled and not self.acks and not (self.wire and self.wire.arriving)

    # Actions.

    def connect(self, node: Node) -> None:
        if self.connection is not None:
            return
        query = "EIO=4&transport=websocket" if self.javascript else "transport=websocket&EIO=4"
        handshake = Handshake(headers={}, query_string=query, address=self.name, secure=False, time=time.time())
        opened = node.server.registry.open(handshake, Session(node.server.limits, State.WEBSOCKET))
        assert isinstance(opened, Connection), opened
        self.node, self.connection, self.wire = node, opened, Wire(opened, self.direct)
        opened.open()
        auth: dict[str, Any] = {"token": self.name}
        if self.javascript:
            if self.pid is not None:
                auth["pid"] = self.pid
                if self.offset is not None:
                    auth["offset"] = self.offset
        else:
            auth["recovery"] = True
            if self.offset is not None and self.settled:
                auth["offset"] = self.offset
            else:
                self.give_up()
        self.settled = False
        self.caught_up.clear()
        self.newest_late, self.unpositioned = 0, None
        opened.on_text(b"40" + msgspec.json.encode(auth))
        self.world.counts["connects"] += 1

    def cut(self, *, noticed: bool) -> None:
        """Lose the network and all data in flight; the server notices if `noticed`."""
        connection = self.connection
        self.disconnect()
        if noticed and connection is not None:
            connection.close(engineio.TRANSPORT_CLOSE)

    def disconnect(self) -> None:
        if self.wire is not None:
            self.wire.cut = True
            self.wire.arriving.clear()
        self.node, self.connection, self.wire, self.connected = None, None, None, False
        # The outcome of the commands is unknown.
        for verb, room in self.acks.values():
            if verb == "join":
                self.wanted.discard(room)
        self.acks.clear()

    def command(self, verb: str, room: str) -> None:
        assert self.connection is not None
        number = next(self._ids)
        self.acks[number] = verb, room
        body = msgspec.json.encode([verb, {"ticket": room.removeprefix("ticket_")}])
        self.connection.on_text(b"42%d%b" % (number, body))

    def join(self, room: str) -> None:
        if self.connected and self.settled and (self.name, room) in self.world.members:
            self.command("join", room)

    def leave(self, room: str) -> None:
        if self.connected and self.settled:
            self.lose_right(room)
            self.command("leave", room)

    def lose_right(self, room: str) -> None:
        """From now on it need not receive anything of the room."""
        self.wanted.discard(room)
        self.since.pop(room, None)
        self.rejoining.pop(room, None)
        for number, (verb, name) in tuple(self.acks.items()):
            if (verb, name) == ("join", room):
                self.acks[number] = "late join", room

    def give_up(self) -> None:
        """The client knows that it must fetch its state again."""
        if self.since:
            self.world.counts["explicit"] += 1
        self.since.clear()
        self.rejoining.clear()

    # Received packets.

    def read(self, most: int) -> None:
        while most and self.wire is not None and self.wire.arriving:
            most -= 1
            text = self.wire.arriving.popleft()
            if text is None:
                self.disconnect()
                return
            self._receive(text)
            if self.unpositioned is not None and self.wire is not None and self.wire.arriving:
                # The position is in the same write as its event.
                most += 1

    def _receive(self, text: bytes) -> None:
        assert self.connection is not None
        if text == b"2":
            if not self.connection.closed:
                self.connection.on_text(b"3")
        elif text.startswith(b"40"):
            self._begin(msgspec.json.decode(text[2:]))
        elif text.startswith(b"42"):
            event = msgspec.json.decode(text[2:])
            if self.connected:
                self._receive_event(event)
            else:
                self.buffer.append(event)
        elif text.startswith(b"43"):
            number, _, body = text[2:].partition(b"[")
            self._acknowledged(int(number), msgspec.json.decode(b"[" + body)[0])
        elif text.startswith(b"44"):
            raise Violation(f"{self.name} was refused: {text!r}")

    def _begin(self, answer: dict[str, str]) -> None:
        self.connected = True
        if self.javascript:
            recovered = self.pid is not None and answer["pid"] == self.pid
            self.pid = answer["pid"]
            self.world.counts["recovered" if recovered else "begun"] += 1
            buffered, self.buffer = self.buffer, []
            for event in buffered:
                self._receive_event(event)
            if recovered:
                self.settled = True
            else:
                self.give_up()
                self._start_over()

    def _start_over(self) -> None:
        for room in ("all", f"user:{self.name}"):
            self.since[room] = self.world.last
        self._rejoin()

    def _rejoin(self) -> None:
        self.settled = True
        for room in sorted(self.wanted):
            if (self.name, room) in self.world.members:
                self.settled = False
                self.command("join", room)

    def _receive_event(self, event: list[Any]) -> None:
        name, *args = event
        if name == "oyez:recovery":
            self._receive_answer(args[0])
            return
        if self.javascript and isinstance(args[-1], str):
            self.offset = args[-1]
        if name == "oyez:position" and self.javascript:
            if number_of(args[0]) != self.unpositioned:
                raise Violation(f"{self.name} gets {event}, expected that of {self.unpositioned}")
            self.unpositioned = None
            return
        if self.unpositioned is not None:
            raise Violation(f"{self.name} gets {event} before the position of {self.unpositioned}")
        if name == "oyez:status":
            return
        if name != "news":
            raise Violation(f"{self.name} receives an unknown event {event}")
        one = self.world.events[args[0]["n"]]
        if one.number in self.got:
            raise Violation(f"{self.name} gets {one} twice")
        self.got.add(one.number)
        if not self.world.may_receive(self.name, one):
            raise Violation(f"{self.name} gets {one}, to which it has no right")
        self.world.counts["received"] += 1
        if one.volatile:
            return
        if self.javascript and len(args) > 1:
            raise Violation(f"{self.name} gets {one} with an argument that it did not ask for")
        if self.javascript or len(args) == 2:
            if self.javascript:
                self.unpositioned = one.position
            elif number_of(args[1]) != one.position:
                raise Violation(f"{self.name} gets {one} as {args[1]}")
            else:
                self.offset = args[1]
            if one.position <= self.newest:
                raise Violation(f"{self.name} gets {one} after {self.newest}")
            self.newest = one.position
        elif self.settled:
            raise Violation(f"{self.name} gets {one} without its position")
        elif one.position <= self.newest_late:
            raise Violation(f"{self.name} gets {one} late, after {self.newest_late}")
        else:
            self.newest_late = one.position

    def _receive_answer(self, answer: dict[str, Any]) -> None:
        if "room" in answer:
            self.newest_late = 0
            if answer["recovered"]:
                self.caught_up.add(answer["room"])
            return
        self.world.counts[f"answer {answer['reason']}"] += 1
        if self.javascript:
            return
        if answer["recovered"]:
            self.world.counts["recovered"] += 1
            self.rejoining = {room: since for room, since in self.since.items() if room in self.wanted}
            for room in self.rejoining:
                del self.since[room]
            self._rejoin()
        else:
            self.world.counts["begun"] += 1
            self.give_up()
            self.offset = answer["to"]
            self._start_over()

    def _acknowledged(self, number: int, answer: dict[str, Any]) -> None:
        verb, room = self.acks.pop(number)
        if verb == "join" and answer["ok"]:
            self.wanted.add(room)
            since = self.rejoining.pop(room, None)
            if room not in self.since:
                self.since[room] = since if since is not None and room in self.caught_up else self.world.last
        elif verb == "join":
            self.wanted.discard(room)
        if not any(verb == "join" for verb, _ in self.acks.values()):
            self.settled = True

    def check(self) -> None:
        """Raise Violation if an event is missing; from here on the client must receive what comes."""
        for room, since in self.since.items():
            for one in self._after(room, since) + (self._after("", since) if room == "all" else []):
                if one.number not in self.got and f"user:{self.name}" not in one.excluded:
                    raise Violation(f"{self.name} never got {one}, in {room} since {since}")
            self.since[room] = self.world.last

    def _after(self, room: str, since: int) -> list[Published]:
        found = []
        for one in reversed(self.world.by_room.get(room, ())):
            if one.position <= since:
                break
            found.append(one)
        return found


async def run(seed: int, operations: int, make_log: Callable[[Callable[[], float]], Log], shared: bool) -> Counter[str]:
    """Run one seed. Raises Violation with the last operations."""
    world = World(seed, make_log, shared)
    running = asyncio.create_task(_operate(world, operations))
    try:
        while not running.done():
            before = world.steps
            await asyncio.wait({running}, timeout=PATIENCE)
            if not running.done() and world.steps == before:
                found = _describe_tasks()
                running.cancel()
                # Its clean-up may hang too: then the end of the loop cancels it again.
                await asyncio.wait({running}, timeout=PATIENCE)
                raise Violation(f"no progress for {PATIENCE:g} s\n{found}")
        await running
    except Violation as violation:
        done = ", ".join(world.trace)
        raise Violation(f"seed {seed}, step {world.steps}: {violation}\nlast: {done}") from None
    return world.counts


async def _operate(world: World, operations: int) -> None:
    await world.start()
    try:
        for number in range(operations):
            world.steps += 1
            await world.act()
            if number % ROUND == ROUND - 1:
                world.steps += 1
                await world.check()
        await world.check()
    except LogUnavailableError as error:
        # The log was available, so nothing should have failed because of it.
        raise Violation(f"{error}\n{_describe_tasks()}") from error
    finally:
        await world.stop()


def _describe_tasks() -> str:
    """The stack of each task of the loop."""
    written = io.StringIO()
    for task in asyncio.all_tasks():
        task.print_stack(file=written)
    return written.getvalue()


async def run_on(kind: str, seed: int, operations: int, folder: Path, server: ValkeyServer | None) -> Counter[str]:
    path = Path(tempfile.mkdtemp(dir=folder))

    def make_log(clock: Callable[[], float]) -> Log:
        if kind == "memory":
            return MemoryLog(retention=RETENTION, clock=clock)
        if kind == "sqlite":
            return SqliteLog(path / "log.sqlite", retention=RETENTION, clock=clock)
        assert server is not None
        return RedisLog(server.url, path.name, retention=RETENTION, clock=clock)

    return await run(seed, operations, make_log, kind == "memory")


def silence_logs() -> None:
    """Silence the logs: killed nodes log many errors."""
    logging.getLogger("oyez").setLevel(logging.CRITICAL)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.random_operations", description=__doc__)
    parser.add_argument("--log", choices=LOGS, help="[default: each]")
    parser.add_argument("--seed", type=int, help="one run with this seed [default: as many seeds as needed]")
    parser.add_argument("--operations", type=int, help=f"number of operations on each log [default: {OPERATIONS}]")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/reliability.md")
    options = parser.parse_args(arguments)
    silence_logs()
    found: dict[str, Found | None] = {}
    with tempfile.TemporaryDirectory(prefix="oyez-random-") as name:
        folder = Path(name)
        for kind in (options.log,) if options.log else LOGS:
            with serve_valkey(folder / "valkey") if kind == "redis" else nullcontext() as server:
                found[kind] = run_many(kind, options, folder, server)
    if options.page:
        rows = write_rows(HEADINGS, [one.cells(kind) for kind, one in found.items() if one is not None])
        command = shlex.join(["python", "-m", "chaos.random_operations", *arguments])
        write_section(RELIABILITY, "random operations", rows, command=command)
    return 0 if all(found.values()) else 1


HEADINGS = (
    "log",
    "operations",
    "seeds",
    "events",
    "deliveries",
    "disconnections",
    "recovered",
    "not recovered, informed",
    "memberships lost",
    "servers killed or stopped",
    "violations",
)


@dataclass(frozen=True)
class Found:
    """The operations of the runs on one log, none of which broke the promise."""

    operations: int
    seeds: Sequence[int]
    counts: Counter[str]

    def cells(self, kind: str) -> list[str]:
        names = ("published", "received", "cut", "recovered", "explicit", "remove member", "restarts")
        counted = [f"{self.counts[name]:,}" for name in names]
        return [kind, f"{self.operations:,}", f"{self.seeds[0]}–{self.seeds[-1]}", *counted, "0"]


def run_many(kind: str, options: argparse.Namespace, folder: Path, server: ValkeyServer | None) -> Found | None:
    """None if the promise was broken; the violation is printed."""
    wanted = options.operations or OPERATIONS[kind]
    seeds = [options.seed] if options.seed is not None else [*range(-(-wanted // RUN_OPERATIONS))]
    counts: Counter[str] = Counter()
    began, done = time.monotonic(), 0
    for seed in seeds:
        operations = wanted if options.seed is not None else min(RUN_OPERATIONS, wanted - done)
        try:
            counts += asyncio.run(run_on(kind, seed, operations, folder, server))
        except Violation as violation:
            print(
                f"{kind}: {violation}\npython -m chaos.random_operations --log {kind} --seed {seed}"
                f" --operations {operations}",
                flush=True,
            )
            return None
        done += operations
    seconds = time.monotonic() - began
    print(
        f"{kind}: {done:,} operations in {seconds:.0f} s, seeds {seeds[0]} to {seeds[-1]}: {counts['published']:,}"
        f" events, {counts['received']:,} deliveries; {counts['connects']:,} connects,"
        f" {counts['recovered']:,} recovered, {counts['explicit']:,} informed that they were not;"
        f" {counts['restarts']:,} restarts; nothing lost, duplicated or out of order,"
        " and nothing delivered to a client without the right",
        flush=True,
    )
    return Found(done, seeds, counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
