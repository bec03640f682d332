"""What a reader finds in a document: messages, the shapes of their data, rooms, and what a person has to decide."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from oyez.errors import OyezError

EVENT: "Direction" = "event"
COMMAND: "Direction" = "command"
Direction = Literal["event", "command"]
ROOT = "/"
EVERY = "*"
"""The namespace of what a document says of all namespaces."""


class DocumentError(OyezError):
    """The document cannot be read: it is too large, is no text, or has no events."""


class NoSample:
    """The document shows no value."""


NO_SAMPLE = NoSample()


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `name` is its type in a contract, such as `str` or `Id`."""

    name: str
    certain: bool = True
    """False if the document does not give the type, so that the name of the field has suggested it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of items."""

    item: "Shape"


@dataclass(frozen=True, slots=True)
class Items:
    """An array of exactly these items."""

    items: "tuple[Shape, ...]"


@dataclass(frozen=True, slots=True)
class Map:
    """An object with any keys."""

    value: "Shape"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several shapes."""

    shapes: "tuple[Shape, ...]"


@dataclass(frozen=True, slots=True)
class Named:
    """A type that the document names, and may define elsewhere."""

    name: str


@dataclass(frozen=True, slots=True)
class Object:
    """An object with these fields."""

    fields: "tuple[Field, ...]"
    open: bool = False
    """True if the document leaves fields out, as in `{id, ...}`."""


Shape = Scalar | Choice | Array | Items | Map | Either | Named | Object


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object, or one of several arguments."""

    name: str
    shape: Shape
    optional: bool = False
    nullable: bool = False
    sample: Any = NO_SAMPLE


@dataclass(frozen=True, slots=True)
class Decision:
    """What the document does not say, with the line of the document where it should."""

    line: int
    text: str


@dataclass(slots=True, kw_only=True)
class Message:
    """An event or a command as the document describes it."""

    name: str
    direction: Direction
    namespace: str
    line: int
    description: str = ""
    arguments: tuple[Field, ...] | None = None
    """The arguments; None if the document does not show them. One that is an object has its fields as the payload."""
    variants: tuple[Object, ...] = ()
    """The shapes of the one argument, if it has several."""
    example: Any = NO_SAMPLE
    """Its whole data, if the document shows it as JSON."""
    receivers: str = ""
    """The words about who receives it."""
    senders: str = ""
    """The words about who may send it."""
    reply: Shape | None = None
    text: str = ""
    """All that the document says of it, for sentences such as "`at` may be left out"."""
    end: int = 0
    """The last line of its part of the document."""
    name_only: bool = False
    """True if its data does not have the fields whose values are in its name."""

    @property
    def key(self) -> tuple[Direction, str, str]:
        return self.direction, self.namespace, self.name


@dataclass(slots=True)
class Document:
    """A document."""

    messages: dict[tuple[Direction, str, str], Message] = field(default_factory=dict)
    types: dict[str, Shape] = field(default_factory=dict)
    rooms: dict[str, int] = field(default_factory=dict)
    """The patterns of rooms, such as `user:{userId}`, with their lines."""
    roles: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def add(self, message: Message) -> Message:
        """Add a message, or what it says to the one that is known already."""
        known = self.messages.setdefault(message.key, message)
        if known is not message:
            merge(known, message)
        return known

    @property
    def namespaces(self) -> list[str]:
        names = [message.namespace for message in self.messages.values() if message.namespace != EVERY]
        return list(dict.fromkeys(names)) or [ROOT]


def merge(known: Message, other: Message) -> None:
    """Complete what is known of a message: what came first counts."""
    known.description = known.description or other.description
    known.receivers = known.receivers or other.receivers
    known.senders = known.senders or other.senders
    known.reply = known.reply or other.reply
    known.text = f"{known.text}\n{other.text}".strip()
    if isinstance(known.example, NoSample):
        known.example = other.example
    if known.arguments is None:
        known.arguments, known.variants = other.arguments, other.variants
    elif not known.variants and len(distinct := _find_variants(known, other)) > 1:
        known.variants = distinct
    elif known.variants and other.arguments:
        _add_variant(known, other.arguments[0].shape)


def _add_variant(known: Message, shape: Shape) -> None:
    """Add a shape that the same field tells from the others."""
    if isinstance(shape, Object) and shape not in known.variants and tag_of(known.variants[0]) == tag_of(shape):
        known.variants = (*known.variants, shape)


def _find_variants(first: Message, second: Message) -> tuple[Object, ...]:
    """The two shapes of a message that is shown twice, if a constant field tells them apart."""
    if not first.arguments or not second.arguments or len(first.arguments) > 1:
        return ()
    one, other = first.arguments[0].shape, second.arguments[0].shape
    if not isinstance(one, Object) or not isinstance(other, Object) or tag_of(one) is None:
        return ()
    if tag_of(one) != tag_of(other):
        return ()
    values = {_constant(shape, str(tag_of(one))) for shape in (one, other)}
    return (one, other) if len(values) == 2 else ()


TAGS = ("type", "kind", "action", "op")
"""Names of fields that tell shapes of one message apart."""


def tag_of(shape: Object) -> str | None:
    """The name of the field that tells this shape from others, if it has one."""
    return next((name for name in TAGS if isinstance(_constant(shape, name), str)), None)


def _constant(shape: Object, name: str) -> Any:
    found = next((field for field in shape.fields if field.name == name), None)
    if found is None:
        return None
    if isinstance(found.shape, Choice) and len(found.shape.values) == 1:
        return found.shape.values[0]
    return found.sample if isinstance(found.sample, str) else None


def constant(shape: Object, name: str) -> str:
    """The value of the field that tells this shape from others."""
    return str(_constant(shape, name))


def find_fields(shape: Shape) -> Iterator[Field]:
    """All fields of a shape, those of objects in it too."""
    match shape:
        case Object():
            for found in shape.fields:
                yield found
                yield from find_fields(found.shape)
        case Array():
            yield from find_fields(shape.item)
        case Map():
            yield from find_fields(shape.value)
        case Items(items) | Either(items):
            for item in items:
                yield from find_fields(item)
