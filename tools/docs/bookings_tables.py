"""The tables of docs/bookings.md, from the contract and the states: each as rows, the headings first."""

import msgspec
from msgspec import UNSET

from oyez.contract.declare import DeclaredCommand
from oyez.systems.bookings.contract import contract
from oyez.systems.bookings.states import SENTENCES, TRANSITIONS

Rows = list[tuple[str, ...]]


def list_rooms() -> Rows:
    rows = [
        (
            f"`{namespace.name}`",
            f"`{room.pattern}`",
            f"a client that {room.rule.text}",
            "connecting" if room.on_connect else f"`{room.join}`" + (f", until `{room.leave}`" if room.leave else ""),
        )
        for namespace in contract.namespaces
        for room in namespace.rooms.kinds
    ]
    return [("namespace", "room", "who may join", "joined by"), *rows]


def list_commands() -> Rows:
    declared: dict[str, list[DeclaredCommand]] = {}
    for namespace in contract.namespaces:
        for command in namespace.commands:
            declared.setdefault(command.name, []).append(command)
    rows = [
        (
            f"`{name}` {_describe_arguments(commands[0])}",
            ", ".join(f"`{command.namespace}`" for command in commands),
            commands[0].description,
            commands[0].limits_text,
            ", ".join(f"`{field}`" for field in _reply_fields(commands[0])),
        )
        for name, commands in declared.items()
    ]
    return [("command", "namespace", "what it does", "limit", "reply"), *rows]


def list_states() -> Rows:
    rows = [
        (
            f"`{status}`",
            SENTENCES[status],
            ", ".join(f"{action} → `{target}`" for action, target in actions.items()) or "none",
        )
        for status, actions in TRANSITIONS.items()
    ]
    return [("status", "sentence for the customer", "actions and the next status"), *rows]


def list_events() -> Rows:
    rows = [
        (
            f"`{event.name}`",
            "; ".join(
                f"`{namespace}` {' or '.join(target.text for target in targets)}"
                for namespace, targets in event.targets.items()
            ),
            "volatile" if event.volatile else "stored" if event.durable else "an answer",
            event.description,
        )
        for event in contract.events.values()
    ]
    return [("event", "goes to", "kept", "what has happened"), *rows]


def _describe_arguments(declared: DeclaredCommand) -> str:
    fields = msgspec.structs.fields(declared.command)
    names = ", ".join(field.encode_name + "?" * (field.default is UNSET) for field in fields)
    return f"({names})" if declared.arguments == "positional" else f"{{{names}}}"


def _reply_fields(declared: DeclaredCommand) -> tuple[str, ...]:
    return declared.reply.__struct_encode_fields__ if declared.reply else ()


TABLES: dict[str, Rows] = {
    "rooms": list_rooms(),
    "commands": list_commands(),
    "states": list_states(),
    "events": list_events(),
}
