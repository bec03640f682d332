"""The one JSON description of a contract: what documents, types, consoles and comparisons are made from.

It is served at `/{system}/contract.json`. `format` changes if the meaning of a member changes; new members may appear.
Schemas are JSON Schema (2020-12). A reference `#/$defs/Name` leads to `$defs` of the description itself.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from oyez.contract.arguments import Arguments, name_values
from oyez.contract.backends import DecidedBy
from oyez.contract.claims import Claims
from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract, Event
from oyez.contract.declare import Gateway, Namespace
from oyez.contract.declared import DeclaredCommand, DeclaredEvent, UserAttribute
from oyez.contract.examples import NOW, encode_example, make_example
from oyez.contract.old_forms import EventForms, command_in_form, event_in_form
from oyez.contract.presence import find_presence
from oyez.contract.replies import Acknowledgements, Errors
from oyez.contract.rooms import Room
from oyez.contract.tokens import Auth
from oyez.contract.types import Payload, Time
from oyez.contract.versions import Versions
from oyez.documents.answers import (
    COMMON_REFUSALS,
    CONNECT_REFUSALS,
    EVENT_REFUSALS,
    PUBLISH_REFUSALS,
    Answers,
    is_idempotent,
    list_refusals,
    to_plain,
)
from oyez.documents.json_schema import Schema, Schemas
from oyez.documents.own_events import OWN_EVENTS
from oyez.documents.rights import (
    describe_limits,
    describe_rule,
    describe_source,
    describe_target,
    find_receivers,
    find_senders,
)
from oyez.documents.values import describe_values
from oyez.errors import Refusal

FORMAT = 1
_ERROR = (
    "An error of a command for which the client asked for no acknowledgement, or of something else that it has sent."
)
Description = dict[str, Any]


def describe(contract: Contract) -> Description:
    """The description of a built contract, in plain JSON types.

    | member | meaning |
    | --- | --- |
    | `name`, `description`, `version` | `version` is a hash of everything else: it changes with the contract |
    | `versions` | the versions of clients; null if there are none |
    | `roles`, `default_role`, `guests`, `sign_in_within` | as declared |
    | `tokens`, `claims`, `subjects` | places of the token, names of claims, kinds of member |
    | `attributes` | the user attributes |
    | `acknowledgements`, `errors` | the forms of the answers, as declared |
    | `refusals` | each error: its code, the code that clients receive, and `where` it occurs |
    | `common_errors` | the codes of Oyez that do not depend on the command; those of repeats need an idempotency key |
    | `connect_error` | the schema and an example of a refused CONNECT |
    | `namespaces` | rooms, events, commands and error events of each |
    | `own_events` | the server's own events, in every namespace |
    | `$defs` | the schemas of all classes |
    """
    return _Describer(contract).describe()


class _Describer:
    """Describes one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._schemas = Schemas()

    def describe(self) -> Description:
        contract = self._contract
        answers = self._answers(None, self._contract.refusals)
        described: Description = {
            "format": FORMAT,
            "name": contract.name,
            "description": contract.description,
            "version": "",
            "versions": _describe_versions(contract.versions),
            "roles": list(contract.roles),
            "default_role": contract.default_role,
            "guests": contract.guests,
            "sign_in_within": contract.sign_in_within,
            "tokens": [describe_source(source) for source in contract.tokens],
            "claims": _describe_claims(contract.claims),
            "subjects": dict(contract.subjects),
            "attributes": [_describe_attribute(attribute) for attribute in contract.attributes],
            "acknowledgements": _describe_form(contract.acknowledgements),
            "errors": _describe_errors(contract.errors),
            "refusals": self._describe_refusals(answers),
            "common_errors": [refusal.code for refusal in COMMON_REFUSALS],
            "connect_error": answers.describe_connect_error(CONNECT_REFUSALS),
            "namespaces": [self._describe_namespace(namespace) for namespace in contract.namespaces],
            "own_events": [dict(event) for event in OWN_EVENTS],
            "$defs": self._schemas.definitions,
        }
        described["version"] = hashlib.sha256(encode_json(described)).hexdigest()[:12]
        return described

    def _answers(self, command: DeclaredCommand | None, own: Sequence[Refusal]) -> Answers:
        """The answers in the form of a command, or of the contract, with these refusals of the contract."""
        form, errors = self._contract.answers_of(command)
        return Answers(form, errors, own, self._schemas)

    def _own_refusals(self, command: DeclaredCommand) -> Sequence[Refusal]:
        """The contract's refusals that a command may have; all, if it has a handler and does not say which."""
        if command.refusals is not None:
            return command.refusals
        if command.relays is not None:
            return ()
        room = command.joins or command.leaves
        decided = room is not None and any(isinstance(part, DecidedBy) for part in room.rule.parts())
        return () if room is not None and not decided else self._contract.refusals

    def _describe_refusals(self, answers: Answers) -> list[Description]:
        places: Mapping[str, tuple[Refusal, ...]] = {
            "connect": CONNECT_REFUSALS,
            "command": EVENT_REFUSALS,
            "publish": PUBLISH_REFUSALS,
        }
        common = dict.fromkeys(refusal for listed in places.values() for refusal in listed)
        described = [
            {
                **answers.describe_refusal(refusal),
                "own": False,
                "where": [place for place, listed in places.items() if refusal in listed],
            }
            for refusal in common
        ]
        own = [{**answers.describe_refusal(refusal), "own": True} for refusal in self._contract.refusals]
        return described + [{**refusal, "where": ["connect", "command"]} for refusal in own]

    def _describe_namespace(self, namespace: Namespace) -> Description:
        return {
            "name": namespace.name,
            "who": describe_rule(namespace.admission),
            "auth": self._make_auth(namespace),
            "gateways": [_describe_gateway(gateway) for gateway in namespace.gateways],
            "rooms": [_describe_room(namespace, room) for room in namespace.rooms.kinds],
            "events": [self._describe_event(namespace, event) for event in namespace.events],
            "commands": [self._describe_command(namespace, command) for command in namespace.commands],
            "error_events": self._describe_error_events(namespace),
        }

    def _make_auth(self, namespace: Namespace) -> Schema:
        """The schema of the `auth` object of a client that connects."""
        tokens = [source.name for source in self._contract.tokens if isinstance(source, Auth)]
        properties: Schema = {name: {"type": "string", "description": "The user's token."} for name in tokens}
        if namespace.gateways:
            names = {"type": "string", "enum": [gateway.name for gateway in namespace.gateways]}
            properties["gateways"] = {"type": "array", "items": names, "description": "The gateways to enter."}
        if (versions := self._contract.versions).names:
            text = f"The version of the client. Without it, the client has version {versions.assumed}."
            properties[versions.name] = {"type": "string", "enum": list(versions.names), "description": text}
        properties |= {
            "recovery": {
                "type": "boolean",
                "description": (
                    "True: durable events carry their position as one more argument, and the client receives"
                    " `oyez:recovery`. False: no positions. Official JavaScript clients need neither."
                ),
            },
            "offset": {"type": "string", "description": "The last position that the client knows."},
            "pid": {"type": "string", "description": "The id of the client's session. Official clients send it."},
        }
        only = len(self._contract.tokens) == 1 and len(tokens) == 1 and self._contract.guests is None
        return {"type": "object", "properties": properties, "required": tokens if only else []}

    # Events.

    def _describe_event(self, namespace: Namespace, declared: DeclaredEvent) -> Description:
        event = self._contract.events[declared.name]
        old = [event_in_form(event, number) for number in range(1, len(event.was) + 1)]
        examples = _make_old_examples(event)
        relays = any(command.name == event.name and command.relays for command in namespace.commands)
        return {
            **self._describe_event_form(event, to_plain(event.example), _make_event_arguments(event)),
            "delivery": _find_delivery(event),
            "to": [describe_target(target) for target in declared.targets],
            "roles": find_receivers(self._contract.roles, namespace, declared.targets),
            "timestamp": declared.timestamp,
            "latest": event.latest,
            "webhook": event.webhook,
            "receipts": event.receipts,
            "max_bytes": event.max_bytes,
            "unknown_fields": event.unknown_fields,
            "relayed": relays,
            "was": [
                {"version": was.version, **self._describe_event_form(form, *example)}
                for was, form, example in zip(event.was, old, examples, strict=True)
            ],
        }

    def _describe_event_form(self, event: Event, example: Any, example_arguments: list[Any]) -> Description:
        """What an event has in each of its forms."""
        return {
            "name": event.name,
            "description": event.description,
            "payload": self._schemas.make(event.wire_payload),
            **self._describe_arguments(event.wire_payload, event.arguments),
            "example_name": _make_event_name(event, example),
            "example": example,
            "example_arguments": example_arguments,
            "placeholders": list(event.pattern.placeholders) if event.pattern is not None else [],
            "name_only": event.name_only,
        }

    def _describe_arguments(self, kind: Any, arguments: Arguments) -> Description:
        """Whether the payload is one object or its fields are the arguments and, in order, the names of these."""
        if arguments == "object":
            return {"arguments": arguments, "parameters": None}
        fields = msgspec.structs.fields(kind)
        return {
            "arguments": arguments,
            "parameters": [{"name": field.encode_name, "required": field.required} for field in fields],
        }

    def _describe_error_events(self, namespace: Namespace) -> list[Description]:
        contract = self._contract
        commands: list[DeclaredCommand | None] = [None, *namespace.commands]
        described = []
        for name in contract.error_events(namespace):
            own = [each for each in commands if contract.answers_of(each)[1].name == name]
            errors = [self._describe_error(each, namespace) for each in own]
            payloads = [error["payload"] for error in errors]
            # The forms of commands may differ.
            payloads = [each for index, each in enumerate(payloads) if each not in payloads[:index]]
            described.append(
                {
                    "name": name,
                    "description": _ERROR,
                    "payload": payloads[0] if len(payloads) == 1 else {"anyOf": payloads},
                    "example": errors[0]["example"],
                    "commands": [each.name for each in own if each is not None],
                }
            )
        return described

    def _describe_error(self, command: DeclaredCommand | None, namespace: Namespace) -> Description:
        named = command or next(iter(namespace.commands), None)
        answers = self._answers(command, self._contract.refusals)
        return answers.describe_event(EVENT_REFUSALS, named.name if named is not None else "")

    # Commands.

    def _describe_command(self, namespace: Namespace, command: DeclaredCommand) -> Description:
        refusals = list_refusals(command)
        errors = self._contract.answers_of(command)[1]
        return {
            **self._describe_command_form(namespace, command),
            "who": describe_rule(command.who),
            "roles": find_senders(self._contract.roles, namespace, command),
            "limits": describe_limits(command.limit, command.shared),
            "errors": [refusal.code for refusal in (*refusals, *self._own_refusals(command))],
            "error_event": errors.name,
            "joins": command.joins.pattern if command.joins is not None else None,
            "leaves": command.leaves.pattern if command.leaves is not None else None,
            "relays": command.name if command.relays is not None else None,
            "signs_in": command.signs_in,
            "volatile": command.volatile,
            "idempotent": is_idempotent(command),
            "max_bytes": command.max_bytes,
            "unknown_fields": command.unknown_fields,
            "was": [
                {
                    "version": was.version,
                    **self._describe_command_form(namespace, command_in_form(command, number), was.example),
                }
                for number, was in enumerate(command.was, 1)
            ],
        }

    def _describe_command_form(
        self, namespace: Namespace, command: DeclaredCommand, example: Any = None
    ) -> Description:
        """What a command has in each of its forms."""
        answers = self._answers(command, self._own_refusals(command))
        refusals = list_refusals(command)
        made = _make_command_example(command, example)
        return {
            "name": command.name,
            "description": command.description,
            "schema": self._schemas.make(command.sent),
            **self._describe_arguments(command.sent, command.arguments),
            "reply": self._schemas.make(command.reply) if command.reply is not None else None,
            "acknowledgement": {
                "success": answers.describe_success(command, made.room),
                "failure": answers.describe_failure(refusals, command.name),
                "form": _describe_form(self._contract.answers_of(command)[0]),
            },
            "placeholders": list(command.pattern.placeholders) if command.pattern is not None else [],
            "example_name": made.name,
            "example_arguments": made.arguments,
            "values": describe_values(self._contract, namespace, command),
        }


def _describe_room(namespace: Namespace, room: Room) -> Description:
    return {
        "pattern": room.pattern,
        "placeholders": list(room.placeholders),
        "members": describe_rule(room.rule),
        "join": room.join,
        "leave": room.leave,
        "on_connect": room.on_connect,
        "gateway": room.gateway,
        "values": {placeholder: list(listed) for placeholder, listed in room.values.items()},
        "presence": _describe_presence(namespace, room),
    }


def _describe_presence(namespace: Namespace, room: Room) -> Description | None:
    found = find_presence(namespace, room)
    if found is None:
        return None
    return {
        "joined": found.joined.name if found.joined is not None else None,
        "left": found.left.name if found.left is not None else None,
        "user": found.presence.user,
        "count": found.presence.count,
        "last_seen": found.presence.last_seen,
    }


def _describe_gateway(gateway: Gateway) -> Description:
    return {"name": gateway.name, "who": describe_rule(gateway.who)}


def _describe_attribute(attribute: UserAttribute) -> Description:
    return {"name": attribute.name, "description": attribute.description, "who": describe_rule(attribute.who)}


def _describe_versions(versions: Versions) -> Description | None:
    if not versions.names:
        return None
    return {"names": list(versions.names), "default": versions.assumed, "name": versions.name}


def _describe_claims(claims: Claims | None) -> Description | None:
    if claims is None:
        return None
    return {"subject": list(claims.subjects), "role": claims.role, "names": dict(claims.names)}


def _describe_form(form: Acknowledgements) -> Description:
    failure = [_describe_shape(part) for part in form.failure_parts(Errors())] if form.failure is not None else [None]
    return {
        "flag": form.flag,
        "values": list(form.values),
        "data": form.data,
        "error": form.error,
        "error_as": _describe_shape(form.error_as),
        "room": form.room,
        "node_style": form.node_style,
        "empty": form.empty,
        "failure": failure if len(failure) > 1 else failure[0],
    }


def _describe_errors(errors: Errors) -> Description:
    return {
        "event": errors.name,
        "shape": _describe_shape(errors.form),
        "codes": dict(errors.codes),
        "messages": dict(errors.messages),
        "connect": dict(errors.connect),
        "connect_shape": _describe_shape(errors.connect_shape) if errors.connect_shape is not None else None,
    }


def _describe_shape(shape: Any) -> Any:
    """The form of an error. A constant is `{"const": …}` in a list, an array a list in a list: neither is a member."""
    if isinstance(shape, Mapping):
        return {name: _describe_shape(member) for name, member in shape.items()}
    if isinstance(shape, list):
        return [[_describe_shape(member) for member in shape]]
    return shape if isinstance(shape, str) else [{"const": shape.__args__[0]}]


def _find_delivery(event: Event) -> str:
    if event.volatile:
        return "volatile"
    return "durable" if event.durable else "direct"


def _make_event_arguments(event: Event) -> list[Any]:
    """The arguments that clients receive, by the example, with the time that the server fills in."""
    codec = event.make_codec()
    payload = event.stamp(codec.decode_payload(encode_example(event.example)), Time(NOW).seconds)
    arguments: list[Any] = msgspec.json.decode(b"[%b]" % codec.encode_decoded(payload))
    return arguments


def _make_event_name(event: Event, example: Any) -> str:
    """The name that clients receive, by the example."""
    if event.pattern is None:
        return event.name
    values = example
    if event.arguments == "positional":
        values = name_values(event.shapes[0], values)
    return event.pattern.fill({name: str(values[name]) for name in event.pattern.placeholders})


class _CommandExample(NamedTuple):
    """A command as a client sends it."""

    name: str
    arguments: list[Any]
    room: str | None
    """The room that it joins or leaves."""


def _make_old_examples(event: Event) -> list[tuple[Any, list[Any]]]:
    """The data and the arguments of the example in each old form; made from the types if the form has no such event."""
    forms = EventForms(event)
    codec = forms.codecs[0]
    made: Payload | None = event.stamp(codec.decode_payload(encode_example(event.example)), Time(NOW).seconds)
    examples = []
    for number, was in enumerate(event.was, 1):
        made = forms.convert(made, number) if made is not None else None
        codec, arguments = forms.codecs[number], was.arguments or event.arguments
        shown = made
        if shown is None:
            shown = codec.decode_payload(encode_example(make_example(was.payload, arguments)))
        data = msgspec.json.decode(codec.encode_data(shown) or b"null")
        examples.append((data, msgspec.json.decode(b"[%b]" % codec.encode_decoded(shown))))
    return examples


def _make_command_example(command: DeclaredCommand, example: Any = None) -> _CommandExample:
    """The example, by default one that is made from the types."""
    data = make_example(command.command, command.arguments) if example is None else example
    if command.arguments == "object":
        values: dict[str, Any] = to_plain(data)
    else:
        values = to_plain(name_values(command.command, data))
    kind = command.joins or command.leaves
    room = None
    if kind is not None:
        values |= {placeholder: listed[0] for placeholder, listed in kind.values.items()}
        room = kind.name({placeholder: str(values[placeholder]) for placeholder in kind.placeholders})
    pattern = command.pattern
    named = pattern.placeholders if pattern is not None else ()
    name = pattern.fill({name: str(values[name]) for name in named}) if pattern is not None else command.name
    if command.arguments == "object":
        return _CommandExample(name, [values], room)
    return _CommandExample(name, [value for name, value in values.items() if name not in named], room)
