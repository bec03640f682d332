"""Relays: what a client sends, the other clients of its rooms receive. One declaration makes a command and an event.

The command's fields are those of the event, without the fields that the server fills in.
"""

from dataclasses import dataclass
from functools import lru_cache
from types import new_class
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from oyez.contract.types import Payload
from oyez.errors import ContractError

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Relay:
    """The event of a relay."""

    payload: type[Payload]
    sender: str | None
    """The wire name of the field that holds the id of the user who has sent it."""


@lru_cache(maxsize=1024)
def derive_class(
    origin: type[msgspec.Struct], base: type[S], left_out: tuple[str | None, ...], optional: tuple[str | None, ...]
) -> type[S]:
    """A class with the fields of `origin`. Raises ContractError if a type is not known yet.

    It does not have the fields `left_out`, and the fields `optional` may be omitted. All are wire names.
    """
    try:
        declared = msgspec.structs.fields(origin)
    except (NameError, TypeError) as error:
        raise ContractError(f"{error}; define the types of its fields before it") from None
    annotations: dict[str, Any] = {}
    body: dict[str, Any] = {"__doc__": origin.__doc__, "__module__": origin.__module__}
    for field in declared:
        if field.encode_name in left_out:
            continue
        annotations[field.name] = field.type
        if field.encode_name in optional:
            annotations[field.name], body[field.name] = field.type | UnsetType, UNSET
        elif field.default_factory is not msgspec.NODEFAULT:
            body[field.name] = msgspec.field(default_factory=field.default_factory)
        elif field.default is not msgspec.NODEFAULT:
            body[field.name] = field.default
    body["__annotations__"] = annotations
    names = {field.name: field.encode_name for field in declared}
    return new_class(origin.__name__, (base,), {"rename": names}, lambda members: members.update(body))
