"""What a node remembers about its clients and events, for operators: bounded, in memory, and gone with the process.

`History` is an observer. Its methods run between the steps of the hot path, so they only append what they are given;
all work is done when an operator asks.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from oyez.observer import (
    ConnectReport,
    DeliveryReport,
    DisconnectReport,
    JoinReport,
    LeaveReport,
    Observer,
    PublishReport,
    RecoveryReport,
    RefusalReport,
    Report,
    SlowClientReport,
)

MAX_HAPPENED = 10_000
"""Things that happened to clients: about 3 MB."""
MAX_ENDED = 5_000
"""Visits of clients that have left: about 5 MB."""
MAX_EVENTS = 20_000
"""Publications, and deliveries, of each system: about 6 MB each."""
MAX_LEFT = 50
"""Rooms that a client has left, and its recoveries, which are remembered for one visit."""


class Remembered(NamedTuple):
    """Something that happened."""

    at: float
    """Seconds since 1970."""
    position: str
    """The node had delivered everything up to this position."""
    report: Report


class TimeInRoom(NamedTuple):
    """A time in a room: the client received the room's events after `since`, up to `until`."""

    room: str
    since: str
    until: str


class Recovered(NamedTuple):
    """The result of a recovery: events after `since` were sent again, up to `until`."""

    since: str
    until: str
    recovered: bool
    reason: str
    room: str


class Visit:
    """One socket, from its connect to its disconnect."""

    __slots__ = (
        "address",
        "began",
        "ended",
        "namespace",
        "past",
        "reason",
        "recoveries",
        "rooms",
        "since",
        "socket",
        "system",
        "until",
        "user",
    )

    def __init__(self, report: ConnectReport, at: float, position: str) -> None:
        self.system = report.system
        self.namespace = report.named or report.namespace
        self.socket = report.socket_id
        self.user = report.user_id
        self.address = report.address
        self.began = at
        self.since = position
        """The socket receives the events after this position."""
        self.rooms = dict.fromkeys(report.rooms, position)
        """By room in which it is, the position after which it receives the room's events."""
        self.past: deque[TimeInRoom] | None = None
        self.recoveries: list[Recovered] = []
        self.ended: float | None = None
        self.until = ""
        """The socket has received nothing after this position; empty while it is connected."""
        self.reason = ""

    def join(self, room: str, position: str) -> None:
        """The client has joined a room."""
        self.rooms[room] = position

    def leave(self, room: str, position: str) -> None:
        """The client has left a room."""
        since = self.rooms.pop(room, None)
        if since is not None:
            if self.past is None:
                self.past = deque(maxlen=MAX_LEFT)
            self.past.append(TimeInRoom(room, since, position))

    def end(self, report: DisconnectReport, at: float, position: str) -> None:
        """The client has left. Its user may be another one than at first: a guest can sign in."""
        self.ended, self.until, self.reason, self.user = at, position, report.reason, report.user_id


class History(Observer):
    """Remembers what happens at one node. `now` gives seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._position: Callable[[str], str] = lambda system: ""
        self.began = now()
        self.happened: deque[Remembered] = deque(maxlen=MAX_HAPPENED)
        self.present: dict[tuple[str, str, str], Visit] = {}
        """The visits of connected sockets, by system, namespace and socket."""
        self.ended: deque[Visit] = deque(maxlen=MAX_ENDED)
        self.published_events: defaultdict[str, deque[Remembered]] = defaultdict(lambda: deque(maxlen=MAX_EVENTS))
        self.deliveries: defaultdict[str, deque[Remembered]] = defaultdict(lambda: deque(maxlen=MAX_EVENTS))

    def follow(self, position: Callable[[str], str]) -> None:
        """`position` is the position up to which everything of a system has been delivered here."""
        self._position = position

    def visits(self) -> Iterator[Visit]:
        """The visits that are remembered, of connected sockets and of others. May be read in parts."""
        return chain(list(self.ended), list(self.present.values()))

    @property
    def remembers_since(self) -> float:
        """The time from which on all visits are remembered, in seconds since 1970."""
        full = len(self.ended) == MAX_ENDED
        return (self.ended[0].ended or self.began) if full else self.began

    def published(self, report: PublishReport) -> None:
        if report.position is not None:
            self.published_events[report.system].append(Remembered(self._now(), report.position, report))

    def delivered(self, report: DeliveryReport) -> None:
        if report.position is not None:
            self.deliveries[report.system].append(Remembered(self._now(), report.position, report))

    def connected(self, report: ConnectReport) -> None:
        position = self._position(report.system)
        now = self._now()
        self.present[report.system, report.namespace, report.socket_id] = Visit(report, now, position)
        self.happened.append(Remembered(now, position, report))

    def joined(self, report: JoinReport) -> None:
        position = self._position(report.system)
        visit = self.present.get((report.system, report.namespace, report.socket_id))
        if visit is not None:
            visit.join(report.room, position)
        self.happened.append(Remembered(self._now(), position, report))

    def left(self, report: LeaveReport) -> None:
        position = self._position(report.system)
        visit = self.present.get((report.system, report.namespace, report.socket_id))
        if visit is not None:
            visit.leave(report.room, position)
        self.happened.append(Remembered(self._now(), position, report))

    def disconnected(self, report: DisconnectReport) -> None:
        position, now = self._position(report.system), self._now()
        visit = self.present.pop((report.system, report.namespace, report.socket_id), None)
        if visit is not None:
            visit.end(report, now, position)
            self.ended.append(visit)
        self.happened.append(Remembered(now, position, report))

    def recovered(self, report: RecoveryReport) -> None:
        position = self._position(report.system)
        visit = self.present.get((report.system, report.namespace, report.socket_id))
        if visit is not None and len(visit.recoveries) < MAX_LEFT:
            result = Recovered(report.since, position, report.recovered, report.reason, report.room)
            visit.recoveries.append(result)
        self.happened.append(Remembered(self._now(), position, report))

    def refused(self, report: RefusalReport) -> None:
        self.happened.append(Remembered(self._now(), self._position(report.system), report))

    def slow(self, report: SlowClientReport) -> None:
        self.happened.append(Remembered(self._now(), self._position(report.system), report))
