"""Why an event has reached a client, or has not: what one node remembers, for the position of the event.

A client receives the events of its rooms after the position at which it has joined them. So the positions of connects,
joins, leaves and disconnects decide for each socket what became of an event.
"""

from collections.abc import Iterator, Sequence

import msgspec

from oyez.concurrency.long_work import LongWork
from oyez.contract.types import Time
from oyez.log.log import split_position
from oyez.observer import DeliveryReport, PublishReport
from oyez.ops.admin.answers import NodeDelivery, Step, StepKind
from oyez.ops.admin.history import History, TimeInRoom, Visit
from oyez.protocol.socket_ids import own_room, user_room
from oyez.server.namespaces.socket import Socket
from oyez.service.app import Oyez

MAX_STEPS = 200
"""Clients of one node that an answer has."""


class TraceQuery(msgspec.Struct, frozen=True):
    """An event: its position, where it goes, and the user who is asked about; empty for all users."""

    system: str
    position: str
    namespace: str
    rooms: tuple[str, ...]
    excluded: tuple[str, ...]
    user: str


class Origin(msgspec.Struct, frozen=True):
    """How an event was published."""

    at: float
    origin: str
    caller: str


class LocalTrace(msgspec.Struct, frozen=True):
    """What one node knows of an event."""

    published: Origin | None
    """None if the event was published at another node, or too long ago."""
    deliveries: list[NodeDelivery]
    steps: list[Step]
    """What became of it for clients, the oldest first."""
    count: int
    """Number of clients; `steps` may be cut."""
    since: float
    """From this time on, the node remembers all clients; in seconds since 1970."""


class Tracer:
    """Answers for one node."""

    def __init__(self, oyez: Oyez, history: History) -> None:
        self._oyez = oyez
        self._history = history

    async def trace(self, query: TraceQuery) -> LocalTrace:
        """What this node knows of an event."""
        published, delivered = self._find_origin(query), self._find_deliveries(query)
        steps: list[Step] = []
        count, work = 0, LongWork()
        for visit in self._history.visits():
            if work.is_long():
                await work.pause()
            if (visit.system, visit.namespace) != (query.system, query.namespace):
                continue
            socket = self._find_socket(visit)
            user = visit.user if socket is None else socket.user_id
            if query.user and user != query.user:
                continue
            step = explain(visit, user, query, None if socket is None else socket.position)
            if step is None or (not query.user and step[0] not in REACHED):
                continue
            count += 1
            if len(steps) < MAX_STEPS:
                shown = self._show(visit, user, *step)
                if shown.at is None and shown.step == "delivered" and delivered:
                    shown = msgspec.structs.replace(shown, at=delivered[0].at)
                steps.append(shown)
        return LocalTrace(published, delivered, steps, count, self._history.remembers_since)

    def _show(self, visit: Visit, user: str, kind: StepKind, text: str, at: float | None) -> Step:
        return Step(
            step=kind,
            text=text,
            at=None if at is None else Time.at(at),
            node=self._oyez.node.id,
            namespace=visit.namespace,
            socket=visit.socket,
            user=user,
        )

    def _find_socket(self, visit: Visit) -> Socket | None:
        if visit.ended is not None or visit.system not in self._oyez.systems:
            return None
        namespaces = self._oyez.systems[visit.system].server.namespaces.find_all(visit.namespace)
        return next((one.sockets[visit.socket] for one in namespaces if visit.socket in one.sockets), None)

    def _find_origin(self, query: TraceQuery) -> Origin | None:
        for one in reversed(self._history.published_events[query.system]):
            if one.position == query.position and isinstance(one.report, PublishReport):
                return Origin(one.at, one.report.origin, one.report.caller)
        return None

    def _find_deliveries(self, query: TraceQuery) -> list[NodeDelivery]:
        epoch, number = split_position(query.position)
        for one in reversed(self._history.deliveries[query.system]):
            last_epoch, last = split_position(one.position)
            report = one.report
            # A report is about neighbouring events: the position is that of the last one.
            if last_epoch == epoch and isinstance(report, DeliveryReport) and last - len(report.names) < number <= last:
                at = Time.at(one.at)
                return [NodeDelivery(node=self._oyez.node.id, at=at, recipients=report.recipients)]
        return []


REACHED: frozenset[StepKind] = frozenset({"delivered", "replayed", "not_replayed_yet"})
Explained = tuple[StepKind, str, float | None]


def explain(visit: Visit, user: str, query: TraceQuery, sent: str | None) -> Explained | None:
    """What became of an event for one visit, in words and with its time; None if the log has a new history since then.

    `sent` is the position up to which a connected client has been sent everything.
    """
    epoch, number = split_position(query.position)
    since, until = _number(visit.since, epoch), _number(visit.until, epoch)
    if since is None or (visit.until and until is None):
        return None
    if until is not None and number > until:
        return "away", f"The client had disconnected before ({visit.reason}).", visit.ended
    if number <= since:
        return _explain_before(visit, user, query, number, epoch)
    room = _find_room(visit, user, query.rooms, number, epoch)
    if room is None:
        rooms = ", ".join(query.rooms)
        return "not_entitled", f"The client was in none of the rooms {rooms} when the event was delivered.", None
    if query.excluded and _find_room(visit, user, query.excluded, number, epoch):
        return "excluded", f"The event excepts {', '.join(query.excluded)}.", None
    position = _number(sent or "", epoch)
    if position is not None and position < number:
        return "not_replayed_yet", f"The client is being sent what it missed, up to {sent} by now.", None
    return "delivered", f"The client was in {room}.", None


def _explain_before(visit: Visit, user: str, query: TraceQuery, number: int, epoch: str) -> Explained:
    """For a client that connected after the event."""
    result = visit.recoveries[0] if visit.recoveries else None
    if result is None or result.room:
        return "away", "The client connected later, and did not ask for what it had missed.", visit.began
    start = _number(result.since, epoch)
    if not result.recovered:
        return (
            "not_recovered",
            f"The client connected later, and could not be recovered ({result.reason}).",
            visit.began,
        )
    if start is not None and number <= start:
        return "away", f"The client connected later, and had everything up to {result.since} before.", visit.began
    if not _is_recovered_in(visit, user, query.rooms):
        rooms = ", ".join(query.rooms)
        return "not_entitled", f"The client was recovered later, but was in none of the rooms {rooms}.", visit.began
    if query.excluded and _is_recovered_in(visit, user, query.excluded):
        return "excluded", f"The event excepts {', '.join(query.excluded)}.", visit.began
    return "replayed", f"The client was away, and received it when it was recovered from {result.since}.", visit.began


def _find_room(visit: Visit, user: str, rooms: Sequence[str], number: int, epoch: str) -> str | None:
    """The room by which the client receives an event; None if there is none."""
    if not rooms:
        return "the namespace"
    own = (user_room(user), own_room(visit.socket), visit.socket)
    if (addressed := next((room for room in rooms if room in own), None)) is not None:
        return addressed
    for stay in _stays(visit):
        since, until = _number(stay.since, epoch), _number(stay.until, epoch)
        if stay.room in rooms and since is not None and since < number and (until is None or number <= until):
            return stay.room
    return None


def _is_recovered_in(visit: Visit, user: str, rooms: Sequence[str]) -> bool:
    """True if the client was in one of the rooms when it was recovered."""
    own = {user_room(user), own_room(visit.socket), visit.socket}
    joined = {stay.room for stay in _stays(visit) if stay.since == visit.since}
    joined |= {result.room for result in visit.recoveries if result.room and result.recovered}
    return not rooms or not (own | joined).isdisjoint(rooms)


def _stays(visit: Visit) -> Iterator[TimeInRoom]:
    for room, since in visit.rooms.items():
        yield TimeInRoom(room, since, "")
    yield from visit.past or ()


def _number(position: str, epoch: str) -> int | None:
    """The number of a position; None if it is empty, or of another history of the log."""
    try:
        own, number = split_position(position)
    except KeyError:
        return None
    return number if own == epoch else None
