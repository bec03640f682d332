"""The TypeScript types of a contract, for the stock `socket.io-client`, Redis emitters, and publishers over HTTP.

    const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url, { auth })

The file imports nothing. Names in it for the namespace `/` have no prefix; others begin with the namespace's name.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from oyez.documents.answers import REPEAT_REFUSALS
from oyez.documents.description import Description
from oyez.documents.json_schema import PREFIX, holds_binary
from oyez.documents.names import Names, make_title, prefix_of

Node = dict[str, Any]
RESERVED = frozenset(
    (
        "Array",
        "ArrayBuffer",
        "Binary",
        "CommandErrorCode",
        "CommonErrorCode",
        "ConnectErrorData",
        "ErrorCode",
        "IdempotencyKey",
        "Position",
        "Publication",
        "PublishableEvents",
        "Record",
        "RepeatErrorCode",
        "SignInErrorCode",
        "Uint8Array",
    )
)
"""Names that a class of a contract cannot have in the file."""
_REPEATS = tuple(refusal.code for refusal in REPEAT_REFUSALS)
_SUFFIXES = ("Auth", "ClientToServerEvents", "EmitterEvents", "Room", "ServerToClientEvents")
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_PLACEHOLDER = re.compile(r"\{\w+\}", re.ASCII)
_PLACEHOLDER = re.compile(r"\{(\w+)\}", re.ASCII)

_BOUNDS: Mapping[str, str] = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "from {}",
    "exclusiveMinimum": "over {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
MAX_WHOLE = 10**13
"""Numbers from this one on are no bounds that a reader needs."""

_HEAD = """\
// Made by Oyez from the contract {name}, version {version}. Do not edit.
//
// const socket: Socket<{prefix}ServerToClientEvents, {prefix}ClientToServerEvents> = io(url, options);

/* eslint-disable */

/** A position in the log. */
export type Position = string;

/** Binary data, as a client sends and receives it. */
export type Binary = Uint8Array | ArrayBuffer;

/** The last argument before the acknowledgement: a command that is repeated with the same key is done once. */
export interface IdempotencyKey {{
  idempotencyKey: string;
}}
"""
_POSITION = (
    "`position` is given only to clients that connect with `auth.recovery: true`; others receive it in an event of its"
    " own."
)


_RECEIPTS = (
    "Call `acknowledge` when the event has been handled. Clients that connect with `auth.recovery: true` receive the"
    " position before it."
)


class Parameter(NamedTuple):
    """An argument of a function."""

    name: str
    type: str
    required: bool = True

    def __str__(self) -> str:
        return f"{self.name}{'' if self.required else '?'}: {self.type}"


def build_typescript(description: Description) -> bytes:
    """The types as one file."""
    return ("\n".join(_Writer(description).write()).rstrip("\n") + "\n").encode()


class _Writer:
    """Writes the file of one contract."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._prefixes = {each["name"]: prefix_of(each["name"]) for each in description["namespaces"]}
        own = RESERVED.union(f"{prefix}{suffix}" for prefix in self._prefixes.values() for suffix in _SUFFIXES)
        self._names = {name: _choose_name(name, own) for name in description["$defs"]}
        self._unique = Names(own.union(self._names.values()))
        self._binary = {name for name in self._names if holds_binary(description, name)}
        self._codes: dict[frozenset[Any], str] = {}
        """The names of sets of error codes."""
        self._used: set[str] = set()
        """The classes that the file names so far."""

    def write(self) -> Iterator[str]:
        description = self._description
        prefix = self._prefixes[description["namespaces"][0]["name"]]
        yield _HEAD.format(name=description["name"], version=description["version"], prefix=prefix)
        yield from self._write_codes()
        # First what names classes: those that nothing names, such as one of separate arguments, are left out.
        body = [line for namespace in description["namespaces"] for line in self._write_namespace(namespace)]
        if self._publishes:
            body += self._write_publications()
        yield from self._write_classes()
        yield from body

    def _write_codes(self) -> Iterator[str]:
        description = self._description
        codes = {refusal["code"]: refusal["client_code"] for refusal in description["refusals"]}
        commands = [command for namespace in description["namespaces"] for command in namespace["commands"]]
        lists = {
            "ErrorCode": [refusal["code"] for refusal in description["refusals"] if "command" in refusal["where"]],
            "CommonErrorCode": _without_repeats(description["common_errors"]) if commands else [],
            "RepeatErrorCode": list(_REPEATS) if any(each["idempotent"] for each in commands) else [],
            "CommandErrorCode": [code for each in commands if not each["signs_in"] for code in each["errors"]],
            "SignInErrorCode": [code for each in commands if each["signs_in"] for code in each["errors"]],
        }
        texts = {
            "ErrorCode": "A code of an error that the event for errors reports.",
            "CommonErrorCode": "A code of an error with which every command may fail.",
            "RepeatErrorCode": "A code of an error of a command with an idempotency key.",
            "CommandErrorCode": "A code of an error with which a command may fail.",
            "SignInErrorCode": "A code of an error with which a command may fail that signs the client in.",
        }
        for name, listed in lists.items():
            values = dict.fromkeys(codes[code] for code in listed)
            if values:
                own = [each for each in description["refusals"] if each["own"] and each["code"] in listed]
                notes = [f"`{each['client_code']}`: {_on_one_line(each['client_message'])}" for each in own]
                yield from _comment("\n\n".join([texts[name], *notes]))
                yield f"export type {name} = {_join(map(json.dumps, values))};\n"
                self._codes.setdefault(frozenset(values), name)
        yield from _comment("The `data` of the error that `connect_error` receives.")
        yield f"export type ConnectErrorData = {self._render(description['connect_error']['data'])};\n"

    def _name_codes(self, values: Sequence[Any]) -> Iterator[str]:
        """The values of an enumeration; the codes that commands share, by the names of their sets."""
        left = list(dict.fromkeys(values))
        for codes, name in self._codes.items():
            if name in ("CommonErrorCode", "RepeatErrorCode") and codes <= set(left):
                yield name
                left = [value for value in left if value not in codes]
        yield from map(json.dumps, left)

    def _write_classes(self) -> Iterator[str]:
        written: set[str] = set()
        for _ in range(len(self._names)):
            # The members of a class may name further classes.
            for name in [name for name in self._names if name in self._used - written]:
                schema = self._description["$defs"][name]
                yield from self._write_class(self._names[name], schema)
                if name in self._binary:
                    yield from self._write_class(f"{self._names[name]}AsPublished", schema, published=True)
                written.add(name)

    # Classes.

    def _write_class(self, name: str, schema: Node, *, published: bool = False) -> Iterator[str]:
        yield from _comment(schema.get("description", ""))
        if schema.get("properties"):
            yield f"export interface {name} {self._render_members(schema, '', published)}\n"
        else:
            yield f"export type {name} = {self._render(schema, '', published)};\n"

    def _render(self, schema: Node, indent: str = "", published: bool = False) -> str:
        """The type of a schema."""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(PREFIX)
            self._used.add(name)
            return self._names[name] + ("AsPublished" if published and name in self._binary else "")
        if "const" in schema:
            return json.dumps(schema["const"])
        if "enum" in schema:
            return self._codes.get(frozenset(schema["enum"])) or _join(self._name_codes(schema["enum"]))
        if "anyOf" in schema:
            return _join(self._render(each, indent, published) for each in schema["anyOf"])
        match schema.get("type"):
            case "string":
                binary = "string" if published else "Binary"
                return binary if schema.get("format") == "binary" else "string"
            case "integer" | "number":
                return "number"
            case "boolean" | "null":
                return str(schema["type"])
            case "array":
                return self._render_array(schema, indent, published)
            case "object":
                return self._render_object(schema, indent, published)
        return "unknown"

    def _render_array(self, schema: Node, indent: str, published: bool) -> str:
        if "prefixItems" in schema:
            items = [self._render(each, indent, published) for each in schema["prefixItems"]]
            required = schema.get("minItems", 0)
            return f"[{', '.join(item if index < required else f'({item})?' for index, item in enumerate(items))}]"
        item = self._render(schema.get("items", {}), indent, published)
        return f"{item}[]" if _IDENTIFIER.fullmatch(item) else f"({item})[]"

    def _render_object(self, schema: Node, indent: str, published: bool) -> str:
        if schema.get("properties"):
            return self._render_members(schema, indent, published)
        values = schema.get("additionalProperties")
        if values is False:
            return "Record<string, never>"
        return f"{{ [key: string]: {self._render(values, indent, published) if values else 'unknown'} }}"

    def _render_members(self, schema: Node, indent: str, published: bool) -> str:
        deeper = f"{indent}  "
        lines = ["{"]
        for name, member in schema["properties"].items():
            lines += [f"{deeper}{line}" for line in _comment(_describe_member(member))]
            mark = "" if name in schema.get("required", ()) else "?"
            lines.append(f"{deeper}{_quote_key(name)}{mark}: {self._render(member, deeper, published)};")
        return "\n".join([*lines, f"{indent}}}"])

    # Namespaces.

    def _write_namespace(self, namespace: Node) -> Iterator[str]:
        name = namespace["name"]
        prefix = self._prefixes[name]
        if _PLACEHOLDER.search(name):
            yield from _comment("The namespaces that clients connect to.")
            yield f"export type {prefix}Namespace = {_render_room(name, {})};\n"
        yield from _comment(f"The `auth` of a client that connects to `{name}`.")
        yield f"export type {prefix}Auth = {self._render_members(namespace['auth'], '', False)};\n"
        yield from _comment(f"The names of rooms in `{name}`.")
        rooms = [_render_room(room["pattern"], room["values"]) for room in namespace["rooms"]]
        yield f"export type {prefix}Room = {_join(rooms) or 'never'};\n"
        yield from self._write_events(namespace, prefix)
        answers: list[str] = []
        commands = [*self._write_commands(namespace, prefix, answers)]
        yield from answers
        yield from commands
        if not self._publishes:
            return
        yield from _comment(f"What Redis emitters may emit in `{name}`: `new Emitter<{prefix}EmitterEvents>(…)`.")
        yield f"export interface {prefix}EmitterEvents {{"
        for event in filter(_is_publishable, namespace["events"]):
            parameters = self._list_parameters(event, event["payload"], "data")
            yield f"  {_quote_key(event['name'])}: ({_list(parameters)}) => void;"
        yield "}\n"

    def _write_events(self, namespace: Node, prefix: str) -> Iterator[str]:
        yield from _comment(f"What clients receive in `{namespace['name']}`.")
        yield f"export interface {prefix}ServerToClientEvents {{"
        for event in namespace["events"]:
            targets = ", ".join(target["text"] for target in event["to"])
            text = f"{event['description']}\n\nTo: {targets}. Delivery: {event['delivery']}."
            parameters = self._list_parameters(event, event["payload"], "data")
            if event["receipts"]:
                text, arguments = f"{text} {_RECEIPTS}", _add_acknowledge(parameters)
            elif _carries_position(event, self._description):
                text, arguments = f"{text} {_POSITION}", _add_position(parameters)
            else:
                arguments = _list(parameters)
            yield from _indent(_comment(text))
            yield f"  {_quote_key(event['name'])}: ({arguments}) => void;"
        for event in (*namespace["error_events"], *self._description["own_events"]):
            yield from _indent(_comment(event["description"]))
            yield f"  {_quote_key(event['name'])}: (data: {self._render(event['payload'], '  ')}) => void;"
        yield "}\n"

    def _list_parameters(self, described: Node, schema: Node, name: str, published: bool = False) -> list[Parameter]:
        """The arguments of an event or a command."""
        if described["arguments"] == "object":
            return [Parameter(name, self._render(schema, "  ", published))]
        fields = self._description["$defs"][schema["$ref"].removeprefix(PREFIX)]["properties"]
        return [
            Parameter(
                _make_identifier(each["name"]), self._render(fields[each["name"]], "  ", published), each["required"]
            )
            for each in described["parameters"]
        ]

    def _write_commands(self, namespace: Node, prefix: str, answers: list[str]) -> Iterator[str]:
        """The map of commands. The types of acknowledgements are added to `answers`."""
        yield from _comment(f"What clients send to `{namespace['name']}`.")
        yield f"export interface {prefix}ClientToServerEvents {{"
        for command in namespace["commands"]:
            yield from _indent(_comment(_describe_command(command)))
            ack = self._render_callback(command, prefix, answers)
            yield f"  {_quote_key(command['name'])}: {self._render_command(command, ack)};"
        yield "}\n"

    def _render_command(self, command: Node, ack: str) -> str:
        parameters = self._list_parameters(command, command["schema"], "data")
        optional = sum(not parameter.required for parameter in parameters)
        lengths = range(len(parameters) - optional, len(parameters) + 1)
        given = [[each._replace(required=True) for each in parameters[:length]] for length in lengths]
        # socket.io-client finds the type of the acknowledgement only if there is always one.
        last = Parameter("ack", ack)
        ends = [[last], [Parameter("key", "IdempotencyKey"), last]] if command["idempotent"] else [[last]]
        if command["volatile"]:
            # It is sent often, and its acknowledgement is of little use.
            ends = [[], [last]]
        lists = [_list([*arguments, *end]) for arguments, end in product(given, ends)]
        if len(lists) == 1:
            return f"({lists[0]}) => void"
        return "(\n    ...args:\n" + "\n".join(f"      | [{each}]" for each in lists) + "\n  ) => void"

    def _render_callback(self, command: Node, prefix: str, answers: list[str]) -> str:
        """The type of the callback: each argument is that of a success or of a failure."""
        acknowledgement = command["acknowledgement"]
        title = f"{prefix}{make_title(command['name'])}"
        success, failure = acknowledgement["success"], acknowledgement["failure"]
        own = ["error", "reply"] if acknowledgement["form"]["node_style"] else ["answer"]
        names = [_make_identifier(name) for name in success.get("names", own)]
        names += [f"error{index}" for index in range(len(names), len(failure["arguments"]))]
        fewest = success.get("required", len(names))
        kinds: list[list[str]] = [[] for _ in names]
        for part in ("success", "failure"):
            for index, schema in enumerate(acknowledgement[part]["arguments"]):
                rendered = self._render(schema)
                if rendered != "null":
                    name = self._unique.claim(f"{title}{part.capitalize()}")
                    text = f"`{command['name']}` has {'succeeded' if part == 'success' else 'failed'}."
                    answers += [*_comment(text), f"export type {name} = {rendered};\n"]
                    rendered = name
                kinds[index].append(rendered)
        parameters = [
            Parameter(name, _join(each), len(each) == 2 and index < fewest)
            for index, (name, each) in enumerate(zip(names, kinds, strict=True))
            if each
        ]
        return f"({_list(parameters)}) => void"

    # Publishers.

    @property
    def _publishes(self) -> bool:
        """True if the types are those of the newest version: only its forms are published."""
        return bool(self._description.get("publishes", True))

    def _write_publications(self) -> Iterator[str]:
        events: dict[str, Node] = {}
        targets: dict[str, dict[str, None]] = {}
        for namespace in self._description["namespaces"]:
            values = {room["pattern"]: room["values"] for room in namespace["rooms"]}
            for event in filter(_is_publishable, namespace["events"]):
                events.setdefault(event["name"], event)
                names = (_render_target(target, values) for target in event["to"])
                targets.setdefault(event["name"], {}).update(dict.fromkeys(filter(None, names)))
        yield from _comment("The events that back ends publish: the `data` of each, and the rooms that `to` may name.")
        yield "export interface PublishableEvents {"
        for name, event in events.items():
            yield from _indent(_comment(event["description"]))
            data = self._render_data(event)
            yield f"  {_quote_key(name)}: {{ data: {data}; to: {_join(targets[name]) or 'never'} }};"
        yield "}\n"
        yield from _comment(f"The body of `POST /{self._description['name']}/events`: one of these, or a list of them.")
        yield (
            "export type Publication = {\n"
            "  [Name in keyof PublishableEvents]: {\n"
            "    event: Name;\n"
            '    to?: PublishableEvents[Name]["to"] | PublishableEvents[Name]["to"][];\n'
            "    except?: string | string[];\n"
            f"{self._render_named()}"
            '  } & (PublishableEvents[Name]["data"] extends null\n'
            "    ? { data?: null }\n"
            '    : { data: PublishableEvents[Name]["data"] });\n'
            "}[keyof PublishableEvents];\n"
        )

    def _render_named(self) -> str:
        """The member of a publication that names a namespace whose name has an id."""
        names = [name for name in self._prefixes if _PLACEHOLDER.search(name)]
        return f"    namespace?: {_join(_render_room(name, {}) for name in self._prefixes)};\n" if names else ""

    def _render_data(self, event: Node) -> str:
        """The data of an event as `publish` takes it."""
        if event["arguments"] == "object":
            return self._render(event["payload"], "  ", published=True)
        parameters = self._list_parameters(event, event["payload"], "data", published=True)
        if not parameters:
            return "null"
        return parameters[0].type if len(parameters) == 1 else f"[{_list(parameters)}]"


def _is_publishable(event: Node) -> bool:
    return any(target["kind"] != "caller" for target in event["to"])


def _carries_position(event: Node, description: Description) -> bool:
    """True if a client that asks for positions in arguments receives one with this event."""
    if event["delivery"] == "durable":
        return True
    if event["arguments"] == "object":
        return False
    if not event["parameters"]:
        return True
    fields = description["$defs"][event["payload"]["$ref"].removeprefix(PREFIX)]["properties"]
    last = fields[event["parameters"][-1]["name"]]
    return any(each.get("type") == "string" or not each for each in last.get("anyOf", [last]))


def _add_position(parameters: Sequence[Parameter]) -> str:
    """The arguments with the position after those that are sent: it takes the place of an optional one that is not."""
    listed = [each if each.required else each._replace(type=_join([each.type, "Position"])) for each in parameters]
    return _list([*listed, Parameter("position", "Position", required=False)])


def _add_acknowledge(parameters: Sequence[Parameter]) -> str:
    """The arguments with the function after those that are sent: it takes the place of an optional one that is not."""
    kind = "() => void"
    listed = [each if each.required else each._replace(type=_join([each.type, f"({kind})"])) for each in parameters]
    return _list([*listed, Parameter("acknowledge", kind, required=all(each.required for each in parameters))])


def _render_target(target: Node, values: Mapping[str, Node]) -> str | None:
    """The type of the names by which a publisher addresses a target; None if it has none."""
    match target["kind"]:
        case "room":
            return _render_room(target["room"], values[target["room"]])
        case "everyone":
            return '"*"'
        case "socket":
            return "string"
    return None


def _render_room(pattern: str, values: Mapping[str, Sequence[str]]) -> str:
    """The type of the names of a kind of room."""
    parts = _PLACEHOLDER.split(pattern)
    if len(parts) == 1:
        return json.dumps(pattern)
    for index, text in enumerate(parts):
        if index % 2:
            parts[index] = f"${{{_join(map(json.dumps, values[text])) if text in values else 'string'}}}"
        else:
            parts[index] = text.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")
    return f"`{''.join(parts)}`"


def _describe_command(command: Node) -> str:
    limits = "; ".join(limit["text"] for limit in command["limits"])
    return f"{command['description']}\n\nFor a client that {command['who']['text']}. At most {limits}."


def _describe_member(schema: Node) -> str:
    """The text of a member, and the bounds that its type does not say."""
    found = ["a whole number"] if schema.get("type") == "integer" else []
    if schema.get("format") == "date-time":
        found.append("a time in ISO 8601")
    if "prefixItems" not in schema:
        found += [_describe_bound(name, schema[name]) for name in _BOUNDS if _is_telling(schema.get(name))]
    if "default" in schema:
        found.append(f"default {json.dumps(schema['default'])}")
    bound = ", ".join(found)
    return " ".join(filter(None, (schema.get("description", ""), bound and f"{bound[0].upper()}{bound[1:]}.")))


def _describe_bound(name: str, bound: float) -> str:
    """`at least 3 characters`, `at most 1 item`, `not empty`."""
    if bound == 1 and name in ("minLength", "minItems"):
        return "not empty"
    text = _BOUNDS[name].format(bound)
    return text.removesuffix("s") if (bound == 1 and "Length" in name) or (bound == 1 and "Items" in name) else text


def _is_telling(bound: float | None) -> bool:
    """True if a bound is more than the one that all numbers have in JavaScript."""
    return bound is not None and abs(bound) < MAX_WHOLE


def _comment(text: str) -> list[str]:
    """A JSDoc comment, which the text cannot end."""
    lines = [line.rstrip() for line in text.replace("*/", "*\\/").splitlines()]
    if len(lines) <= 1:
        return [f"/** {line} */" for line in lines if line]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def _indent(lines: Iterable[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines)


def _list(parameters: Iterable[Parameter]) -> str:
    return ", ".join(map(str, parameters))


def _join(kinds: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(kinds))


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _quote_key(name: str) -> str:
    """The key of a member; for a name with placeholders, an index signature of all names of this form."""
    if "{" in name:
        return f"[name: `{_PLACEHOLDER.sub('${string}', name)}`]"
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _make_identifier(name: str) -> str:
    """The name of a parameter, which TypeScript shows."""
    identifier = re.sub(r"[^\w$]+", "_", name, flags=re.ASCII)
    keywords = (
        "class",
        "default",
        "delete",
        "function",
        "in",
        "new",
        "this",
        "with",
        "for",
        "if",
        "var",
        "let",
        "case",
    )
    return f"{identifier}_" if identifier in keywords or not _IDENTIFIER.fullmatch(identifier) else identifier


def _choose_name(name: str, taken: frozenset[str]) -> str:
    return f"{name}Data" if name in taken else name


def _without_repeats(codes: Sequence[str]) -> list[str]:
    return [code for code in codes if code not in _REPEATS]
