"""Observers: what metrics, tracing, audit and the admin page learn from a running server.

An observer is called at a fixed set of points, each with one report of plain values. Reports never contain payloads,
tokens or the secrets of sessions. Names that a client invented are left out, and a namespace such as `/shop-17` has the
name of its declaration, `/shop-{shopId}`. So every field may be a metric's label except ids, rooms and addresses.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from oyez.concurrency.sparse_log import SparseLog
from oyez.logger import get_logger
from oyez.tracing import Tracing

logger = get_logger("oyez.observer")

# How an event was published: `PublishReport.origin`.
PYTHON = "python"
HTTP = "http"
BACKEND = "backend"
OUTBOX = "outbox"
EMITTER = "emitter"
OPERATOR = "operator"

# What was refused: `RefusalReport.kind`.
CONNECT = "connect"
COMMAND = "command"
PUBLISH = "publish"


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the buckets, in seconds: from a fast append to the longest time that a client waits."""
_FIRST = SECONDS[0]


class Report(msgspec.Struct, frozen=True, gc=False):
    """What an observer receives."""

    point: ClassVar[str]
    """The method of Observer that receives it."""
    system: str


class PublishReport(Report, frozen=True, gc=False):
    """An event was published to one namespace."""

    point = "published"
    namespace: str
    name: str
    rooms: tuple[str, ...]
    """Empty: all clients in the namespace."""
    position: str | None
    """None for a volatile event. An event in several namespaces has a report and a position for each."""
    origin: str
    """PYTHON, HTTP, BACKEND, OUTBOX, EMITTER or OPERATOR."""
    seconds: float
    """How long the log took to accept the events of the call."""
    caller: str = ""
    """The name of the service key, or of the operator, that published it; empty if there is none."""


class AppendReport(Report, frozen=True, gc=False):
    """The log has stored entries: events and control entries."""

    point = "appended"
    entries: int
    size: int
    """Bytes of their data."""
    seconds: float


class DeliveryReport(Report, frozen=True, gc=False):
    """Neighbouring events of the log, for the same rooms, were written to the clients of this process."""

    point = "delivered"
    namespace: str
    names: tuple[str, ...]
    """The name of each event."""
    rooms: tuple[str, ...]
    """Empty: all clients in the namespace."""
    position: str | None
    """The position of the last event; None if it is volatile."""
    recipients: int
    """Number of clients. Each of them receives all these events."""
    size: int
    """Bytes of the events' data, for one client."""


class SentReport(Report, frozen=True, gc=False):
    """An event that is declared with `receipts` was written to clients of this process, or to none."""

    point = "sent"
    namespace: str
    named: str
    """The name of the namespace itself, such as `/shop-17`. It is no label."""
    name: str
    position: str
    rooms: tuple[str, ...]
    """Empty: all clients in the namespace."""
    excluded: tuple[str, ...]
    recipients: tuple[str, ...]
    """The users, one for each socket; for a socket without a user, the room of the socket alone."""
    replayed: bool
    """True if the clients were away when the event was published."""


class AcknowledgeReport(Report, frozen=True, gc=False):
    """A client has acknowledged an event with receipts. Whether it had received the event is not checked."""

    point = "acknowledged"
    namespace: str
    position: str
    recipient: str
    """As in SentReport."""
    socket_id: str
    connection_id: str
    """As in ConnectReport."""


class CommandReport(Report, frozen=True, gc=False):
    """A command was handled or refused. Its acknowledgement, if the client wants one, has been sent."""

    point = "command"
    namespace: str
    name: str
    """Empty if the contract has no such command."""
    user_id: str
    socket_id: str
    connection_id: str
    """As in ConnectReport."""
    code: str
    """The code of the refusal; empty if the command succeeded."""
    seconds: float
    """From its arrival to its acknowledgement; 0 if it was refused because the client could not connect fully."""


class RefusalReport(Report, frozen=True, gc=False):
    """A CONNECT, a command or a publication over HTTP was refused."""

    point = "refused"
    kind: str
    """CONNECT, COMMAND or PUBLISH."""
    code: str
    namespace: str = ""
    """Empty for a publication, and if there is no such namespace."""
    name: str = ""
    """The command or event; empty for a CONNECT, and if the contract has no such command or event."""
    user_id: str = ""
    """Empty for a publication, and if the user is not known."""
    address: str = ""
    socket_id: str = ""
    """Set for a command."""
    connection_id: str = ""
    """As in ConnectReport; empty for a publication."""


class ConnectReport(Report, frozen=True, gc=False):
    """A namespace has accepted a client."""

    point = "connected"
    namespace: str
    socket_id: str
    connection_id: str
    """The same for all namespaces of a connection, in all reports and log lines about it. It is not the id of the
    Engine.IO session, which is a secret."""
    user_id: str
    address: str
    role: str
    """Empty if the application has no roles."""
    rooms: tuple[str, ...]
    """The rooms that the client is in from the beginning."""
    named: str = ""
    """The name of the namespace itself, such as `/shop-17`, if the declared one has placeholders. It is no label."""


class JoinReport(Report, frozen=True, gc=False):
    """A connected client has joined a room."""

    point = "joined"
    namespace: str
    room: str
    socket_id: str
    connection_id: str
    """As in ConnectReport."""
    user_id: str


class LeaveReport(Report, frozen=True, gc=False):
    """A client has left a room, and is still connected."""

    point = "left"
    namespace: str
    room: str
    socket_id: str
    connection_id: str
    """As in ConnectReport."""
    user_id: str


class DisconnectReport(Report, frozen=True, gc=False):
    """A client that a namespace had accepted has left it."""

    point = "disconnected"
    namespace: str
    socket_id: str
    connection_id: str
    """As in ConnectReport."""
    user_id: str
    address: str
    reason: str
    """As Socket.IO names it, such as `transport close`."""


class RecoveryReport(Report, frozen=True, gc=False):
    """A client that asked for recovery has received the result. This follows its ConnectReport."""

    point = "recovered"
    namespace: str
    socket_id: str
    connection_id: str
    """As in ConnectReport."""
    user_id: str
    recovered: bool
    replayed: int
    """Number of events that were sent again."""
    reason: str
    """Why the client is not recovered; empty if it is."""
    room: str = ""
    """Set if the result is about one room that the client joined after it connected."""
    since: str = ""
    """The position after which events were sent again; empty if the client named none."""
    seconds: float = 0.0
    """How long it took to find and to send them."""


class SlowClientReport(Report, frozen=True, gc=False):
    """A client is disconnected because it does not read what it is sent. Its DisconnectReports follow."""

    point = "slow"
    connection_id: str
    """As in ConnectReport."""
    user_id: str
    address: str


class ServiceReport(Report, frozen=True, gc=False):
    """A back end has changed something over HTTP, or was refused. Publications have reports of their own."""

    point = "served"
    caller: str
    """The name of its service key."""
    action: str
    """Such as `grant`, `disconnect`; `write` for the systems' own APIs."""
    method: str
    path: str
    """The path that was called, with ids of users and rooms."""
    outcome: str
    """`done`, or the code of the refusal."""
    address: str


class Durations:
    """Counts durations by the buckets of SECONDS."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        """For each bucket the number of values in it; the last bucket has no bound."""
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        self.total += seconds
        # Most commands take less than the first bound: no bucket is searched for them.
        if seconds <= _FIRST:
            self.counts[0] += 1
        else:
            self.counts[bisect_left(SECONDS, seconds)] += 1


class Observer:
    """Receives reports. Inherit from it and override the methods that you need; the others do nothing.

    The calls come from the event loop, between the steps of the hot path: return at once, and do not block. An
    exception is logged, and changes nothing else.
    """

    def published(self, report: PublishReport) -> None:
        """Called after the log has accepted an event, once for each namespace of the event."""

    def appended(self, report: AppendReport) -> None:
        """Called after the log has stored entries."""

    def delivered(self, report: DeliveryReport) -> None:
        """Called once for neighbouring events to the same rooms, on each process, also if nobody is in the rooms."""

    def sent(self, report: SentReport) -> None:
        """Called for events with receipts: once for each event and process when it is delivered, and for replays."""

    def acknowledged(self, report: AcknowledgeReport) -> None:
        """Called once for each acknowledgement of an event with receipts."""

    def time_commands(self, system: str, durations: Mapping[str, Durations]) -> None:
        """Called once for each system. `durations` are those of its commands that succeed, by name, from now on.

        An observer that overrides this gets no report of these commands: adding a duration costs a tenth of one.
        """

    def command(self, report: CommandReport) -> None:
        """Called once for each command; with `time_commands`, for each that was refused. `refused` follows then."""

    def refused(self, report: RefusalReport) -> None:
        """Called once for each refusal."""

    def connected(self, report: ConnectReport) -> None:
        """Called once for each namespace that a client enters."""

    def joined(self, report: JoinReport) -> None:
        """Called once for each room that a connected client joins."""

    def left(self, report: LeaveReport) -> None:
        """Called once for each room that a connected client leaves."""

    def disconnected(self, report: DisconnectReport) -> None:
        """Called once for each namespace that a client leaves."""

    def recovered(self, report: RecoveryReport) -> None:
        """Called once for each result that a client receives."""

    def slow(self, report: SlowClientReport) -> None:
        """Called once for each connection that is closed because its client is too slow."""

    def served(self, report: ServiceReport) -> None:
        """Called once for each change of a back end over HTTP, but not for publications."""


class Observers:
    """All observers of one system. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        system: str,
        observers: Sequence[Observer],
        clock: Callable[[], float] = time.perf_counter,
        find_declared: Callable[[str], str] = lambda namespace: namespace,
        tracing: Tracing | None = None,
    ) -> None:
        """`find_declared` gives the declared name of a namespace: reports have no other, because actual names with ids
        have no bound. `tracing` records spans where it is not enough to report what has happened."""
        self.tracing = tracing
        self.system = system
        self.clock = clock
        self.find_declared = find_declared
        self._methods: dict[type[Report], tuple[Callable[[Any], None], ...]] = {
            kind: tuple(getattr(observer, kind.point) for observer in observers if _observes(observer, kind.point))
            for kind in Report.__subclasses__()
        }
        timing = [one for one in observers if _observes(one, "time_commands")]
        durations: dict[str, Durations] = {}
        self._durations = durations if timing else None
        for one in timing:
            one.time_commands(system, durations)
        self._succeeded = tuple(one.command for one in observers if _observes(one, "command") and one not in timing)
        self.reports_successes = bool(self._succeeded)
        """True if an observer wants a report of each command that succeeds."""
        self._failures = SparseLog(logger)

    def find_durations(self, command: str) -> Durations | None:
        """The durations of the successful commands of that name; None if no observer times commands."""
        return None if self._durations is None else self._durations.setdefault(command, Durations())

    def report_success(self, report: CommandReport) -> None:
        """`report` of a command that has succeeded, whose duration was added."""
        self._call(self._succeeded, report)

    def report(self, report: Report) -> None:
        """Call all observers, in the order in which they were given."""
        self._call(self._methods[type(report)], report)

    def _call(self, methods: tuple[Callable[[Any], None], ...], report: Report) -> None:
        for method in methods:
            try:
                method(report)
            except Exception as error:
                name = getattr(method, "__qualname__", repr(method)).rpartition(".")[0]
                kind = f"{name}.{report.point}"
                self._failures.warning(
                    "an observer failed", kind=kind, observer=name, point=report.point, exc_info=error
                )


def _observes(observer: Observer, point: str) -> bool:
    """False if the observer has not overridden the method: it is not called in vain."""
    return getattr(type(observer), point, None) is not getattr(Observer, point)


def build_observers(
    system: str,
    observers: Sequence[Observer],
    find_declared: Callable[[str], str] = lambda namespace: namespace,
    tracing: Tracing | None = None,
) -> Observers | None:
    """The observers of a system; None if there are none, so that the hot path has one check."""
    if not observers and tracing is None:
        return None
    return Observers(system, observers, find_declared=find_declared, tracing=tracing)
