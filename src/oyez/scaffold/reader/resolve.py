"""Completes what was read: types that are defined elsewhere, fields that only have a name, sentences about fields."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from oyez.scaffold.reader.guess import guess
from oyez.scaffold.reader.model import (
    EVERY,
    Array,
    Document,
    DocumentError,
    Either,
    Field,
    Items,
    Map,
    Message,
    Named,
    NoSample,
    Object,
    Scalar,
    Shape,
    find_fields,
)
from oyez.scaffold.reader.prose import Fact, apply_facts, find_facts, integer_ids, without_last
from oyez.scaffold.reader.words import PLACEHOLDER, singular

MAX_FIELDS = 50_000
"""Fields of all messages together: types that contain types with many fields multiply."""
MAX_TYPE_DEPTH = 8
"""Types in types: a type that contains itself ends here."""


@dataclass(slots=True)
class Resolver:
    """What the whole document says of fields."""

    document: Document
    people: frozenset[str] = frozenset()
    ids: str = "Id"
    facts: list[Fact] = field(default_factory=list)
    seen: Mapping[str, Shape] = field(default_factory=dict)
    """Types that examples elsewhere in the document show, by the names of fields."""
    fields: int = 0
    """Number of fields that were completed."""

    def shape(self, shape: Shape, name: str, facts: list[Fact], depth: int = 0) -> Shape:
        """A shape without names of types."""
        if depth > MAX_TYPE_DEPTH:
            return Scalar("Any", certain=False)
        match shape:
            case Named(known) if known in self.document.types:
                return self.shape(self.document.types[known], name, facts, depth + 1)
            case Named():
                return self.find(name if name else shape.name)
            case Object():
                return replace(shape, fields=tuple(self.field(found, facts, depth + 1) for found in shape.fields))
            case Array(Scalar("Any", certain=False)):
                return Array(self.find(singular(name)))
            case Array():
                return Array(self.shape(shape.item, singular(name), facts, depth + 1))
            case Map():
                return Map(self.shape(shape.value, "", facts, depth + 1))
            case Items():
                return Items(
                    tuple(
                        self.shape(item, item.name if isinstance(item, Named) else "", facts, depth + 1)
                        for item in shape.items
                    )
                )
            case Either():
                return Either(tuple(self.shape(item, name, facts, depth + 1) for item in shape.shapes))
            case Scalar("str"):
                return self.refine(shape, name)
            case Scalar("int") | Scalar("float"):
                return self.refine_number(shape, name)
            case Scalar("Any", certain=False):
                return self.find(name)
        return shape

    def find(self, name: str) -> Shape:
        """The type of a field that has only a name."""
        guessed = guess(name, self.people, self.ids)
        if name in self.seen:
            seen = self.shape(self.seen[name], "", [])
            if (
                isinstance(seen, Scalar)
                and isinstance(guessed, Scalar)
                and seen.name == "str"
                and guessed.name in ("Id", "Time")
            ):
                return guessed
            return seen
        return guessed

    def refine(self, shape: Scalar, name: str) -> Scalar:
        """A text whose name says that it is an id or a time."""
        guessed = guess(name, self.people)
        return guessed if isinstance(guessed, Scalar) and guessed.name in ("Id", "Time") and guessed.certain else shape

    def refine_number(self, shape: Scalar, name: str) -> Scalar:
        guessed = guess(name, self.people)
        if isinstance(guessed, Scalar) and guessed.name in ("Money", "Latitude", "Longitude"):
            return guessed
        if shape.name == "float" and guessed == Scalar("int"):
            return Scalar("Number")
        if isinstance(guessed, Scalar) and guessed.name == "Time" and shape.name == "int":
            return Scalar("Millis")
        return shape

    def field(self, found: Field, facts: list[Fact], depth: int = 0) -> Field:
        self.fields += 1
        if self.fields > MAX_FIELDS:
            raise DocumentError(f"The types of the document have over {MAX_FIELDS:,} fields, with types in types.")
        shape = self.shape(found.shape, found.name, facts, depth)
        if found.nullable and isinstance(found.shape, Scalar) and found.shape.name == "Any":
            # An example shows null, and not what else the field may be.
            shape = self.find(found.name)
            shape = (
                replace(shape, certain=shape.certain and shape.name != "str") if isinstance(shape, Scalar) else shape
            )
        return apply_facts(replace(found, shape=shape), [*(fact for fact in self.facts if not fact.message), *facts])


def resolve(document: Document) -> None:
    """Complete all messages of a document."""
    everything = "\n".join(document.sentences)
    roles = [*document.roles, *(name.strip("/") for name in document.namespaces)]
    resolver = Resolver(
        document,
        people=frozenset(roles) - {""},
        ids="int" if integer_ids(everything) else "Id",
        facts=[fact for sentence in document.sentences for fact in find_facts(sentence)],
        seen=find_seen(document),
    )
    for message in document.messages.values():
        complete(message, resolver)
    spread(document)
    share(document)


def add_named(message: Message, kind: str) -> None:
    """Give a message the fields whose values are in its name, such as `orderId` of `order:{orderId}:moved`."""
    names = PLACEHOLDER.findall(message.name)
    if not names or message.arguments is None:
        return
    arguments, shape = message.arguments, message.arguments[0].shape if len(message.arguments) == 1 else None
    shown = {found.name for found in (shape.fields if isinstance(shape, Object) else arguments)}
    added = tuple(Field(name, Scalar(kind)) for name in names if name not in shown)
    message.name_only = len(added) == len(names)
    if isinstance(shape, Object):
        fields = (*added, *(make_key(found, names, kind) for found in shape.fields))
        message.arguments = (replace(arguments[0], shape=replace(shape, fields=fields)),)
    else:
        message.arguments = (*added, *(make_key(found, names, kind) for found in arguments))


def make_key(found: Field, names: list[str], kind: str) -> Field:
    """A field whose value can be a part of a name, if the name has it."""
    return replace(found, shape=Scalar(kind), optional=False, nullable=False) if found.name in names else found


def complete(message: Message, resolver: Resolver) -> None:
    add_named(message, resolver.ids)
    about = [fact for fact in resolver.facts if fact.message == message.name]
    facts = [*(replace(fact, message="") for fact in find_facts(message.text)), *about]
    if message.arguments is not None:
        fields = tuple(resolver.field(found, facts) for found in message.arguments)
        message.arguments = without_last(fields, message.text)
    message.variants = tuple(
        shape for shape in (resolver.shape(shape, "", facts) for shape in message.variants) if isinstance(shape, Object)
    )
    if message.reply is not None:
        message.reply = resolver.shape(message.reply, "reply", facts)


def find_seen(document: Document) -> dict[str, Shape]:
    """For each name of a field, the type that its examples show, if all show the same."""
    seen: dict[str, set[Shape]] = defaultdict(set)
    for message in document.messages.values():
        shapes = [found.shape for found in message.arguments or ()]
        fields = [*(message.arguments or ()), *(inner for shape in shapes for inner in find_fields(shape))]
        if message.reply is not None:
            fields += find_fields(message.reply)
        for found in fields:
            shown = not isinstance(found.sample, NoSample) and found.sample is not None
            certain = isinstance(found.shape, Scalar) and found.shape.certain
            if (shown and certain) or isinstance(found.shape, Items):
                seen[found.name].add(found.shape)
    return {name: next(iter(shapes)) for name, shapes in seen.items() if len(shapes) == 1}


def spread(document: Document) -> None:
    """Give every namespace the messages of all namespaces."""
    for message in [found for found in document.messages.values() if found.namespace == EVERY]:
        del document.messages[message.key]
        for namespace in document.namespaces:
            document.add(replace(message, namespace=namespace))


def share(document: Document) -> None:
    """A message of one name in several namespaces has the data that the document shows once."""
    for message in document.messages.values():
        if message.arguments is None:
            others = (found for found in document.messages.values() if found.name == message.name and found.arguments)
            same = next((found for found in others if found.direction == message.direction), None)
            if same is not None:
                message.arguments, message.variants = same.arguments, same.variants
