"""A SQL transaction that emits: its events are stored in the outbox, in the same commit as the change."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any

from sqlalchemy import Connection, delete, insert

from oyez.contract.rooms import NamedRoom, Place
from oyez.contract.types import Payload
from oyez.log.log import Entry
from oyez.runtime import control
from oyez.runtime.client import Client
from oyez.runtime.publisher import Publisher
from oyez.service.database.tables import jobs
from oyez.service.outbox.members import (
    MAX_LISTED,
    add_member,
    check_part,
    check_subject,
    find_room,
    list_parts,
    needs_part,
    remove_member,
)
from oyez.service.outbox.rows import UNKNOWN_ROWS, StoredRows, store_entries
from oyez.tracing import Span


class Transaction:
    """One SQL transaction of one system, and the events that it emits when it is committed.

    `Outbox.run` gives one to the function that it runs, and a new one for each attempt.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        now: float,
        zone: tzinfo = UTC,
        publish: Callable[[list[Entry]], tuple[Span, list[Entry]]] | None = None,
    ) -> None:
        """`publish` begins the span of the publication of entries, and returns them with its context."""
        self.connection = connection
        self.now = now
        """When this attempt began, in seconds since 1970."""
        self.zone = zone
        """The operator's time zone."""
        self._publisher = publisher
        self._contract = publisher.contract
        self._system = publisher.contract.name
        self._stored: list[Entry] = []
        self.volatile: list[Entry] = []
        """Volatile events, which are sent after the commit."""
        self.stored: StoredRows | None = None
        """The rows of its events in the outbox; None if there are none."""
        self._publish = publish
        self.span: Span | None = None
        """The span of the publication of its events, if there are any and tracing is on."""
        self.schedules = False
        """True if the transaction has changed when jobs are due."""

    def emit(self, payload: Payload, *rooms: Place, excluding: Iterable[NamedRoom | str] = ()) -> None:
        """Publish an event if this transaction is committed. The event is checked now; arguments and errors are those
        of `Publisher.prepare`. A volatile event is not stored with the change: it
        may be lost if the process ends in between.
        """
        for entry in self._publisher.prepare(payload, *rooms, excluding=excluding):
            (self.volatile if entry.volatile else self._stored).append(entry)

    def publish(self, client: Client, payload: Payload, *rooms: Place) -> None:
        """`emit` to everyone but this client, as `client.publish` does outside of transactions."""
        self.emit(payload, *(rooms or client.places), excluding=[client.own_room])

    def add_member(self, room: NamedRoom, subject: str, part: str | None = None) -> bool:
        """Make `subject`, such as `user:u1`, a member of `room`. True if it was no member before.

        `part`, such as `host`, is its part in the room, for rules such as `member("host")`; "" takes the part away.
        Without `part`, a member keeps the part that it has. Sockets that may not stay with the new part leave the room,
        before any event that is emitted later.

        Raises RefusedError (unknown_room) and InvalidDataError if there is no such room or subject. `subject`
        may enter the room from now on, and does so by itself, or by `join`.
        """
        find_room(self._contract, room.name, room.namespace)
        check_subject(self._contract, subject)
        if part is not None:
            check_part(part)
        before = add_member(self.connection, self._system, room, subject, part)
        if before is not None and part is not None and part != before and needs_part(self._contract, room):
            # Each socket of the subject leaves, and joins again if its part allows it.
            self._stored.append(control.member_removed(room, subject))
        return before is None

    def remove_member(self, room: NamedRoom, subject: str) -> bool:
        """Undo `add_member`. True if `subject` was a member.

        Its sockets leave the room, on every node, before any event that is emitted later.
        """
        find_room(self._contract, room.name, room.namespace)
        check_subject(self._contract, subject)
        removed = remove_member(self.connection, self._system, room, subject)
        if removed:
            self._stored.append(control.member_removed(room, subject))
        return removed

    def list_members(self, room: NamedRoom, *, after: str = "", limit: int = MAX_LISTED) -> dict[str, str]:
        """Up to `limit` members of `room`, in order, and the part of each; "" for no part. As `Members.list`."""
        return list_parts(self.connection, self._system, room, after=after, limit=limit)

    def join(self, sockets_in: NamedRoom, room: NamedRoom) -> None:
        """Let the sockets in one room join another, if its rule allows them.

        If the rule asks for members, the users in `sockets_in` must be members.
        """
        self._stored.append(control.join(sockets_in, [room]))

    def leave(self, sockets_in: NamedRoom, room: NamedRoom) -> None:
        """Let the sockets in one room leave another."""
        self._stored.append(control.leave(sockets_in, [room]))

    def disconnect(self, sockets_in: NamedRoom, *, close: bool = False) -> None:
        """Disconnect the sockets in a room, on all nodes; with `close`, close their connections."""
        self._stored.append(control.disconnect(sockets_in, close=close))

    def schedule(self, kind: str, key: str, due: float, data: Mapping[str, Any]) -> None:
        """Schedule the system's job `kind` for `due`, in seconds since 1970, with `data`, which is JSON.

        There is one job of a kind for a key: scheduling it again replaces it.
        """
        self.cancel(kind, key)
        row = {"system": self._system, "kind": kind, "key": key, "due": due, "data": dict(data), "failures": 0}
        self.connection.execute(insert(jobs), row)
        self.schedules = True

    def cancel(self, kind: str, key: str) -> None:
        """Cancel a job. Does nothing if there is none."""
        job = (jobs.c.system == self._system) & (jobs.c.kind == kind) & (jobs.c.key == key)
        self.connection.execute(delete(jobs).where(job))

    def store(self) -> None:
        """Store the emitted events, as the last statements before the commit."""
        entries = [*self._stored, *self.volatile]
        if self._publish is not None and any(not entry.control for entry in entries):
            self.span, traced = self._publish(entries)
            self._stored, self.volatile = traced[: len(self._stored)], traced[len(self._stored) :]
        if self._stored:
            self.stored = store_entries(self.connection, self._system, self._stored, self.now)

    def was_done(self) -> None:
        """Everything was committed before. The events may still wait in the table: the caller waits for them again."""
        self.stored = UNKNOWN_ROWS
