"""Rules, targets, rooms' values and places of tokens as JSON: each has its text, and the same as data."""

from collections.abc import Callable, Iterable
from typing import Any

from oyez.contract.backends import DecidedBy
from oyez.contract.declare import Namespace
from oyez.contract.declared import DeclaredCommand
from oyez.contract.limits import Limit, SharedLimit
from oyez.contract.policy import Anyone, Both, HasRole, Identity, InRoom, Member, OneOf, Own, Resolved, Rule
from oyez.contract.rooms import Caller, DerivedRoom, Everyone, Room, Sockets, Target
from oyez.contract.tokens import Auth, Bearer, Cookie, Header, Query, TokenSource

Data = dict[str, Any]

_SOURCES: tuple[tuple[type, str], ...] = (
    (Auth, "auth"),
    (Bearer, "bearer"),
    (Header, "header"),
    (Query, "query"),
    (Cookie, "cookie"),
)


def describe_rule(rule: Rule) -> Data:
    """A rule: its text, its kind, and what the kind needs."""
    return {"text": rule.text, **_describe_kind(rule)}


def _describe_kind(rule: Rule) -> Data:
    match rule:
        case Own(placeholder, claim):
            return {"kind": "own", "placeholder": placeholder, "claim": claim}
        case Resolved(placeholder, attribute):
            return {"kind": "resolved", "placeholder": placeholder, "attribute": attribute}
        case HasRole(roles, excluded):
            return {"kind": "not_role" if excluded else "role", "roles": list(roles)}
        case Member(parts):
            return {"kind": "member", "parts": list(parts)}
        case DecidedBy(backend):
            return {"kind": "decided_by", "backend": backend.name}
        case InRoom(pattern=pattern, placeholders=placeholders, member=member):
            return {
                "kind": "in_room",
                "room": pattern,
                "placeholders": list(placeholders),
                "parts": list(member.named) if member is not None else [],
            }
        case Both(left, right):
            return {"kind": "all_of", "rules": [describe_rule(left), describe_rule(right)]}
        case OneOf(rules):
            return {"kind": "one_of", "rules": [describe_rule(each) for each in rules]}
    return {"kind": "anyone" if isinstance(rule, Anyone) else "nobody"}


def describe_target(target: Target) -> Data:
    """A target of an event. `rooms` of a payload have the field that fills each placeholder in `paths`."""
    match target:
        case Everyone():
            return {"text": target.text, "kind": "everyone"}
        case Caller():
            return {"text": target.text, "kind": "caller"}
        case DerivedRoom(room=Sockets(), paths=paths):
            return {"text": target.text, "kind": "socket", "paths": dict(paths)}
        case DerivedRoom(room=room, paths=paths):
            return {"text": target.text, "kind": "room", "room": room.pattern, "paths": dict(paths)}
        case Sockets():
            return {"text": target.text, "kind": "socket", "paths": None}
    # Without placeholders, the room is known; otherwise the publisher has to name it.
    return {"text": target.text, "kind": "room", "room": target.pattern, "paths": None if target.placeholders else {}}


def find_receivers(roles: Iterable[str], namespace: Namespace, targets: Iterable[Target]) -> list[str]:
    """Those of the roles whose clients can receive an event that goes to these targets of a namespace."""
    kinds = [target.room if isinstance(target, DerivedRoom) else target for target in targets]
    rules = [kind.rule if isinstance(kind, Room) else namespace.who for kind in kinds]
    return _select(roles, lambda who: namespace.who.admits(who) and any(rule.admits(who) for rule in rules))


def find_senders(roles: Iterable[str], namespace: Namespace, command: DeclaredCommand) -> list[str]:
    """Those of the roles whose clients can send a command."""
    rooms = [room for room in (command.joins, command.leaves) if room is not None]
    rules = [namespace.who, command.who, *(room.rule for room in rooms)]
    return _select(roles, lambda who: all(rule.admits(who) for rule in rules))


def _select(roles: Iterable[str], may: Callable[[Identity], bool]) -> list[str]:
    return [role for role in roles if may(Identity(subject="somebody", role=role))]


def describe_limits(first: Limit, shared: Iterable[SharedLimit]) -> list[Data]:
    """The limits of a command. The first is the one of each user."""
    return [_describe_limit(each) for each in (SharedLimit(first, "user"), *shared)]


def _describe_limit(shared: SharedLimit) -> Data:
    return {
        "text": shared.text,
        "count": shared.limit.count,
        "seconds": shared.limit.period,
        "scope": shared.scope,
        "room": shared.room.pattern if shared.room is not None else None,
    }


def describe_source(source: TokenSource) -> Data:
    """A place of a token. `name` is null for a place without one, and for the cookie that a setting names."""
    kind = next((kind for cls, kind in _SOURCES if isinstance(source, cls)), "other")
    return {"text": source.text, "kind": kind, "name": getattr(source, "name", None)}
