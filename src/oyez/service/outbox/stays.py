"""The stays of one system in the database, and the events about users who come and go.

A user is in a room while at least one socket of the user is, on any process. The change that makes it so and the event
about it are one transaction. Events that only tell the number of users are published once for a transaction.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from oyez.contract.contract import Contract
from oyez.contract.presence import PresenceEvent, PresenceEvents, find_presence
from oyez.contract.rooms import NamedRoom, Room
from oyez.errors import ContractError, OyezError
from oyez.logger import get_logger
from oyez.runtime.presence import MAX_USERS, PresentUser, RoomPresence
from oyez.runtime.stays import LOST, NO_CLAIMS, Changes, Ending, StayRecord, Written
from oyez.service.database.database import Database
from oyez.service.database.tables import nodes, stays
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction

logger = get_logger("oyez.service")

LOST_BEAT = -1
"""The beat of a process that another process has found lost."""
_RECORD = (stays.c.id, stays.c.namespace, stays.c.room, stays.c.socket, stays.c.subject, stays.c.since, stays.c.claims)
_OPEN = stays.c.ended.is_(None)


class DatabaseStays:
    """The StayStore of one system. `now` gives seconds since 1970."""

    def __init__(
        self, contract: Contract, database: Database, outbox: Outbox, now: Callable[[], float] = time.time
    ) -> None:
        self._system = contract.name
        self._database = database
        self._outbox = outbox
        self._now = now
        self._presence = {
            kind: events
            for namespace in contract.namespaces
            for kind in namespace.rooms.kinds
            if (events := find_presence(namespace, kind)) is not None
        }
        self._contract = contract

    # Beats.

    async def register(self, node: str) -> None:
        row = {"system": self._system, "node": node, "beat": 0, "seen": self._now()}
        await self._database.run_maintenance(_insert_node, row)

    async def beat(self, node: str) -> bool:
        return await self._database.run_maintenance(_count_beat, self._system, node, self._now())

    async def list_nodes(self) -> dict[str, int]:
        return await self._database.read(_list_nodes, self._system)

    async def unregister(self, node: str) -> None:
        await self._database.run(_delete_node_without_stays, self._system, node)

    # Changes.

    async def write(self, node: str, changes: Changes) -> Written | None:
        return await self._outbox.run(self._write, node, changes)

    async def claim(self, node: str, lost: str, beat: int, most: int) -> list[tuple[StayRecord, Ending]] | None:
        return await self._outbox.run(self._claim, node, lost, beat, most)

    def _write(self, tx: Transaction, node: str, changes: Changes) -> Written | None:
        if not self._is_alive(tx, node):
            return None
        connection = tx.connection
        if changes.done:
            own = (stays.c.node == node) & stays.c.id.in_(changes.done)
            connection.execute(delete(stays).where(own))
        adopted = self._adopt(connection, node, changes.adopted)
        report = _Report(tx, self._system)
        # Begin first: a user who moves from one socket to another stays in the room.
        self._begin(tx, report, node, changes.begun)
        written = Written(adopted, self._end(tx, report, node, changes.ended))
        report.finish()
        return written

    def _is_alive(self, tx: Transaction, node: str) -> bool:
        found = select(nodes.c.beat).where(self._is(node)).with_for_update()
        beat = tx.connection.execute(found).scalar_one_or_none()
        return beat is not None and beat != LOST_BEAT

    def _begin(self, tx: Transaction, report: "_Report", node: str, begun: Sequence[StayRecord]) -> None:
        if not begun:
            return
        before = self._find_present(tx.connection, begun)
        rows = [
            {
                "id": record.id,
                "system": self._system,
                "namespace": record.namespace,
                "room": record.room,
                "socket": record.socket,
                "subject": _store_text(record.user),
                "node": node,
                "since": record.since,
                "claims": {field: _store_text(value) for field, value in record.claims.items()} or None,
            }
            for record in begun
        ]
        tx.connection.execute(insert(stays), rows)
        for room, records in self._group(begun).items():
            users = {record.user: record for record in reversed(records)}
            new = {user: record for user, record in users.items() if (*_place(room), _store_text(user)) not in before}
            count = self._count(tx.connection, room) - len(new)
            for user, record in reversed(new.items()):
                count += 1
                self._report(report, room, "join", user, count, record.since, record.claims)

    def _adopt(self, connection: Connection, node: str, sockets: Iterable[tuple[str, str]]) -> list[StayRecord]:
        by_namespace: dict[str, list[str]] = {}
        for namespace, socket in sockets:
            by_namespace.setdefault(namespace, []).append(socket)
        adopted: list[StayRecord] = []
        for namespace, ids in by_namespace.items():
            theirs = and_(
                stays.c.system == self._system, stays.c.namespace == namespace, stays.c.socket.in_(ids), _OPEN
            )
            found = connection.execute(select(*_RECORD).where(theirs).with_for_update())
            adopted += [_make_record(*row) for row in found]
            connection.execute(update(stays).where(theirs).values(node=node))
        return adopted

    def _end(self, tx: Transaction, report: "_Report", node: str, ended: Sequence[Ending]) -> set[str]:
        if not ended:
            return set()
        endings = {ending.id: ending for ending in ended}
        own = and_(stays.c.id.in_(endings), stays.c.node == node, _OPEN)
        records = [_make_record(*row) for row in tx.connection.execute(select(*_RECORD).where(own).with_for_update())]
        self._store_endings(tx, node, records, endings)
        self._report_left(tx, report, records, endings)
        return {record.id for record in records}

    def _store_endings(
        self, tx: Transaction, node: str, records: Sequence[StayRecord], endings: dict[str, Ending]
    ) -> None:
        """End stays: `node` calls `left` for those that are kept."""
        kept: dict[tuple[float, str], list[str]] = {}
        for record in records:
            ending = endings[record.id]
            if ending.keeps:
                kept.setdefault((ending.at, ending.reason), []).append(record.id)
        for (at, reason), ids in kept.items():
            tx.connection.execute(
                update(stays).where(stays.c.id.in_(ids)).values(node=node, ended=at, reason=_store_text(reason))
            )
        gone = [record.id for record in records if not endings[record.id].keeps]
        if gone:
            tx.connection.execute(delete(stays).where(stays.c.id.in_(gone)))

    def _report_left(
        self, tx: Transaction, report: "_Report", records: Sequence[StayRecord], endings: dict[str, Ending]
    ) -> None:
        present = self._find_present(tx.connection, records)
        for room, listed in self._group(records).items():
            last_seen: dict[str, float] = {}
            claims = {record.user: record.claims for record in listed}
            for record in listed:
                last_seen[record.user] = max(last_seen.get(record.user, 0.0), endings[record.id].at)
            gone = [user for user in last_seen if (*_place(room), user) not in present]
            count = self._count(tx.connection, room) + len(gone)
            for user in gone:
                count -= 1
                self._report(report, room, "leave", user, count, last_seen[user], claims[user])

    def _claim(
        self, tx: Transaction, node: str, lost: str, beat: int, most: int
    ) -> list[tuple[StayRecord, Ending]] | None:
        if not self._is_alive(tx, node):
            return None
        marked = update(nodes).where(self._is(lost), nodes.c.beat == beat).values(beat=LOST_BEAT)
        if not tx.connection.execute(marked).rowcount:
            return None
        seen = tx.connection.execute(select(nodes.c.seen).where(self._is(lost))).scalar_one()
        theirs = and_(stays.c.system == self._system, stays.c.node == lost)
        found = select(*_RECORD, stays.c.ended, stays.c.reason).where(theirs).limit(most).with_for_update()
        claimed: list[tuple[StayRecord, Ending]] = []
        were_open: list[StayRecord] = []
        for *record, ended, reason in tx.connection.execute(found):
            stay = _make_record(*record)
            if ended is None:
                were_open.append(stay)
            # A stay that has ended already waits for `left`, which the lost process may have called or not.
            at = max(stay.since, min(seen, tx.now)) if ended is None else ended
            claimed.append((stay, Ending(stay.id, at, LOST if ended is None else reason, keeps=True)))
        endings = {ending.id: ending for _, ending in claimed}
        self._store_endings(tx, node, [stay for stay, _ in claimed], endings)
        report = _Report(tx, self._system)
        self._report_left(tx, report, were_open, endings)
        report.finish()
        if len(claimed) < most:
            tx.connection.execute(delete(nodes).where(self._is(lost)))
        return claimed

    def _is(self, node: str) -> ColumnElement[bool]:
        return and_(nodes.c.system == self._system, nodes.c.node == node)

    # Presence.

    async def find_present(self, room: NamedRoom) -> RoomPresence:
        """The users in a room with presence. Raises ContractError if the room has none."""
        if self._find_events(room) is None:
            raise ContractError(f"room {room} has no presence; declare it with presence=Presence(…)")
        return await self._database.read(self._list_present, room)

    def _list_present(self, connection: Connection, room: NamedRoom) -> RoomPresence:
        since = func.min(stays.c.since).label("since")
        seen = func.max(nodes.c.seen)
        beats = and_(nodes.c.system == stays.c.system, nodes.c.node == stays.c.node)
        query = select(stays.c.subject, since, seen).join(nodes, beats, isouter=True).where(self._in_room(room))
        rows = connection.execute(query.group_by(stays.c.subject).order_by(since, stays.c.subject).limit(MAX_USERS))
        present = rows.all()
        claims = self._find_claims(connection, room, [subject for subject, _, _ in present])
        users = [
            PresentUser(subject, begun, max(begun, last or begun), claims.get(subject, NO_CLAIMS))
            for subject, begun, last in present
        ]
        return RoomPresence(self._count(connection, room), users)

    def _find_claims(
        self, connection: Connection, room: NamedRoom, users: Sequence[str]
    ) -> dict[str, Mapping[str, str]]:
        """The claims of users in a room, if its events show any."""
        events = self._find_events(room)
        if events is None or not events.presence.claims:
            return {}
        found = select(stays.c.subject, stays.c.claims).where(self._in_room(room), stays.c.subject.in_(users))
        return {subject: claims or NO_CLAIMS for subject, claims in connection.execute(found.order_by(stays.c.since))}

    def _find_events(self, room: NamedRoom) -> PresenceEvents | None:
        kind = self._find_kind(room)
        return self._presence.get(kind[0]) if kind is not None else None

    def _find_kind(self, room: NamedRoom) -> tuple[Room, NamedRoom] | None:
        return self._contract.find_room(room.namespace, room.name)

    def _group(self, records: Iterable[StayRecord]) -> dict[NamedRoom, list[StayRecord]]:
        """The records in rooms with presence, by room."""
        grouped: dict[NamedRoom, list[StayRecord]] = {}
        for record in records:
            room = NamedRoom(record.namespace, record.room)
            if room in grouped or self._find_events(room) is not None:
                grouped.setdefault(room, []).append(record)
        return grouped

    def _find_present(self, connection: Connection, records: Sequence[StayRecord]) -> set[tuple[str, str, str]]:
        """Namespace, room and user of those in `records` that have an open stay."""
        present: set[tuple[str, str, str]] = set()
        for room, listed in self._group(records).items():
            users = {_store_text(record.user) for record in listed}
            query = select(stays.c.subject).distinct().where(self._in_room(room), stays.c.subject.in_(users))
            present |= {(*_place(room), user) for user in connection.execute(query).scalars()}
        return present

    def _count(self, connection: Connection, room: NamedRoom) -> int:
        query = select(func.count(stays.c.subject.distinct())).where(self._in_room(room))
        return connection.execute(query).scalar_one()

    def _in_room(self, room: NamedRoom) -> ColumnElement[bool]:
        return and_(
            stays.c.system == self._system, stays.c.namespace == room.namespace, stays.c.room == room.name, _OPEN
        )

    def _report(
        self,
        report: "_Report",
        room: NamedRoom,
        change: str,
        user: str,
        count: int,
        at: float,
        claims: Mapping[str, str],
    ) -> None:
        found, events = self._find_kind(room), self._find_events(room)
        assert found is not None
        assert events is not None
        report.add(_Change(events, found[1], change, user, count, at, claims))


class _Change(NamedTuple):
    """A user who has come or gone."""

    events: PresenceEvents
    room: NamedRoom
    change: str
    """`join` or `leave`."""
    user: str
    users: int
    """The number of users in the room after it."""
    at: float
    claims: Mapping[str, str]

    @property
    def users_before(self) -> int:
        return self.users - 1 if self.change == "join" else self.users + 1

    def make_event(self) -> PresenceEvent | None:
        make = self.events.join if self.change == "join" else self.events.leave
        return make(self.room, self.user, self.users, self.at, self.claims)


class _Report:
    """Publishes the events about the users who come and go in one transaction."""

    def __init__(self, tx: Transaction, system: str) -> None:
        self._tx = tx
        self._system = system
        self._counted: dict[NamedRoom, tuple[int, _Change]] = {}
        """For rooms whose events only have the number of users: the number before, and the last change."""

    def add(self, change: _Change) -> None:
        """Publish the event about a change, unless `finish` does it."""
        if not change.events.counts_only:
            self._emit(change)
            return
        before, _ = self._counted.get(change.room, (change.users_before, change))
        self._counted[change.room] = before, change

    def finish(self) -> None:
        """Publish the numbers of users that are others than before."""
        for before, last in self._counted.values():
            if last.users != before:
                self._emit(last._replace(change="join" if last.users > before else "leave"))

    def _emit(self, change: _Change) -> None:
        try:
            if (event := change.make_event()) is not None:
                self._tx.emit(event.payload, *event.rooms)
        except (OyezError, msgspec.ValidationError, ValueError) as error:
            # Such as an id that is too long for its field. The changes of the other users must not fail with it.
            logger.error(
                "a user's coming or going cannot be published",
                system=self._system,
                room=change.room.name,
                user=change.user,
                error=str(error),
            )


def _insert_node(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(insert(nodes), row)


def _count_beat(connection: Connection, system: str, node: str, seen: float) -> bool:
    alive = and_(nodes.c.system == system, nodes.c.node == node, nodes.c.beat >= 0)
    return connection.execute(update(nodes).where(alive).values(beat=nodes.c.beat + 1, seen=seen)).rowcount == 1


def _list_nodes(connection: Connection, system: str) -> dict[str, int]:
    rows = connection.execute(select(nodes.c.node, nodes.c.beat).where(nodes.c.system == system))
    return {row.node: row.beat for row in rows}


def _delete_node_without_stays(connection: Connection, system: str, node: str) -> None:
    theirs = select(stays.c.id).where(stays.c.system == system, stays.c.node == node)
    own = and_(nodes.c.system == system, nodes.c.node == node, ~theirs.exists())
    connection.execute(delete(nodes).where(own))


def _place(room: NamedRoom) -> tuple[str, str]:
    return room.namespace, room.name


def _make_record(*columns: Any) -> StayRecord:
    record = StayRecord(*columns)
    return record if record.claims else record._replace(claims=NO_CLAIMS)


def _store_text(text: str) -> str:
    """PostgreSQL stores no NUL."""
    return text.replace("\x00", "�")
