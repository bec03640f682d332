"""The rooms of a written contract: which rooms a document names, and which of them an event goes to."""

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from oyez.scaffold.reader.model import Array, Choice, Decision, Document, Field, Message, Object, Scalar, Shape
from oyez.scaffold.reader.source import call, comment, quote
from oyez.scaffold.reader.words import SPAN, find_free, normalize_pattern, snake

OWN_ROOM = "user:{userId}"
"""The room of one user, for events of which the document does not say who receives them."""
EVERYBODY = re.compile(
    r"\b(?:all|every|global|everyone|everybody)\b(?!\s+(?:else\b|in\b|at\b|who\b|members?\b|watchers\b|of the\b))",
    re.IGNORECASE,
)
CALLER = re.compile(
    r"\b(?:a|the) client\b.{0,200}\b(?:when|after)\b|\bcaller\b|\bthe sender\b|\bto the client that\b", re.IGNORECASE
)
USERS = ("user", "customer", "client", "member", "account", "profile", "person")
JOIN = re.compile(
    r"(?:^|[:_.-])(?:join|watch|track|subscribe|enter|open|follow)(?:$|[:_.A-Z-])|^(?:join|watch)", re.IGNORECASE
)
LEAVE = re.compile(
    r"(?:^|[:_.-])(?:leave|unwatch|untrack|unsubscribe|exit|unfollow)(?:$|[:_.A-Z-])|^leave", re.IGNORECASE
)


@dataclass(slots=True)
class Room:
    """A kind of room in one namespace."""

    namespace: str
    """The name of the variable that holds it."""
    pattern: str
    variable: str
    placeholders: tuple[str, ...]
    line: int
    join: str | None = None
    leave: str | None = None
    note: str = ""


@dataclass(slots=True)
class Rooms:
    """The rooms of one contract."""

    document: Document
    decisions: list[Decision]
    names: set[str]
    """Names that the source has already."""
    rooms: dict[tuple[str, str], Room] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """The variables of rooms to which an event goes, or which a command joins."""

    def add(self, namespace: str, pattern: str, line: int) -> Room:
        """The room of this pattern in a namespace, which is a variable of the source."""
        known = self.rooms.get((namespace, pattern))
        if known is not None:
            return known
        written, note = self._distinguish(namespace, pattern)
        room = Room(
            namespace=namespace,
            pattern=written,
            variable=self._variable(namespace, pattern),
            placeholders=tuple(re.findall(r"\{(\w+)\}", pattern)),
            line=line,
            note=note,
        )
        self.rooms[namespace, pattern] = room
        return room

    def _variable(self, namespace: str, pattern: str) -> str:
        words = snake(re.sub(r"\{\w+\}", " ", pattern)) or "other"
        words = words if namespace == "root" else f"{namespace}_{words}"
        wanted = f"{words}_room" if not words.endswith("_room") and not keyword.iskeyword(words) else words
        name = find_free(wanted, self.names)
        self.names.add(name)
        return name

    def _distinguish(self, namespace: str, pattern: str) -> tuple[str, str]:
        """The pattern, changed if a room of it could be one of another kind: `user_staff` could be `user_{userId}`."""
        prefixes = [room.pattern.partition("{")[0] for room in self.rooms.values() if room.namespace == namespace]
        own = pattern.partition("{")[0]
        if not any(own.startswith(prefix) or ("{" in pattern and prefix.startswith(own)) for prefix in prefixes):
            return pattern, ""
        number = 1
        changed = f"room:{pattern}"
        while any(changed.startswith(prefix) for prefix in prefixes):
            number += 1
            changed = f"room{number}:{pattern}"
        return changed, f"The document calls it `{pattern}`, which could also be a room of another kind."

    def targets(self, namespace: str, message: Message, fields: Sequence[Field]) -> tuple[list[str], str]:
        """The targets of an event, and what a person has to decide about them."""
        spans = [normalize_pattern(span) or span for span in SPAN.findall(message.receivers)]
        rooms = [room for span in spans if (room := self._find(namespace, span, message.line)) is not None]
        targets = [self._target(room, fields) for room in _unique(rooms)]
        self.used.update(room.variable for room in rooms)
        words = SPAN.sub("", message.receivers)
        if EVERYBODY.search(words):
            targets.append(f"{namespace}.everyone")
        if not targets and CALLER.search(words):
            targets.append(f"{namespace}.caller")
        if targets:
            return targets, ""
        room = self.add(namespace, self._own_pattern(), message.line)
        reason = f"The document says: {message.receivers}." if message.receivers else "The document does not say it."
        self.used.add(room.variable)
        return [self._target(room, fields)], f"who receives `{message.name}`. {reason}"

    def _own_pattern(self) -> str:
        known = (p for p in self.document.rooms if len(re.findall(r"\{", p)) == 1 and is_users(p))
        return next(known, OWN_ROOM)

    def _find(self, namespace: str, span: str, line: int) -> Room | None:
        """The room that a cell names, which may call its placeholder otherwise."""
        prefix = span.partition("{")[0]
        added = {pattern: room.line for (name, pattern), room in self.rooms.items() if name == namespace}
        for pattern, at in {**self.document.rooms, **added}.items():
            if pattern.partition("{")[0] == prefix and ("{" in pattern) == ("{" in span):
                return self.add(namespace, pattern, at)
        if "{" in span:
            return self.add(namespace, span, line)
        return self.add(namespace, span, line) if re.fullmatch(r"[a-z]\w*[_:-]\w+", span) else None

    def _target(self, room: Room, fields: Sequence[Field]) -> str:
        """The room that follows from the payload if it has the field; otherwise the publisher names the room."""
        named = {snake(found.name): found for found in fields}
        found = [named.get(snake(placeholder)) for placeholder in room.placeholders]
        if len(found) != 1 or found[0] is None or not is_key(found[0].shape) or found[0].optional or found[0].nullable:
            return room.variable
        return f"{room.variable}.of({quote(found[0].name)})"

    def claim(self, namespace: str, message: Message) -> bool:
        """True if the command only joins or leaves a room, which then declares it."""
        arguments = message.arguments or ()
        if len(arguments) != 1 or isinstance(arguments[0].shape, Object) or message.reply is not None:
            return False
        joins, leaves = JOIN.search(message.name), LEAVE.search(message.name)
        if not joins and not leaves:
            return False
        for pattern, line in self.document.rooms.items():
            names = re.findall(r"\{(\w+)\}", pattern)
            if len(names) != 1 or snake(names[0]) != snake(arguments[0].name):
                continue
            room = self.add(namespace, pattern, line)
            if leaves and room.leave is None:
                room.leave = message.name
                return True
            if joins and not leaves and room.join is None:
                room.join = message.name
                return True
        return False

    def write(self, namespace: str) -> str:
        """The declarations of the rooms of a namespace."""
        return "".join(self._write(room) for room in self.rooms.values() if room.namespace == namespace)

    def _write(self, room: Room) -> str:
        members, connects, question = _rule(room)
        arguments = [quote(room.pattern), f"members={members}"]
        if connects:
            arguments.append("on_connect=True")
        if room.join:
            arguments.append(f"join={quote(room.join)}")
        if room.leave:
            arguments.append(f"leave={quote(room.leave)}")
        note = " ".join(part for part in (question and f"Decide: {question}", room.note) if part)
        if question:
            self.decisions.append(Decision(room.line, question))
        declared = call(f"{room.variable} = {room.namespace}.room", arguments)
        return f"{comment(note) if note else ''}{declared}\n"


def _unique(rooms: Sequence[Room]) -> list[Room]:
    return list({room.variable: room for room in rooms}.values())


def _rule(room: Room) -> tuple[str, bool, str]:
    """Who may be in a room, True if clients join it when they connect, and what a person has to decide."""
    if is_users(room.pattern) and len(room.placeholders) == 1:
        return f'own({quote(room.placeholders[0])}, claim="sub")', True, ""
    question = f"who may be in the rooms `{room.pattern}`. Only members that your back end adds are, until you decide."
    return "member()", False, question


def is_users(pattern: str) -> bool:
    """True if the pattern is that of a user's own room."""
    names = re.findall(r"\{(\w+)\}", pattern)
    words = set(snake(re.sub(r"\{\w+\}", " ", pattern)).split("_"))
    return len(names) == 1 and snake(names[0]) in {f"{word}_id" for word in USERS} and bool(words & set(USERS))


def is_key(shape: Shape) -> bool:
    """True if a value of this shape can be a part of a room's name."""
    if isinstance(shape, Choice):
        return True
    return isinstance(shape, Scalar) and shape.name in ("Id", "str", "int") and not isinstance(shape, Array)
