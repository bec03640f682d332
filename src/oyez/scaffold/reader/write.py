"""Writes a contract from what a document says, with a comment at each place where a person has to decide."""

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from oyez.scaffold.reader.classes import Classes
from oyez.scaffold.reader.model import (
    COMMAND,
    EVENT,
    ROOT,
    Array,
    Decision,
    Document,
    Field,
    Items,
    Map,
    Message,
    NoSample,
    Object,
    Scalar,
    Shape,
    constant,
    tag_of,
)
from oyez.scaffold.reader.rooms import Room, Rooms, is_users
from oyez.scaffold.reader.source import WIDTH, call, comment, docstring, literal, quote
from oyez.scaffold.reader.words import PLACEHOLDER, pascal, singular, snake

NOT_WRITTEN = "not_written"
"""The refusal of commands whose handlers a person has to write."""
DEFAULT_ROLE = "user"
MAX_TEXT = 2_000
"""Characters of a text: the greatest length that a person has to confirm."""
SAMPLE_TIME = "2026-01-31T12:00:00Z"
SKIPPED_REPLY = {"ok", "success", "error", "status"}
"""Fields of an acknowledgement that say whether the command succeeded."""

TYPING = {"Annotated", "Any", "Literal"}
MSGSPEC = {"Meta", "field"}
BUILTIN = {"str", "int", "float", "bool"}

VOLATILE = re.compile(r"\bnot (?:be )?stored\b|\bvolatile\b|\bmay be (?:lost|dropped)\b", re.IGNORECASE)
NEWEST = re.compile(r"\bthe newest (?:one )?counts\b|\bonly the (?:newest|latest)\b|\bvolatile\b", re.IGNORECASE)
LIMIT = re.compile(r"\b([1-9]\d{0,5}) (?:a|per|every|/) ?(second|minute|hour)\b", re.IGNORECASE)
"""What a document says of delivery and limits."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A command that needs a handler."""

    command: str
    function: str
    reply: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Written:
    """A contract in Python, and what belongs to it."""

    contract: str
    handlers: str
    decisions: tuple[Decision, ...]
    examples: frozenset[str] = frozenset()
    """Names of events that have an example of the document."""


@dataclass(slots=True)
class Writer:
    """Writes one contract."""

    document: Document
    name: str
    source: str
    """The name of the document."""
    package: str
    """The package of the project."""
    without_example: frozenset[str] = frozenset()
    """Events whose examples do not fit their types."""
    classes: Classes = field(default_factory=Classes)
    decisions: list[Decision] = field(default_factory=list)
    handlers: list[Handler] = field(default_factory=list)
    examples: set[str] = field(default_factory=set)
    _written: dict[tuple[str, str], tuple[str, Message]] = field(default_factory=dict)
    """The class of each message, by direction and name."""
    _replies: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """The type of each command's reply, by the command's key."""
    _rooms: Rooms = field(init=False)

    def __post_init__(self) -> None:
        self._rooms = Rooms(self.document, self.decisions, self.classes.names)

    def write(self) -> Written:
        variables = {name: self._variable(name) for name in self.document.namespaces}
        self._drop_odd_events()
        self._note_document()
        self._add_rooms(variables)
        parts = {name: self._write_namespace(name, variables[name]) for name in variables}
        self._note_unused_rooms()
        body = ""
        for name, variable in variables.items():
            rooms = self._rooms.write(variable)
            body += (
                f"{self._declare_namespace(name, variable)}\n" + (f"\n{rooms}" if rooms else "") + f"\n\n{parts[name]}"
            )
        head = self._write_head()
        self.decisions.sort(key=lambda found: found.line)
        return Written(
            contract=f"{self._write_imports()}\n{head}\n{body.rstrip()}\n",
            handlers=self._write_handlers(),
            decisions=tuple(dict.fromkeys([*self.document.decisions, *self.decisions])),
            examples=frozenset(self.examples),
        )

    # The head.

    def _variable(self, namespace: str) -> str:
        wanted = "root" if namespace == ROOT else snake(namespace)
        free = (
            wanted.isidentifier() and not keyword.iskeyword(wanted) and wanted not in {*self.classes.names} - {"root"}
        )
        name = wanted if free else f"namespace_{wanted}"
        self.classes.names.add(name)
        return name

    @property
    def roles(self) -> list[str]:
        # A namespace with an id is not named for a role.
        names = [name.strip("/") for name in self.document.namespaces if name != ROOT and "{" not in name]
        named = [re.sub(r"\W", "_", name) for name in names]
        return list(dict.fromkeys([*self.document.roles, *named])) or [DEFAULT_ROLE]

    @property
    def default_role(self) -> str | None:
        """The role of a token without one. None if the document does not say which role has the fewest rights."""
        return DEFAULT_ROLE if DEFAULT_ROLE in self.roles else None

    def _note_document(self) -> None:
        default = self.default_role or "none: such a token is refused"
        listed = ", ".join(self.roles)
        self.decisions.append(Decision(1, f"the roles ({listed}), and the role of a token without one ({default})."))
        self.decisions += [
            Decision(1, "the form of acknowledgements and errors, if it is not Oyez' own: Acknowledgements, Errors."),
            Decision(1, f"the greatest length of texts ({MAX_TEXT:,} characters), and limits of commands."),
            Decision(1, "whether amounts (Money) have at most two decimals and are never below 0."),
        ]

    def _write_head(self) -> str:
        roles = self.roles
        listed = ", ".join(map(quote, roles)) + ("," if len(roles) == 1 else "")
        arguments = [quote(self.name), f"roles=({listed})"]
        if self.default_role is not None:
            arguments.append(f"default_role={quote(self.default_role)}")
        text = f"# Decide: the roles, and the role of a token without one.\n{call('contract = Contract', arguments)}\n"
        if self.handlers:
            sentence = quote("The server does not do this yet.")
            declared = f"{NOT_WRITTEN} = contract.refusal({quote(NOT_WRITTEN)}, {sentence}, status=501)"
            text += f"{comment('Handlers refuse with it what they do not do yet.')}{declared}\n"
        if any("Text" in block for block in self._texts):
            text += f"\n# Decide: the greatest length of texts.\nText = Annotated[str, Meta(max_length={MAX_TEXT:_})]\n"
            self.classes.use("Annotated", "Meta")
        return text

    @property
    def _texts(self) -> list[str]:
        return [text for text, _ in self._written.values()]

    def _write_imports(self) -> str:
        used = self.classes.used
        lines = [docstring(f"The contract of {self.name}, written from {self.source}.", 0)]
        if typing := sorted(used & TYPING):
            lines.append(f"from typing import {', '.join(typing)}\n")
        packages = ""
        if msgspec := sorted(used & MSGSPEC, key=_import_order):
            packages = f"from msgspec import {', '.join(msgspec)}\n"
        rules = {self._rule_of(room) for room in self._rooms.rooms.values()} | ({"role"} if self._uses_role else set())
        own = {"Contract", *rules, *(used - TYPING - MSGSPEC - BUILTIN)}
        lines.append(packages + _import("oyez.contract", sorted(own, key=_import_order)))
        return "\n".join(lines)

    @staticmethod
    def _rule_of(room: Room) -> str:
        """The function of the rule of a room."""
        return "own" if is_users(room.pattern) and len(room.placeholders) == 1 else "member"

    @property
    def _uses_role(self) -> bool:
        namespaces = any(name.strip("/") in self.roles for name in self.document.namespaces)
        return namespaces or any("who=role(" in text for text, _ in self._written.values())

    def _declare_namespace(self, name: str, variable: str) -> str:
        arguments = [quote(name)]
        if name.strip("/") in self.roles:
            arguments.append(f"who=role({quote(name.strip('/'))})")
        return call(f"{variable} = contract.namespace", arguments)

    # Messages.

    def _drop_odd_events(self) -> None:
        """An event has one shape in all namespaces: the first one counts."""
        first: dict[str, Message] = {}
        for message in self.document.messages.values():
            if message.direction == EVENT:
                known = first.setdefault(message.name, message)
                if known is not message and known.arguments != message.arguments:
                    text = f"the data of `{message.name}`: `{known.namespace}` and `{message.namespace}` differ."
                    self.decisions.append(Decision(message.line, text))
                    message.arguments, message.variants = known.arguments, known.variants

    def _add_rooms(self, variables: Mapping[str, str]) -> None:
        """Declare the rooms of the document, if there is only one namespace that can have them."""
        if len(variables) == 1:
            for pattern, line in self.document.rooms.items():
                self._rooms.add(next(iter(variables.values())), pattern, line)

    def _note_unused_rooms(self) -> None:
        """List the rooms of which the document does not say which events go to them."""
        declared = {pattern for _, pattern in self._rooms.rooms}
        used = {pattern for (_, pattern), room in self._rooms.rooms.items() if room.variable in self._rooms.used}
        for pattern, line in self.document.rooms.items():
            if pattern not in used:
                kept = "" if pattern in declared else " It is not declared, because there are several namespaces."
                self.decisions.append(Decision(line, f"which events go to the rooms `{pattern}`.{kept}"))

    def _write_namespace(self, namespace: str, variable: str) -> str:
        messages = [found for found in self.document.messages.values() if found.namespace == namespace]
        texts = []
        for title, direction in (("Events.", EVENT), ("Commands.", COMMAND)):
            found = [message for message in messages if message.direction == direction]
            written = [text for message in found if (text := self._write_message(message, variable))]
            if written:
                texts.append(f"# {title}\n\n\n" + "".join(written))
        return "".join(texts)

    def _write_message(self, message: Message, variable: str) -> str:
        if message.direction == COMMAND and self._rooms.claim(variable, message):
            return ""
        notes: list[str] = []
        known = self._written.get((message.direction, message.name))
        if known is not None and _same(known[1], message):
            return self._repeat(message, variable, _find_class(known[0]), notes)
        text = (
            self._write_event(message, variable, notes)
            if message.direction == EVENT
            else self._write_command(message, variable, notes)
        )
        self._written.setdefault((message.direction, message.name), (text, message))
        if known is not None:
            self._written[message.direction, f"{message.name} {message.namespace}"] = (text, message)
        return text

    def _repeat(self, message: Message, variable: str, name: str, notes: list[str]) -> str:
        """A message that another namespace declares already."""
        if message.direction == EVENT:
            arguments = [quote(message.name), self._targets(message, variable, notes), *self._form(message)]
            declared = call(f"{variable}.event", arguments)
        else:
            declared = call(
                f"{variable}.command", [quote(message.name), *self._form(message), *self._reply_again(message)]
            )
        return f"{self._comment(message, notes)}{declared}({name})\n\n\n"

    def _reply_again(self, message: Message) -> list[str]:
        handler = next((h for h in self.handlers if h.function == _function_of(message)), None)
        return [f"reply={handler.reply}"] if handler is not None and handler.reply else []

    def _targets(self, message: Message, variable: str, notes: list[str]) -> str:
        shape, _ = self._payload(message)
        fields = shape.fields if shape is not None else ()
        targets, question = self._rooms.targets(variable, message, fields)
        if question:
            notes.append(question)
        return f"to=[{', '.join(targets)}]"

    def _payload(self, message: Message) -> tuple[Object | None, bool]:
        """The fields of the class, and True if they are separate arguments. None: the document does not show them."""
        if message.arguments is None:
            return None, True
        if len(message.arguments) == 1 and isinstance(message.arguments[0].shape, Object):
            return message.arguments[0].shape, False
        return Object(message.arguments), True

    def _form(self, message: Message) -> list[str]:
        _, positional = self._payload(message)
        return ['arguments="positional"'] if positional else []

    def _write_event(self, message: Message, variable: str, notes: list[str]) -> str:
        targets = self._targets(message, variable, notes)
        if message.arguments == () or (message.name_only and self._has_only_named(message)):
            name = self.classes.name(pascal(message.name))
            about = " ".join((message.description or f"The event {message.name}.").split())
            arguments = [quote(message.name), targets, f"description={quote(about)}"]
            return f"{self._comment(message, notes)}{call(f'{name} = {variable}.signal', arguments)}\n\n\n"
        arguments = [quote(message.name), targets, *self._form(message)]
        if message.name_only:
            arguments.append("name_only=True")
        example = self._example(message)
        if example is not None:
            self.examples.add(message.name)
            arguments.append(f"example={literal(example, 4, 9)}")
        if VOLATILE.search(message.text):
            arguments.append("volatile=True")
        return self._write_class(message, f"{variable}.event", arguments, "Payload", notes)

    @staticmethod
    def _has_only_named(message: Message) -> bool:
        """True if all fields of an event are in its name."""
        names = PLACEHOLDER.findall(message.name)
        return [found.name for found in message.arguments or ()] == names

    def _write_command(self, message: Message, variable: str, notes: list[str]) -> str:
        reply = self._write_reply(message, notes)
        self.classes.strict = True
        arguments = [quote(message.name), *self._who(message, notes), *self._form(message)]
        limit = LIMIT.search(message.text)
        if limit is not None:
            arguments.append(f'limit="{limit[1]}/{limit[2][0]}"')
        if NEWEST.search(message.text):
            arguments.append("volatile=True")
        if reply is not None:
            arguments.append(f"reply={reply}")
            if not isinstance(message.reply, Object):
                arguments.append('acknowledgements=Acknowledgements(data="data")')
                self.classes.use("Acknowledgements")
        text = self._write_class(message, f"{variable}.command", arguments, "Command", notes)
        self.classes.strict = False
        return text

    def _write_class(self, message: Message, declare: str, arguments: list[str], base: str, notes: list[str]) -> str:
        shape, _ = self._payload(message)
        about = message.description or f"The {message.direction} {message.name}."
        if shape is None:
            notes.append(f"the data of `{message.name}`. The document does not show it.")
            shape = Object((Field("data", Map(Scalar("Any"))),))
        if shape.open:
            notes.append(f"the further fields of `{message.name}`. The document leaves them out.")
        unknown = [f.name for f in shape.fields if isinstance(f.shape, Scalar) and not f.shape.certain]
        notes += (f"the type of `{name}` in `{message.name}`. The document gives only the name." for name in unknown)
        if message.variants:
            return self._write_variants(message, declare, arguments, base, notes)
        known = (message.direction, message.name) in self._written
        name = self.classes.name((pascal(message.namespace) if known else "") + pascal(message.name))
        shape = self._order(shape, message, notes)
        self.classes.write(name, shape, about, base, decorators=f"@{call(declare, arguments)}\n")
        self._note_handler(message, name, base, about)
        notes += self.classes.undecided
        self.classes.undecided.clear()
        text = self.classes.take()
        return text.replace(f"@{declare}", f"{self._comment(message, notes)}@{declare}", 1)

    def _order(self, shape: Object, message: Message, notes: list[str]) -> Object:
        """Arguments that may be omitted stand last."""
        _, positional = self._payload(message)
        required = [found.optional for found in shape.fields]
        if not positional or required == sorted(required):
            return shape
        last = max(number for number, optional in enumerate(required) if not optional)
        notes.append(f"which arguments of `{message.name}` may be omitted: only the last ones can be.")
        fields = tuple(
            replace(f, optional=f.optional and k > last, nullable=f.nullable or (f.optional and k < last))
            for k, f in enumerate(shape.fields)
        )
        return Object(fields)

    def _write_variants(self, message: Message, declare: str, arguments: list[str], base: str, notes: list[str]) -> str:
        tag = tag_of(message.variants[0])
        if tag is None or len({constant(shape, tag) for shape in message.variants}) < len(message.variants):
            notes.append(f"the shapes of `{message.name}`: a field such as `type` has to tell them apart.")
            message.variants = ()
            return self._write_class(message, declare, arguments, base, notes)
        arguments = [argument for argument in arguments if not argument.startswith("example=")]
        names = []
        for shape in message.variants:
            value = constant(shape, tag)
            name = self.classes.name(pascal(message.name) + pascal(value))
            rest = Object(tuple(found for found in shape.fields if found.name != tag))
            options = f", tag_field={quote(tag)}, tag={quote(value)}"
            about = f"The {message.direction} {message.name} of {tag} {value}."
            self.classes.write(name, rest, about, base, options)
            self._note_handler(message, name, base, about, value)
            names.append(name)
        text = self.classes.take()
        notes += self.classes.undecided
        self.classes.undecided.clear()
        return f"{text}{self._comment(message, notes)}{call(declare, arguments)}({' | '.join(names)})\n\n\n"

    def _note_handler(self, message: Message, name: str, base: str, about: str, value: str = "") -> None:
        if base == "Command":
            reply = self._replies.get(message.key)
            function = _function_of(message) + (f"_{snake(value)}" if value else "")
            known = {handler.function for handler in self.handlers}
            if function in known:
                function += f"_{snake(message.namespace)}"
            self.handlers.append(Handler(name, function, reply, about))

    def _write_reply(self, message: Message, notes: list[str]) -> str | None:
        if message.reply is None:
            return None
        shape: Shape = message.reply
        if isinstance(shape, Object):
            shape = Object(tuple(found for found in shape.fields if found.name not in SKIPPED_REPLY))
            if not shape.fields:
                return None
            name = self.classes.name(f"{pascal(message.name)}Reply")
            self.classes.write(name, shape, f"The reply to `{message.name}`.", "Payload")
        else:
            name = self.classes.annotation(shape, f"{snake(message.name)}_reply")
            name = "str" if name == "Text" else name
        self._replies[message.key] = name
        return name

    def _who(self, message: Message, notes: list[str]) -> list[str]:
        words = {singular(word.lower()) for word in re.findall(r"\w+", message.senders)}
        roles = [found for found in self.roles if found.lower() in words]
        if roles and len(roles) < len(self.roles):
            rest = re.sub(r"\W+", " ", message.senders).strip()
            if len(rest.split()) > len(roles) + 1:
                notes.append(f"who may send `{message.name}`. The document says: {message.senders}.")
            return [f"who=role({', '.join(map(quote, roles))})"]
        if message.senders and not re.search(r"\b(?:everybody|everyone|all|any)\b", message.senders, re.IGNORECASE):
            notes.append(f"who may send `{message.name}`. The document says: {message.senders}.")
        elif not message.senders:
            notes.append(f"who may send `{message.name}`. Every client may, until you decide.")
        return []

    def _comment(self, message: Message, notes: Sequence[str]) -> str:
        for note in notes:
            self.decisions.append(Decision(message.line, note))
        return "".join(
            comment(f"Decide (line {message.line}): {' '.join(note.split())}") for note in dict.fromkeys(notes)
        )

    # Examples.

    def _example(self, message: Message) -> Any:
        """The data that the document shows, if it shows all of it; None otherwise."""
        if message.name in self.without_example or message.variants:
            return None
        shape, positional = self._payload(message)
        if shape is None:
            return None
        if not isinstance(message.example, NoSample):
            value = message.example
        elif any(isinstance(found.sample, NoSample) for found in shape.fields if not found.optional):
            return None
        else:
            shown = [found for found in shape.fields if not isinstance(found.sample, NoSample)]
            value = {found.name: found.sample for found in shown}
            if positional:
                value = list(value.values())
        value = mend(value, shape)
        if positional and isinstance(value, list) and len(shape.fields) == 1:
            return value[0]
        return value

    # Handlers.

    def _write_handlers(self) -> str:
        head = '"""The functions that the server calls. Each refuses its command, until you write it."""\n\n'
        services = "from oyez.service.system import Services, SystemServices\n\n"
        build = "def build(services: Services) -> SystemServices:\n    return SystemServices("
        if not self.handlers:
            return f"{head}{services}\n{build})\n"
        given = {handler.reply for handler in self.handlers if handler.reply is not None}
        replies = {name for name in given & self.classes.names if name[:1].isupper()}
        names = {handler.command for handler in self.handlers} & self.classes.names | replies | {NOT_WRITTEN}
        imports = _import(f"{self.package}.contract", sorted(names, key=_import_order))
        functions = ""
        for handler in self.handlers:
            returns = handler.reply if handler.reply in replies else "object" if handler.reply else "None"
            functions += (
                f"async def {handler.function}(command: {handler.command}, client: Client) -> {returns}:\n"
                f"{docstring(handler.description)}    raise RefusedError({NOT_WRITTEN})\n\n\n"
            )
        entries = "".join(f"            {handler.command}: {handler.function},\n" for handler in self.handlers)
        return (
            f"{head}from oyez.errors import RefusedError\nfrom oyez.runtime import Client\n{services}{imports}\n\n"
            f"{functions}{build}\n        handlers={{\n{entries}        }}\n    )\n"
        )


def _function_of(message: Message) -> str:
    return f"on_{snake(PLACEHOLDER.sub('', message.name))}"


def _same(known: Message, message: Message) -> bool:
    return (known.arguments, known.variants, known.reply) == (message.arguments, message.variants, message.reply)


def _find_class(text: str) -> str:
    """The class or the union that a declaration is for."""
    signal = re.search(r"^(\w+) = \w+\.signal", text, re.MULTILINE)
    if signal:
        return signal[1]
    union = re.search(r"\)\(([\w |]+)\)\s*$", text)
    return union[1] if union else re.findall(r"^class (\w+)", text, re.MULTILINE)[-1]


def _import_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions, as ruff sorts them."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)


def _import(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


def mend(value: Any, shape: Shape) -> Any:
    """An example without what people leave out of times: `2026-01-31T...`."""
    match shape, value:
        case Scalar("Time"), str() if not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)", value):
            day = re.match(r"\d{4}-\d\d-\d\d", value)
            return f"{day[0]}T12:00:00Z" if day else SAMPLE_TIME
        case Object(), dict():
            shapes = {found.name: found.shape for found in shape.fields}
            return {name: mend(part, shapes[name]) if name in shapes else part for name, part in value.items()}
        case Array(), list():
            return [mend(part, shape.item) for part in value]
        case Items(items), list():
            return [mend(part, item) for part, item in zip(value, items, strict=False)]
        case Object(), list():
            return [mend(part, found.shape) for part, found in zip(value, shape.fields, strict=False)]
    return value
