"""The names of the claims of a token: identity providers have their own names for the user, the role and others.

This file knows names and settings; `tokens.py` verifies tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oyez.contract.claims import RESERVED, Claims
from oyez.errors import SettingsError
from oyez.settings import Settings

MISSING = object()


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """The names of claims in tokens.

    `subject` are those of the user's id, `role` that of the role, `others` those of further claims by the names that
    contracts have for them. A dot leads into an object: `realm_access.roles`, unless a claim has exactly that name.
    """

    subject: tuple[str, ...] = ("sub", "userId")
    role: str = "role"
    others: Mapping[str, str] = field(default_factory=dict)

    def of_contract(self, claims: Claims | None) -> "ClaimNames":
        """These names, with those that a contract states in their place."""
        if claims is None:
            return self
        return ClaimNames(claims.subjects or self.subject, claims.role or self.role, {**self.others, **claims.names})

    def read(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """`claims` by the names that contracts have for them.

        A claim whose name is set to another does not count under its usual name: its issuer may mean something else.
        """
        named = dict(claims)
        for own, foreign in self._renamed():
            value = find_claim(claims, foreign)
            named.pop(own, None)
            if value is not MISSING:
                named[own] = value
        return named

    def write(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """The opposite of `read`, for a token that Oyez signs itself."""
        renamed = dict(self._renamed())
        return {renamed.get(name, name): value for name, value in claims.items() if name not in renamed.values()} | {
            foreign: claims[own] for own, foreign in renamed.items() if own in claims
        }

    def _renamed(self) -> list[tuple[str, str]]:
        return [(own, foreign) for own, foreign in (("role", self.role), *self.others.items()) if own != foreign]


USUAL_NAMES = ClaimNames()


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or where its dots lead; MISSING if there is none."""
    if name in claims:
        return claims[name]
    first, dot, rest = name.partition(".")
    within = claims.get(first)
    return find_claim(within, rest) if dot and isinstance(within, Mapping) else MISSING


def read_claim_names(settings: Settings) -> ClaimNames:
    """The names that the settings give. Raises SettingsError."""
    subject = tuple(_split(settings.jwt_subject))
    if not subject or not settings.jwt_role.strip():
        raise SettingsError("JWT_SUBJECT and JWT_ROLE must each name a claim, such as sub and role.")
    others = {}
    for pair in _split(settings.jwt_claims):
        own, equals, foreign = (part.strip() for part in pair.partition("="))
        if not (own and equals and foreign):
            raise SettingsError(
                f"JWT_CLAIMS has {pair!r}. Write NAME=CLAIM, such as garage_id=https://id.example/garage."
            )
        if own in RESERVED:
            raise SettingsError(
                f"JWT_CLAIMS cannot rename {own!r}. Use JWT_SUBJECT or JWT_ROLE for the user or the role."
            )
        others[own] = foreign
    return ClaimNames(subject, settings.jwt_role.strip(), others)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
