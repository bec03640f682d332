"""Fields of events that show claims of a client's token to other clients, such as the user's name.

A declaration names them as `claims={"userName": "name"}`: the field on the wire, and the claim. The server fills them
in, so a client cannot send another user's. A token may lack the claim: then the field is null, or is omitted.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from oyez.contract.policy import Identity
from oyez.contract.schema import is_key, options, write_key

MAX_SHOWN = 256
"""Characters of a claim that is shown. Longer ones are left out: they would be in each event and in the database."""


def read_claims(identity: Identity, claims: Mapping[str, str]) -> dict[str, str]:
    """The claims that an identity has, by the wire names of the fields that show them."""
    found = {field: identity.claim(claim) for field, claim in claims.items()}
    return {field: value for field, value in found.items() if value is not None and len(value) <= MAX_SHOWN}


def fill_claims(payload: type[msgspec.Struct], claims: Mapping[str, str], shown: Mapping[str, str]) -> dict[str, Any]:
    """The values of the fields that show claims, by their names in Python. `shown` is what `read_claims` has found."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(payload):
        if field.encode_name not in claims:
            continue
        kind = inspect.type_info(field.type)
        try:
            values[field.name] = msgspec.convert(write_key(shown[field.encode_name], kind), field.type)
        except (KeyError, ValueError):
            # There is none, or one that other clients could not read.
            if any(isinstance(option, inspect.NoneType) for option in options(kind)):
                values[field.name] = None
    return values


def check_claims(payload: type[msgspec.Struct], claims: Any) -> Iterator[str]:
    """What is wrong with the declared `claims` of an event, one sentence each."""
    if not isinstance(claims, Mapping) or not all(isinstance(name, str) for pair in claims.items() for name in pair):
        yield f"claims is {claims!r:.40}: write a dict from fields to claims, as {{'userName': 'name'}}"
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(payload)}
    for name in claims:
        kind = inspect.type_info(fields[name].type) if name in fields else None
        if kind is None or not is_key(kind):
            yield f"claims: expected {name} to be a string or integer field of {payload.__name__}"
        elif fields[name].required and not any(isinstance(option, inspect.NoneType) for option in options(kind)):
            yield f"claims: a token may lack what {name} shows; give the field a default, or make it `str | None`"
