"""Group buying: the creator of a group is its first member, and it is complete as soon as enough have joined.

A group's events go to its room, and to the rooms of those members who have not opened it.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta
from sqlalchemy import Connection, Row, delete, func, select, update

from oyez.contract import UNSET, CamelPayload, Id, Maybe, NamedRoom, Time
from oyez.contract.codec import decode_json, encode_json
from oyez.errors import FORBIDDEN, RefusedError
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.rez import payloads
from oyez.systems.rez.contract import ALREADY_THERE, ILLEGAL_TRANSITION, NOT_FOUND, group, user
from oyez.systems.rez.payloads import Line, Person, Text, Url
from oyez.systems.rez.rows import find_row, get_row
from oyez.systems.rez.states import GROUPS, check_move
from oyez.systems.rez.tables import group_members, group_messages, groups


class GroupStart(CamelPayload):
    """A new group."""

    group_code: Line
    size: Annotated[int, Meta(ge=2, le=50)]
    """The number of members that it needs; at most as many as fit into `group_complete`."""
    creator: Person


class Membership(CamelPayload):
    """The data of a new member."""

    name: Line
    avatar: Maybe[Url] = UNSET


class GroupPosting(CamelPayload):
    """A message of a member."""

    user_id: Id
    message: Text


class GroupEnd(CamelPayload):
    """Why the creator of a group ends it."""

    user_id: Id
    reason: Text


class Group(CamelPayload):
    """A stored group."""

    group_id: Id
    group_code: Line
    creator_id: Id
    size: int
    status: Literal["open", "complete", "cancelled"]
    members: list[Person]
    created_at: Time


def start_group(tx: Transaction, group_id: str, start: GroupStart) -> tuple[Group, bool]:
    """Open a group with its first member. True if it is new. Raises RefusedError (already_there)."""
    row = find_row(tx.connection, groups, group_id)
    if row is not None:
        if (row.code, row.creator_id) != (start.group_code, start.creator.user_id):
            raise RefusedError(ALREADY_THERE, f"Group {group_id!r} has another code or was started by somebody else.")
        return to_group(tx.connection, row), False
    tx.connection.execute(
        groups.insert(),
        {
            "id": group_id,
            "code": start.group_code,
            "creator_id": start.creator.user_id,
            "size": start.size,
            "status": "open",
            "created_at": tx.now,
        },
    )
    row = get_row(tx.connection, groups, group_id)
    _add(tx, row, start.creator)
    return to_group(tx.connection, row), True


def join_group(tx: Transaction, group_id: str, user_id: str, membership: Membership) -> tuple[Group, bool]:
    """Add a member to a group. True if the member is new. Raises RefusedError: not_found, illegal_transition."""
    row = get_row(tx.connection, groups, group_id)
    if _is_member(tx.connection, group_id, user_id):
        return to_group(tx.connection, row), False
    _check_open(row)
    _add(tx, row, Person(user_id=user_id, name=membership.name, avatar=membership.avatar))
    if _count(tx.connection, group_id) >= row.size:
        row = _end(tx, row, "complete")
        payload = payloads.GroupComplete(
            group_id=group_id,
            group_code=row.code,
            status="complete",
            members=_list_members(tx.connection, group_id),
            completed_at=Time.at(tx.now),
        )
        tx.emit(payload, *_audience(tx.connection, group_id))
    return to_group(tx.connection, row), True


def leave_group(tx: Transaction, group_id: str, user_id: str) -> Group:
    """Remove a member from a group. Raises RefusedError: not_found, illegal_transition."""
    row = get_row(tx.connection, groups, group_id)
    if not _is_member(tx.connection, group_id, user_id):
        raise RefusedError(NOT_FOUND, f"{user_id!r} is no member of group {group_id!r}.")
    _check_open(row)
    member = (group_members.c.group_id == group_id) & (group_members.c.user_id == user_id)
    tx.connection.execute(delete(group_members).where(member))
    tx.remove_member(group(group_id), f"user:{user_id}")
    count = _count(tx.connection, group_id)
    payload = payloads.GroupMemberLeft(
        group_id=group_id,
        user_id=user_id,
        current_members=count,
        spots_remaining=row.size - count,
        timestamp=Time.at(tx.now),
    )
    tx.emit(payload, *_audience(tx.connection, group_id))
    return to_group(tx.connection, row)


def cancel_group(tx: Transaction, group_id: str, end: GroupEnd) -> Group:
    """Cancel a group that is not complete.

    Raises RefusedError: not_found, forbidden for anybody but its creator, illegal_transition.
    """
    row = get_row(tx.connection, groups, group_id)
    if end.user_id != row.creator_id:
        raise RefusedError(FORBIDDEN, f"Group {group_id!r} was started by somebody else.")
    row = _end(tx, row, "cancelled")
    payload = payloads.GroupCancelled(group_id=group_id, reason=end.reason, cancelled_at=Time.at(tx.now))
    tx.emit(payload, *_audience(tx.connection, group_id))
    return to_group(tx.connection, row)


def post_group_message(
    tx: Transaction, group_id: str, message_id: str, posting: GroupPosting
) -> tuple[payloads.GroupMessage, bool]:
    """Store and send a message of a member. True if it is new.

    Raises RefusedError: not_found, forbidden, already_there.
    """
    get_row(tx.connection, groups, group_id)
    query = select(group_members).where(
        group_members.c.group_id == group_id, group_members.c.user_id == posting.user_id
    )
    member = tx.connection.execute(query).one_or_none()
    if member is None:
        raise RefusedError(FORBIDDEN, f"{posting.user_id!r} is no member of group {group_id!r}.")
    stored = find_row(tx.connection, group_messages, message_id)
    if stored is not None:
        if stored.group_id != group_id:
            raise RefusedError(ALREADY_THERE, f"Message {message_id!r} is another group's.")
        return to_group_message(stored), False
    message = payloads.GroupMessage(
        id=message_id,
        group_id=group_id,
        user_id=posting.user_id,
        user_name=member.name,
        user_avatar=member.avatar or UNSET,
        message=posting.message,
        created_at=Time.at(tx.now),
    )
    tx.connection.execute(
        group_messages.insert(), {"id": message_id, "group_id": group_id, "message": encode_json(message)}
    )
    tx.emit(message, *_audience(tx.connection, group_id))
    return message, True


def get_group(connection: Connection, group_id: str) -> Group:
    """Raises RefusedError (not_found)."""
    return to_group(connection, get_row(connection, groups, group_id))


def to_group(connection: Connection, row: Row[Any]) -> Group:
    members = _list_members(connection, row.id)
    return to_payload(
        row, Group, group_id=row.id, group_code=row.code, members=members, created_at=Time.at(row.created_at)
    )


def to_group_message(row: Row[Any]) -> payloads.GroupMessage:
    return decode_json(row.message, payloads.GroupMessage)


def _add(tx: Transaction, row: Row[Any], person: Person) -> None:
    tx.connection.execute(
        group_members.insert(),
        {
            "group_id": row.id,
            "user_id": person.user_id,
            "name": person.name,
            "avatar": person.avatar or None,
            "joined_at": tx.now,
        },
    )
    tx.add_member(group(row.id), f"user:{person.user_id}")
    count = _count(tx.connection, row.id)
    payload = payloads.GroupMemberJoined(
        group_id=row.id,
        group_code=row.code,
        member=person,
        current_members=count,
        spots_remaining=row.size - count,
        joined_at=Time.at(tx.now),
    )
    tx.emit(payload, *_audience(tx.connection, row.id))


def _end(tx: Transaction, row: Row[Any], status: str) -> Row[Any]:
    check_move(GROUPS, f"Group {row.id!r}", row.status, status)
    tx.connection.execute(update(groups).where(groups.c.id == row.id).values(status=status))
    return get_row(tx.connection, groups, row.id)


def _check_open(row: Row[Any]) -> None:
    if row.status != "open":
        raise RefusedError(ILLEGAL_TRANSITION, f"Group {row.id!r} is {row.status}: nobody comes or goes any more.")


def _is_member(connection: Connection, group_id: str, user_id: str) -> bool:
    query = select(group_members.c.number).where(
        group_members.c.group_id == group_id, group_members.c.user_id == user_id
    )
    return connection.execute(query).first() is not None


def _count(connection: Connection, group_id: str) -> int:
    query = select(func.count()).select_from(group_members).where(group_members.c.group_id == group_id)
    return connection.execute(query).scalar_one()


def _list_members(connection: Connection, group_id: str) -> list[Person]:
    query = select(group_members).where(group_members.c.group_id == group_id).order_by(group_members.c.number)
    return [Person(user_id=row.user_id, name=row.name, avatar=row.avatar or UNSET) for row in connection.execute(query)]


def _audience(connection: Connection, group_id: str) -> list[NamedRoom]:
    return [group(group_id), *(user(person.user_id) for person in _list_members(connection, group_id))]
