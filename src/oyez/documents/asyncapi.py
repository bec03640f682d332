"""The AsyncAPI 3 document of a contract, from the server's point of view: it sends events, and receives commands.

A namespace is a channel, and each kind of room is one. What AsyncAPI has no word for is in extensions: delivery class,
targets, limits, rights, error codes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from oyez.contract.codec import encode_json
from oyez.contract.patterns import PLACEHOLDER
from oyez.documents.description import Description
from oyez.documents.json_schema import PREFIX
from oyez.documents.names import Names

VERSION = "3.1.0"
ENGINE_IO, SOCKET_IO = 4, 5
"""The versions of the protocols."""
SERVERS = b'"servers":null'
"""What `build_asyncapi` leaves to `add_servers`, because the address is known only when somebody asks."""

_RECEIPTS = "The server asks for an acknowledgement of it, which needs no arguments."
_READING = (
    "The server sends the operations with the action `send`, and receives those with `receive`. An event or a command"
    " has the name of its message, and the payload as its argument; with `x-oyez-arguments: positional`, the payload is"
    " the list of its arguments."
)

Node = dict[str, Any]
_EXTENSION = "x-oyez-"
_SCHEMAS = "#/components/schemas/"
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


def build_asyncapi(description: Description) -> bytes:
    """The document as JSON, without its servers: see `add_servers`."""
    return encode_json(_Builder(description).build())


def add_servers(document: bytes, description: Description, url: str) -> bytes:
    """The document for the server at `url`, such as `https://live.example`."""
    return document.replace(SERVERS, b'"servers":' + encode_json(_make_servers(description, url)), 1)


class _Builder:
    """Builds the document of one contract."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._channels: dict[str, Node] = {}
        self._operations: dict[str, Node] = {}
        self._messages: dict[str, Node] = {}
        self._events: dict[str, str] = {}
        """The key of the message of each event, by the event's name."""
        self._answers: dict[bytes, str] = {}
        """The key of the message of each acknowledgement, by its content."""
        self._keys = {"channel": Names(()), "message": Names(()), "operation": Names(())}

    def build(self) -> Node:
        description = self._description
        for namespace in description["namespaces"]:
            self._add_namespace(namespace)
        title = description["name"]
        return {
            "asyncapi": VERSION,
            "id": f"urn:oyez:{quote(title, safe='')}",
            "info": {
                "title": title,
                "version": description["version"],
                "description": _introduce(description),
                "tags": [{"name": namespace["name"]} for namespace in description["namespaces"]],
                **_extend(
                    roles=description["roles"],
                    default_role=description["default_role"],
                    guests=description["guests"],
                    sign_in_within=description["sign_in_within"],
                    refusals=description["refusals"],
                    acknowledgements=description["acknowledgements"],
                    versions=description["versions"],
                    for_version=description.get("for_version"),
                ),
            },
            "defaultContentType": "application/json",
            "servers": None,
            "channels": self._channels,
            "operations": self._operations,
            "components": {
                "messages": self._messages,
                "schemas": {name: convert_schema(schema) for name, schema in description["$defs"].items()},
                "securitySchemes": _make_security(description),
            },
        }

    # Channels.

    def _add_namespace(self, namespace: Node) -> None:
        name = namespace["name"]
        key = self._add_channel(
            (name,),
            {
                "address": _escape(name),
                "title": f"Namespace {name}",
                "description": f"Every client that {namespace['who']['text']} may connect to it.",
                "tags": [{"name": name}],
                **_make_parameters(name),
                **_extend(namespace=name, who=namespace["who"], gateways=namespace["gateways"] or None),
            },
        )
        rooms = {room["pattern"]: self._add_room(name, room) for room in namespace["rooms"]}
        self._add_connect(key, namespace)
        for event in namespace["events"]:
            self._add_event(key, rooms, name, event)
        for event in (*namespace["error_events"], *self._description["own_events"]):
            self._add_server_event(key, name, event)
        for command in namespace["commands"]:
            self._add_command(key, name, command)

    def _add_channel(self, names: Sequence[str], channel: Node) -> str:
        key = self._keys["channel"].claim(_make_key(names))
        self._channels[key] = {**channel, "messages": {}}
        return key

    def _add_room(self, namespace: str, room: Node) -> str:
        pattern = room["pattern"]
        parameters = {
            placeholder: {
                "description": f"The {placeholder} of the room.",
                **({"enum": room["values"][placeholder]} if placeholder in room["values"] else {}),
            }
            for placeholder in room["placeholders"]
        }
        return self._add_channel(
            (namespace, pattern),
            {
                "address": _escape(f"{namespace.rstrip('/')}/{pattern}"),
                "title": f"Room {pattern}",
                "description": f"A client may be in it that {room['members']['text']}. {_explain_joining(room)}",
                "tags": [{"name": namespace}],
                **_make_parameters(namespace, parameters),
                **_extend(
                    namespace=namespace,
                    room=pattern,
                    members=room["members"],
                    join=room["join"],
                    leave=room["leave"],
                    on_connect=room["on_connect"],
                    gateway=room["gateway"],
                    presence=room["presence"],
                ),
            },
        )

    # Messages.

    def _add_message(self, names: Sequence[str], message: Node) -> str:
        key = self._keys["message"].claim(_make_key(names))
        self._messages[key] = message
        return key

    def _add_answer(self, part: str, message: Node) -> str:
        """The key of an acknowledgement. Commands whose acknowledgements are equal share one."""
        content = encode_json(message)
        if content not in self._answers:
            self._answers[content] = self._add_message((part,), message)
        return self._answers[content]

    def _list_in(self, channel: str, message: str) -> Node:
        """A reference to a message of a channel, which lists it from now on."""
        self._channels[channel]["messages"][message] = {"$ref": f"#/components/messages/{message}"}
        return {"$ref": f"#/channels/{channel}/messages/{message}"}

    def _add_operation(
        self, names: Sequence[str], action: str, channel: str, messages: Iterable[str], **rest: Any
    ) -> None:
        key = self._keys["operation"].claim(_make_key(names))
        listed = [self._list_in(channel, message) for message in messages]
        self._operations[key] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": listed,
            **rest,
        }

    # Connecting.

    def _add_connect(self, channel: str, namespace: Node) -> None:
        name = namespace["name"]
        error = self._description["connect_error"]
        refused = {
            "type": "object",
            "properties": {"message": {"type": "string"}, "data": error["data"]},
            "required": ["message", "data"],
        }
        session = {
            "type": "object",
            "properties": {
                "sid": {"type": "string", "description": "The id of the client's socket."},
                "pid": {"type": "string", "description": "The id of the client's session; a secret."},
            },
            "required": ["sid", "pid"],
        }
        connect = self._add_message(
            (name, "CONNECT"),
            _make_message("connect", f"A client connects to {name}. The payload is its `auth`.", namespace["auth"], {}),
        )
        accepted = {"sid": "kGQHX1vYFOqfwqxSAAAB", "pid": "IfHpkhOqMmsCPfSDAAAB"}
        success = _make_message("connect", "The client is connected.", session, accepted)
        failure = _make_message("connect_error", "The client is refused.", refused, error["example"])
        answers = [
            self._add_message((name, "CONNECT.success"), success),
            self._add_message((name, "CONNECT.failure"), failure),
        ]
        self._add_operation(
            ("receive", name, "CONNECT"),
            "receive",
            channel,
            [connect],
            title=f"Connect to {name}",
            summary="A client connects to the namespace.",
            tags=[{"name": name}],
            reply=self._make_reply(channel, answers),
            **_extend(who=namespace["who"], errors=_list_codes(self._description, "connect")),
        )

    def _make_reply(self, channel: str, messages: Iterable[str]) -> Node:
        return {
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [self._list_in(channel, message) for message in messages],
        }

    # Events.

    def _add_event(self, channel: str, rooms: Mapping[str, str], namespace: str, event: Node) -> None:
        name = event["name"]
        if name not in self._events:
            payload = _make_arguments_schema(self._description, event, event["payload"])
            arguments = event["example_arguments"]
            example = arguments if event["arguments"] == "positional" else arguments[0]
            extension = _extend(
                delivery=event["delivery"],
                arguments=event["arguments"],
                old_forms=self._list_forms(event, "payload"),
            )
            message = {**_make_message(name, event["description"], payload, example), **extension}
            self._events[name] = self._add_message((name,), message)
        for place, targets in _group(event["to"], rooms, channel).items():
            self._add_operation(
                ("send", place, name),
                "send",
                place,
                [self._events[name]],
                title=f"{name} to {' and '.join(target['text'] for target in targets)}",
                summary=_first_sentence(event["description"]),
                description=event["description"] + (f"\n\n{_RECEIPTS}" if event["receipts"] else ""),
                tags=[{"name": namespace}],
                **_extend(
                    delivery=event["delivery"],
                    to=targets,
                    latest=event["latest"] or None,
                    receipts=event["receipts"] or None,
                    max_bytes=event["max_bytes"],
                    timestamp=event["timestamp"],
                    relayed=event["relayed"] or None,
                ),
            )

    def _list_forms(self, described: Node, schema: str) -> list[Node] | None:
        """The old forms of an event or a command, for clients up to their versions; None if there are none."""
        return [
            {
                "version": form["version"],
                "name": form["name"],
                "arguments": form["arguments"],
                "payload": convert_schema(_make_arguments_schema(self._description, form, form[schema])),
            }
            for form in described["was"]
        ] or None

    def _add_server_event(self, channel: str, namespace: str, event: Node) -> None:
        """An event that the server sends by itself: an error, or one of `oyez:*`."""
        name = event["name"]
        is_error = "commands" in event
        names = (namespace, name) if is_error else (name,)
        if is_error or name not in self._events:
            message = _make_message(name, event["description"], event["payload"], event["example"])
            self._events[name] = self._add_message(names, {**message, **_extend(delivery="direct")})
        self._add_operation(
            ("send", namespace, name),
            "send",
            channel,
            [self._events[name]],
            title=f"{name} to the client concerned",
            summary=_first_sentence(event["description"]),
            description=event["description"],
            tags=[{"name": namespace}],
            **_extend(delivery="direct", commands=event.get("commands")),
        )

    # Commands.

    def _add_command(self, channel: str, namespace: str, command: Node) -> None:
        name = command["name"]
        payload = _make_arguments_schema(self._description, command, command["schema"])
        arguments = command["example_arguments"]
        example = arguments if command["arguments"] == "positional" else arguments[0]
        message = self._add_message(
            (namespace, name),
            {
                **_make_message(name, command["description"], payload, example),
                **_extend(
                    arguments=command["arguments"],
                    max_bytes=command["max_bytes"],
                    old_forms=self._list_forms(command, "schema"),
                ),
            },
        )
        answers = [
            self._add_answer(part, _make_answer(part, command["acknowledgement"][part]))
            for part in ("success", "failure")
        ]
        self._add_operation(
            ("receive", namespace, name),
            "receive",
            channel,
            [message],
            title=name,
            summary=_first_sentence(command["description"]),
            description=_explain_command(command),
            tags=[{"name": namespace}],
            reply=self._make_reply(channel, answers),
            **_extend(
                who=command["who"],
                limits=command["limits"],
                errors=command["errors"],
                error_event=command["error_event"],
                joins=command["joins"],
                leaves=command["leaves"],
                relays=command["relays"],
                signs_in=command["signs_in"],
                volatile=command["volatile"] or None,
                idempotent=command["idempotent"] or None,
                unknown_fields=command["unknown_fields"],
            ),
        )


def _make_key(names: Iterable[str]) -> str:
    """The key of a part of the document, from names of the contract."""
    return ".".join(_UNSAFE.sub("-", name).strip("-") or "root" for name in names)


def _make_parameters(namespace: str, of_room: Node | None = None) -> Node:
    """The parameters of a channel: the placeholders in the name of its namespace, and those of its room."""
    names = PLACEHOLDER.findall(namespace)
    found = {name: {"description": f"The {name} in the name of the namespace."} for name in names} | (of_room or {})
    return {"parameters": found} if found else {}


def _group(targets: Sequence[Node], rooms: Mapping[str, str], namespace: str) -> dict[str, list[Node]]:
    """The targets of an event by the channel of each: that of the room, otherwise that of the namespace."""
    grouped: dict[str, list[Node]] = {}
    for target in targets:
        grouped.setdefault(rooms.get(target.get("room", ""), namespace), []).append(target)
    return grouped


def _make_message(name: str, description: str, payload: Node, example: Any) -> Node:
    return {
        "name": name,
        "title": name,
        "summary": _first_sentence(description),
        "description": description,
        "contentType": "application/json",
        "payload": convert_schema(payload),
        "examples": [{"name": "example", "payload": example}],
    }


def _make_answer(part: str, answer: Node) -> Node:
    """The message of an acknowledgement: its argument; an array if it has two, or none."""
    arguments, example = answer["arguments"], answer["example"]
    single = len(arguments) == 1
    text = f"The acknowledgement of a command that has {'succeeded' if part == 'success' else 'failed'}."
    items = [{"title": name, **schema} for name, schema in zip(answer.get("names", ()), arguments, strict=False)]
    payload = arguments[0] if single else _make_array(items or arguments, answer.get("required", len(arguments)))
    return {
        **_make_message(part, text, payload, example[0] if single else example),
        **_extend(arguments="object" if single else "positional"),
    }


def _make_arguments_schema(description: Description, described: Node, schema: Node) -> Node:
    """The schema of the arguments: the object, or an array of the fields."""
    if described["arguments"] == "object":
        return schema
    found = description["$defs"][schema["$ref"].removeprefix(PREFIX)]
    parameters = described["parameters"]
    items = [{"title": parameter["name"], **found["properties"][parameter["name"]]} for parameter in parameters]
    return _make_array(items, sum(parameter["required"] for parameter in parameters))


def _make_array(items: Sequence[Node], required: int) -> Node:
    if not items:
        return {"type": "array", "maxItems": 0}
    return {"type": "array", "prefixItems": list(items), "items": False, "minItems": required}


def convert_schema(schema: Any) -> Any:
    """A schema in AsyncAPI's dialect, which is that of JSON Schema draft 7."""
    if isinstance(schema, list):
        return [convert_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    converted: Node = {}
    for name, value in schema.items():
        if name == "prefixItems":
            converted |= {"items": convert_schema(value), "additionalItems": False, "maxItems": len(value)}
        elif name == "$ref":
            converted[name] = value.replace(PREFIX, _SCHEMAS)
        elif name == "properties":
            converted[name] = {field: convert_schema(each) for field, each in value.items()}
        elif name in ("enum", "const", "default", "examples"):
            converted[name] = value
        elif name != "discriminator" and not (name == "items" and value is False):
            converted[name] = convert_schema(value)
    return converted


# Servers.


def _make_servers(description: Description, url: str) -> Node:
    parts = urlsplit(url)
    secure = parts.scheme in ("https", "wss")
    prefix = f"{parts.path.rstrip('/')}/{description['name']}"
    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _make_security(description)]
    guests = description["guests"]
    tail = f" A client without a token is a guest with the role `{guests}`." if guests else ""

    def make(protocol: str, version: str, path: str, text: str) -> Node:
        return {
            "host": parts.netloc,
            "pathname": f"{prefix}/{path}",
            "protocol": f"{protocol}s" if secure else protocol,
            "protocolVersion": version,
            "description": text + tail,
            **({"security": security} if security else {}),
            **_extend(guests=guests),
        }

    socket_io = _extend(socket_io=SOCKET_IO, engine_io=ENGINE_IO)
    return {
        "websocket": {
            **make("ws", "13", "socket.io/", "Socket.IO 5 over WebSocket (`?EIO=4&transport=websocket`)."),
            **socket_io,
        },
        "polling": {
            **make("http", "1.1", "socket.io/", "Socket.IO 5 over HTTP long-polling (`?EIO=4&transport=polling`)."),
            **socket_io,
        },
        "plain": make(
            "ws", "13", "ws", "The same events as JSON text frames, for clients without a Socket.IO library."
        ),
    }


def _make_security(description: Description) -> dict[str, Node]:
    """A scheme for each place of a token."""
    schemes = {}
    keys = Names(())
    for source in description["tokens"]:
        text = f"A token in the {source['text']}." if source["kind"] != "auth" else f"A token in {source['text']}."
        match source["kind"]:
            case "bearer":
                scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            case "header" | "query" | "cookie":
                scheme = {"type": "httpApiKey", "in": source["kind"], "name": source["name"] or "access_token"}
            case _:
                scheme = {"type": "apiKey", "in": "password"}
        schemes[keys.claim(source["kind"])] = {**scheme, "description": text}
    return schemes


# Texts.


def _introduce(description: Description) -> str:
    text = description["description"] or f"The events and commands of `{description['name']}`."
    return f"{text}\n\n{_READING}"


def _explain_joining(room: Node) -> str:
    ways = []
    if room["on_connect"]:
        ways.append("A client joins its own room when it connects.")
    if room["join"]:
        ways.append(f"Clients join it by the command `{room['join']}`.")
    return " ".join(ways) or "The server puts clients into it."


def _explain_command(command: Node) -> str:
    limits = "; ".join(limit["text"] for limit in command["limits"])
    return f"{command['description']}\n\nFor a client that {command['who']['text']}. At most {limits}."


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]


def _list_codes(description: Description, place: str) -> list[str]:
    return [refusal["code"] for refusal in description["refusals"] if place in refusal["where"]]


def _escape(address: str) -> str:
    """An address without the characters that would begin a query or a fragment."""
    return address.replace("?", "%3F").replace("#", "%23")


def _extend(**values: Any) -> Node:
    """Extensions, without those that are null."""
    return {f"{_EXTENSION}{name.replace('_', '-')}": value for name, value in values.items() if value is not None}
