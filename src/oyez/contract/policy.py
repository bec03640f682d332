"""Who may what: the identity of a connected client, and the rules that are asked about it.

A rule is a value: it decides, it can say which rooms an identity is entitled to, and it has a text for documents.
It knows nothing of sockets, and it never waits: where only the membership table can tell, it says so.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

SUBJECT_CLAIMS = ("sub", "userId")
"""Claims that name the user. They mean the subject the token was verified for, whichever of them the token carries."""

USER, ROLE = "user", "role"
"""The kinds of subject that every membership table has: `user:u1`, `role:admin`."""

Values = Mapping[str, str]
"""What fills the placeholders of a room's pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a socket is. Everything in it was verified or looked up by the server."""

    subject: str
    role: str
    """Of several roles, the first in the order of the contract that the namespace admits."""
    roles: tuple[str, ...] = ()
    """All roles that count, if there are several; rights of all of them are given."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What the server looked up, such as the supplier record of a user."""
    expires_at: float | None = None
    """When the token runs out, in seconds since 1970."""

    def has_role(self, role: str) -> bool:
        return role == self.role or role in self.roles

    def claim(self, name: str) -> str | None:
        """A claim as it stands in rooms' names; None where the token has none of that name, or no simple one."""
        if name in SUBJECT_CLAIMS:
            return self.subject
        value = self.claims.get(name)
        if type(value) is int:
            return str(value)
        return value if isinstance(value, str) and value else None


class Verdict(Enum):
    """What a rule says about an identity and a room."""

    YES = "yes"
    NO = "no"
    IF_MEMBER = "if a member"
    """Yes for those whom the membership table has in this room, no for others."""


class Rule(Protocol):
    """A right. `left & right` asks for both; a list of rules asks for one of them."""

    @property
    def text(self) -> str:
        """The rule as a document says it, of the caller: "has role `admin`"."""

    def decide(self, identity: Identity, values: Values) -> Verdict:
        """Whether the right is given where the placeholders have these values."""

    def entitlements(self, identity: Identity) -> list[Values]:
        """Values the rule itself knows for `identity`: each stands for rooms it would be allowed in by this rule.

        `[{}]` where the rule holds without naming any, `[]` where it cannot hold.
        """

    def admits(self, identity: Identity) -> bool:
        """Whether the right could be given at all, going by the role alone."""

    def parts(self) -> Iterator["Rule"]:
        """The simple rules this one is made of."""

    def __and__(self, other: "Rule") -> "Rule":
        """Both rights."""


class _Simple:
    """What rules about one thing have in common."""

    def admits(self, identity: Identity) -> bool:
        return True

    def parts(self: Rule) -> Iterator[Rule]:
        yield self

    def __and__(self: Rule, other: Rule) -> Rule:
        return Both(self, other)


class _Matching(_Simple, ABC):
    """The placeholder holds a value that belongs to the caller."""

    placeholder: str

    @abstractmethod
    def value(self, identity: Identity) -> str | None:
        """What the caller has that the placeholder must hold, if anything."""

    def decide(self, identity: Identity, values: Values) -> Verdict:
        value = self.value(identity)
        return Verdict.YES if value is not None and value == values.get(self.placeholder) else Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        value = self.value(identity)
        return [] if value is None else [{self.placeholder: value}]


@dataclass(frozen=True)
class Own(_Matching):
    """The placeholder (or, on a command, the field) holds the caller's own claim."""

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
    """The placeholder holds an attribute that the server looked up; what the token says about it is not read."""

    placeholder: str
    attribute: str

    @property
    def text(self) -> str:
        return f"has {{{self.placeholder}}} as `{self.attribute}` on the server"

    def value(self, identity: Identity) -> str | None:
        return identity.attributes.get(self.attribute)


@dataclass(frozen=True, slots=True)
class HasRole(_Simple):
    """The role is one of these, or, where `excluded`, none of these."""

    roles: tuple[str, ...]
    excluded: bool = False

    @property
    def text(self) -> str:
        names = " or ".join(f"`{role}`" for role in self.roles)
        return f"has another role than {names}" if self.excluded else f"has role {names}"

    def admits(self, identity: Identity) -> bool:
        held = any(role in self.roles for role in identity.roles) if identity.roles else identity.role in self.roles
        return held is not self.excluded

    def decide(self, identity: Identity, values: Values) -> Verdict:
        return Verdict.YES if self.admits(identity) else Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        return [{}] if self.admits(identity) else []


@dataclass(frozen=True, slots=True)
class Member(_Simple):
    """The membership table has the caller in the room."""

    text = "is a member of the room"

    def decide(self, identity: Identity, values: Values) -> Verdict:
        return Verdict.IF_MEMBER

    def entitlements(self, identity: Identity) -> list[Values]:
        return [{}]


@dataclass(frozen=True, slots=True)
class Anyone(_Simple):
    """Everyone signed in."""

    text = "is signed in"

    def decide(self, identity: Identity, values: Values) -> Verdict:
        return Verdict.YES

    def entitlements(self, identity: Identity) -> list[Values]:
        return [{}]


@dataclass(frozen=True, slots=True)
class Nobody(_Simple):
    """A right that nobody has: what holds until a rule is given."""

    text = "is nobody"

    def admits(self, identity: Identity) -> bool:
        return False

    def decide(self, identity: Identity, values: Values) -> Verdict:
        return Verdict.NO

    def entitlements(self, identity: Identity) -> list[Values]:
        return []


@dataclass(frozen=True, slots=True)
class Both:
    """Two rights at once."""

    left: Rule
    right: Rule

    @property
    def text(self) -> str:
        return f"{self.left.text} and {self.right.text}"

    def decide(self, identity: Identity, values: Values) -> Verdict:
        verdicts = {self.left.decide(identity, values), self.right.decide(identity, values)}
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

    def __and__(self, other: Rule) -> Rule:
        return Both(self, other)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several rights is enough."""

    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        return ", or ".join(rule.text for rule in self.rules)

    def decide(self, identity: Identity, values: Values) -> Verdict:
        verdicts = {rule.decide(identity, values) for rule in self.rules}
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

    def __and__(self, other: Rule) -> Rule:
        return Both(self, other)


def own(placeholder: str, claim: str | None = None) -> Rule:
    """`placeholder` must hold the caller's claim of the same name, or `claim`; `claim="sub"` is the caller's id."""
    return Own(placeholder, claim or placeholder)


def resolved(placeholder: str, attribute: str) -> Rule:
    """`placeholder` must hold what the server looked up as `attribute` (declared by `Contract.attribute`)."""
    return Resolved(placeholder, attribute)


def role(*roles: str) -> Rule:
    """The caller's role must be one of `roles`."""
    return HasRole(roles)


def not_role(*roles: str) -> Rule:
    """The caller's role must be none of `roles`."""
    return HasRole(roles, excluded=True)


def member() -> Rule:
    """The membership table must have the caller in the room."""
    return Member()


def anyone() -> Rule:
    """Everyone signed in."""
    return Anyone()


def one_of(rules: Rule | Sequence[Rule]) -> Rule:
    """A rule as it may be written in a contract, a single one or a list of alternatives, as one rule."""
    if not isinstance(rules, Sequence):
        return rules
    if not rules:
        return Nobody()
    return rules[0] if len(rules) == 1 else OneOf(tuple(rules))
