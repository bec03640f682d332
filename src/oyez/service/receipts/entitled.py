"""Which users had a right to an event: known if its rooms belong to users, or have members; otherwise said so."""

from collections.abc import Sequence
from typing import NamedTuple

from oyez.contract.contract import Contract
from oyez.contract.policy import SUBJECT_CLAIMS, Both, Member, OneOf, Own, Rule
from oyez.contract.rooms import EVERYONE, NamedRoom
from oyez.protocol.socket_ids import is_user_room, socket_of, user_of
from oyez.service.outbox.members import Members

MAX_MEMBERS = 10_000
"""Members of one room that are looked at."""
_USER = "user:"


class Entitled(NamedTuple):
    """The users who had a right to an event."""

    users: frozenset[str]
    unknown: tuple[str, ...]
    """The rooms of the event in which others may have been, as they are named for publishers."""


async def find_entitled(
    contract: Contract, members: Members, namespace: str, rooms: Sequence[str], excluded: Sequence[str]
) -> Entitled:
    """The users who have a right to an event for these rooms now, as far as that is known."""
    users: set[str] = set()
    unknown: list[str] = [] if rooms else [EVERYONE]
    for name in rooms:
        found = await _find_users(contract, members, namespace, name)
        users |= found.users
        if not found.complete:
            unknown.append(socket_of(name))
    for name in excluded:
        users -= (await _find_users(contract, members, namespace, name)).users
    return Entitled(frozenset(users), tuple(unknown))


async def _find_users(contract: Contract, members: Members, namespace: str, name: str) -> "_Users":
    """The users who may be in a room."""
    if is_user_room(name):
        return _Users(frozenset([user_of(name)]), True)
    found = contract.find_room(namespace, name)
    return _NOT_KNOWN if found is None else await _allowed_by(found[0].rule, members, found[1])


async def _allowed_by(rule: Rule, members: Members, room: NamedRoom) -> "_Users":
    """The users whom a rule allows into a room."""
    if isinstance(rule, Own) and rule.claim in SUBJECT_CLAIMS and rule.placeholder in room.values:
        return _Users(frozenset([room.values[rule.placeholder]]), True)
    if isinstance(rule, Member):
        return await _list_members(members, room)
    if isinstance(rule, OneOf):
        allowed = [await _allowed_by(one, members, room) for one in rule.rules]
        return _Users(frozenset().union(*(one.users for one in allowed)), all(one.complete for one in allowed))
    if isinstance(rule, Both):
        left, right = [await _allowed_by(one, members, room) for one in (rule.left, rule.right)]
        if left.complete and right.complete:
            return _Users(left.users & right.users, True)
        return left if left.complete else right
    return _NOT_KNOWN


async def _list_members(members: Members, room: NamedRoom) -> "_Users":
    users: set[str] = set()
    after, complete = "", True
    while page := list(await members.list(room, after=after)):
        named = [subject.removeprefix(_USER) for subject in page if subject.startswith(_USER)]
        users.update(named)
        complete = complete and len(named) == len(page)
        after = page[-1]
        if len(users) >= MAX_MEMBERS:
            return _Users(frozenset(users), False)
    return _Users(frozenset(users), complete)


class _Users(NamedTuple):
    """Users who may be in a room."""

    users: frozenset[str]
    complete: bool
    """True if nobody else may be."""


_NOT_KNOWN = _Users(frozenset(), False)
