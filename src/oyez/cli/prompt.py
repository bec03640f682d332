"""The prompt of `oyez listen`: commands that a user types, and their completion.

A line is a command and its words. What a system offers is read from its contract: nothing here knows any system.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import msgspec
from msgspec import inspect
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from oyez.cli import console
from oyez.client import Client, Disconnected
from oyez.contract import Contract
from oyez.contract.declare import Namespace
from oyez.contract.declared import DeclaredCommand
from oyez.contract.schema import describe, fields_of, options
from oyez.errors import OyezError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "ping": ("ping", "Measure how long the server takes to answer."),
    "join": ("join TYPE [ID]", "Join a room: `join user 5f0c`."),
    "leave": ("leave TYPE [ID]", "Leave a room."),
    "emit": ("emit EVENT [JSON …]", "Send a command to the server and show the acknowledgement."),
    "events": ("events [EVENT]", "List the events that can be sent and received, or show one in full."),
    "help": ("help", "Show these commands."),
    "exit": ("exit", "Disconnect and end."),
}
"""Each command: how it is written, and what it does."""


class LineError(OyezError):
    """A line that cannot be executed."""


class Prompt(Completer):
    """Executes lines about one namespace, and completes them."""

    def __init__(
        self, contract: Contract, namespace: Namespace, user_id: str | None, find_client: Callable[[], Client | None]
    ) -> None:
        """`user_id` is proposed if an id is needed. `find_client` returns the client, None while it is disconnected."""
        self._contract = contract
        self._namespace = namespace
        self._user_id = user_id
        self._find_client = find_client
        self._declared = {command.name: command for command in namespace.commands}
        self._events = {event.name: contract.events[event.name] for event in namespace.events}
        self._commands: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "ping": self._ping,
            "join": self._join,
            "leave": self._leave,
            "emit": self._emit,
            "events": self._show_events,
            "help": self._help,
        }

    async def execute(self, line: str) -> bool:
        """Execute a line, and show an error of it. False if the line ends the prompt."""
        command, _, rest = line.strip().partition(" ")
        if command == "exit":
            return False
        try:
            if command:
                await self._find_command(command)(rest.strip())
        except (LineError, Disconnected) as error:
            console.fail(str(error))
        return True

    async def send(self, name: str, *arguments: Any) -> Any:
        """Send an event and show its answer. Raises LineError, Disconnected."""
        try:
            answer = await self._client().call(name, *arguments)
        except TimeoutError:
            raise LineError(f"{name} was sent, but the server did not acknowledge it.") from None
        console.show_event(f"answer to {name}", [answer], datetime.now(UTC))
        return answer

    def find_refusal(self, name: str, answer: Any) -> str | None:
        """The error in the answer to a command; None if it has succeeded."""
        form, _ = self._contract.answers_of(self._declared.get(name))
        if answer is None or form.succeeded(answer):
            return None
        error = answer.get(form.error, answer) if isinstance(answer, dict) else answer
        if isinstance(error, dict) and {"code", "message"} <= error.keys():
            return f"{error['code']}: {error['message']}"
        return error if isinstance(error, str) else msgspec.json.encode(error).decode()

    # Commands.

    def _find_command(self, name: str) -> Callable[[str], Awaitable[None]]:
        if name not in self._commands:
            raise LineError(f"Unknown command {name!r}. The commands are {', '.join(COMMANDS)}.")
        return self._commands[name]

    def _client(self) -> Client:
        client = self._find_client()
        if client is None:
            raise LineError("Not connected at the moment. Try again after the reconnect.")
        return client

    async def _ping(self, rest: str) -> None:
        begun = perf_counter()
        await self._client().catch_up()
        console.out.print(f"pong after {(perf_counter() - begun) * 1000:.1f} ms")

    async def _join(self, rest: str) -> None:
        await self._move("join", rest)

    async def _leave(self, rest: str) -> None:
        await self._move("leave", rest)

    async def _move(self, move: str, rest: str) -> None:
        words, own, moves = rest.split(), self._declared.get(move), self._room_commands(move)
        if own is not None:
            await self._send_words(own, words)
        elif words and words[0] in moves:
            await self._send_words(moves[words[0]], words[1:])
        elif moves:
            raise LineError(f"Name a room. In {self._namespace.name} you can {move} {', '.join(moves)}.")
        else:
            raise LineError(f"{self._namespace.name} has no command to {move} a room; see `events`.")

    async def _send_words(self, command: DeclaredCommand, words: list[str]) -> None:
        """Send a command whose fields, in order, are words."""
        names = [field.encode_name for field in _fields(command) if field.required]
        if len(words) != len(names):
            raise LineError(f"{command.name} takes {' and '.join(names) or 'no words'}; got {len(words)} words.")
        objects = [] if command.arguments == "positional" else [dict(zip(names, words, strict=True))]
        await self.send(command.name, *(objects or words))

    async def _emit(self, rest: str) -> None:
        name, _, text = rest.partition(" ")
        if not name:
            if not self._declared:
                raise LineError(f"Clients send no events in {self._namespace.name}; they only receive.")
            raise LineError(f"Name an event: {', '.join(self._declared)}.")
        await self.send(name, *parse_values(text))

    async def _show_events(self, rest: str) -> None:
        found = [table[rest] for table in (self._declared, self._events) if rest in table]
        if rest and not found:
            raise LineError(f"{self._namespace.name} has no event {rest!r}; `events` shows all.")
        for one in found:
            console.out.print(f"{one.name}  {one.description}")
            for shape in one.shapes:
                _show_fields(shape)
            if not isinstance(one, DeclaredCommand) and one.example is not None:
                console.out.print(f"  such as {msgspec.json.encode(one.example).decode()}")
        if not rest:
            console.out.print(f"Events to send in {self._namespace.name}:")
            for command in self._declared.values():
                console.out.print(f"  {_show_call(command)}  {_first_line(command.description)}")
            console.out.print(f"Events to receive in {self._namespace.name}:")
            for event in self._events.values():
                console.out.print(f"  {event.name}  {_first_line(event.description)}")

    async def _help(self, rest: str) -> None:
        for usage, meaning in COMMANDS.values():
            console.out.print(f"  {usage:<20} {meaning}")

    def _room_commands(self, move: str) -> dict[str, DeclaredCommand]:
        """Declared commands that join or leave a kind of room, by its first word: `user` for `user_{userId}`."""
        found = {}
        for command in self._declared.values():
            room = command.joins if move == "join" else command.leaves
            if room is not None:
                found[room.pattern.partition("{")[0].rstrip(":_-") or room.pattern] = command
        return found

    # Completion.

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor.lstrip()
        command, space, rest = text.partition(" ")
        if not space:
            yield from _complete(COMMANDS, command)
        elif command == "events":
            yield from _complete([*self._declared, *self._events], rest)
        elif command == "emit":
            yield from self._complete_emit(rest)
        elif command in ("join", "leave"):
            yield from self._complete_move(command, rest)

    def _complete_move(self, move: str, rest: str) -> Iterator[Completion]:
        kind, space, id = rest.partition(" ")
        own = self._declared.get(move)
        if space:
            yield from _complete([self._user_id] if self._user_id else [], id)
        elif own is not None:
            yield from _complete(_choices(next(iter(_fields(own)), None)), kind)
        else:
            yield from _complete(self._room_commands(move), kind)

    def _complete_emit(self, rest: str) -> Iterator[Completion]:
        name, space, text = rest.partition(" ")
        if not space:
            yield from _complete(self._declared, name)
            return
        command = self._declared.get(name)
        fields = {field.encode_name: field for field in (_fields(command) if command else ())}
        if value := re.search(r'"(\w+)"\s*:\s*("[^"]*)$', text):
            yield from _complete([f'"{choice}"' for choice in _choices(fields.get(value[1]))], value[2])
        elif key := re.search(r'[{,]\s*("?\w*)$', text):
            open_fields = [f'"{name}": ' for name in fields if f'"{name}"' not in text[: key.start(1)]]
            yield from _complete(open_fields, '"' + key[1].lstrip('"'), written=key[1])
        elif not text.strip() and command is not None and command.arguments == "object" and fields:
            yield from _complete(["{"], "")


def parse_values(text: str) -> list[Any]:
    """JSON values, one after the other. Raises LineError."""
    values, text = [], text.strip()
    while text:
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            raise LineError(f'{text} is not JSON. Write it like {{"name": "value"}}, and text in quotes.') from None
        values.append(value)
        text = text[end:].strip()
    return values


def _fields(command: DeclaredCommand) -> tuple[inspect.Field, ...]:
    """The fields of a command; of all its shapes, if it has several."""
    return tuple(field for shape in command.shapes for field in fields_of(inspect.type_info(shape)))


def _show_call(command: DeclaredCommand) -> str:
    """A command and its arguments: `{…}` is an object with these members, `<…>` an argument, `[…]` an optional one."""
    fields = _fields(command)
    if command.arguments == "positional":
        words = [f"<{field.encode_name}>" if field.required else f"[{field.encode_name}]" for field in fields]
        return " ".join([command.name, *words])
    tags = [tag for shape in command.shapes if (tag := shape.__struct_config__.tag_field) is not None]
    return f"{command.name} {{{', '.join(dict.fromkeys([*tags, *(field.encode_name for field in fields)]))}}}"


def _show_fields(shape: type[msgspec.Struct]) -> None:
    tag = shape.__struct_config__
    if tag.tag_field is not None:
        console.out.print(f"  {tag.tag_field}: {tag.tag!r}")
    for field in fields_of(inspect.type_info(shape)):
        optional = "" if field.required else " (may be left out)"
        console.out.print(f"  {field.encode_name}: {describe(field.type)}{optional}")


def _choices(field: inspect.Field | None) -> list[str]:
    """The values that a field may have, if they are listed."""
    found = [option for option in options(field.type if field else None) if isinstance(option, inspect.LiteralType)]
    return [str(value) for option in found for value in option.values]


def _complete(words: Iterable[str], begun: str, written: str | None = None) -> Iterator[Completion]:
    """Completions of `begun` from `words`. `written` is the text to replace, if it differs from `begun`."""
    for word in words:
        if word.startswith(begun):
            yield Completion(word, start_position=-len(begun if written is None else written))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
