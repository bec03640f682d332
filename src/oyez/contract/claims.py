"""The names that the tokens of one system have for the user, the role and other claims.

Identity providers have their own names. What a contract states here wins over the settings `jwt_subject`, `jwt_role`
and `jwt_claims`, which hold for all systems of a server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from oyez.contract.calls import plainly

RESERVED = ("sub", "userId", "role", "iss", "aud", "iat", "nbf", "exp")
"""Claims that cannot be renamed by `names`: the user and the role have a name of their own, RFC 7519 defines the
others."""


@plainly
@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """`Claims(subject="user_id", role="type", names={"shop_id": "https://id.example/shop"})`.

    A dot leads into an object (`user.id`), unless a claim has exactly that name. The settings name what is left out.
    """

    subject: str | Sequence[str] | None = None
    """The claim with the user's id, a text or a whole number; of several, the first that a token has counts."""
    role: str | None = None
    """The claim with the user's role, or a list of roles."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Further claims: the contract's name and the token's."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """The names of the claim with the user's id; empty if the settings name it."""
        if self.subject is None:
            return ()
        return (self.subject,) if isinstance(self.subject, str) else tuple(self.subject)


def find_claim_errors(claims: Claims) -> Iterator[str]:
    """What is wrong with the names, one sentence each."""
    if not isinstance(claims, Claims):
        yield f'claims is a {type(claims).__name__}: write Claims(subject="user_id")'
        return
    if not isinstance(claims.subject, str | list | tuple | None):
        yield f"claims: subject is a {type(claims.subject).__name__}: write the name of a claim, or a tuple of names"
        return
    named = [*claims.subjects, *([claims.role] if claims.role is not None else []), *claims.names.values()]
    if claims.subject is not None and not claims.subjects:
        yield "claims: subject names no claim; leave it out for the setting `jwt_subject`"
    if not all(isinstance(name, str) and name.strip() == name and name for name in (*named, *claims.names)):
        yield "claims: a claim has an empty name, or one with spaces around it"
    for name in claims.names:
        if name in RESERVED:
            yield f"claims: {name!r} cannot be renamed by names=…; use subject=… for the user, role=… for the role"
