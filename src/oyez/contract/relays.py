"""Relays: what a client sends, the other clients of its rooms receive. One declaration makes a command and an event.

The command's fields are those of the event, without the fields that the server fills in.
"""

from collections.abc import Collection
from dataclasses import dataclass
from types import new_class
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from oyez.contract.types import Command, Payload
from oyez.errors import ContractError


@dataclass(frozen=True, slots=True)
class Relay:
    """The event of a relay."""

    payload: type[Payload]
    sender: str | None
    """The wire name of the field that holds the id of the user who has sent it."""


def build_relay_command(
    name: str, payload: type[Payload], unsent: Collection[str | None], sender: str | None
) -> type[Command]:
    """The command whose fields are those of `payload`. Raises ContractError if a type is not known yet.

    Clients cannot send the fields `unsent`. They may omit `sender`. All are wire names.
    """
    try:
        declared = msgspec.structs.fields(payload)
    except (NameError, TypeError) as error:
        raise ContractError(f"relay {name}: {error}; define the types of its fields before it") from None
    annotations: dict[str, Any] = {}
    body: dict[str, Any] = {"__doc__": payload.__doc__, "__module__": payload.__module__}
    for field in declared:
        if field.encode_name in unsent:
            continue
        annotations[field.name] = field.type
        if field.encode_name == sender:
            annotations[field.name], body[field.name] = field.type | UnsetType, UNSET
        elif field.default_factory is not msgspec.NODEFAULT:
            body[field.name] = msgspec.field(default_factory=field.default_factory)
        elif field.default is not msgspec.NODEFAULT:
            body[field.name] = field.default
    body["__annotations__"] = annotations
    names = {field.name: field.encode_name for field in declared}
    return new_class(payload.__name__, (Command,), {"rename": names}, lambda members: members.update(body))
