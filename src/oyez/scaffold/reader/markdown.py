"""Reads an event document in Markdown: headings, lists, tables and blocks of code that describe messages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from oyez.scaffold.reader.code import (
    as_arguments,
    find_calls,
    name_values,
    read_example,
    read_json,
    read_types,
)
from oyez.scaffold.reader.model import (
    COMMAND,
    EVENT,
    NO_SAMPLE,
    ROOT,
    Choice,
    Decision,
    Direction,
    Document,
    Field,
    Message,
    Named,
    Object,
    Scalar,
    Shape,
)
from oyez.scaffold.reader.notation import NotationError, parse_values
from oyez.scaffold.reader.sections import Code, Item, Paragraph, Section, Table, read_sections
from oyez.scaffold.reader.words import (
    EVENT_TITLE,
    OWN,
    SPAN,
    find_direction,
    find_named_namespace,
    find_names,
    find_namespace,
    find_patterns,
    find_sender,
    find_title_name,
    normalize_pattern,
)

COLUMNS = {
    "event": ("event", "events", "event name", "socket event", "notification"),
    "command": ("command", "commands", "action", "command name"),
    "name": ("name", "message", "message name", "topic"),
    "direction": ("direction", "dir", "flow"),
    "payload": ("payload", "data", "argument", "arguments", "args", "fields", "body", "content", "parameters",
                "params"),
    "receivers": ("target", "targets", "room", "rooms", "to", "who receives it", "recipients", "recipient", "receiver",
                  "receivers", "sent to", "goes to", "audience", "who gets it"),
    "senders": ("who", "sender", "from", "role", "roles", "sent by", "allowed", "who may send it", "emitter"),
    "reply": ("result", "reply", "answer", "ack", "acknowledgement", "response", "returns"),
    "description": ("description", "meaning", "when", "purpose", "what", "what it does", "trigger", "notes", "note",
                    "remarks", "comment"),
    "namespace": ("namespace",),
}  # fmt: skip
"""Titles of columns, and what the columns say."""
RELAYED = re.compile(
    r"\bothers?\b[^.;|]{0,100}?\b(?:hear|receive|get|see)s?\b[^.;|]{0,100}?\bthe same\b((?:,? (?:with|and) `\w+`)*)",
    re.IGNORECASE,
)
"""A command that the others in a room receive as an event of the same name."""
CODE_LANGUAGES = {"js", "javascript", "ts", "typescript", "jsx", "tsx", "", "mjs", "node"}
NOTHING = re.compile(r"^\W*(?:no (?:arguments?|payload|data)|none|nothing|empty|-|—|–|n/a)\W*$", re.IGNORECASE)


def read_markdown(text: str) -> Document:
    """What a document in Markdown says. Raises DocumentError."""
    document = Document()
    sections = read_sections(text)
    namespace = find_default_namespace(sections)
    for number, section in enumerate(sections):
        SectionReader(document, section, find_end(sections, number), namespace).read()
    for section in sections:
        read_all_calls(document, section, namespace)
    for section in sections:
        read_loose_examples(document, section)
    return document


def find_default_namespace(sections: Sequence[Section]) -> str:
    """The namespace of all messages, if the text of the document names exactly one."""
    texts = (block.text for section in sections for block in section.blocks if isinstance(block, Paragraph | Item))
    named = {name for text in texts if (name := find_named_namespace(text)) is not None}
    return named.pop() if len(named) == 1 else ROOT


def find_end(sections: Sequence[Section], number: int) -> int:
    """The last line of a section with its sections."""
    level = sections[number].level
    after = (found.line - 1 for found in sections[number + 1 :] if found.level <= level)
    return next(after, sections[-1].end)


class SectionReader:
    """Reads one section."""

    def __init__(self, document: Document, section: Section, end: int, namespace: str) -> None:
        """`namespace` is that of messages for which no title names one."""
        self._document = document
        self._section = section
        self._end = end
        self._namespace = find_namespace(section.path, namespace)
        self._direction = find_direction(section.path)
        self._current: Message | None = None
        """The message that the next paragraphs and blocks describe."""

    def read(self) -> None:
        name = find_title_name(self._section.title)
        if name is not None and self._note_own(name, self._section.line):
            return
        if name is not None and (self._direction is not None or self._titles_events() or self._shows_call(name)):
            self._begin(name, self._section.line)
        for block in self._section.blocks:
            match block:
                case Table():
                    self._read_table(block)
                case Item():
                    self._read_item(block)
                case Code():
                    self._read_code(block)
                case Paragraph():
                    self._read_paragraph(block)

    @property
    def _types_arguments(self) -> bool:
        """True if the section lists what people type, with the arguments behind the names: those without have none."""
        items = (block.text for block in self._section.blocks if isinstance(block, Item))
        return any(re.match(r"\W{0,3}`[\w:.-]+(?: <\w+>)+`", text) for text in items)

    def _titles_events(self) -> bool:
        return any(EVENT_TITLE.search(title) for title in self._section.parents)

    def _shows_call(self, name: str) -> bool:
        blocks = (block for block in self._section.blocks if isinstance(block, Code))
        return any(call.name == name for block in blocks for call in find_calls(block.text, block.line))

    def _note_own(self, name: str, line: int) -> bool:
        """True if the name needs no declaration."""
        if name not in OWN:
            return False
        self._document.decisions.append(Decision(line, f"`{name}` is not declared. {OWN[name]}"))
        return True

    def _begin(self, name: str, line: int, direction: Direction | None = None, namespace: str | None = None) -> Message:
        self._current = self._document.add(
            Message(
                name=name,
                direction=direction or self._find_own_direction(name) or EVENT,
                namespace=namespace or self._namespace,
                line=line,
                end=self._section.end,
            )
        )
        return self._current

    def _find_own_direction(self, name: str) -> Direction | None:
        """The direction that the section's code or its titles give."""
        for block in self._section.blocks:
            if isinstance(block, Code):
                for call in find_calls(block.text, block.line):
                    if call.name == name:
                        return call.direction
        return self._direction

    # Paragraphs and lists.

    def _read_paragraph(self, block: Paragraph) -> None:
        self._document.sentences.append(block.text)
        self._note_roles(block.text)
        if self._current is not None:
            if self._current.arguments is None and NOTHING.match(block.text):
                self._current.arguments = ()
                return
            self._current.description = self._current.description or block.text
            self._current.text += f"\n{block.text}"

    def _read_item(self, block: Item) -> None:
        self._document.sentences.append(block.text)
        self._note_roles(block.text)
        if self._is_about_rooms():
            self._note_rooms(block.text, block.line)
        names = re.match(r"\W{0,3}`([^`]+)`\*{0,2}(?:\s*[-–—:]\s*(.*))?$", block.text, re.DOTALL)
        if names is None:
            return
        # `join <type> <id>` has its arguments behind the name.
        name, *arguments = names[1].split()
        shown = any(argument.startswith("<") for argument in arguments)
        arguments = [argument.strip("<>[]{}") for argument in arguments]
        found = find_names(f"`{name}`") if all(re.fullmatch(r"\w+", word) for word in arguments) else []
        is_messages = self._direction is not None or EVENT_TITLE.search(" ".join(self._section.path))
        is_message = find_direction([self._section.title]) is not None or is_message_name(name)
        if found and is_messages and is_message and not self._note_own(name, block.line):
            message = self._begin(name, block.line)
            if arguments and message.arguments is None:
                fields = tuple(Field(word, Named(word)) for word in dict.fromkeys(arguments))
                # What people type has words in an order. Programs send several values as one object.
                message.arguments = as_arguments(Object(fields)) if shown and len(fields) > 1 else fields
            elif self._types_arguments and message.arguments is None:
                message.arguments = ()
            message.end = block.line
            message.description = message.description or (names[2] or "").strip()

    def _note_roles(self, text: str) -> None:
        match = re.search(r"`?role`?(?:s)?[^.`]{0,100}?((?:`\w+`(?:,\s*|,?\s+or\s+|,?\s+and\s+)?){2,})", text)
        if match is not None:
            self._document.roles += [
                role for role in SPAN.findall(match[1]) if role not in (*self._document.roles, "role")
            ]

    def _note_rooms(self, text: str, line: int) -> None:
        for pattern in find_patterns(text):
            self._document.rooms.setdefault(pattern, line)

    def _note_fixed_room(self, cells: Sequence[str], titles: Sequence[str], line: int) -> None:
        """A room without placeholders, in the column of patterns."""
        column = next(number for number, title in enumerate(titles) if "room" in title)
        if column < len(cells) and not find_patterns(cells[column]):
            for span in SPAN.findall(cells[column]):
                if re.fullmatch(r"[A-Za-z][\w:.-]*", span):
                    self._document.rooms.setdefault(span, line)

    def _is_about_rooms(self) -> bool:
        return re.search(r"\b(?:rooms?|channels?)\b", " ".join(self._section.path), re.IGNORECASE) is not None

    # Blocks of code.

    def _read_code(self, block: Code) -> None:
        if self._is_about_rooms():
            for span in re.findall(r"[`'\"]([^`'\"\n]+)[`'\"]", block.text):
                if (pattern := normalize_pattern(span)) is not None:
                    self._document.rooms.setdefault(pattern, block.line)
        if block.language in ("json", "json5") and self._current is not None:
            self._read_json(block, self._current)
            return
        if block.language not in CODE_LANGUAGES:
            return
        names = read_types(self._document, block.text, block.line, self._namespace)
        if self._current is None:
            return
        self._current.end = max(self._current.end, block.line + block.text.count("\n"))
        if names and self._current.arguments is None and not list(find_calls(block.text, block.line)):
            self._current.arguments = as_arguments(self._document.types[names[0]])
        for call in find_calls(block.text, block.line):
            if call.name == self._current.name and call.arguments is not None and self._current.arguments is None:
                self._current.arguments = call.arguments
        if not names and self._current.arguments is None and re.match(r"\s*[{\[]", block.text):
            shape = read_example(block.text)
            self._current.arguments = as_arguments(shape) if shape is not None else None

    def _read_json(self, block: Code, message: Message) -> None:
        value, shape = read_json(block.text), read_example(block.text)
        if shape is None:
            return
        if message.arguments is None:
            message.arguments = as_arguments(shape, value)
        if value is not NO_SAMPLE and message.example is NO_SAMPLE:
            message.example = value

    # Tables.

    def _read_table(self, block: Table) -> None:
        titles = [title.strip().strip("*`").lower() for title in block.titles]
        kinds = {kind: place for kind, names in COLUMNS.items() for place, title in enumerate(titles) if title in names}
        for line, cells in block.rows:
            for cell in cells:
                self._note_roles(cell)
            if "event" not in kinds and any("room" in title for title in titles):
                self._note_rooms(" ".join(cells), line)
                self._note_fixed_room(cells, titles, line)
        directed = self._direction is not None or "direction" in kinds or self._names_senders(block, kinds)
        if "event" not in kinds and "command" not in kinds and not ("name" in kinds and directed):
            return
        for line, cells in block.rows:
            self._read_row({kind: cells[place] for kind, place in kinds.items() if place < len(cells)}, line)

    @staticmethod
    def _names_senders(block: Table, kinds: Mapping[str, int]) -> bool:
        """True if a column says of each message whether the server or a client sends it."""
        place = kinds.get("senders")
        cells = [] if place is None else [cells[place] for _, cells in block.rows if place < len(cells)]
        return bool(cells) and all(find_sender(cell) is not None for cell in cells)

    def _read_row(self, cells: dict[str, str], line: int) -> None:
        cell = cells.get("event") or cells.get("command") or cells.get("name") or ""
        if (sender := find_sender(cells.get("senders", ""))) is not None:
            cells = {**cells, "senders": ""}
        direction = find_direction([cells.get("direction", "")]) or sender or self._row_direction(cells)
        names = [name for name in find_names(cell) if not self._note_own(name, line)]
        for name in names:
            message = Message(
                name=name,
                direction=direction,
                namespace=find_namespace([cells["namespace"]]) if "namespace" in cells else self._namespace,
                line=line,
                end=line,
                description=cells.get("description", ""),
                receivers=cells.get("receivers", ""),
                senders=cells.get("senders", ""),
                text="\n".join(cells.values()),
            )
            read_payload(message, cells.get("payload", ""), names)
            if "reply" in cells:
                message.reply = read_reply(cells["reply"])
            self._document.add(message)
            if message.direction == COMMAND and (relayed := RELAYED.search(message.text)) is not None:
                self._document.add(relay(message, SPAN.findall(relayed[1] or "")))
        self._document.sentences += [cells[kind] for kind in ("description",) if kind in cells]

    def _row_direction(self, cells: dict[str, str]) -> Direction:
        if "command" in cells:
            return COMMAND
        return self._direction or EVENT


def relay(command: Message, added: Sequence[str]) -> Message:
    """The event that others receive when a client sends the command; `added` are fields that the server adds."""
    arguments = command.arguments
    if arguments and isinstance(arguments[0].shape, Object):
        shape = arguments[0].shape
        fields = (*shape.fields, *(Field(name, Named(name)) for name in added))
        arguments = (replace(arguments[0], shape=replace(shape, fields=fields), sample=NO_SAMPLE),)
    return replace(command, direction=EVENT, arguments=arguments, senders="", receivers=command.senders)


def is_message_name(name: str) -> bool:
    """True if a word in a list can be a message: it has parts, as `order:placed` has."""
    return re.search(r"[:._/-]|[a-z][A-Z]", name) is not None


def read_payload(message: Message, cell: str, names: Sequence[str] = ()) -> None:
    """Read what a cell says of the arguments."""
    spans = SPAN.findall(cell)
    if not spans:
        if NOTHING.match(cell):
            message.arguments = ()
        return
    try:
        values = parse_values(spans[0])
    except NotationError:
        try:
            # `id: string, at: string`: the fields of an object without its braces.
            values = parse_values(f"{{ {spans[0]} }}")
        except NotationError:
            return
    if (
        len(values) == 1
        and not isinstance(values[0].shape, Object | Scalar | Choice)
        and not spans[0].startswith(("[", '"', "'"))
        and is_word(spans[0])
    ):
        # `MessagePayload`: the name of a type, or of the one argument.
        message.arguments = name_values(values)
        return
    message.arguments = name_values(values)
    others = list(read_others(spans[1:]))
    objects = [shape for shape in others if isinstance(shape, Object)]
    first = values[0].shape
    if objects and isinstance(first, Object):
        message.variants = (first, *objects)
    message.arguments = add_words(message.arguments, cell, spans)
    add_fields(message, cell, names)


def is_word(span: str) -> bool:
    return re.fullmatch(r"\w+", span) is not None


def read_others(spans: Sequence[str]) -> Iterator[object]:
    for span in spans:
        if span.startswith("{"):
            try:
                yield parse_values(span)[0].shape
            except NotationError:
                continue


def add_words(fields: tuple[Field, ...], cell: str, spans: Sequence[str]) -> tuple[Field, ...]:
    """ "`"table", "wave"`, or `"clap"`": other values of the last argument."""
    others = re.findall(r"\bor\s+`\"(\w+)\"`", cell)
    last = fields[-1] if fields else None
    if last is None or not others or not isinstance(last.sample, str):
        return fields
    return (
        *fields[:-1],
        replace(last, name="value" if last.name == last.sample else last.name, shape=Choice((last.sample, *others))),
    )


def add_fields(message: Message, cell: str, names: Sequence[str]) -> None:
    """ "`{ table, user }`, and `lastSeen` for `player:left`": a field that only one of two messages has."""
    for field, name in re.findall(r"\band `(\w+)` for `([^`]+)`", cell):
        if message.arguments and name == message.name and isinstance(message.arguments[0].shape, Object):
            shape = message.arguments[0].shape
            added = replace(shape, fields=(*shape.fields, Field(field, Named(field))))
            message.arguments = (replace(message.arguments[0], shape=added, sample=NO_SAMPLE),)


def read_reply(cell: str) -> Shape | None:
    """The shape of an acknowledgement's data; None if there is none."""
    spans = SPAN.findall(cell)
    if not spans:
        return None
    try:
        return parse_values(spans[0])[0].shape
    except NotationError:
        return None


# What stands elsewhere.


def read_all_calls(document: Document, section: Section, default: str) -> None:
    """Calls in any block: they show arguments of known messages, and messages that nothing else names."""
    namespace = find_namespace(section.path, default)
    for block in section.blocks:
        if not isinstance(block, Code) or block.language not in CODE_LANGUAGES:
            continue
        for call in find_calls(block.text, block.line):
            known = [m for m in document.messages.values() if m.name == call.name and m.direction == call.direction]
            if call.name in OWN:
                continue
            if not known and any(m.name == call.name for m in document.messages.values()) and call.arguments is None:
                continue
            own = next((m for m in known if m.namespace in (namespace, "*")), known[0] if known else None)
            document.add(
                Message(
                    name=call.name,
                    direction=call.direction,
                    namespace=own.namespace if own is not None else namespace,
                    line=call.line,
                    end=call.line,
                    arguments=call.arguments,
                )
            )


def read_loose_examples(document: Document, section: Section) -> None:
    """A JSON block whose message the next or the last sentence names: "This is a `table:state`"."""
    for number, block in enumerate(section.blocks):
        if not isinstance(block, Code) or block.language not in ("json", "json5"):
            continue
        near = [*section.blocks[number + 1 : number + 2], *section.blocks[max(0, number - 1) : number]]
        spans = [span for found in near if isinstance(found, Paragraph | Item) for span in SPAN.findall(found.text)[:1]]
        for message in document.messages.values():
            if message.name in spans and (message.example is NO_SAMPLE or message.arguments is None):
                value, shape = read_json(block.text), read_example(block.text)
                if shape is not None and (message.arguments is None or message.direction == EVENT):
                    if message.arguments is None:
                        message.arguments = as_arguments(shape, value)
                    message.example = value
                    message.text += "\n" + "\n".join(f.text for f in section.blocks if isinstance(f, Paragraph))
                break
