"""The head of a contract: its name, roles, token sources, refusals and user attributes."""

import re
from collections.abc import Iterator

from oyez import errors
from oyez.contract.check.names import check_switches, find_duplicates, find_overlaps
from oyez.contract.claims import find_claim_errors
from oyez.contract.declare import Declarations
from oyez.contract.policy import ROLE, USER
from oyez.contract.tokens import named_headers
from oyez.errors import Refusal

MAX_SIGN_IN = 86_400
"""Seconds for which a client may be a guest if guests have to sign in: a day."""


def check_head(declared: Declarations) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", declared.name):
        yield f"name {declared.name!r}: expected lower-case letters, digits, - and _, because addresses contain it"
    if not declared.roles:
        yield "no roles: give at least one"
    yield from (f"role {role!r}: expected a text" for role in declared.roles if not isinstance(role, str) or not role)
    for refusal in declared.refusals:
        if not isinstance(refusal.code, str) or not refusal.code:
            yield f"refusal {refusal.code!r}: a code is a text, such as not_allowed"
        if not isinstance(refusal.message, str) or not refusal.message:
            yield f"refusal {refusal.code}: needs a message, which clients receive"
        if type(refusal.status) is not int or not 400 <= refusal.status <= 599:
            yield f"refusal {refusal.code}: status is {refusal.status!r}: expected an HTTP status from 400 to 599"
        yield from (f"refusal {refusal.code}: {error}" for error in check_switches(refusal, "temporary"))
    for attribute in declared.attributes:
        if not isinstance(attribute.description, str) or not attribute.description:
            yield f"user attribute {attribute.name}: needs a description, which completes 'The server found no …'"
    if declared.default_role is not None and declared.default_role not in declared.roles:
        yield f"default role {declared.default_role!r} is not one of the roles"
    if not declared.tokens:
        yield "no token sources: no client could connect"
    for name in named_headers(declared.tokens):
        if name in ("authorization", "cookie"):
            yield f"header({name!r}): use {'bearer' if name == 'authorization' else 'cookie'}() for it"
        elif not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name):
            yield f"header({name!r}): expected the name of one header, such as x-api-key"
    for kind, claim in declared.subjects.items():
        if kind in (USER, ROLE):
            yield f"subject {kind!r}: every contract has that kind already"
        elif not re.fullmatch(r"[a-z][a-z0-9_-]*", kind) or not claim:
            yield f"subject {kind!r}: expected lower-case letters, digits, - and _, and the name of a claim"
    yield from _check_guests(declared)
    if declared.claims is not None:
        yield from find_claim_errors(declared.claims)
    if not declared.namespaces:
        yield "no namespaces: declare one, such as /"
    known = [value.code for value in vars(errors).values() if isinstance(value, Refusal)]
    codes = [refusal.code for refusal in declared.refusals]
    yield from find_duplicates("role", declared.roles)
    yield from find_duplicates("namespace", (namespace.name for namespace in declared.namespaces))
    named = [namespace for namespace in declared.namespaces if namespace.placeholders]
    yield from find_overlaps("namespace", (namespace.name for namespace in named))
    yield from find_duplicates("user attribute", (attribute.name for attribute in declared.attributes))
    yield from find_duplicates("refusal", [*codes, *(code for code in known if code in codes)])


def _check_guests(declared: Declarations) -> Iterator[str]:
    if declared.guests is not None and declared.guests not in declared.roles:
        yield f"guests {declared.guests!r} is not one of the roles"
    if declared.guests is None and declared.sign_in_within is None:
        for namespace in declared.namespaces:
            for command in namespace.commands:
                if command.signs_in:
                    yield (
                        f"command {command.name}: signs_in is for clients without a token, and none can connect; give"
                        " the contract guests=…, their role"
                    )
    if declared.sign_in_within is None:
        return
    if declared.guests is None:
        yield "sign_in_within is for guests; give guests=…, the role of clients without a token"
    if not isinstance(declared.sign_in_within, int | float) or not 0 < declared.sign_in_within <= MAX_SIGN_IN:
        yield f"sign_in_within {declared.sign_in_within!r}: expected more than 0 and at most {MAX_SIGN_IN} seconds"
    if not any(command.signs_in for namespace in declared.namespaces for command in namespace.commands):
        yield "sign_in_within needs a command by which clients sign in; declare one with signs_in=…"
