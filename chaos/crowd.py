"""Clients on bad networks, what is published to them, and what they should have heard.

A part of them are official JavaScript clients in a Node process, the others a small client of our own that speaks the
official protocol and comes back the official way: with the `pid` of its session and the position of the last event.
Every one is cut every so often and comes back after a while. The official ones lose their TCP connection; of our own,
every other time the server hears nothing of it, as when a phone loses its network.
"""

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

TEXT = "x" * 168
TICK = 0.1
"""Seconds between two publications of private events; each user has one a second."""
STALE_SECONDS = 4.0
"""How long the network keeps up a connection that the client has given up."""
IP_BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h; Python has no name for it before 3.12."""
AN_ADDRESS = 5_000
"""Our own clients that come from one address of this machine: a server lets only so many in from each."""
FIRST_DELAY, LONGEST_DELAY, SCATTER = 1.0, 5.0, 0.5
"""After how many seconds official clients come back, where they are not told otherwise: twice as many each time, up to
the longest, each time more or less by half."""
BEHIND = 30.0
"""Seconds that a server has to deliver what it was given, when nothing more comes."""
PATIENCE = 60.0
"""Seconds after which something that was to happen counts as not happening."""


class Heard(msgspec.Struct):
    """What one client heard, as it says itself."""

    user: str
    heard: list[int]
    duplicates: int = 0
    disordered: int = 0
    comebacks: int = 0
    told: list[int] = []
    """The newest event it had whenever it was told that it was not recovered."""
    replays: list[float] = []
    """Milliseconds from its beginning to come back to the last event it had missed."""
    absences: list[tuple[int, int]] = []
    """From when till when it was not connected, by the monotonic clock in nanoseconds."""
    connected: bool = False
    """At the end."""


@dataclass
class Sent:
    """What was accepted, by whom it is to be heard; and what may have been, for nobody answered."""

    shared: list[int] = field(default_factory=list)
    private: dict[str, list[int]] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    refused: int = 0
    numbers: "count[int]" = field(default_factory=count)


@dataclass(kw_only=True)
class Outcome:
    """Of a whole run."""

    javascript: int
    own: int
    seconds: float
    accepted: int = 0
    unknown: int = 0
    due: int = 0
    """Events times clients that should hear them."""
    missing: int = 0
    """Of those, what they never heard and were not told of."""
    told_missing: int = 0
    """What they never heard, but were told that something is missing."""
    duplicates: int = 0
    disordered: int = 0
    foreign: int = 0
    """Private events of others."""
    comebacks: int = 0
    told: int = 0
    """Comebacks that the client knows not to be recovered."""
    replays: list[float] = field(default_factory=list)
    absences: list[tuple[int, int]] = field(default_factory=list)
    absent: int = 0
    """Clients that were not back at the end."""

    @property
    def delivered(self) -> float:
        """In per cent."""
        return 100 * (1 - (self.missing + self.told_missing) / self.due) if self.due else 0.0

    @property
    def good(self) -> bool:
        faults = self.missing or self.duplicates or self.disordered or self.foreign or self.absent
        return not faults and bool(self.due)

    def percentile(self, share: float) -> float | None:
        ordered = sorted(self.replays)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def compare(sent: Sent, reports: Iterable[Heard], outcome: Outcome) -> None:
    """Hold what clients heard against what was sent."""
    shared, everything = set(sent.shared), set(sent.shared)
    for numbers in sent.private.values():
        everything.update(numbers)
    outcome.accepted, outcome.unknown = len(everything), len(sent.unknown)
    for report in reports:
        heard = set(report.heard)
        due = shared | set(sent.private.get(report.user, ()))
        missing = due - heard
        told = {number for number in missing if any(_is_gap(number, mark, report.heard) for mark in report.told)}
        outcome.due += len(due)
        outcome.missing += len(missing - told)
        outcome.told_missing += len(told)
        outcome.foreign += len((heard & everything) - due)
        outcome.duplicates += report.duplicates
        outcome.disordered += report.disordered
        outcome.comebacks += report.comebacks
        outcome.told += len(report.told)
        outcome.replays += report.replays
        outcome.absences += report.absences
        outcome.absent += not report.connected


def _is_gap(number: int, mark: int, heard: Sequence[int]) -> bool:
    """Whether `number` is between what was heard last before the client was told, and what it heard next."""
    following = [one for one in heard if one > mark]
    return number > mark and (not following or number < following[0])


# Our own client.


class Client:
    """Counts what it hears; over one connection after the other."""

    def __init__(self, user: str, token: str, crowd: "Crowd", address: str) -> None:
        self.crowd = crowd
        self._address = address
        self.auth = {"token": token, "user": user}
        self.report = Heard(user, [], told=[], replays=[], absences=[])
        self.connection: Connection | None = None
        self.connected = False
        self.entered = False
        self._seen: set[int] = set()
        self._newest = -1
        self._pid: str | None = None
        self._offset: str | None = None
        self._came_back = self._replayed = self._left = 0
        self._attempts = 0
        self._silently = False

    async def run(self) -> None:
        """Be connected, again and again."""
        while True:
            if self.entered:
                self.finish_replay()
                self._came_back = time.monotonic_ns()
            gone = asyncio.get_running_loop().create_future()
            with suppress(OSError):
                await self._connect(gone)
                await gone
            if self.connected:
                self._left = time.monotonic_ns()
            self.connected, self.connection = False, None
            await asyncio.sleep(self._delay())
            await self.crowd.gate.wait()

    async def _connect(self, gone: "asyncio.Future[None]") -> None:
        loop, channel = asyncio.get_running_loop(), socket.socket()
        try:
            channel.setblocking(False)
            # Its port is chosen when it connects: to look for one before takes the longer the more there are.
            channel.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            channel.bind((self._address, 0))
            await loop.sock_connect(channel, ("127.0.0.1", random.choice(self.crowd.ports)))
            await loop.create_connection(lambda: Connection(self, gone), sock=channel)
        except BaseException:
            channel.close()
            raise

    def _delay(self) -> float:
        if self.crowd.away is not None:
            return self.crowd.away
        delay: float = min(LONGEST_DELAY, FIRST_DELAY * 2**self._attempts * random.uniform(1 - SCATTER, 1 + SCATTER))
        self._attempts += 1
        return delay

    def connect_packet(self) -> bytes:
        session = {"pid": self._pid, "offset": self._offset} if self._pid else {}
        return b"40" + msgspec.json.encode({**session, **self.auth})

    def enter(self, answer: dict[str, str]) -> None:
        pid = answer.get("pid")
        if self.entered:
            self.report.comebacks += 1
            self.report.absences.append((self._left, time.monotonic_ns()))
            if pid is None or pid != self._pid:
                self.report.told.append(self._newest)
        self._pid = pid
        self._attempts = 0
        self.entered = self.connected = True
        delay = self.crowd.cut_every * random.uniform(0.5, 1.5)
        asyncio.get_running_loop().call_later(delay, self._cut, self.connection)

    def hear(self, text: bytes) -> None:
        name, *arguments = msgspec.json.decode(text)
        if isinstance(arguments[-1], str):
            # As the official client does it.
            self._offset = arguments[-1]
        if name != "news":
            return
        payload = arguments[0]
        number = payload["n"]
        if number in self._seen:
            self.report.duplicates += 1
        elif number < self._newest:
            self.report.disordered += 1
        self._seen.add(number)
        self.report.heard.append(number)
        self._newest = max(self._newest, number)
        if payload["sent"] < self._came_back:
            self._replayed = time.monotonic_ns()

    def finish_replay(self) -> None:
        if self._replayed:
            self.report.replays.append((self._replayed - self._came_back) / 1e6)
        self._replayed = 0

    def _cut(self, connection: "Connection | None") -> None:
        if connection is not None and connection is self.connection and not self.crowd.calm:
            self._silently = not self._silently
            connection.cut(silently=self._silently)


class Connection(asyncio.Protocol):
    """A WebSocket, as much of one as servers that do not fragment need."""

    def __init__(self, client: Client, gone: "asyncio.Future[None]") -> None:
        self._client = client
        self._gone = gone
        self._received = b""
        self._upgraded = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._client.connection = self
        self._transport.write(
            f"GET {self._client.crowd.path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._go()

    def cut(self, *, silently: bool) -> None:
        """Lose the network: at once for both sides, or so that the server goes on to send into nothing."""
        if silently:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(STALE_SECONDS, self._transport.abort)
        else:
            self._transport.abort()
        self._go()

    def _go(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._gone.done():
            return
        self._received += data
        if not self._upgraded:
            head, found, rest = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._transport.abort()
                return
            self._upgraded, self._received = True, rest
        start = 0
        while (frame := _read_frame(self._received, start)) is not None:
            opcode, payload, start = frame
            if opcode == 8:
                self._transport.abort()
                return
            self._receive(payload)
        self._received = self._received[start:]

    def _receive(self, text: bytes) -> None:
        if text.startswith(b"0"):
            self._send(self._client.connect_packet())
        elif text == b"2":
            self._send(b"3")
        elif text.startswith(b"42"):
            self._client.hear(text[2:])
        elif text.startswith(b"40"):
            self._client.enter(msgspec.json.decode(text[2:]))
        elif text.startswith(b"44"):
            raise SystemExit(f"{self._client.report.user} was refused: {text!r}")

    def _send(self, payload: bytes) -> None:
        """One masked frame; the mask is zero, which changes nothing."""
        size = len(payload)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
        self._transport.write(head + bytes(4) + payload)


def _read_frame(data: bytes, start: int) -> tuple[int, bytes, int] | None:
    """Opcode, payload, and where the next frame begins; None where it is not all there."""
    if len(data) < start + 2:
        return None
    length, begin = data[start + 1], start + 2
    if length == 126:
        length, begin = int.from_bytes(data[start + 2 : start + 4], "big"), start + 4
    elif length == 127:
        length, begin = int.from_bytes(data[start + 2 : start + 10], "big"), start + 10
    end = begin + length
    return (data[start] & 0x0F, data[begin:end], end) if len(data) >= end and end >= begin else None


# All of them.


class Crowd:
    """`javascript` official clients and `own` of ours, at `ports`, cut every `cut_every` seconds for `away`.

    Without `away` they come back when official clients do. `arriving`: how many of ours connect within a second.
    """

    def __init__(
        self,
        *,
        path: str,
        ports: Sequence[int],
        javascript: int,
        own: int,
        cut_every: float,
        away: float | None,
        arriving: int = 400,
    ) -> None:
        self.path = path
        self.ports = ports
        self.javascript = javascript
        self.cut_every = cut_every
        self.away = away
        self._arriving = arriving
        self.calm = False
        self.gate = asyncio.Event()
        """While it is closed, none of our own clients comes back."""
        self.gate.set()
        self.users = [f"user-{number}" for number in range(javascript + own)]
        self.clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._node: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "Crowd":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._node is not None and self._node.returncode is None:
            self._node.kill()
            await self._node.wait()

    async def connect(self, tokens: Sequence[str]) -> None:
        """Returns when all have been connected."""
        official = [
            {"user": user, "token": token} for user, token in zip(self.users[: self.javascript], tokens, strict=False)
        ]
        if official:
            milliseconds = [str(round((seconds or 0) * 1000)) for seconds in (self.cut_every, self.away)]
            ports = ",".join(map(str, self.ports))
            self._node = await asyncio.create_subprocess_exec(
                "node",
                str(Path(__file__).with_name("crowd.mjs")),
                self.path,
                *milliseconds,
                ports,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**26,
            )
            self._tell(official)
        for number, user in enumerate(self.users[self.javascript :], self.javascript):
            client = Client(user, tokens[number], self, f"127.0.0.{2 + number // AN_ADDRESS}")
            self.clients.append(client)
            self._tasks.append(asyncio.create_task(client.run()))
            if number % 20 == 19:
                await asyncio.sleep(20 / self._arriving)
        async with asyncio.timeout(PATIENCE):
            await self._until(lambda: all(client.entered for client in self.clients))
            if official:
                assert await self._answer() == "ready"

    async def calm_down(self) -> None:
        """Cut nobody any more; returns when all are back, or have had long enough for it."""
        self.calm = True
        if self._node is not None:
            self._tell("calm")
            assert await self._answer() == "back"
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._until(lambda: all(client.connected for client in self.clients))

    async def report(self, last: int) -> list[Heard]:
        """What they heard, once they have heard `last` or had long enough for it: who is busy has not lost anything."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEHIND):
                await self._until(lambda: all(last in client.report.heard[-100:] for client in self.clients))
        reports = []
        for client in self.clients:
            client.finish_replay()
            client.report.connected = client.connected
            reports.append(client.report)
        if self._node is not None:
            self._tell(last)
            reports += msgspec.convert(await self._answer(), list[Heard])
        return reports

    def _tell(self, order: Any) -> None:
        assert self._node is not None and self._node.stdin is not None
        self._node.stdin.write(json.dumps(order).encode() + b"\n")

    async def _answer(self) -> Any:
        assert self._node is not None and self._node.stdout is not None
        line = await self._node.stdout.readline()
        if not line:
            raise SystemExit("The Node process ended early.")
        return json.loads(line)

    async def _until(self, happened: Callable[[], bool]) -> None:
        while not happened():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.02)


Publish = Callable[[list[tuple[str, dict[str, Any]]]], Awaitable[bool | None]]
"""Publishes events, each to a room. Whether they were accepted; None where nobody knows."""


@dataclass(frozen=True)
class Timetable:
    """How often something is published, in seconds."""

    shared: float = 1.0
    """To the room of all."""
    private: float = 1.0
    """To each user."""


async def publish_for(
    seconds: float,
    users: Sequence[str],
    publish: Publish,
    sent: Sent,
    timetable: Timetable = Timetable(),
    enough: asyncio.Event | None = None,
) -> None:
    """Publish by a timetable, or until it is `enough`."""
    began = time.monotonic()
    shared_ticks, private_ticks = round(timetable.shared / TICK), round(timetable.private / TICK)
    a_tick = -(-len(users) // private_ticks)
    for tick in range(round(seconds / TICK)):
        await asyncio.sleep(max(0.0, began + tick * TICK - time.monotonic()))
        if enough is not None and enough.is_set():
            return
        first = tick % private_ticks * a_tick
        rooms = [f"user:{user}" for user in users[first : first + a_tick]]
        if tick % shared_ticks == 0:
            rooms.insert(0, "shared")
        numbered = [(next(sent.numbers), room) for room in rooms]
        now = time.monotonic_ns()
        accepted = await publish([(room, {"n": number, "sent": now, "text": TEXT}) for number, room in numbered])
        for number, room in numbered:
            if accepted is None:
                sent.unknown.add(number)
            elif not accepted:
                sent.refused += 1
            elif room == "shared":
                sent.shared.append(number)
            else:
                sent.private.setdefault(room.removeprefix("user:"), []).append(number)


async def publish_last(publish: Publish, sent: Sent) -> int:
    """Publish an event that all hear, behind all others; whoever has heard it hears nothing more. Its number."""
    before = len(sent.shared)
    async with asyncio.timeout(PATIENCE):
        while len(sent.shared) == before:
            await publish_for(TICK, (), publish, sent)
    return sent.shared[-1]
