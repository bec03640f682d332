"""Members: which subjects belong to the rooms whose rule has `member()`.

A subject is `user:ID`, `role:NAME`, or of another kind that the contract declares (`garage:G-117`). Systems write them
in their own transactions (`Transaction.add_member`), other back ends over HTTP.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from oyez.contract.contract import Contract
from oyez.contract.policy import Identity, Member
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.schema import quote
from oyez.contract.types import Id
from oyez.errors import UNKNOWN_ROOM, InvalidDataError, RefusedError
from oyez.service.database.database import Database
from oyez.service.database.tables import members


class Members:
    """The membership table as one system sees it."""

    def __init__(self, system: str, database: Database, contract: Contract) -> None:
        self._system = system
        self._database = database
        self._contract = contract

    async def has(self, identity: Identity, room: NamedRoom) -> bool:
        """True if the table has this identity in `room`: its user, its role, or another subject of it."""
        subjects = self._contract.subjects_of(identity)
        return await self._database.read(is_member, self._system, room, subjects)


def is_member(connection: Connection, system: str, room: NamedRoom, subjects: Collection[str]) -> bool:
    """True if one of `subjects` is a member of `room`."""
    found = select(members.c.subject).where(_in_room(system, room), members.c.subject.in_(subjects)).limit(1)
    return connection.execute(found).first() is not None


def list_members(connection: Connection, system: str, room: NamedRoom, *, after: str, limit: int) -> list[str]:
    """Up to `limit` members of `room`, in order, after the member `after`."""
    listed = select(members.c.subject).where(_in_room(system, room), members.c.subject > after)
    return list(connection.execute(listed.order_by(members.c.subject).limit(limit)).scalars())


def add_member(connection: Connection, system: str, room: NamedRoom, subject: str) -> bool:
    """True if it was no member before."""
    if is_member(connection, system, room, [subject]):
        return False
    row = {"system": system, "namespace": room.namespace, "room": room.name, "subject": subject}
    connection.execute(insert(members).values(row))
    return True


def remove_member(connection: Connection, system: str, room: NamedRoom, subject: str) -> bool:
    """True if it was a member."""
    removed = connection.execute(delete(members).where(_in_room(system, room), members.c.subject == subject))
    return removed.rowcount > 0


def find_room(contract: Contract, name: str, namespace: str | None = None, *, has_members: bool = True) -> NamedRoom:
    """The room of that name that has members (or not), in `namespace` or in the only namespace that has it.

    Raises RefusedError (unknown_room); InvalidDataError if it is not one room, or must have members and has none.
    """
    names = [known.name for known in contract.namespaces]
    if namespace is not None and namespace not in names:
        raise InvalidDataError("namespace", f"one of {', '.join(names)}; got {quote(namespace)}")
    searched = [known for known in contract.namespaces if namespace in (None, known.name)]
    resolved = {known.name: found[0] for known in searched if (found := known.rooms.resolve(name)) is not None}
    if not resolved:
        raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)}.")
    fitting = [place for place, kind in resolved.items() if not has_members or _has_members(kind)]
    if not fitting:
        patterns = [kind.pattern for known in searched for kind in known.rooms.kinds if _has_members(kind)]
        raise InvalidDataError("room", f"a room that has members, {' or '.join(patterns) or 'of which there are none'}")
    if len(fitting) > 1:
        raise InvalidDataError("namespace", f"one of {', '.join(fitting)}, which all have a room {quote(name)}")
    return NamedRoom(fitting[0], name)


def check_subject(contract: Contract, subject: str) -> None:
    """Raises InvalidDataError unless it is `kind:value`, of a kind that the contract knows."""
    kind, _, value = subject.partition(":")
    kinds = ("user", "role", *contract.subjects)
    if kind not in kinds:
        raise InvalidDataError("subject", f"{' or '.join(f'{name}:…' for name in kinds)}; got {quote(subject)}")
    if kind == "role" and value not in contract.roles:
        raise InvalidDataError("subject", f"role: with one of {', '.join(contract.roles)}; got {quote(subject)}")
    try:
        msgspec.convert(value, Id)
    except msgspec.ValidationError:
        raise InvalidDataError("subject", f"{kind}: with an id; got {quote(subject)}") from None


def _has_members(kind: Room) -> bool:
    return any(isinstance(part, Member) for part in kind.rule.parts())


def _in_room(system: str, room: NamedRoom) -> ColumnElement[bool]:
    return and_(members.c.system == system, members.c.namespace == room.namespace, members.c.room == room.name)
