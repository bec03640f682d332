"""Rules: each role and user attribute that one of them names must be declared."""

from collections.abc import Iterator, Sequence

from oyez.contract.backends import DecidedBy
from oyez.contract.declare import Declarations, Namespace
from oyez.contract.policy import MAX_PART, HasRole, InRoom, Member, NotARule, Own, Resolved, Rule

_ROLES_ONLY = ("namespace", "gateway", "user attribute")
"""Declarations whose `who` is decided before any room is known."""


_REQUIRED = "; for members, declare a room in it with members=member() and on_connect='required'"


def check_rules(declared: Declarations) -> Iterator[str]:
    attributes = {attribute.name for attribute in declared.attributes}
    used: set[str] = set()
    for where, rule, placeholders in _rules(declared):
        for part in rule.parts():
            if isinstance(part, NotARule):
                yield f"{where}: {part.shown} is not a rule; {part.remedy}"
            elif isinstance(part, HasRole):
                unknown = [role for role in part.roles if role not in declared.roles]
                yield from (f"{where}: role {role!r} is not one of the roles" for role in unknown)
            elif isinstance(part, Resolved):
                used.add(part.attribute)
                if part.attribute not in attributes:
                    yield f"{where}: user attribute {part.attribute!r} is not declared"
            if isinstance(part, InRoom) and not where.startswith("command"):
                yield f"{where}: in_room() is for commands; a room's own rule is member(), such as member('host')"
            if isinstance(part, Member) and any(
                not isinstance(name, str) or not 0 < len(name) <= MAX_PART for name in part.named
            ):
                yield f"{where}: a part has 1 to {MAX_PART} letters"
            if isinstance(part, Own | Resolved | Member | DecidedBy) and where.startswith(_ROLES_ONLY):
                yield from _check_who(where, part, placeholders)
    for namespace in declared.namespaces:
        yield from _check_parts(namespace)
    yield from (f"user attribute {name}: no rule uses it" for name in sorted(attributes - used))


def _check_who(where: str, part: Rule, placeholders: Sequence[str]) -> Iterator[str]:
    """A rule in a `who` that is decided before any room is known. `placeholders` are those of the namespace."""
    if not placeholders:
        yield f"{where}: who=… can name roles only, because there is no room yet{_REQUIRED * isinstance(part, Member)}"
    elif isinstance(part, Own | Resolved):
        if part.placeholder not in placeholders:
            yield f"{where}: its rule names {{{part.placeholder}}}, which is not a placeholder of its name"
    else:
        other = _REQUIRED if isinstance(part, Member) else "; decide about others in the hook `connecting`"
        yield f"{where}: who=… can name roles, own(…) and resolved(…){other}"


def _check_parts(namespace: Namespace) -> Iterator[str]:
    """A command may ask for parts only in rooms of its namespace that have members."""
    for command in namespace.commands:
        for part in command.who.parts():
            if not isinstance(part, InRoom):
                continue
            kinds = [room for room in namespace.rooms.kinds if room.pattern == part.pattern]
            if not kinds:
                yield f"command {command.name}: in_room() names {part.pattern}, which is no room of {namespace.name}"
            elif part.member is not None and not any(isinstance(each, Member) for each in kinds[0].rule.parts()):
                yield f"command {command.name}: room {part.pattern} has no members; give it members=[…, member()]"


def _rules(declared: Declarations) -> Iterator[tuple[str, Rule, Sequence[str]]]:
    """Each rule, where it is, and the placeholders that it may name before any room is known."""
    for attribute in declared.attributes:
        yield f"user attribute {attribute.name}", attribute.who, ()
    for namespace in declared.namespaces:
        yield f"namespace {namespace.name}", namespace.who, namespace.placeholders
        for gateway in namespace.gateways:
            yield f"gateway {gateway.name}", gateway.who, ()
        for room in namespace.rooms.kinds:
            yield f"room {room.pattern}", room.rule, ()
        for command in namespace.commands:
            yield f"command {command.name}", command.who, ()
