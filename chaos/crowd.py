"""Clients on bad networks, what is published to them, and what they should have received.

Some are official JavaScript clients in a Node process. The others are a small client of our own that speaks the
official protocol and reconnects in the official way: with the `pid` of its session and the position of the last event.
Each client is cut off at intervals and reconnects after a while. The official clients lose their TCP connection; of
our own clients the server is not notified every other time, as when a phone loses its network.
"""

import asyncio
import json
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from tests.support.wire import TEXT as TEXT_FRAME
from tests.support.wire import encode_frame

TEXT = "x" * 168
TICK = 0.1
"""Seconds between two publications of private events; each user has one a second."""
STALE_SECONDS = 4.0
"""Seconds for which a connection that the client has abandoned stays open."""
IP_BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h; Python has no constant for it before 3.12."""
CLIENTS_PER_ADDRESS = 5_000
"""Number of our own clients with one source address: a server limits the connections of each address."""
FIRST_DELAY, LONGEST_DELAY, SCATTER = 1.0, 5.0, 0.5
"""Seconds after which official clients reconnect by default: doubled at each attempt up to the longest, and varied by
half."""
CATCH_UP_TIMEOUT = 30.0
"""Seconds that a server has to deliver the rest after the last publication."""
PATIENCE = 60.0
"""Seconds after which an expected event counts as missing."""


class Report(msgspec.Struct):
    """What one client received, as it counted itself."""

    user: str
    received: list[int]
    duplicates: int = 0
    disordered: int = 0
    reconnections: int = 0
    not_recovered: list[int] = []
    """The newest event that it had, each time that the server informed it that it was not recovered."""
    replays: list[float] = []
    """Milliseconds from its first attempt to reconnect to the last event that it had missed."""
    absences: list[tuple[int, int]] = []
    """When each disconnection began and ended, by the monotonic clock in nanoseconds."""
    connected: bool = False
    """True if it was connected at the end."""


@dataclass
class Sent:
    """The events that the server accepted, by recipient, and those whose publisher got no answer."""

    shared: list[int] = field(default_factory=list)
    private: dict[str, list[int]] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    refused: int = 0
    numbers: "count[int]" = field(default_factory=count)


@dataclass(kw_only=True)
class Outcome:
    """The result of a whole run."""

    javascript: int
    own: int
    seconds: float
    accepted: int = 0
    unknown: int = 0
    due: int = 0
    """Number of deliveries that were expected: events times recipients."""
    missing: int = 0
    """Deliveries that did not happen, to clients that were not informed of it."""
    missing_informed: int = 0
    """Deliveries that did not happen, to clients that were informed that they were not recovered."""
    duplicates: int = 0
    disordered: int = 0
    foreign: int = 0
    """Private events that another client received."""
    reconnections: int = 0
    not_recovered: int = 0
    """Reconnections of which the client knows that it was not recovered."""
    replays: list[float] = field(default_factory=list)
    absences: list[tuple[int, int]] = field(default_factory=list)
    absent: int = 0
    """Clients that were not connected at the end."""

    @property
    def delivered(self) -> float:
        """Share of the expected deliveries that happened, in per cent."""
        return 100 * (1 - (self.missing + self.missing_informed) / self.due) if self.due else 0.0

    @property
    def good(self) -> bool:
        faults = self.missing or self.duplicates or self.disordered or self.foreign or self.absent
        return not faults and bool(self.due)

    def percentile(self, share: float) -> float | None:
        ordered = sorted(self.replays)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def compare(sent: Sent, reports: Iterable[Report], outcome: Outcome) -> None:
    """Compare what clients received with what was sent."""
    shared, everything = set(sent.shared), set(sent.shared)
    for numbers in sent.private.values():
        everything.update(numbers)
    outcome.accepted, outcome.unknown = len(everything), len(sent.unknown)
    for report in reports:
        received = set(report.received)
        due = shared | set(sent.private.get(report.user, ()))
        missing = due - received
        informed = {
            number
            for number in missing
            if any(_is_gap(number, newest, report.received) for newest in report.not_recovered)
        }
        outcome.due += len(due)
        outcome.missing += len(missing - informed)
        outcome.missing_informed += len(informed)
        outcome.foreign += len((received & everything) - due)
        outcome.duplicates += report.duplicates
        outcome.disordered += report.disordered
        outcome.reconnections += report.reconnections
        outcome.not_recovered += len(report.not_recovered)
        outcome.replays += report.replays
        outcome.absences += report.absences
        outcome.absent += not report.connected


def _is_gap(number: int, newest: int, received: Sequence[int]) -> bool:
    """True if `number` is between `newest` and the event that the client received next."""
    following = [one for one in received if one > newest]
    return number > newest and (not following or number < following[0])


# Our own client.


class Client:
    """Counts what it receives, over one connection after the other."""

    def __init__(self, user: str, token: str, crowd: "Crowd", address: str) -> None:
        self.crowd = crowd
        self._address = address
        self.auth = {"token": token, "user": user}
        self.report = Report(user, [], not_recovered=[], replays=[], absences=[])
        self.connection: Connection | None = None
        self.connected = False
        self.entered = False
        self._seen: set[int] = set()
        self._newest = -1
        self._pid: str | None = None
        self._offset: str | None = None
        self._reconnect_began = self._replayed = self._disconnected_at = 0
        self._attempts = 0
        self._silently = False

    async def run(self) -> None:
        """Connect again after each disconnection."""
        while True:
            if self.entered:
                self.finish_replay()
                self._reconnect_began = time.monotonic_ns()
            closed = asyncio.get_running_loop().create_future()
            with suppress(OSError):
                await self._connect(closed)
                await closed
            if self.connected:
                self._disconnected_at = time.monotonic_ns()
            self.connected, self.connection = False, None
            await asyncio.sleep(self._delay())
            await self.crowd.gate.wait()

    async def _connect(self, closed: "asyncio.Future[None]") -> None:
        loop, channel = asyncio.get_running_loop(), socket.socket()
        try:
            channel.setblocking(False)
            # The kernel chooses the port at connect: choosing it at bind takes longer with each connection.
            channel.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            channel.bind((self._address, 0))
            await loop.sock_connect(channel, ("127.0.0.1", random.choice(self.crowd.ports)))
            await loop.create_connection(lambda: Connection(self, closed), sock=channel)
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
            self.report.reconnections += 1
            self.report.absences.append((self._disconnected_at, time.monotonic_ns()))
            if pid is None or pid != self._pid:
                self.report.not_recovered.append(self._newest)
        self._pid = pid
        self._attempts = 0
        self.entered = self.connected = True
        delay = self.crowd.cut_every * random.uniform(0.5, 1.5)
        asyncio.get_running_loop().call_later(delay, self._cut, self.connection)

    def receive(self, text: bytes) -> None:
        name, *arguments = msgspec.json.decode(text)
        if isinstance(arguments[-1], str):
            # The official client does the same.
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
        self.report.received.append(number)
        self._newest = max(self._newest, number)
        if payload["sent"] < self._reconnect_began:
            self._replayed = time.monotonic_ns()

    def finish_replay(self) -> None:
        if self._replayed:
            self.report.replays.append((self._replayed - self._reconnect_began) / 1e6)
        self._replayed = 0

    def _cut(self, connection: "Connection | None") -> None:
        if connection is not None and connection is self.connection and not self.crowd.calm:
            self._silently = not self._silently
            connection.cut(silently=self._silently)


class Connection(asyncio.Protocol):
    """A WebSocket client for servers that do not fragment messages."""

    def __init__(self, client: Client, closed: "asyncio.Future[None]") -> None:
        self._client = client
        self._closed = closed
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
        self._close()

    def cut(self, *, silently: bool) -> None:
        """Cut the connection. `silently`: the server is not notified and continues to write for STALE_SECONDS."""
        if silently:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(STALE_SECONDS, self._transport.abort)
        else:
            self._transport.abort()
        self._close()

    def _close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._closed.done():
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
        while (frame := read_frame(self._received, start)) is not None:
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
            self._client.receive(text[2:])
        elif text.startswith(b"40"):
            self._client.enter(msgspec.json.decode(text[2:]))
        elif text.startswith(b"44"):
            raise SystemExit(f"{self._client.report.user} was refused: {text!r}")

    def _send(self, payload: bytes) -> None:
        self._transport.write(encode_frame(TEXT_FRAME, payload, mask=bytes(4)))


def read_frame(data: bytes, start: int) -> tuple[int, bytes, int] | None:
    """Opcode, payload, and where the next frame begins; None if the frame is incomplete."""
    if len(data) < start + 2:
        return None
    length, begin = data[start + 1], start + 2
    if length == 126:
        length, begin = int.from_bytes(data[start + 2 : start + 4], "big"), start + 4
    elif length == 127:
        length, begin = int.from_bytes(data[start + 2 : start + 10], "big"), start + 10
    end = begin + length
    return (data[start] & 0x0F, data[begin:end], end) if len(data) >= end and end >= begin else None


# The crowd.


class Crowd:
    """`javascript` official clients and `own` of ours, at `ports`, cut every `cut_every` seconds for `away`.

    Without `away` they reconnect when official clients do. `arriving`: how many of ours connect within a second.
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
        """While it is closed, none of our own clients reconnects."""
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
        """Return when all clients have connected."""
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
            self._order(official)
        for number, user in enumerate(self.users[self.javascript :], self.javascript):
            client = Client(user, tokens[number], self, f"127.0.0.{2 + number // CLIENTS_PER_ADDRESS}")
            self.clients.append(client)
            self._tasks.append(asyncio.create_task(client.run()))
            if number % 20 == 19:
                await asyncio.sleep(20 / self._arriving)
        async with asyncio.timeout(PATIENCE):
            await self._until(lambda: all(client.entered for client in self.clients))
            if official:
                assert await self._read_answer() == "ready"

    async def calm_down(self) -> None:
        """Stop cutting connections; return when all clients are connected, or after PATIENCE."""
        self.calm = True
        if self._node is not None:
            self._order("calm")
            assert await self._read_answer() == "back"
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._until(lambda: all(client.connected for client in self.clients))

    async def report(self, last: int) -> list[Report]:
        """What the clients received, once they have `last`, or after CATCH_UP_TIMEOUT."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_TIMEOUT):
                await self._until(lambda: all(last in client.report.received[-100:] for client in self.clients))
        reports = []
        for client in self.clients:
            client.finish_replay()
            client.report.connected = client.connected
            reports.append(client.report)
        if self._node is not None:
            self._order(last)
            reports += msgspec.convert(await self._read_answer(), list[Report])
        return reports

    def _order(self, order: Any) -> None:
        assert self._node is not None and self._node.stdin is not None
        self._node.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read_answer(self) -> Any:
        assert self._node is not None and self._node.stdout is not None
        line = await self._node.stdout.readline()
        if not line:
            raise SystemExit("The Node process ended early.")
        return json.loads(line)

    async def _until(self, happened: Callable[[], bool]) -> None:
        while not happened():  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.02)


Publish = Callable[[list[tuple[str, dict[str, Any]]]], Awaitable[bool | None]]
"""Publishes events, each to a room. True if they were accepted; None if that is unknown."""


@dataclass(frozen=True)
class Timetable:
    """Seconds between two publications."""

    shared: float = 1.0
    """To the room of all clients."""
    private: float = 1.0
    """To the room of each user."""


async def publish_for(
    seconds: float,
    users: Sequence[str],
    publish: Publish,
    sent: Sent,
    timetable: Timetable = Timetable(),
    enough: asyncio.Event | None = None,
) -> None:
    """Publish by a timetable for `seconds`, or until `enough` is set."""
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
    """Publish an event to all clients, after all others: a client that has it has everything. Its number."""
    before = len(sent.shared)
    async with asyncio.timeout(PATIENCE):
        while len(sent.shared) == before:
            await publish_for(TICK, (), publish, sent)
    return sent.shared[-1]
