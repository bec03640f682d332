"""Members: which subjects belong to the rooms whose rule has `member()`.

A subject is `user:ID`, `role:NAME`, or of another kind that the contract declares (`garage:G-117`). Systems write them
in their own transactions (`Transaction.add_member`), other back ends over HTTP.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from oyez.contract.contract import Contract
from oyez.contract.declare import Namespace
from oyez.contract.policy import MAX_PART, Identity, Member
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.schema import quote
from oyez.contract.types import Id
from oyez.errors import UNKNOWN_ROOM, InvalidDataError, RefusedError
from oyez.service.database.database import Database
from oyez.service.database.tables import members

MAX_LISTED = 1_000
"""Members in one answer: it stays below 200 KB."""


class Members:
    """The membership table as one system sees it."""

    def __init__(self, system: str, database: Database, contract: Contract) -> None:
        self._system = system
        self._database = database
        self._contract = contract

    async def find(self, identity: Identity, room: NamedRoom) -> dict[str, str]:
        """The subjects by which the table has this identity in `room`, and the part of each; "" for no part."""
        subjects = self._contract.subjects_of(identity)
        return await self._database.read(find_parts, self._system, room, subjects)

    async def has(self, identity: Identity, room: NamedRoom) -> bool:
        """True if the table has this identity in `room`: its user, its role, or another subject of it."""
        return bool(await self.find(identity, room))

    async def list(self, room: NamedRoom, *, after: str = "", limit: int = MAX_LISTED) -> dict[str, str]:
        """Up to `limit` members of `room`, in order, and the part of each; "" for no part.

        `after` is the last member of the page before.
        """
        return await self._database.read(list_parts, self._system, room, after=after, limit=limit)


def find_parts(connection: Connection, system: str, room: NamedRoom, subjects: Collection[str]) -> dict[str, str]:
    """Those of `subjects` that are members of `room`, and the part of each; "" for no part."""
    found = select(members.c.subject, members.c.part).where(_in_room(system, room), members.c.subject.in_(subjects))
    return {row.subject: row.part or "" for row in connection.execute(found)}


def list_parts(connection: Connection, system: str, room: NamedRoom, *, after: str, limit: int) -> dict[str, str]:
    """Up to `limit` members of `room`, in order, after the member `after`, and the part of each; "" for no part."""
    listed = select(members.c.subject, members.c.part).where(_in_room(system, room), members.c.subject > after)
    found = connection.execute(listed.order_by(members.c.subject).limit(limit))
    return {row.subject: row.part or "" for row in found}


def add_member(
    connection: Connection, system: str, room: NamedRoom, subject: str, part: str | None = None
) -> str | None:
    """Make `subject` a member; the part that it had before, None if it was no member.

    `part` is its part from now on, "" for none. None: a member keeps its part, and a new member has none.
    """
    before = find_parts(connection, system, room, [subject]).get(subject)
    if before is None:
        row = {
            "system": system,
            "namespace": room.namespace,
            "room": room.name,
            "subject": subject,
            "part": part or None,
        }
        connection.execute(insert(members), row)
    elif part is not None and part != before:
        changed = update(members).where(_in_room(system, room), members.c.subject == subject)
        connection.execute(changed.values(part=part or None))
    return before


def remove_member(connection: Connection, system: str, room: NamedRoom, subject: str) -> bool:
    """True if `subject` was a member."""
    removed = connection.execute(delete(members).where(_in_room(system, room), members.c.subject == subject))
    return removed.rowcount > 0


def find_room(contract: Contract, name: str, namespace: str | None = None, *, has_members: bool = True) -> NamedRoom:
    """The room of that name that has members (or not), in `namespace` or in the only namespace that has it.

    Raises RefusedError (unknown_room); InvalidDataError if it is not one room, or must have members and has none.
    """
    known = check_namespace(contract, namespace)
    searched = contract.namespaces if known is None else [known]
    resolved = {known.name: found[0] for known in searched if (found := known.rooms.resolve(name)) is not None}
    if not resolved:
        raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)}.")
    fitting = [place for place, kind in resolved.items() if not has_members or _has_members(kind)]
    if not fitting:
        patterns = [kind.pattern for known in searched for kind in known.rooms.kinds if _has_members(kind)]
        raise InvalidDataError("room", f"a room that has members, {' or '.join(patterns) or 'of which there are none'}")
    if len(fitting) > 1:
        raise InvalidDataError("namespace", f"one of {', '.join(fitting)}, which all have a room {quote(name)}")
    if namespace is None and (known := next(one for one in searched if one.name == fitting[0])).placeholders:
        raise InvalidDataError("namespace", f"the namespace of {quote(name)}, of the form {known.name}")
    return NamedRoom(namespace or fitting[0], name)


def check_namespace(contract: Contract, name: str | None) -> Namespace | None:
    """The declaration of the namespace of this name; None if none is given. Raises InvalidDataError."""
    found = contract.find_namespace(name) if name is not None else None
    if name is not None and found is None:
        names = ", ".join(known.name for known in contract.namespaces)
        raise InvalidDataError("namespace", f"one of {names}; got {quote(name)}")
    return found[0] if found is not None else None


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


def check_part(part: str) -> None:
    """Raises InvalidDataError unless `part` may be a member's part; an empty one stands for none."""
    if not part.isprintable() or len(part) > MAX_PART:
        raise InvalidDataError("part", f"at most {MAX_PART} printable letters, such as host; got {quote(part)}")


def needs_part(contract: Contract, room: NamedRoom) -> bool:
    """True if the room's rule asks for a member's part."""
    found = contract.find_room(room.namespace, room.name)
    return found is not None and any(isinstance(part, Member) and part.named for part in found[0].rule.parts())


def _has_members(kind: Room) -> bool:
    return any(isinstance(part, Member) for part in kind.rule.parts())


def _in_room(system: str, room: NamedRoom) -> ColumnElement[bool]:
    return and_(members.c.system == system, members.c.namespace == room.namespace, members.c.room == room.name)
