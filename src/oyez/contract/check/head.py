"""The head of a contract: its name, roles, token sources, refusals and user attributes."""

import re
from collections.abc import Iterator

from oyez import errors
from oyez.contract.check.names import find_duplicates
from oyez.contract.claims import find_claim_errors
from oyez.contract.declare import Declarations
from oyez.contract.policy import ROLE, USER
from oyez.contract.tokens import named_headers
from oyez.errors import Refusal


def check_head(declared: Declarations) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", declared.name):
        yield f"name {declared.name!r}: expected lower-case letters, digits, - and _, because addresses contain it"
    if not declared.roles:
        yield "no roles: give at least one"
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
    if declared.claims is not None:
        yield from find_claim_errors(declared.claims)
    if not declared.namespaces:
        yield "no namespaces: declare one, such as /"
    known = [value.code for value in vars(errors).values() if isinstance(value, Refusal)]
    codes = [refusal.code for refusal in declared.refusals]
    yield from find_duplicates("role", declared.roles)
    yield from find_duplicates("namespace", (namespace.name for namespace in declared.namespaces))
    yield from find_duplicates("user attribute", (attribute.name for attribute in declared.attributes))
    yield from find_duplicates("refusal", [*codes, *(code for code in known if code in codes)])
