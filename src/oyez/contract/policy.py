"""Who may do what: the identity of a connected client, and the rules that decide about it.

A rule is a value: it decides, it names the rooms to which an identity is entitled, and it has a text for documents.
It knows nothing of sockets, and it never waits: if only the membership table can decide, the verdict says so.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from oyez.contract.schema import read_number
from oyez.errors import FORBIDDEN, RefusedError

SUBJECT_CLAIMS = ("sub", "userId")
"""Claims that name the user. Each of them means the verified subject of the token, whatever the token carries."""

MAX_SUBJECT_LENGTH = 128
"""Characters of a user's id: it becomes part of room names and logs."""
MAX_PART = 64
"""Characters of a member's part in a room, such as `host`."""
USER, ROLE = "user", "role"
"""The kinds of subject that every membership table has: `user:u1`, `role:admin`."""

Values = Mapping[str, str]
"""The values of the placeholders in a room's pattern."""
Known = Mapping["Rule", bool]
"""For rules that only the membership table or the client's rooms can decide, True if they hold."""
NOTHING: Known = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user of a socket. The server has verified or resolved every value in it."""

    subject: str
    role: str
    """If the token has several roles, the first in the contract's order that the namespace admits."""
    roles: tuple[str, ...] = ()
    """All roles, if the token has several of the contract; the user has the rights of each."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The user attributes that resolvers have found, such as the id of the user's supplier record."""
    expires_at: float | None = None
    """When the token expires, in seconds since 1970."""
    guest: bool = False
    """True if the client has shown no credentials. `subject` then begins with `guest:`."""

    @property
    def number(self) -> int:
        """The user's id as a whole number, for systems whose ids are numbers. Raises RefusedError (forbidden)."""
        try:
            return read_number(self.subject)
        except ValueError as error:
            raise RefusedError(FORBIDDEN, f"Your user id {error}.") from None

    def has_role(self, role: str) -> bool:
        """True if `role` is one of the user's roles."""
        return role == self.role or role in self.roles

    def claim(self, name: str) -> str | None:
        """A claim as text; None if the token does not have it, or if it is neither text nor an integer."""
        if name in SUBJECT_CLAIMS:
            return self.subject
        value = self.claims.get(name)
        if type(value) is int:
            return str(value)
        return value if isinstance(value, str) and value else None


class Verdict(Enum):
    """The decision of a rule about an identity and a room."""

    YES = "yes"
    NO = "no"
    IF_MEMBER = "if a member"
    """Yes if the membership table has the identity in the room, or a back end allows it there; otherwise no."""


class Rule(ABC):
    """A right. `left & right` requires both; a list of rules requires one of them."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The rule as documents say it of the client: "has role `admin`"."""

    @abstractmethod
    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        """The verdict about `identity` in the room whose placeholders have these values.

        `known` has the verdicts of rules that the rule itself cannot decide, such as `member()`.
        """

    @abstractmethod
    def entitlements(self, identity: Identity) -> list[Values]:
        """Values of placeholders with which the rule allows `identity`, as far as the rule itself knows them.

        `[{}]` if the rule allows it with any values, `[]` if the rule cannot allow it.
        """

    def admits(self, identity: Identity) -> bool:
        """True if the rule could allow `identity` in some room, judged by the role only."""
        return True

    def parts(self) -> Iterator["Rule"]:
        """The simple rules of which this one consists."""
        yield self

    def __and__(self, other: "Rule") -> "Rule":
        """A rule that requires both rights."""
        return Both(self, one_of(other))


class _Matching(Rule):
    """Requires that the placeholder holds a value of the client."""

    placeholder: str

    @abstractmethod
    def value(self, identity: Identity) -> str | None:
        """The client's own value, which the placeholder must hold; None if it has none."""

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        value = self.value(identity)
        return Verdict.YES if value is not None and value == values.get(self.placeholder) else Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        value = self.value(identity)
        return [] if value is None else [{self.placeholder: value}]


@dataclass(frozen=True)
class Own(_Matching):
    """Requires that the placeholder (of a command: the field) holds the client's own claim."""

    placeholder: str
    claim: str

    @property
    def text(self) -> str:
        if self.claim in SUBJECT_CLAIMS:
            return f"is the user {{{self.placeholder}}}"
        return f"has {{{self.placeholder}}} as `{self.claim}` in the token"

    def value(self, identity: Identity) -> str | None:
        return identity.claim(self.claim)


@dataclass(frozen=True)
class Resolved(_Matching):
    """Requires that the placeholder holds a user attribute of the client. The token is not read."""

    placeholder: str
    attribute: str

    @property
    def text(self) -> str:
        return f"has {{{self.placeholder}}} as `{self.attribute}` on the server"

    def value(self, identity: Identity) -> str | None:
        return identity.attributes.get(self.attribute)


@dataclass(frozen=True, slots=True)
class HasRole(Rule):
    """Requires one of these roles or, if `excluded`, none of them."""

    roles: tuple[str, ...]
    excluded: bool = False

    @property
    def text(self) -> str:
        names = " or ".join(f"`{role}`" for role in self.roles)
        return f"has another role than {names}" if self.excluded else f"has role {names}"

    def admits(self, identity: Identity) -> bool:
        held = any(role in self.roles for role in identity.roles) if identity.roles else identity.role in self.roles
        return held is not self.excluded

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        return Verdict.YES if self.admits(identity) else Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        return [{}] if self.admits(identity) else []


class _Constant(Rule):
    """Has the same verdict about every identity and room."""

    verdict: ClassVar[Verdict]

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        return self.verdict

    def entitlements(self, identity: Identity) -> list[Values]:
        return [{}] if self.admits(identity) else []

    def admits(self, identity: Identity) -> bool:
        return self.verdict is not Verdict.NO


class Looked(Rule):
    """Has a verdict only if somebody has looked it up."""

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        if self not in known:
            return Verdict.IF_MEMBER
        return Verdict.YES if known[self] else Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        return [{}]


@dataclass(frozen=True)
class Member(Looked):
    """Requires that the membership table has the client in the room, with one of these parts if there are any."""

    named: tuple[str, ...] = ()
    """The parts, such as `host`."""

    @property
    def text(self) -> str:
        return f"is {_name_parts(self.named)} of the room" if self.named else "is a member of the room"

    def holds(self, parts: Collection[str]) -> bool:
        """True if the rule holds for a client that has these parts in the room; "" is a member without one."""
        return any(part in self.named for part in parts) if self.named else bool(parts)


@dataclass(frozen=True)
class InRoom(Looked):
    """For a command: requires that the client is in the room that the command's fields name, with one of the parts."""

    pattern: str
    placeholders: tuple[str, ...]
    name: Callable[[Values], str] = field(compare=False)
    """The name of the room with these values. Raises RefusedError."""
    member: Member | None
    """The right in the membership table; None if it is enough to be in the room."""

    @property
    def text(self) -> str:
        return f"is in `{self.pattern}`" + (f" and {self.member.text}" if self.member is not None else "")


def _name_parts(named: Sequence[str]) -> str:
    return " or ".join(f"`{part}`" for part in named)


@dataclass(frozen=True)
class Anyone(_Constant):
    """Allows every client."""

    text = "is signed in"
    verdict = Verdict.YES


@dataclass(frozen=True)
class Nobody(_Constant):
    """Allows no client: the default if no rule is given."""

    text = "is nobody"
    verdict = Verdict.NO


@dataclass(frozen=True)
class NotARule(_Constant):
    """Stands for a value that is no rule, until `build` reports it."""

    shown: str
    """The value, as Python shows it."""
    remedy: str = "write a rule, such as role('…'), own('…') or anyone()"
    text = "is nobody"
    verdict = Verdict.NO


@dataclass(frozen=True, slots=True)
class Both(Rule):
    """Requires two rights."""

    left: Rule
    right: Rule

    @property
    def text(self) -> str:
        return f"{self.left.text} and {self.right.text}"

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        verdicts = {self.left.decide(identity, values, known), self.right.decide(identity, values, known)}
        if Verdict.NO in verdicts:
            return Verdict.NO
        return Verdict.IF_MEMBER if Verdict.IF_MEMBER in verdicts else Verdict.YES

    def entitlements(self, identity: Identity) -> list[Values]:
        rights = self.right.entitlements(identity)
        return [{**left, **right} for left in self.left.entitlements(identity) for right in rights]

    def admits(self, identity: Identity) -> bool:
        return self.left.admits(identity) and self.right.admits(identity)

    def parts(self) -> Iterator[Rule]:
        yield from self.left.parts()
        yield from self.right.parts()


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """Requires one of several rights."""

    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        return ", or ".join(rule.text for rule in self.rules)

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        verdicts = {rule.decide(identity, values, known) for rule in self.rules}
        if Verdict.YES in verdicts:
            return Verdict.YES
        return Verdict.IF_MEMBER if Verdict.IF_MEMBER in verdicts else Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        return [values for rule in self.rules for values in rule.entitlements(identity)]

    def admits(self, identity: Identity) -> bool:
        return any(rule.admits(identity) for rule in self.rules)

    def parts(self) -> Iterator[Rule]:
        for rule in self.rules:
            yield from rule.parts()


def own(placeholder: str, claim: str | None = None) -> Rule:
    """`placeholder` must hold the client's claim of the same name, or `claim`. `claim="sub"` is the user's id."""
    return Own(placeholder, claim or placeholder)


def resolved(placeholder: str, attribute: str) -> Rule:
    """`placeholder` must hold the client's user attribute `attribute` (declared by `Contract.user_attribute`)."""
    return Resolved(placeholder, attribute)


def role(*roles: str) -> Rule:
    """The client must have one of `roles`."""
    return HasRole(roles)


def not_role(*roles: str) -> Rule:
    """The client must have none of `roles`."""
    return HasRole(roles, excluded=True)


def member(*parts: str) -> Rule:
    """The membership table must have the client in the room; `member("host")`, with one of these parts."""
    return Member(parts)


def anyone() -> Rule:
    """Every client: with a valid token or, if the contract has guests, without one."""
    return Anyone()


def one_of(rules: Rule | Sequence[Rule]) -> Rule:
    """One rule from the forms that a contract may use: a single rule, or a list of alternatives."""
    if isinstance(rules, Rule):
        return rules
    if not isinstance(rules, list | tuple):
        return NotARule(repr(rules))
    if not rules:
        return Nobody()
    known = [rule if isinstance(rule, Rule) else NotARule(repr(rule)) for rule in rules]
    return known[0] if len(known) == 1 else OneOf(tuple(known))
