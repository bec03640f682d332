"""Measures how much of event documents `oyez new --from` reads right, against contracts that people wrote for them.

`python -m tools.document_reader` measures the documents of the example systems; further ones are given as
`DOCUMENT=CONTRACT`, where the contract is the name of a system or a Python file.

A message counts if the document names it. It is right if its name, direction and namespace are, and each field that the
document names has the contract's JSON type, may be omitted or null as there, and, if all values of the contract's
example are in the message's lines of the document, its example has the same values.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from oyez.contract.contract import Contract, Event
from oyez.contract.declared import DeclaredCommand
from oyez.contract.types import MAX_ID_LENGTH
from oyez.scaffold.reader.markdown import RELAYED
from oyez.scaffold.reader.read import read_text, write_contract
from oyez.systems.loader import load_system

EXAMPLES = Path(__file__).parent.parent / "examples"
DOCUMENTS = {str(path.with_suffix(".md")): str(path) for path in sorted(EXAMPLES.glob("*.py"))}
"""Documents, and the contracts that people wrote for them."""
Key = tuple[str, str, str]
"""Direction, namespace and name."""
Shape = Any
"""`string`, `number`, …, or a tuple that begins with `enum`, `array`, `tuple`, `map`, `object`, `union`."""


@dataclass(slots=True)
class Score:
    """What was read of one document."""

    document: str
    right: int = 0
    wrong: dict[Key, str] = field(default_factory=dict)
    absent: list[Key] = field(default_factory=list)
    """Messages of the contract that the document does not name."""
    beyond: list[Key] = field(default_factory=list)
    """Messages that were read, and the contract does not have."""
    asked: int = 0
    """Fields whose type the reader asks for."""
    looser: int = 0
    """Fields that the contract lets be omitted or null, and the document does not."""
    undocumented: int = 0
    """Fields of the contract that the document does not name."""

    @property
    def total(self) -> int:
        return self.right + len(self.wrong)

    @property
    def share(self) -> float:
        return self.right / self.total if self.total else 0.0


def measure(document: Path, contract: Contract) -> Score:
    text = read_text(document)
    read = write_contract(text, "read", document.name)
    if read.contract is None:
        raise SystemExit(f"{document}: the written contract has errors: {read.errors}")
    expected, found = list_messages(contract), list_messages(read.contract)
    score = Score(document.name, beyond=sorted(found.keys() - expected.keys()))
    lines: dict[Key, tuple[int, int]] = {
        message.key: (message.line, message.end) for message in read.document.messages.values()
    }
    for key, message in expected.items():
        # A part of a name that varies is written `{storyId}`, `<storyId>` or `${storyId}`.
        name = re.sub(r"\\\{(\w+)\\\}", r"(?:\\$?\\{\1\\}|<\1>)", re.escape(key[2]))
        if not re.search(rf"(?<![\w:-]){name}(?![\w:-])", text):
            score.absent.append(key)
            continue
        if key not in found:
            if is_added(key, found, text):
                score.absent.append(key)
            else:
                score.wrong[key] = "not found"
            continue
        first, last = lines.get(key, (1, text.count("\n")))
        about = Words(text, "\n".join(text.splitlines()[first - 1 : last]))
        faults = list(compare(shape_of(found[key]), shape_of(message), about, score))
        faults += compare_examples(found[key], message, about)
        if faults:
            score.wrong[key] = "; ".join(faults)
        else:
            score.right += 1
    return score


def is_added(key: Key, read: Mapping[Key, object], text: str) -> bool:
    """True if the document has only a command of this name: the contract's author has added the event."""
    lines = [line for line in text.splitlines() if key[2] in line]
    return key[0] == "event" and ("command", *key[1:]) in read and not any(RELAYED.search(line) for line in lines)


@dataclass(frozen=True, slots=True)
class Words:
    """The document, and the lines that describe one message."""

    whole: str
    own: str

    def names(self, word: str) -> bool:
        """True if the document has this word as the name of a field."""
        name = re.escape(word)
        return (
            re.search(rf"[{{,(]\s*{name}\s*[,:?}})]|`{name}`|^[\s/*]*[\"']?{name}[\"']?\??:", self.own, re.MULTILINE)
            is not None
        )

    def find_lines(self, path: str) -> list[str]:
        """The lines that have the last name of a path."""
        name = re.findall(r"\w+", path)[-1]
        lines = self.own.splitlines()
        return lines if name.isdigit() else [line for line in lines if re.search(rf"\b{name}\b", line)]


def list_messages(contract: Contract) -> dict[Key, Event | DeclaredCommand]:
    events = {("event", space, event.name): event for event in contract.events.values() for space in event.targets}
    commands = {("command", c.namespace, c.name): c for space in contract.namespaces for c in space.commands}
    return {**events, **commands}


# Shapes.


def shape_of(message: Event | DeclaredCommand) -> Shape:
    kinds = [shape_of_class(kind, message.arguments == "positional") for kind in message.shapes]
    return kinds[0] if len(kinds) == 1 else ("union", tuple(kinds))


def shape_of_class(kind: type, positional: bool, around: tuple[type, ...] = ()) -> Shape:
    """The shape of a class. A class in itself counts as a type that the document cannot show."""
    if kind in around:
        return "any"
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    fields = {found.encode_name: shape_of_field(found, (*around, kind)) for found in info.fields}
    if info.tag_field is not None and info.tag is not None:
        fields[info.tag_field] = (("enum", frozenset([info.tag])), False, False)
    return ("arguments", tuple(fields.values())) if positional else ("object", fields)


def shape_of_field(found: inspect.Field, around: tuple[type, ...]) -> tuple[Shape, bool, bool]:
    """The shape of a field, True if it may be omitted, True if it may be null."""
    shape, nullable = shape_of_type(found.type, around)
    return shape, not found.required, nullable


def shape_of_type(info: inspect.Type, around: tuple[type, ...] = ()) -> tuple[Shape, bool]:
    """A shape, and True if it may be null."""
    match info:
        case inspect.StrType(max_length=longest) if longest == MAX_ID_LENGTH:
            return "id", False
        case inspect.UnionType(types):
            parts = [part for part in types if not isinstance(part, inspect.NoneType)]
            parts = [
                part for part in parts if not (isinstance(part, inspect.CustomType) and part.cls is msgspec.UnsetType)
            ]
            shapes = {freeze(shape): shape for shape, _ in (shape_of_type(part, around) for part in parts)}
            shape = next(iter(shapes.values())) if len(shapes) == 1 else join_shapes(list(shapes.values()))
            return shape, any(isinstance(part, inspect.NoneType) for part in types)
        case inspect.StructType(cls):
            return shape_of_class(cls, False, around), False
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            return ("array", shape_of_type(info.item_type, around)), False
        case inspect.TupleType(types):
            return ("tuple", tuple(shape_of_type(part, around) for part in types)), False
        case inspect.DictType():
            return ("map", shape_of_type(info.value_type, around)), False
        case inspect.LiteralType(values):
            return ("enum", frozenset(values)), False
        case inspect.CustomType(cls):
            return ("string" if issubclass(cls, str) else "number"), False
        case inspect.IntType() | inspect.FloatType():
            return "number", False
        case inspect.BoolType():
            return "boolean", False
        case inspect.StrType() | inspect.DateTimeType() | inspect.UUIDType() | inspect.DecimalType():
            return "string", False
        case inspect.Metadata():
            return shape_of_type(info.type, around)
        case inspect.NoneType():
            return "null", True
    return "any", False


def join_shapes(shapes: list[Shape]) -> Shape:
    if all(kind_of(shape) == "enum" for shape in shapes):
        return ("enum", frozenset(value for shape in shapes for value in shape[1]))
    return ("union", tuple(shapes))


def freeze(shape: Shape) -> str:
    return repr(shape)


# Comparison.


def compare(found: Shape, expected: Shape, about: Words, score: Score, path: str = "data") -> Iterator[str]:
    """What differs."""
    if found == expected or expected == "any":
        return
    # An id is a string, and also accepts a whole number.
    if expected == "id" and kind_of(found) in ("id", "string", "number", "enum"):
        return
    found, expected = ("string" if shape == "id" else shape for shape in (found, expected))
    if found == expected:
        return
    # The reader does not know the type, and asks for it: the document must not show it.
    if found == "any" and kind_of(expected) != "object":
        score.asked += 1
        return
    kind, wanted = kind_of(found), kind_of(expected)
    if wanted == "enum" and kind == kind_of_values(expected[1]):
        values = {str(value) for value in expected[1]}
        if all(re.search(rf"[`'\"]{re.escape(value)}[`'\"]", about.own) for value in values):
            yield f"{path}: the document lists the values"
        return
    if kind == "enum" and wanted == "enum":
        yield f"{path}: {sorted(map(str, found[1]))} and not {sorted(map(str, expected[1]))}"
        return
    if kind == "enum" and wanted == kind_of_values(found[1]):
        # The document lists the values; the contract allows more.
        return
    if wanted == "object" and kind in ("any", "map", "arguments"):
        named = [name for name in expected[1] if about.names(name)]
        score.undocumented += len(expected[1]) - len(named)
        score.asked += kind == "any"
        if (named and kind != "arguments") or (kind == "arguments" and not is_open(found)):
            yield f"{path}: has no fields, and the document names {', '.join(named) or 'none'}"
        elif named:
            yield f"{path}: has no fields, and the document names {', '.join(named)}"
        return
    if {kind, wanted} == {"array", "tuple"} or kind != wanted:
        if wanted == "arguments" and kind == "object" and not expected[1]:
            yield f"{path}: an object and not nothing"
            return
        yield f"{path}: {kind} and not {wanted}"
        return
    if wanted == "object":
        yield from compare_fields(found[1], expected[1], about, score, path)
    elif wanted == "arguments":
        if len(found[1]) != len(expected[1]):
            yield f"{path}: {len(found[1])} arguments and not {len(expected[1])}"
            return
        for number, (one, other) in enumerate(zip(found[1], expected[1], strict=True), 1):
            yield from compare_field(one, other, about, score, f"argument {number}")
    elif wanted in ("array", "map"):
        yield from compare_field((*found[1], False), (*expected[1], False), about, score, f"{path}[]")
    elif wanted == "tuple":
        if len(found[1]) != len(expected[1]):
            yield f"{path}: {len(found[1])} parts and not {len(expected[1])}"
    elif wanted == "union" and len(found[1]) != len(expected[1]):
        yield f"{path}: {len(found[1])} shapes and not {len(expected[1])}"
    elif wanted == "union":
        by_tag = {freeze(tag_of(shape)): shape for shape in found[1]}
        for shape in expected[1]:
            same = by_tag.get(freeze(tag_of(shape)))
            if same is None:
                yield f"{path}: no shape {tag_of(shape)}"
            else:
                yield from compare(same, shape, about, score, path)


def is_open(shape: Shape) -> bool:
    """True if any object fits."""
    return len(shape[1]) == 1 and kind_of(shape[1][0][0]) in ("map", "any")


def tag_of(shape: Shape) -> Any:
    if kind_of(shape) != "object":
        return shape
    return sorted(
        str(sorted(part[0][1])) for part in shape[1].values() if kind_of(part[0]) == "enum" and len(part[0][1]) == 1
    )


def compare_fields(
    found: Mapping[str, Any], expected: Mapping[str, Any], about: Words, score: Score, path: str
) -> Iterator[str]:
    for name, wanted in expected.items():
        if name not in found:
            if about.names(name):
                yield f"{path}: no field {name}"
            else:
                score.undocumented += 1
            continue
        yield from compare_field(found[name], wanted, about, score, f"{path}.{name}")
    yield from (f"{path}: a field {name} too many" for name in found if name not in expected)


def compare_field(found: Any, expected: Any, about: Words, score: Score, path: str) -> Iterator[str]:
    yield from compare(found[0], expected[0], about, score, path)
    for word, one, other in (("omitted", found[1], expected[1]), ("null", found[2], expected[2])):
        if one == other:
            continue
        if other and not any(LOOSE[word].search(line) for line in about.find_lines(path)):
            score.looser += 1
        else:
            yield f"{path}: {'may' if one else 'must not'} be {word}"


LOOSE = {
    "omitted": re.compile(r"\?:|\bomit|\bleft out|\boptional|\bwithout\b|\bmissing\b", re.IGNORECASE),
    "null": re.compile(r"\bnull\b"),
}
"""Words by which a document says that a field may be omitted, or null."""


def kind_of(shape: Shape) -> str:
    return str(shape[0]) if isinstance(shape, tuple) else str(shape)


def kind_of_values(values: Any) -> str:
    return "string" if all(isinstance(value, str) for value in values) else "number"


def compare_examples(found: Event | DeclaredCommand, expected: Event | DeclaredCommand, about: Words) -> list[str]:
    """Whether the example that the document shows was read."""
    if not isinstance(found, Event) or not isinstance(expected, Event):
        return []
    leaves = set(find_leaves(expected.example))
    shown = {leaf for leaf in leaves if re.search(rf"(?<![\w.]){re.escape(leaf)}(?![\w.])", about.own)}
    if leaves and shown == leaves and set(find_leaves(found.example)) != leaves:
        return ["the example differs"]
    return []


def find_leaves(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for part in value.values():
                yield from find_leaves(part)
        case list():
            for part in value:
                yield from find_leaves(part)
        case None | bool():
            return
        case _:
            yield str(value)


def main(arguments: Sequence[str]) -> None:
    pairs = {**DOCUMENTS, **dict(argument.split("=", 1) for argument in arguments)}
    for document, reference in pairs.items():
        score = measure(Path(document), load_system(reference).contract)
        print(f"{score.document}: {score.right} of {score.total} right ({score.share:.0%});")
        print(f"  {score.asked} types are asked for; {score.looser} fields may be omitted or null only in the contract")
        print(f"  {len(score.absent)} messages and {score.undocumented} fields of the contract are not in the document")
        for (direction, space, name), fault in score.wrong.items():
            print(f"  {direction} {space} {name}: {fault}")
        if score.beyond:
            print(f"  not in the contract: {', '.join(' '.join(key) for key in score.beyond)}")


if __name__ == "__main__":
    main(sys.argv[1:])
