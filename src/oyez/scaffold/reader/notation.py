"""The notation of data in documents: TypeScript types, JavaScript and JSON values, and `{names, in, braces}`.

People mix the three, so one grammar reads all of them. Comments at the end of a line belong to the field before them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from oyez.scaffold.reader.model import (
    NO_SAMPLE,
    Array,
    Choice,
    Either,
    Field,
    Items,
    Map,
    Named,
    NoSample,
    Object,
    Scalar,
    Shape,
)

MAX_DEPTH = 24
"""Objects in objects: more than any event has, and too few to exhaust the stack."""
MAX_TOKENS = 50_000
"""Tokens of one block: a document of a thousand events has fewer in each."""

TOKEN = re.compile(
    r"""(?P<space>[^\S\n]+)|(?P<newline>\n)|(?P<comment>//[^\n]*|/\*.*?\*/|\#[^\n]*)
    |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)
    |(?P<number>-?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w])
    |(?P<name>[A-Za-z_$][\w$-]*(?:\.[A-Za-z_$][\w$]*)*)
    |(?P<dots>\.\.\.|…)|(?P<arrow>=>)|(?P<mark>.)""",
    re.DOTALL | re.VERBOSE,
)
TYPES = {
    word: kind
    for kind, words in {
        "str": "string str text String",
        "float": "number Number float double decimal",
        "int": "int integer Integer long bigint",
        "bool": "boolean Boolean bool",
        "Time": "Date datetime DateTime timestamp ISO8601",
        "Id": "uuid UUID ObjectId",
        "Any": "any unknown object Object never",
        "bytes": "Buffer ArrayBuffer Uint8Array Blob",
    }.items()
    for word in words.split()
}
"""The types of a contract, by the words that documents have for them."""
CALLS = {"Date.now": "Millis", "new Date": "Time", "Date": "Time", "crypto.randomUUID": "Id", "uuid": "Id"}
"""Calls that documents show as values."""


class NotationError(ValueError):
    """The text is not in this notation."""


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def scan(text: str) -> list[Token]:
    """The tokens of `text`; comments and ends of lines are tokens too. Raises NotationError if there are too many."""
    tokens, line = [], 0
    for found in TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind != "space":
            tokens.append(Token(kind, found[0], line))
            if len(tokens) > MAX_TOKENS:
                raise NotationError("the block is too long")
        line += found[0].count("\n")
    return tokens


@dataclass(slots=True)
class Value:
    """A shape, and the value that shows it."""

    shape: Shape
    sample: Any = NO_SAMPLE
    nullable: bool = False
    optional: bool = False


@dataclass(slots=True)
class Parser:
    """Reads the notation from tokens."""

    tokens: Sequence[Token]
    types: bool
    """True if a text is a type: `'open'` is then this word only, and otherwise an example of a text."""
    at: int = 0
    depth: int = 0
    comments: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A comment belongs to the line that it ends.
        kept = []
        for token in self.tokens:
            if token.kind == "comment":
                self.comments[token.line] = token.text.strip("/*# \t")
            elif token.kind != "newline":
                kept.append(token)
        self.tokens = kept

    def peek(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else Token("end", "", -1)

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.peek().text == text and self.peek().kind != "string":
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise NotationError(f"expected {text} and not {self.peek().text!r}")

    def read_list(self) -> list[Value]:
        """Values with commas between them, to the end."""
        values = [self.read_value()]
        while self.accept(","):
            if self.peek().kind in ("end", "dots"):
                break
            values.append(self.read_value())
        return values

    def read_value(self) -> Value:
        """A value or type, with its alternatives."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotationError("objects are nested too deeply")
        self.accept("|")
        parts = [self._read_part()]
        while self.peek().text in ("|", "/") and self.peek().kind == "mark":
            self.take()
            parts.append(self._read_part())
        self.depth -= 1
        return join_values(parts, self.types) if len(parts) > 1 else parts[0]

    def _read_part(self) -> Value:
        value = self._read_primary()
        while self.peek().text == "[" and self.peek(1).text == "]":
            self.at += 2
            value = Value(Array(value.shape))
        return value

    def _read_primary(self) -> Value:
        token = self.take()
        if token.text == "{":
            return self._read_object()
        if token.text == "[":
            return self._read_array()
        if token.text == "(":
            value = self.read_value()
            self.expect(")")
            return value
        if token.kind == "string":
            return self._read_text(token.text[1:-1])
        if token.kind == "number":
            return read_number(token.text, self.types)
        if token.kind == "name":
            return self._read_name(token.text)
        raise NotationError(f"expected a value and not {token.text!r}")

    def _read_text(self, text: str) -> Value:
        return Value(Choice((text,))) if self.types else Value(Scalar("str"), text)

    def _read_name(self, name: str) -> Value:
        if name == "null":
            return Value(Scalar("Any"), None, nullable=True)
        if name in ("undefined", "void"):
            return Value(Scalar("Any"), optional=True)
        if name in ("true", "false"):
            return Value(Scalar("bool"), name == "true")
        if name == "new":
            name = f"new {self.take().text}"
        if self.peek().text == "(":
            self._skip_brackets("(", ")")
            return Value(Scalar(CALLS.get(name, "str"), certain=name in CALLS))
        if self.accept("<"):
            return self._read_generic(name)
        if name in TYPES:
            return Value(Scalar(TYPES[name]))
        # In values, it is a variable, whose name says what it holds.
        return Value(Named(name) if self.types else Named(name.rpartition(".")[2]))

    def _read_generic(self, name: str) -> Value:
        arguments = self.read_list()
        self.expect(">")
        if name in ("Array", "ReadonlyArray", "Set", "List"):
            return Value(Array(arguments[0].shape))
        if name in ("Record", "Map", "Dictionary"):
            return Value(Map(arguments[-1].shape))
        if name in ("Partial", "Readonly", "Required", "Promise"):
            return arguments[0]
        return Value(Scalar("Any", certain=False))

    def _skip_brackets(self, opening: str, closing: str) -> None:
        depth = 0
        while self.peek().kind != "end":
            text = self.take().text
            depth += (text == opening) - (text == closing)
            if depth == 0:
                return
        raise NotationError(f"{opening} is never closed")

    def _read_array(self) -> Value:
        values = []
        while not self.accept("]"):
            if self.peek().kind == "dots":
                self.take()
            elif self.peek().kind == "end":
                raise NotationError("[ is never closed")
            else:
                values.append(self.read_value())
            self.accept(",")
        if not values:
            return Value(Array(Scalar("Any", certain=False)), [])
        samples = [value.sample for value in values]
        sample = NO_SAMPLE if any(isinstance(found, NoSample) for found in samples) else samples
        shapes = [value.shape for value in values]
        # `[lat, lng]` has two parts; `[{…}, {…}]` and `["a", "b"]` show items.
        names = all(isinstance(shape, Named) for shape in shapes) and len(shapes) > 1
        if (names or self.types) and len(shapes) > 1:
            return Value(Items(tuple(shapes)), sample)
        return Value(Array(shapes[0]), sample)

    def _read_object(self) -> Value:
        fields: list[Field] = []
        left_out = False
        while not self.accept("}"):
            if self.peek().kind == "end":
                raise NotationError("{ is never closed")
            if self.accept(",") or self.accept(";"):
                continue
            if self.peek().kind == "dots":
                self.take()
                left_out = True
                # `...Type` takes over that type's fields; `...` leaves fields out.
                if self.peek().kind == "name" and self.peek(1).text in (",", ";", "}"):
                    self.take()
                continue
            if self.peek().text == "[":
                return self._read_map()
            fields.append(self._read_field())
        if fields and all(found.name.isdecimal() for found in fields):
            # `{"9": 4, "11": 17}` shows the values of some keys.
            return Value(Map(fields[0].shape), sample_of(fields))
        return Value(Object(tuple(fields), open=left_out), sample_of(fields))

    def _read_map(self) -> Value:
        """`{[key: string]: Type}`."""
        self._skip_brackets("[", "]")
        self.expect(":")
        value = self.read_value()
        self.accept(";")
        self.expect("}")
        return Value(Map(value.shape))

    def _read_field(self) -> Field:
        token = self.take()
        if token.text == "readonly" and self.peek().kind == "name":
            token = self.take()
        if token.kind not in ("name", "string", "number"):
            raise NotationError(f"expected the name of a field and not {token.text!r}")
        name = token.text[1:-1] if token.kind == "string" else token.text
        if not name.isprintable() or "\\" in name or '"' in name:
            raise NotationError(f"the name of a field is {name!r}")
        # `{message object}`: words about the field.
        if self.peek().kind == "name" and self.peek().line == token.line:
            raise NotationError("words and not fields")
        optional = self.accept("?")
        value = self.read_value() if self.accept(":") else Value(Named(name))
        last = self.tokens[self.at - 1].line
        if self.peek().text in (",", ";"):
            self.take()
        note = self.comments.get(last, "")
        return apply_note(Field(name, value.shape, optional or value.optional, value.nullable, value.sample), note)


def join_values(parts: Sequence[Value], types: bool) -> Value:
    """The alternatives of a field."""
    nullable = any(part.nullable for part in parts)
    optional = any(part.optional for part in parts)
    rest = [part for part in parts if not part.nullable and not part.optional]
    if not rest:
        return Value(Scalar("Any"), nullable=nullable, optional=optional)
    choices = [part.shape for part in rest if isinstance(part.shape, Choice)]
    if len(choices) == len(rest):
        values = tuple(value for choice in choices for value in choice.values)
        return Value(Choice(values), nullable=nullable, optional=optional)
    samples = [part.sample for part in rest]
    if len(rest) > 1 and not types and all(isinstance(sample, str | int) for sample in samples):
        if all(isinstance(sample, bool) for sample in samples):
            return Value(Scalar("bool"), samples[0], nullable, optional)
        return Value(Choice(tuple(samples)), samples[0], nullable, optional)
    shapes = tuple(dict.fromkeys(part.shape for part in rest))
    shape = shapes[0] if len(shapes) == 1 else Either(shapes)
    return Value(shape, rest[0].sample if len(rest) == 1 else NO_SAMPLE, nullable, optional)


def read_number(text: str, types: bool) -> Value:
    number = float(text.replace("_", "")) if re.search(r"[.eE]", text) else int(text.replace("_", ""))
    if types and isinstance(number, int):
        return Value(Choice((number,)))
    return Value(Scalar("float" if isinstance(number, float) else "int"), number)


def sample_of(fields: Sequence[Field]) -> Any:
    """The object that the samples of all fields make, if each has one."""
    if any(isinstance(found.sample, NoSample) for found in fields):
        return NO_SAMPLE
    return {found.name: found.sample for found in fields}


NOTES: tuple[tuple[str, Scalar | None], ...] = (
    (r"\boptional\b", None),
    (r"\bISO ?-?8601\b|\bISO (?:timestamp|date|time)\b|\bISO string\b", Scalar("Time")),
    (r"\bmilliseconds since|\bepoch ms\b|\bunix ms\b", Scalar("Millis")),
)
"""What comments say of a field: its type, or that it may be omitted."""


def apply_note(found: Field, note: str) -> Field:
    """The field with what the comment behind it says."""
    for pattern, shape in NOTES:
        if re.search(pattern, note, re.IGNORECASE):
            if shape is None:
                found = replace(found, optional=True)
            elif isinstance(found.shape, Scalar):
                found = replace(found, shape=shape)
    return found


def reads_types(text: str) -> bool:
    """True if the text is in types (`id: string`) and not in values (`id: "x-1"`)."""
    return (
        re.search(r":\s*(?:Array<|Record<|ISO8601\b|\w*\b(?:string|number|boolean|any|unknown)\b)|^\s*\w+\?:", text)
        is not None
    )


_ISO_TIME = re.compile(r"(:\s*)ISO[ -]?(?:8601)?[ -]?(?:date|time|timestamp|datetime|string)\b", re.IGNORECASE)


def parse_values(text: str, types: bool | None = None) -> list[Value]:
    """The values in `text`, which has commas between them. Raises NotationError."""
    text = _ISO_TIME.sub(r"\1ISO8601", text)
    parser = Parser(scan(text), reads_types(text) if types is None else types)
    values = parser.read_list()
    parser.accept(";")
    if parser.peek().kind not in ("end", "dots"):
        raise NotationError(f"unexpected {parser.peek().text!r}")
    return values
