"""Classes of payloads and commands, written from shapes."""

import builtins
import keyword
from dataclasses import dataclass, field
from typing import Any

from oyez import contract as vocabulary
from oyez.scaffold.reader.model import (
    Array,
    Choice,
    Either,
    Field,
    Items,
    Map,
    Object,
    Scalar,
    Shape,
)
from oyez.scaffold.reader.source import docstring, quote
from oyez.scaffold.reader.words import find_free, pascal, singular, snake

TEXT = "Text"
"""The alias of texts with a greatest length."""
ALONE = {"Time", "Money", "Total"}
"""Types that cannot be one of several."""
TAKEN = {
    *dir(builtins),
    *vocabulary.__all__,
    "Annotated",
    "Any",
    "Literal",
    "Meta",
    "Text",
    "field",
    "contract",
    "root",
}


@dataclass(slots=True)
class Classes:
    """The classes of one contract, in the order in which they must be written."""

    used: set[str] = field(default_factory=set)
    """Names that the source imports or defines."""
    blocks: list[str] = field(default_factory=list)
    """Classes that were written and not taken yet."""
    strict: bool = False
    """True while a command is written: what clients send is a text, if the document does not give the type."""
    undecided: list[str] = field(default_factory=list)
    """What could not be written as the document says it; taken by who writes the message."""
    names: set[str] = field(default_factory=lambda: set(TAKEN))
    _known: dict[Any, str] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        """A name that no other class has."""
        wanted = wanted or "Data"
        wanted = f"Message{wanted}" if wanted[0].isdigit() else wanted
        name = find_free(f"{wanted}Data" if wanted in self.names else wanted, self.names, "")
        self.names.add(name)
        return name

    def use(self, *names: str) -> None:
        self.used.update(names)

    def take(self) -> str:
        """The classes that were written since the last call."""
        text = "".join(f"{block}\n\n" for block in self.blocks)
        self.blocks.clear()
        return text

    def annotation(self, shape: Shape, name: str) -> str:
        """The type of a field of this name."""
        match shape:
            case Scalar(certain=False) if not self.strict and shape.name in ("str", "Id"):
                self.use("Any")
                return "Any"
            case Scalar("str"):
                return TEXT
            case Scalar():
                self.use(shape.name)
                return shape.name
            case Choice(values):
                self.use("Literal")
                return (
                    f"Literal[{', '.join(quote(v) if isinstance(v, str) else repr(v) for v in dict.fromkeys(values))}]"
                )
            case Array(item):
                return f"list[{self.annotation(item, singular(name))}]"
            case Items(items):
                return f"tuple[{', '.join(self.annotation(item, f'{name}_{k}') for k, item in enumerate(items, 1))}]"
            case Map(value):
                return f"dict[str, {self.annotation(value, singular(name))}]"
            case Either(shapes):
                return self._either(shapes, name)
            case Object():
                return self._object(shape, name)
        self.use("Any")
        return "Any"

    def _either(self, shapes: tuple[Shape, ...], name: str) -> str:
        kinds = [kind_of(shape) for shape in shapes]
        alone = any(isinstance(shape, Scalar) and shape.name in ALONE for shape in shapes)
        if len(set(kinds)) == len(kinds) and not alone and "any" not in kinds:
            return " | ".join(self.annotation(shape, name) for shape in shapes)
        self.undecided.append(f"`{name}` has several types that JSON does not distinguish: choose one.")
        self.use("Any")
        return "Any"

    def _object(self, shape: Object, name: str) -> str:
        if is_map(shape):
            return self.annotation(Map(shape.fields[0].shape), name)
        if not shape.fields:
            self.use("Any")
            return "dict[str, Any]"
        key = without_samples(shape)
        if key not in self._known:
            self._known[key] = self.name(pascal(singular(name)))
            self.write(self._known[key], shape, f"The data of `{name}`.", "Payload")
        return self._known[key]

    def write(
        self, name: str, shape: Object, description: str, base: str, options: str = "", decorators: str = ""
    ) -> None:
        """Write a class with the fields of an object."""
        camel = any(found.name != snake(found.name) and is_camel(found.name) for found in shape.fields)
        base = f"Camel{base}" if camel else base
        self.use(base)
        body = docstring(description)
        named = _name_attributes(shape.fields)
        lines = "".join(self._field(attribute, found, camel) for attribute, found in named.items())
        # The classes of its fields have been written already: they stand before it.
        self.blocks.append(f"{decorators}class {name}({base}{options}):\n{body}" + (f"\n{lines}" if lines else ""))

    def _field(self, attribute: str, found: Field, camel: bool) -> str:
        annotation = self.annotation(found.shape, found.name)
        wire = to_camel(attribute) if camel else attribute
        default = ""
        if found.optional and found.nullable:
            self.use("Maybe", "UNSET")
            annotation, default = f"Maybe[{annotation}]", "UNSET"
        elif found.optional:
            self.use("UnsetType", "UNSET")
            annotation, default = f"{annotation} | UnsetType", "UNSET"
        elif found.nullable and annotation != "Any":
            annotation = f"{annotation} | None"
        if wire != found.name:
            self.use("field")
            default = (
                f"field(default=UNSET, name={quote(found.name)})" if default else f"field(name={quote(found.name)})"
            )
        note = "" if not isinstance(found.shape, Scalar) or found.shape.certain else "  # Decide: its type."
        return f"    {attribute}: {annotation}{f' = {default}' if default else ''}{note}\n"


def _name_attributes(fields: tuple[Field, ...]) -> dict[str, Field]:
    """The fields by their names in Python; a field that is named twice counts once."""
    named: dict[str, Field] = {}
    for found in {found.name: found for found in reversed(fields)}.values():
        wanted = to_attribute(found.name)
        named[find_free(wanted, named)] = found
    return dict(reversed(named.items()))


def kind_of(shape: Shape) -> str:
    """The JSON type."""
    match shape:
        case Scalar("str" | "Id" | "Time"):
            return "string"
        case Scalar("int" | "float" | "Number" | "Money" | "Total" | "Millis" | "Latitude" | "Longitude"):
            return "number"
        case Scalar("bool"):
            return "boolean"
        case Choice(values):
            return "string" if all(isinstance(value, str) for value in values) else "number"
        case Array() | Items():
            return "array"
        case Object() | Map():
            return "object"
    return "any"


def is_map(shape: Object) -> bool:
    """True if an example of an object is one of a map: all fields have the same shape, which is no single value."""
    first = shape.fields[0].shape if shape.fields else None
    same = all(without_samples(found.shape) == without_samples(first) for found in shape.fields)
    return len(shape.fields) > 1 and same and isinstance(first, Array | Object | Items)


def without_samples(shape: Any) -> Any:
    """A key that is equal for equal types."""
    match shape:
        case Object():
            fields = tuple((f.name, without_samples(f.shape), f.optional, f.nullable) for f in shape.fields)
            return ("object", fields)
        case Array() | Map():
            return (type(shape).__name__, without_samples(shape.item if isinstance(shape, Array) else shape.value))
        case Items(parts) | Either(parts):
            return (type(shape).__name__, tuple(map(without_samples, parts)))
    return shape


def is_camel(name: str) -> bool:
    return to_camel(to_attribute(name)) == name


def to_attribute(name: str) -> str:
    """The name of a field in Python."""
    attribute = snake(name) or "value"
    attribute = f"_{attribute}" if attribute[0].isdigit() else attribute
    return f"{attribute}_" if keyword.iskeyword(attribute) or attribute in ("field", "self", "name_") else attribute


def to_camel(attribute: str) -> str:
    """As msgspec renames it."""
    first, *rest = attribute.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
