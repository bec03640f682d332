"""Blocks of code: calls of `emit` and `on`, TypeScript types and maps of events, JSON examples."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from oyez.scaffold.reader.model import (
    COMMAND,
    EVENT,
    NO_SAMPLE,
    Direction,
    Document,
    Field,
    Message,
    Named,
    Object,
    Shape,
)
from oyez.scaffold.reader.notation import (
    NotationError,
    Parser,
    Value,
    parse_values,
    scan,
)
from oyez.scaffold.reader.words import NAME, OWN, normalize_name

CALL = re.compile(
    r"(?P<on>[\w.()\[\]'\"`${}:,\s]{0,200}?)\.(?P<verb>emitWithAck|emit|on|once|send)\(\s*(?P<quote>['\"`])(?P<name>[^'\"`]+)(?P=quote)\s*"
)
QUOTED_NAME = re.compile(r"[A-Za-z]\w*(?:[:.\-/ ](?:\w+|\{\w+\}))*", re.ASCII)
"""A name in quotes, which may have several words: `new message`."""
MAX_CALLS = 300
"""Calls of one block that are read: a block that shows all events of a system has fewer."""
MAX_CALL = 3_000
"""Characters of one call with its function: what describes an event is at its beginning."""
DECLARED = re.compile(r"(?:export\s+)?(?:declare\s+)?(?:type\s+(\w+)\s*=|interface\s+(\w+)[^{=]{0,200}(?=\{))")
MAPS = {
    "clienttoserver": COMMAND,
    "servertoclient": EVENT,
    "clientevents": COMMAND,
    "serverevents": EVENT,
}
"""Parts of the names of TypeScript's maps of events, and their directions; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class Call:
    """`socket.emit(name, …)` or `socket.on(name, …)` in a block."""

    name: str
    direction: Direction
    line: int
    arguments: tuple[Field, ...] | None


def find_calls(text: str, line: int) -> Iterator[Call]:
    """The calls in a block that begins at `line`."""
    last = 0
    for found in islice(CALL.finditer(text), MAX_CALLS):
        name = found["name"]
        line += text.count("\n", last, found.start("name"))
        at, last = line, found.start("name")
        name = normalize_name(name)
        if not QUOTED_NAME.fullmatch(name):
            continue
        rest = text[found.end() : found.end() + MAX_CALL]
        if found["verb"] in ("on", "once"):
            # `io.on` and `socket.on` of a server that handles commands look alike: the documents are for clients.
            yield Call(name, EVENT, at, read_callback(cut(rest)))
        elif re.search(r"\b(?:io|nsp|namespace|server)\b|\.to\(|broadcast", found["on"]):
            yield Call(name, EVENT, at, None)
        else:
            yield Call(name, COMMAND, at, read_arguments(cut(rest)))


def cut(text: str) -> str:
    """The text up to the bracket that closes the call."""
    depth = 0
    for found in re.finditer(r"//[^\n]*|'[^'\n]*'|\"[^\"\n]*\"|[()]", text):
        if found[0] == "(":
            depth += 1
        elif found[0] == ")":
            if depth == 0:
                return text[: found.start()]
            depth -= 1
    return text


def read_arguments(text: str) -> tuple[Field, ...] | None:
    """The arguments of an `emit`, without its callback; None if they are not understood."""
    text = text.strip().removeprefix(",").strip()
    text = re.sub(
        r",?\s*(?:async\s*)?(?:\([^()]*\)|\w+)\s*=>.*$|,?\s*(?:async\s*)?function\b.*$", "", text, flags=re.DOTALL
    )
    text = re.sub(r",?\s*(?:callback|ack|cb|fn)\s*$", "", text)
    if not text.strip():
        return ()
    try:
        return name_values(parse_values(text, types=False))
    except NotationError:
        return None


def read_callback(text: str) -> tuple[Field, ...] | None:
    """What a handler of an event receives: its parameters, and the comments that describe them."""
    parameters = re.match(r"\s*,\s*(?:async\s*)?(?:function\s*\w*\s*)?\(?([^()=]*)\)?\s*(?:=>|\{)", text)
    if parameters is None:
        return None
    names = [word.strip().split(":")[0].rstrip("?") for word in parameters[1].split(",") if word.strip()]
    if not names:
        return ()
    comments = "\n".join(re.findall(r"^\s*//+ ?(.*)$", text, re.MULTILINE))
    comments += "\n".join(re.findall(r"/\*+(.*?)\*/", text, re.DOTALL))
    # `data: { … }` or `{ … }`; words are not read as data.
    found = re.search(r"(?:\b\w+:\s*)?([{\[].*)", comments, re.DOTALL)
    if found is None or (
        found.start() > 0 and "\n" not in comments[: found.start()] and comments[: found.start()].strip()
    ):
        return None if len(names) == 1 else tuple(Field(name, Named(name)) for name in names)
    try:
        parser = Parser(
            scan(found[1]),
            types=":" in found[1] and bool(re.search(r":\s*(?:Array<|string|number|boolean|any\b)", found[1])),
        )
        value = parser.read_value()
    except NotationError:
        return None
    return (Field(names[0], value.shape, sample=value.sample),)


def name_values(values: list[Value]) -> tuple[Field, ...]:
    """Arguments with names: that of the variable, or of the text that is shown in its place."""
    fields: list[Field] = []
    for number, value in enumerate(values):
        name = value.shape.name if isinstance(value.shape, Named) else ""
        if not name and isinstance(value.sample, str) and re.fullmatch(r"[a-z]\w*", value.sample):
            name = value.sample
        if not name or name in (found.name for found in fields):
            name = "value" if len(values) == 1 else f"argument{number + 1}"
        fields.append(Field(name, value.shape, value.optional, value.nullable, value.sample))
    return tuple(fields)


# TypeScript.


def read_types(document: Document, text: str, line: int, namespace: str) -> list[str]:
    """Record the types that a block declares, and the messages of its maps of events. Returns the types' names."""
    names = []
    for found in DECLARED.finditer(text):
        name = found[1] or found[2]
        direction = find_map(name)
        try:
            if direction is not None:
                read_map(document, text[found.end() :], line + text.count("\n", 0, found.end()), direction, namespace)
            else:
                document.types.setdefault(name, Parser(scan(text[found.end() :]), types=True).read_value().shape)
                names.append(name)
        except NotationError:
            continue
    return names


def find_map(name: str) -> Direction | None:
    return next((direction for part, direction in MAPS.items() if part in name.lower()), None)


def read_map(document: Document, text: str, line: int, direction: Direction, namespace: str) -> None:
    """`interface ServerToClientEvents { 'order:placed': (order: Order) => void; }`. Raises NotationError."""
    parser = Parser(scan(text), types=True)
    parser.expect("{")
    while not parser.accept("}"):
        token = parser.take()
        if token.kind == "end":
            raise NotationError("{ is never closed")
        if token.text in (";", ","):
            continue
        name = token.text[1:-1] if token.kind == "string" else token.text
        parser.accept(":")
        fields, reply = read_signature(parser)
        if NAME.fullmatch(name) and name not in OWN:
            document.add(
                Message(
                    name=name,
                    direction=direction,
                    namespace=namespace,
                    line=line + token.line,
                    end=line + token.line,
                    description=parser.comments.get(token.line - 1, ""),
                    arguments=fields,
                    reply=reply,
                )
            )


def read_signature(parser: Parser) -> tuple[tuple[Field, ...], Shape | None]:
    """`(id: string, callback: (answer: Answer) => void) => void`: the arguments, and what the callback is given."""
    parser.expect("(")
    fields: list[Field] = []
    reply: Shape | None = None
    while not parser.accept(")"):
        name = parser.take().text
        optional = parser.accept("?")
        parser.expect(":")
        if parser.peek().text == "(":
            answer, _ = read_signature(parser)
            reply = answer[-1].shape if answer else None
        else:
            value = parser.read_value()
            fields.append(Field(name, value.shape, optional or value.optional, value.nullable))
        parser.accept(",")
    if parser.accept("=>"):
        parser.read_value()
    return tuple(fields), reply


# JSON.


def read_json(text: str) -> object:
    """The value of a JSON example; NO_SAMPLE if it is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NO_SAMPLE


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def read_example(text: str) -> Shape | None:
    """The shape of a JSON example."""
    try:
        return parse_values(text, types=False)[0].shape
    except NotationError:
        return None


def as_arguments(shape: Shape, sample: object = NO_SAMPLE) -> tuple[Field, ...]:
    """One argument of this shape."""
    return (Field("data" if isinstance(shape, Object) else "value", shape, sample=sample),)
