"""Relays: what a client sends, the other clients of its rooms receive. One declaration makes a command and an event.

The command's fields are those of the event, without the fields that the server fills in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import new_class
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from oyez.contract.schema import wire_names
from oyez.contract.types import Command, Payload
from oyez.contract.versions import Convert, Was
from oyez.errors import ContractError

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Relay:
    """The event of a relay."""

    payload: type[Payload]
    sender: str | None
    """The wire name of the field that holds the id of the user who has sent it."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """The wire names of the fields that show claims of the sender, and the claims."""


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
    for each in declared:
        if each.encode_name in left_out:
            continue
        annotations[each.name] = each.type
        if each.encode_name in optional:
            annotations[each.name], body[each.name] = each.type | UnsetType, UNSET
        elif each.default_factory is not msgspec.NODEFAULT:
            body[each.name] = msgspec.field(default_factory=each.default_factory)
        elif each.default is not msgspec.NODEFAULT:
            body[each.name] = each.default
    body["__annotations__"] = annotations
    names = {each.name: each.encode_name for each in declared}
    return new_class(origin.__name__, (base,), {"rename": names}, lambda members: members.update(body))


def derive_forms(
    payload: type[Payload], forms: Sequence[Was], sender: str | None, derive: Callable[[type[Payload]], type[Command]]
) -> tuple[type[Command], tuple[Was, ...]]:
    """The command of a relay, and its old forms. Raises ContractError if one of them cannot be made.

    `derive` makes a command's class from a payload's.
    """
    for form in forms:
        if not (isinstance(form.payload, type) and issubclass(form.payload, Payload)):
            raise ContractError(f"its form of version {form.version}: expected one Payload, got {form.payload!r:.60}")
        if not callable(form.convert_back):
            raise ContractError(
                f"its form of version {form.version}: needs convert_back=…, a function that makes the newer payload"
                f" from the {form.payload.__name__} that a client has sent"
            )
    commands = {shape: derive(shape) for shape in (payload, *(form.payload for form in forms))}
    return commands[payload], tuple(
        replace(
            form,
            payload=commands[form.payload],
            convert=_convert_sent(form.payload, form.convert_back, commands, sender),
            convert_back=None,
        )
        for form in forms
        if form.convert_back is not None
    )


def _convert_sent(
    sent: type[Payload], convert: Convert, commands: dict[type[Payload], type[Command]], sender: str | None
) -> Convert:
    """The same function for the commands that are made from payloads."""

    def convert_command(command: Command) -> Any:
        made = convert(sent(**{name: getattr(command, name, UNSET) for name in sent.__struct_fields__}))
        newer = commands.get(type(made))
        if newer is None:
            # The codec reports what is no payload of this relay.
            return made
        newer_names = wire_names(newer)
        values = {name: getattr(made, name) for name in newer_names.values()}
        if sender in newer_names and getattr(command, wire_names(type(command)).get(sender, ""), UNSET) is UNSET:
            # The server replaces the value of the function.
            values[newer_names[sender]] = UNSET
        return newer(**values)

    return convert_command
