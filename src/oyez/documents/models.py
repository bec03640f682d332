"""Typed Python models of a contract, for clients: one module that needs nothing but the standard library.

The models are TypedDicts. A Python client of Socket.IO gives dicts to handlers and takes dicts for commands, so they
describe what is there, without a conversion and without a package to install; mypy and editors check them.
"""

import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oyez.contract.patterns import PLACEHOLDER
from oyez.documents.description import Description
from oyez.documents.json_schema import PREFIX, holds_binary
from oyez.documents.names import Names, make_title, prefix_of

Node = dict[str, Any]
RESERVED = ("ErrorCode", "IdempotencyKey", "Publication", "annotations", "t")


def build_models(description: Description) -> bytes:
    """The module as UTF-8."""
    return ("\n".join(_Writer(description).write()).rstrip("\n") + "\n").encode()


class _Writer:
    """Writes the module of one contract."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._names = Names(RESERVED)
        self._classes = {name: self._names.claim(name) for name in description["$defs"]}
        self._published: dict[str, str] = {}
        """The names of classes whose binary data is base64, as `publish` takes it, by the names of the definitions."""
        self._publishes = False
        """True while the types of what is published are written."""
        self._nested: list[str] = []
        """The lines of classes for objects that have no name, to be written before what uses them."""

    def write(self) -> Iterator[str]:
        description = self._description
        yield f'"""The events and commands of `{description["name"]}`, version {description["version"]}.'
        yield ""
        yield 'Made by Oyez from the contract. Do not edit."""'
        yield ""
        yield "from __future__ import annotations"
        yield ""
        yield "import typing as t"
        yield ""
        codes = dict.fromkeys(each["client_code"] for each in description["refusals"] if "command" in each["where"])
        yield f"ErrorCode: t.TypeAlias = {_literal(codes)}"
        yield '"""A code of an error that clients receive."""'
        yield ""
        yield from self._write_class("IdempotencyKey", _KEY)
        for name, schema in description["$defs"].items():
            yield from self._flush(self._write_class(self._classes[name], schema))
        for namespace in description["namespaces"]:
            yield from self._write_namespace(namespace)
        yield from self._write_publications()

    def _flush(self, lines: Iterable[str]) -> Iterator[str]:
        """`lines` after the nested classes that they use."""
        listed = list(lines)
        yield from self._nested
        self._nested.clear()
        yield from listed

    # Classes.

    def _write_class(self, name: str, schema: Node) -> Iterator[str]:
        if "properties" not in schema and schema.get("type") != "object":
            yield from self._write_alias(name, self._render(schema, name), schema.get("description", ""))
            return
        members = schema.get("properties", {})
        required = schema.get("required", ())
        types = {
            member: rendered if member in required else f"t.NotRequired[{rendered}]"
            for member, each in members.items()
            for rendered in (self._render(each, f"{name}{make_title(member)}"),)
        }
        if all(member.isidentifier() and not keyword.iskeyword(member) for member in types):
            yield from self._write_body(name, schema, types)
        else:
            # Names that Python cannot have as those of attributes.
            yield f"{name} = t.TypedDict("
            yield f"    {_quote(name)},"
            yield "    {"
            yield from (f"        {_quote(member)}: {_quote(kind)}," for member, kind in types.items())
            yield "    },"
            yield ")"
            yield from _docstring(schema.get("description", ""), "")
        yield ""

    def _write_body(self, name: str, schema: Node, types: dict[str, str]) -> Iterator[str]:
        yield f"class {name}(t.TypedDict):"
        yield from _docstring(schema.get("description", ""), "    ")
        for member, kind in types.items():
            yield f"    {member}: {kind}"
            yield from _docstring(schema["properties"][member].get("description", ""), "    ")
        if not types and not schema.get("description"):
            yield "    pass"

    def _write_alias(self, name: str, kind: str, text: str) -> Iterator[str]:
        # In quotes, because it may name what is defined later.
        yield f"{name}: t.TypeAlias = {_quote(kind)}"
        yield from _docstring(text, "")
        yield ""

    def _render(self, schema: Node, hint: str) -> str:
        """The type of a schema. An object without a name becomes a class that is called `hint`."""
        if "$ref" in schema:
            return self._refer(schema["$ref"].removeprefix(PREFIX))
        if "const" in schema:
            return _literal([schema["const"]])
        if "enum" in schema:
            return _literal(schema["enum"])
        if "anyOf" in schema:
            return _join(self._render(each, hint) for each in schema["anyOf"])
        match schema.get("type"):
            case "string":
                return "bytes" if schema.get("format") == "binary" and not self._publishes else "str"
            case "integer":
                return "int"
            case "number":
                return "float"
            case "boolean":
                return "bool"
            case "null":
                return "None"
            case "array":
                return self._render_array(schema, hint)
            case "object":
                return self._render_object(schema, hint)
        return "t.Any"

    def _refer(self, name: str) -> str:
        """The name of a class, or of its variant that is published."""
        if not (self._publishes and holds_binary(self._description, name)):
            return self._classes[name]
        if name not in self._published:
            self._published[name] = self._names.claim(f"{self._classes[name]}AsPublished")
            self._nested += [*self._write_class(self._published[name], self._description["$defs"][name])]
        return self._published[name]

    def _render_array(self, schema: Node, hint: str) -> str:
        if "prefixItems" not in schema:
            return f"list[{self._render(schema.get('items', {}), hint)}]"
        # JSON arrays are lists in Python, so the places of the types are lost.
        return f"list[{_join(self._render(each, hint) for each in schema['prefixItems'])}]"

    def _render_object(self, schema: Node, hint: str) -> str:
        if "properties" in schema:
            name = self._names.claim(hint)
            self._nested += [*self._write_class(name, schema)]
            return name
        values = schema.get("additionalProperties")
        return f"dict[str, {self._render(values, hint) if values else 't.Any'}]"

    # Namespaces.

    def _write_namespace(self, namespace: Node) -> Iterator[str]:
        name, prefix = namespace["name"], prefix_of(namespace["name"])
        events = [*namespace["events"], *namespace["error_events"], *self._description["own_events"]]
        yield f"# Namespace {name}"
        yield ""
        yield from self._flush(self._write_auth(namespace, prefix))
        yield from self._write_alias(
            self._names.claim(f"{prefix}EventName"),
            _literal(event["name"] for event in events),
            f"The events that clients receive in `{name}`.",
        )
        yield from self._write_alias(
            self._names.claim(f"{prefix}CommandName"),
            _literal(command["name"] for command in namespace["commands"]),
            f"The commands that clients send to `{name}`.",
        )
        handlers = {}
        for event in events:
            handlers[event["name"]] = self._names.claim(f"{prefix}{make_title(event['name'])}Handler")
            yield from self._flush(self._write_handler(handlers[event["name"]], event))
        answers = {}
        for command in namespace["commands"]:
            answers[command["name"]] = self._names.claim(f"{prefix}{make_title(command['name'])}Answer")
            yield from self._flush(self._write_answer(answers[command["name"]], command))
        for way in ("async ", ""):
            yield from self._flush(self._write_client(namespace, way, handlers, answers))

    def _write_client(
        self, namespace: Node, way: str, handlers: Mapping[str, str], answers: Mapping[str, str]
    ) -> Iterator[str]:
        """The methods of python-socketio's client, for the events and commands of a namespace."""
        name, stock = namespace["name"], "AsyncClient" if way else "Client"
        title = self._names.claim(f"{prefix_of(name)}{stock}")
        literal = "str" if PLACEHOLDER.search(name) else f"t.Literal[{name!r}]"
        place = "namespace: str | None = ..." if name == "/" else f"*, namespace: {literal}"
        yield f"class {title}(t.Protocol):"
        yield from _docstring(
            f"`socketio.{stock}` in `{name}`: `client = typing.cast({title}, socketio.{stock}())`.", "    "
        )
        yield ""
        once = "" if len(handlers) == 1 else "    @t.overload\n"
        for event, handler in handlers.items():
            yield f"{once}    def on(self, event: t.Literal[{event!r}], handler: {handler}, {place}) -> t.Any: ..."
        once = "" if len(answers) == 1 else "    @t.overload\n"
        for command in namespace["commands"]:
            data = f"event: t.Literal[{command['name']!r}], {self._render_data(command, title)}, {place}"
            yield f"{once}    {way}def call(self, {data}, timeout: int = ...) -> {answers[command['name']]}: ..."
        for command in namespace["commands"]:
            data = f"event: t.Literal[{command['name']!r}], {self._render_data(command, title)}, {place}"
            back = "t.Callable[..., t.Any] | None"
            yield f"{once}    {way}def emit(self, {data}, callback: {back} = ...) -> None: ..."
        yield ""

    def _render_data(self, command: Node, title: str) -> str:
        """The parameter `data`: one argument, a tuple of several, or None."""
        parameters = self._list_types(command, command["schema"], title)
        count = sum(each["required"] for each in command["parameters"] or [{"required": True}] * len(parameters))
        lists = [parameters[:length] for length in range(count, len(parameters) + 1)]
        if command["idempotent"]:
            lists += [[*listed, "IdempotencyKey"] for listed in lists]
        kinds = [
            "None" if not listed else listed[0] if len(listed) == 1 else f"tuple[{', '.join(listed)}]"
            for listed in lists
        ]
        return f"data: {_join(kinds)}{' = ...' if kinds[0] == 'None' else ''}"

    def _list_types(self, described: Node, schema: Node, title: str) -> list[str]:
        """The types of the arguments."""
        if described.get("arguments", "object") == "object":
            return [self._render(schema, title)]
        fields = self._description["$defs"][schema["$ref"].removeprefix(PREFIX)]["properties"]
        return [self._render(fields[each["name"]], title) for each in described["parameters"]]

    def _write_auth(self, namespace: Node, prefix: str) -> Iterator[str]:
        schema = {**namespace["auth"], "description": f"The `auth` of a client that connects to `{namespace['name']}`."}
        yield from self._write_class(self._names.claim(f"{prefix}Auth"), schema)

    def _write_handler(self, name: str, event: Node) -> Iterator[str]:
        """The type of a handler. Its parameters are those of the event, whatever it calls them."""
        types = self._list_types(event, event["payload"], name.removesuffix("Handler"))
        named = event.get("parameters") or [{"name": "data", "required": True}]
        parameters = [
            f"{_make_identifier(each['name'])}: {kind}" + ("" if each["required"] else " = ...")
            for each, kind in zip(named, types, strict=False)
        ]
        yield f"class {name}(t.Protocol):"
        yield from _docstring(f"Handles `{event['name']}`. {event['description']}", "    ")
        yield ""
        yield f"    def __call__({', '.join(['self', *parameters, *(['/'] if parameters else [])])}) -> t.Any: ..."
        yield ""

    def _write_answer(self, name: str, command: Node) -> Iterator[str]:
        parts = []
        for part, text in (("success", "has succeeded"), ("failure", "has failed")):
            parts.append(self._names.claim(f"{name.removesuffix('Answer')}{part.capitalize()}"))
            arguments = command["acknowledgement"][part]["arguments"]
            described = f"`{command['name']}` {text}."
            if len(arguments) == 1 and "properties" in arguments[0]:
                yield from self._write_class(parts[-1], {**arguments[0], "description": described})
            else:
                kinds = [self._render(schema, f"{parts[-1]}Value") for schema in arguments]
                fewest = command["acknowledgement"][part].get("required", len(kinds))
                lists = [kinds[:length] for length in range(fewest, len(kinds) + 1)]
                yield from self._write_alias(parts[-1], _join(map(_render_answer, lists)), described)
        yield from self._write_alias(name, _join(parts), f"What `{command['name']}` is acknowledged with.")

    # Publishers.

    def _write_publications(self) -> Iterator[str]:
        events = {each["name"]: each for namespace in self._description["namespaces"] for each in namespace["events"]}
        written = []
        self._publishes = True
        for name, event in events.items():
            if all(target["kind"] == "caller" for target in event["to"]):
                continue
            written.append(self._names.claim(f"Publish{make_title(name)}"))
            yield from self._flush(self._write_publication(written[-1], event))
        yield "# Publishing"
        yield ""
        text = f"The body of `POST /{self._description['name']}/events`: one of these, or a list of them."
        yield from self._write_alias("Publication", _join(written) or "t.Never", text)

    def _write_publication(self, name: str, event: Node) -> Iterator[str]:
        places = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        members: Node = {"event": {"const": event["name"]}, "data": _make_data(self._description, event)}
        required = ["event", "data"] if event["parameters"] != [] else ["event"]
        text = f"Publishes `{event['name']}`. {event['description']}"
        schema = {"properties": {**members, "to": places, "except": places}, "required": required, "description": text}
        yield from self._write_class(name, {"type": "object", **schema})


_KEY: Node = {
    "type": "object",
    "description": "The last argument of a command: one that is repeated with the same key is done once.",
    "properties": {"idempotencyKey": {"type": "string"}},
    "required": ["idempotencyKey"],
}


def _make_data(description: Description, event: Node) -> Node:
    """The schema of an event's data as `publish` takes it; binary data is base64 there."""
    if event["arguments"] == "object":
        return dict(event["payload"])
    fields = description["$defs"][event["payload"]["$ref"].removeprefix(PREFIX)]["properties"]
    items = [fields[each["name"]] for each in event["parameters"]]
    if not items:
        return {"type": "null"}
    return items[0] if len(items) == 1 else {"type": "array", "prefixItems": items}


def _literal(values: Iterable[Any]) -> str:
    """The type of some values: Literal has no numbers with a fraction."""
    listed = list(dict.fromkeys(values))
    if not listed:
        return "t.Never"
    if any(isinstance(value, float) for value in listed):
        return "float"
    return f"t.Literal[{', '.join(map(repr, listed))}]"


def _render_answer(kinds: Sequence[str]) -> str:
    """The type of an acknowledgement with these arguments."""
    return "None" if not kinds else kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"


def _join(kinds: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(kinds))


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if "'" in text or '"' not in text else repr(text)


def _docstring(text: str, indent: str) -> Iterator[str]:
    lines = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').splitlines()
    if not lines:
        return
    if len(lines) == 1 and not lines[0].endswith('"'):
        yield f'{indent}"""{lines[0]}"""'
        return
    yield f'{indent}"""{lines[0]}'
    yield from (f"{indent}{line}".rstrip() for line in lines[1:])
    yield f'{indent}"""'


def _make_identifier(name: str) -> str:
    identifier = re.sub(r"\W+", "_", name, flags=re.ASCII)
    return f"{identifier}_" if keyword.iskeyword(identifier) or not identifier.isidentifier() else identifier
