"""The declarations of a contract as values: an event, a command, a user attribute, as a namespace has recorded them."""

import inspect
from dataclasses import dataclass
from typing import Any

from oyez.contract.arguments import Arguments, UnknownFields, shapes_of
from oyez.contract.backends import Backend
from oyez.contract.limits import Limit, SharedLimit
from oyez.contract.patterns import Pattern, find_pattern
from oyez.contract.policy import Rule
from oyez.contract.relays import Relay, derive_class
from oyez.contract.replies import Acknowledgements, Errors
from oyez.contract.rooms import (
    Room,
    Target,
)
from oyez.contract.types import Command, Payload
from oyez.contract.versions import Was
from oyez.errors import Refusal


def description_of(kind: Any) -> str:
    """A declaration's own docstring, not one of its bases; empty if it has none. Of a union, those of its classes."""
    if not shapes_of(kind)[1:]:
        return inspect.cleandoc(kind.__doc__ or "")
    texts = [(shape.__struct_config__.tag, inspect.cleandoc(shape.__doc__ or "")) for shape in shapes_of(kind)]
    return " ".join(f"`{tag}`: {text}" for tag, text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBase:
    """What all declarations of an event have in common."""

    name: str
    payload: Any
    """Its class, or a union of classes with tags."""
    example: Any
    """Its data, as `publish` takes it; None if there is none. A built contract makes one from the types."""
    volatile: bool
    latest: float = 0.0
    """Seconds for which the newest one is kept for clients that join its room; 0: not at all."""
    arguments: Arguments = "object"
    max_bytes: int | None = None
    """Bytes of its data; None: the limit `max_event_bytes`."""
    unknown_fields: UnknownFields = "refuse"
    name_only: bool = False
    """True if the fields that fill the placeholders of the name are not in the data."""
    webhook: bool = False
    """True if it may go to receivers of webhooks."""
    receipts: bool = False
    """True if it asks each client for an acknowledgement, and is recorded whom it has reached."""
    was: tuple[Was, ...] = ()
    """Its old forms. In a built contract, the newest first: each is made from the one before it."""

    @property
    def pattern(self) -> Pattern | None:
        """The name as a pattern; None if it has no placeholders."""
        return find_pattern(self.name)

    @property
    def shapes(self) -> tuple[type[Payload], ...]:
        """The classes of its payload: one, or those of a union."""
        return shapes_of(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredEvent(EventBase):
    """An event as one namespace declares it."""

    namespace: str
    targets: tuple[Target, ...]
    timestamp: str | None
    """The wire name of the field that the server fills in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredCommand:
    """A command as one namespace declares it."""

    namespace: str
    name: str
    command: Any
    """Its class, or a union of classes with tags."""
    who: Rule
    """Who may send it. `own(field)` in it names a field of the command."""
    limit: Limit
    arguments: Arguments
    reply: Any
    """The type of what its acknowledgement carries on success, usually a payload; None for nothing."""
    reply_arguments: Arguments = "object"
    """Positional if the fields of the reply are arguments of the acknowledgement."""
    joins: Room | None = None
    leaves: Room | None = None
    signs_in: str | None = None
    """The wire name of the field that holds a token, if the command signs the client in."""
    volatile: bool = False
    """True if only the newest of the commands over the limit is handled, and the others are dropped."""
    error: Errors | None = None
    """How its errors differ from the contract's."""
    acknowledgements: Acknowledgements | None = None
    """The form of its acknowledgements, if it differs from the contract's."""
    max_bytes: int | None = None
    """Bytes of its arguments; None: only the limits on packets hold."""
    unknown_fields: UnknownFields = "refuse"
    shared: tuple[SharedLimit, ...] = ()
    """Its other limits."""
    relays: Relay | None = None
    """The event that other clients receive."""
    handled_by: Backend | None = None
    """The back end that handles it. None: the default of its namespace, if that has one, or a handler in Python."""
    was: tuple[Was, ...] = ()
    """Its old forms."""
    refusals: tuple[Refusal, ...] | None = None
    """Those of the contract's refusals with which its handler refuses; None: any of them."""

    @property
    def pattern(self) -> Pattern | None:
        """The name as a pattern; None if it has no placeholders."""
        return find_pattern(self.name)

    @property
    def sent(self) -> Any:
        """The command as clients send it: the fields that its name fills are optional, or no arguments."""
        if self.pattern is None:
            return self.command
        named = self.pattern.placeholders
        return derive_class(self.command, Command, named if self.arguments == "positional" else (), named)

    @property
    def shapes(self) -> tuple[type[Command], ...]:
        return shapes_of(self.command)

    @property
    def description(self) -> str:
        return description_of(self.command)


@dataclass(frozen=True, slots=True)
class UserAttribute:
    """A value that belongs to a user and is not in the token. A resolver finds it when the user connects."""

    name: str
    description: str
    who: Rule
    """The users who may have it."""
