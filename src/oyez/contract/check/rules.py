"""Rules: each role and user attribute that one of them names must be declared."""

from collections.abc import Iterator

from oyez.contract.declare import Declarations
from oyez.contract.policy import HasRole, Member, Own, Resolved, Rule

_ROLES_ONLY = ("namespace", "gateway", "user attribute")
"""Declarations whose `who` is decided before any room is known."""


def check_rules(declared: Declarations) -> Iterator[str]:
    attributes = {attribute.name for attribute in declared.attributes}
    used: set[str] = set()
    for where, rule in _rules(declared):
        for part in rule.parts():
            if isinstance(part, HasRole):
                unknown = [role for role in part.roles if role not in declared.roles]
                yield from (f"{where}: role {role!r} is not one of the roles" for role in unknown)
            elif isinstance(part, Resolved):
                used.add(part.attribute)
                if part.attribute not in attributes:
                    yield f"{where}: user attribute {part.attribute!r} is not declared"
            if isinstance(part, Own | Resolved | Member) and where.startswith(_ROLES_ONLY):
                yield f"{where}: who=… can name roles only, because there is no room yet"
    yield from (f"user attribute {name}: no rule uses it" for name in sorted(attributes - used))


def _rules(declared: Declarations) -> Iterator[tuple[str, Rule]]:
    for attribute in declared.attributes:
        yield f"user attribute {attribute.name}", attribute.who
    for namespace in declared.namespaces:
        yield f"namespace {namespace.name}", namespace.who
        for gateway in namespace.gateways:
            yield f"gateway {gateway.name}", gateway.who
        for room in namespace.rooms.kinds:
            yield f"room {room.pattern}", room.rule
        for command in namespace.commands:
            yield f"command {command.name}", command.who
