"""Receivers, deliveries and the position of the reader in the database. Each function is part of one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from oyez.errors import UNKNOWN_RECEIVER, RefusedError
from oyez.log.log import epoch_of, number_of
from oyez.service.database.tables import webhook_deliveries as deliveries
from oyez.service.database.tables import webhook_readers as readers
from oyez.service.database.tables import webhook_receivers as receivers
from oyez.service.webhooks.message import Secret

MAX_WAITING = 100_000
"""Deliveries that wait for one receiver: at 10 KB each this is 1 GB. Over it, new ones become dead letters at once."""
MAX_DEAD = 100_000
"""Dead letters that are kept for one receiver."""
DEAD_SECONDS = 30 * 86_400.0
"""Time for which a dead letter is kept: long enough to notice it and to repair the receiver."""
BATCH = 50
"""Deliveries of a receiver that are read together."""
TOO_MANY = f"{MAX_WAITING} events wait for this receiver already"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver of webhooks. Times are seconds since 1970."""

    id: str
    url: str
    events: frozenset[str]
    """Names of events; empty for all that may go out."""
    secrets: tuple[Secret, ...]
    """The newest first."""
    since: str
    created: float
    disabled: str | None
    """Why it receives nothing any more."""
    failures: int
    failing_since: float | None
    resting_until: float
    gaps: int
    version: str | None = None
    """The version whose forms of events are sent; None for the newest ones."""

    @classmethod
    def of(cls, row: Row[Any]) -> "Receiver":
        known = {name: row._mapping[name] for name in cls.__slots__}
        all_secrets = tuple(Secret(text, until) for text, until in known["secrets"])
        return cls(**{**known, "events": frozenset(known["events"]), "secrets": all_secrets})

    def starting_at(self, since: str) -> "Receiver":
        """The receiver, so that it receives what is published after the position `since`."""
        return replace(self, since=since)

    def wants(self, event: str) -> bool:
        return not self.events or event in self.events


class Delivery(NamedTuple):
    """An event for one receiver."""

    id: int
    message: str
    body: bytes
    attempts: int
    trace: str | None
    """The trace context in which the event was published; None if it is not recorded."""


class Message(NamedTuple):
    """An event of the log, as it is sent."""

    position: str
    id: str
    """Its `webhook-id`."""
    event: str
    body: bytes
    old: Mapping[str, bytes | None] = MappingProxyType({})
    """The bodies for receivers of older versions, None for those that do not receive it."""
    trace: str = ""
    """The trace context in which it was published."""

    def body_for(self, receiver: Receiver) -> bytes | None:
        """The body for a receiver; None if its version does not receive the event."""
        return self.body if receiver.version is None else self.old.get(receiver.version, self.body)


class Beat(NamedTuple):
    """A sign of life of the process that leads."""

    node: str
    number: int


class Counts(NamedTuple):
    """The deliveries of a receiver."""

    waiting: int = 0
    dead: int = 0


# Receivers.


def list_receivers(connection: Connection, system: str) -> list[Receiver]:
    rows = select(receivers).where(receivers.c.system == system).order_by(receivers.c.created, receivers.c.id)
    return [Receiver.of(row) for row in connection.execute(rows)]


def get_receiver(connection: Connection, system: str, id: str) -> Receiver:
    """Raises RefusedError (unknown_receiver)."""
    row = connection.execute(select(receivers).where(_is(system, id))).one_or_none()
    if row is None:
        raise RefusedError(UNKNOWN_RECEIVER)
    return Receiver.of(row)


def add_receiver(connection: Connection, system: str, receiver: Receiver) -> None:
    values = {name: getattr(receiver, name) for name in Receiver.__slots__}
    values |= {"events": sorted(receiver.events), "secrets": [list(secret) for secret in receiver.secrets]}
    connection.execute(insert(receivers).values(system=system, **values))


def change_receiver(connection: Connection, system: str, id: str, values: Mapping[str, Any]) -> Receiver:
    """Change columns of a receiver. Raises RefusedError (unknown_receiver)."""
    if values:
        connection.execute(update(receivers).where(_is(system, id)).values(**values))
    return get_receiver(connection, system, id)


def enable_receiver(connection: Connection, system: str, id: str, since: str) -> Receiver:
    """Let a disabled receiver receive what is published after the position `since`."""
    if get_receiver(connection, system, id).disabled is None:
        return get_receiver(connection, system, id)
    fresh = {"disabled": None, "failures": 0, "failing_since": None, "resting_until": 0.0, "since": since}
    return change_receiver(connection, system, id, fresh)


def disable_receiver(connection: Connection, system: str, id: str, reason: str, now: float) -> None:
    """Send a receiver nothing any more. Its waiting events become dead letters."""
    connection.execute(update(receivers).where(_is(system, id)).values(disabled=reason))
    values = {"dead": now, "error": func.coalesce(deliveries.c.error, f"the receiver was disabled: {reason}")}
    connection.execute(update(deliveries).where(_waits(id)).values(**values))


def replace_secret(connection: Connection, system: str, id: str, secret: Secret, until: float) -> Receiver:
    """Sign with a new secret; the one before it also signs until `until`."""
    newest = get_receiver(connection, system, id).secrets[0]
    changed = {"secrets": [list(secret), [newest.text, until]]}
    return change_receiver(connection, system, id, changed)


def remove_receiver(connection: Connection, system: str, id: str) -> None:
    """Remove a receiver and all that is stored for it. Raises RefusedError (unknown_receiver)."""
    get_receiver(connection, system, id)
    connection.execute(delete(deliveries).where(deliveries.c.receiver == id))
    connection.execute(delete(receivers).where(_is(system, id)))


def count_deliveries(connection: Connection, ids: Collection[str]) -> dict[str, Counts]:
    counted = (
        select(deliveries.c.receiver, func.count() - func.count(deliveries.c.dead), func.count(deliveries.c.dead))
        .where(deliveries.c.receiver.in_(ids))
        .group_by(deliveries.c.receiver)
    )
    return {id: Counts(waiting, dead) for id, waiting, dead in connection.execute(counted)}


# The reader of the log.


def lead(connection: Connection, system: str, node: str, expired: Beat | None) -> Beat:
    """Lead, or continue to lead, unless another process does. Returns the leader's beat.

    `expired` is the beat of another leader that has not changed for too long: this process replaces it. So no clocks of
    different machines are compared.
    """
    rows = select(readers.c.leader, readers.c.beat).where(readers.c.system == system).with_for_update()
    row = connection.execute(rows).one_or_none()
    if row is None:
        connection.execute(insert(readers).values(system=system, position=None, last=None, leader=node, beat=1))
        return Beat(node, 1)
    held = Beat(*row)
    if held.node != node and held.number and held != expired:
        return held
    own = Beat(node, held.number + 1)
    connection.execute(update(readers).where(readers.c.system == system).values(leader=own.node, beat=own.number))
    return own


def stop_leading(connection: Connection, system: str, node: str) -> None:
    own = (readers.c.system == system) & (readers.c.leader == node)
    connection.execute(update(readers).where(own).values(beat=0))


def read_position(connection: Connection, system: str) -> tuple[str | None, Any]:
    """The position up to which the log was read, and the last event."""
    row = connection.execute(select(readers.c.position, readers.c.last).where(readers.c.system == system)).one()
    return row.position, row.last


def move_position(
    connection: Connection,
    system: str,
    node: str,
    place: tuple[str | None, str],
    last: Any,
    messages: Sequence[Message],
    now: float,
    full: Collection[str],
) -> frozenset[str] | None:
    """Store the deliveries of messages, and the position up to which they go: `place` has the old one and the new one.

    Returns the ids of their receivers; None, and nothing is stored, if another process has moved the position.
    Deliveries for receivers that are `full` are dead letters.
    """
    before, after = place
    same = readers.c.position.is_(None) if before is None else readers.c.position == before
    own = (readers.c.system == system) & (readers.c.leader == node) & same
    if connection.execute(update(readers).where(own).values(position=after, last=last)).rowcount != 1:
        return None
    if not messages:
        return frozenset()
    # Read in this transaction: a receiver that was added before an event was published must not miss it.
    enabled = [one for one in list_receivers(connection, system) if one.disabled is None]
    rows = [
        _to_row(receiver.id, message, body, now, dead=receiver.id in full)
        for message in messages
        for receiver in enabled
        if receiver.wants(message.event) and is_after(message.position, receiver.since)
        if (body := message.body_for(receiver)) is not None
    ]
    if rows:
        connection.execute(insert(deliveries), rows)
    return frozenset(row["receiver"] for row in rows)


def forget_position(connection: Connection, system: str, node: str) -> None:
    """Read the log from its end when there is a receiver again."""
    own = (readers.c.system == system) & (readers.c.leader == node)
    connection.execute(update(readers).where(own).values(position=None, last=None))


def count_gap(connection: Connection, system: str) -> None:
    """Count, for each enabled receiver, that the log had deleted events that were not read."""
    enabled = (receivers.c.system == system) & receivers.c.disabled.is_(None)
    connection.execute(update(receivers).where(enabled).values(gaps=receivers.c.gaps + 1))


# Deliveries.


def read_due(
    connection: Connection, system: str, id: str, now: float
) -> tuple[Receiver | None, list[Delivery], float | None]:
    """A receiver, its next deliveries in the order of the log, and when the first of the others is due.

    The receiver is None if it was removed.
    """
    row = connection.execute(select(receivers).where(_is(system, id))).one_or_none()
    if row is None:
        return None, [], None
    columns = [deliveries.c[name] for name in Delivery._fields]
    due = select(*columns).where(_waits(id), deliveries.c.due <= now).order_by(deliveries.c.id).limit(BATCH)
    found = [Delivery(*one) for one in connection.execute(due)]
    later = None
    if not found:
        later = connection.execute(select(func.min(deliveries.c.due)).where(_waits(id))).scalar_one()
    return Receiver.of(row), found, later


def succeed(connection: Connection, system: str, receiver: Receiver, delivery: Delivery, now: float) -> None:
    """Forget a delivery that the receiver has accepted. If it had failed before, the others are due at once."""
    connection.execute(delete(deliveries).where(deliveries.c.id == delivery.id))
    if receiver.failures:
        well = {"failures": 0, "failing_since": None, "resting_until": 0.0}
        connection.execute(update(receivers).where(_is(system, receiver.id)).values(**well))
        connection.execute(update(deliveries).where(_waits(receiver.id), deliveries.c.due > now).values(due=now))


def fail(
    connection: Connection,
    system: str,
    receiver: Receiver,
    delivery: Delivery,
    error: str,
    *,
    due: float | None,
    rest_until: float,
    now: float,
) -> None:
    """Note a failed attempt. `due` is the time of the next one; None if there is none: it becomes a dead letter."""
    values: dict[str, Any] = {"attempts": delivery.attempts + 1, "error": error}
    values |= {"dead": now} if due is None else {"due": due}
    connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(**values))
    failing = {
        "failures": receivers.c.failures + 1,
        "failing_since": func.coalesce(receivers.c.failing_since, now),
        "resting_until": rest_until,
    }
    connection.execute(update(receivers).where(_is(system, receiver.id)).values(**failing))


def list_dead(connection: Connection, system: str, id: str, after: int, limit: int) -> list[Row[Any]]:
    """Dead letters of a receiver, in the order of the log. Raises RefusedError (unknown_receiver)."""
    get_receiver(connection, system, id)
    dead = (deliveries.c.receiver == id) & deliveries.c.dead.is_not(None) & (deliveries.c.id > after)
    return list(connection.execute(select(deliveries).where(dead).order_by(deliveries.c.id).limit(limit)))


def replay(connection: Connection, system: str, id: str, messages: Collection[str] | None, now: float) -> int:
    """Send dead letters again, with their ids and a full schedule. Returns their number.

    `messages` are their `webhook-id`s; None for all. Raises RefusedError (unknown_receiver).
    """
    get_receiver(connection, system, id)
    dead = (deliveries.c.receiver == id) & deliveries.c.dead.is_not(None)
    if messages is not None:
        dead &= deliveries.c.message.in_(messages)
    fresh = {"dead": None, "due": now, "attempts": 0, "error": None}
    replayed = connection.execute(update(deliveries).where(dead).values(**fresh)).rowcount
    connection.execute(update(receivers).where(_is(system, id)).values(resting_until=0.0))
    return replayed


def prune_dead(connection: Connection, id: str, now: float) -> int:
    """Delete dead letters of a receiver that are too old or too many. Returns their number."""
    dead = (deliveries.c.receiver == id) & deliveries.c.dead.is_not(None)
    old = connection.execute(delete(deliveries).where(dead, deliveries.c.dead < now - DEAD_SECONDS)).rowcount
    last = select(deliveries.c.id).where(dead).order_by(deliveries.c.id.desc()).offset(MAX_DEAD).limit(1)
    first_kept = connection.execute(last).scalar_one_or_none()
    if first_kept is None:
        return old
    return old + connection.execute(delete(deliveries).where(dead, deliveries.c.id <= first_kept)).rowcount


def is_after(position: str, since: str) -> bool:
    """True if `position` comes after `since`, or is of another epoch: a new epoch begins after an old one."""
    return epoch_of(position) != epoch_of(since) or number_of(position) > number_of(since)


def _to_row(receiver: str, message: Message, body: bytes, now: float, *, dead: bool) -> dict[str, Any]:
    return {
        "receiver": receiver,
        "message": message.id,
        "event": message.event,
        "body": body,
        "created": now,
        "due": now,
        "attempts": 0,
        "error": TOO_MANY if dead else None,
        "trace": message.trace or None,
        "dead": now if dead else None,
    }


def _is(system: str, id: str) -> Any:
    return (receivers.c.system == system) & (receivers.c.id == id)


def _waits(id: str) -> Any:
    return (deliveries.c.receiver == id) & deliveries.c.dead.is_(None)
