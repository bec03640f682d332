"""The tables of the documents, made from the code: `python -m tools.docs.tables` writes all of them again.

A table stands between `<!-- NAME: made by … -->` and `<!-- end -->`. Tables that only one page has are in
`{page}_tables.py`.
"""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.inspect import (
    AnyType,
    BoolType,
    CollectionType,
    CustomType,
    DictType,
    FloatType,
    IntType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    TupleType,
    Type,
    UnionType,
    type_info,
)
from tests.systems.matrix.cases import find_commands
from tests.systems.test_matrix import ANSWERS, COMMANDS, EVENTS

from oyez import errors
from oyez.cli.checks.before_start import BEFORE_START
from oyez.cli.checks.machine import MACHINE
from oyez.cli.checks.report import Check
from oyez.cli.checks.running import RUNNING
from oyez.cli.prompt import COMMANDS as PROMPT_COMMANDS
from oyez.contract import Acknowledgements, Contract, Errors
from oyez.contract.declared import DeclaredCommand
from oyez.contract.replies import SOURCES
from oyez.contract.rooms import Room, Target
from oyez.contract.schema import iter_types
from oyez.contract.types import Payload
from oyez.documents.diff.kinds import KINDS, SCHEMA_KINDS
from oyez.documents.field_docs import find_field_docs
from oyez.documents.rights import find_receivers, find_senders
from oyez.errors import Refusal
from oyez.levels import PARTS
from oyez.ops.families import FAMILIES, WORKER
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.runtime.replies import Failure, FailureEncoder, ReplyCodec
from oyez.server.recovery import recovery
from oyez.service.server_api.operations import OPERATIONS
from oyez.settings import GROUPS, BackendSettings, Limits, Settings, WebhookSettings
from oyez.systems.bookings.contract import contract as bookings
from oyez.systems.bookings.states import SENTENCES, TRANSITIONS
from oyez.systems.fixrx.contract import contract as fixrx
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from oyez.systems.qscrap import states as qscrap_states
from oyez.systems.qscrap.contract import contract as qscrap
from oyez.systems.quotes.contract import contract as quotes
from oyez.systems.rez import states as rez_states
from oyez.systems.rez.contract import contract as rez
from tools.docs import contract_tables, qscrap_tables, rez_tables
from tools.docs.checks import FINDS

DOCS = Path(__file__).parents[2] / "docs"

CONTRACTS = {"bookings": bookings, "fixrx": fixrx, "qscrap": qscrap, "quotes": quotes, "rez": rez}
WITH_COMMANDS = {"bookings": bookings, "rez": rez}
"""Systems whose page has a table of commands."""
TYPED = {"bookings": bookings, "qscrap": qscrap, "rez": rez}
"""Systems whose page has generated TypeScript types."""
PAGES = {"contract-reference": contract_tables.TABLES, "qscrap": qscrap_tables.TABLES, "rez": rez_tables.TABLES}
"""The further tables of a page, as rows."""
QSCRAP_STATES = {
    "ticket": qscrap_states.TICKET,
    "request": qscrap_states.REQUEST,
    "dispute": qscrap_states.DISPUTE,
    "payout": qscrap_states.PAYOUT,
}


def build_table(*rows: tuple[str, ...]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    escaped.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def build_settings() -> str:
    remarks = find_field_docs(Settings)
    rows = [
        (f"`{name}`", show(getattr(Settings(), name)), remarks[name])
        for name in Settings.__struct_fields__
        if name not in GROUPS
    ]
    return build_table(("setting", "default", "meaning"), *rows)


def build_limits() -> str:
    remarks = find_field_docs(Limits)
    rows = [
        (f"`{name}`", f"{getattr(Limits(), name):,}".removesuffix(".0"), remarks[name])
        for name in Limits.__struct_fields__
    ]
    return build_table(("limit", "default", "what it is for"), *rows)


def build_kinds() -> str:
    rows = [
        (
            f"`{kind.name}`",
            *("" if level is None else level.text for level in (kind.publishers, kind.clients)),
            kind.why,
        )
        for kind in KINDS.values()
    ]
    return build_table(("kind", "publishers", "clients", "why"), *rows)


def build_schema_kinds() -> str:
    rows = [(f"`{kind.name}`", kind.senders.text, kind.receivers.text, kind.why) for kind in SCHEMA_KINDS.values()]
    return build_table(("kind", "senders", "receivers", "why"), *rows)


def build_operations() -> str:
    rows = [
        (f"`{operation.method.upper()}`", f"`/{{system}}{operation.path}`", operation.summary)
        for operation in OPERATIONS
    ]
    return build_table(("method", "path", "what it does"), *rows)


def build_group(kind: type[msgspec.Struct]) -> str:
    remarks = find_field_docs(kind)
    rows = [
        (
            f"`{field.name}`",
            "required" if field.required else f"{field.default:,g}" if field.default else "none",
            remarks[field.name],
        )
        for field in msgspec.structs.fields(kind)
    ]
    return build_table(("setting", "default", "meaning"), *rows)


def show(default: Any) -> str:
    if default is None or default == "":
        return ""
    return (
        f"`{default}`" if isinstance(default, str) else f"{default:g}" if isinstance(default, float) else f"{default}"
    )


def find_constants(module: Any, kind: type) -> list[Any]:
    return [value for value in vars(module).values() if isinstance(value, kind)]


def build_refusals() -> str:
    rows = [
        (f"`{refusal.code}`", str(refusal.status), "yes" if refusal.temporary else "no", refusal.message)
        for refusal in find_constants(errors, Refusal)
    ]
    return build_table(("code", "HTTP status", "temporary", "message"), *rows)


ACKNOWLEDGEMENTS = {
    "the default": Acknowledgements(),
    '`flag="success", error_as="message"`': Acknowledgements(flag="success", error_as="message"),
    '`data="data"`': Acknowledgements(data="data"),
    '`flag="status", values=("ok", "error"), error="message", error_as="message"`': Acknowledgements(
        flag="status", values=("ok", "error"), error="message", error_as="message"
    ),
    "`error=None`": Acknowledgements(error=None),
    "`flag=None`": Acknowledgements(flag=None),
    '`flag=None, empty=True, failure="message"`': Acknowledgements(flag=None, empty=True, failure="message"),
    '`error_as={"reason": "code"}`': Acknowledgements(error_as={"reason": "code"}),
    "`flag=None, failure=Literal[False]`": Acknowledgements(flag=None, failure=Literal[False]),
    '`flag=None, failure=(Literal[False], "message")`': Acknowledgements(
        flag=None, failure=(Literal[False], "message")
    ),
    "`node_style=True`": Acknowledgements(node_style=True),
    '`node_style=True, error_as="message"`': Acknowledgements(node_style=True, error_as="message"),
}
"""Forms of acknowledgements as a contract states them."""


class _Reply(Payload):
    price: int


def build_acknowledgements() -> str:
    """The arguments of acknowledgements in each form: of success with a reply and without, and of failure."""
    form_of_errors = Errors(shape={"code": "code", "message": "message"})
    failed = Failure(errors.FORBIDDEN, "No.", {})

    def show_arguments(encoded: bytes) -> str:
        arguments = [msgspec.json.encode(argument).decode() for argument in msgspec.json.decode(encoded)]
        if not arguments:
            return "no argument"
        return "`" + ", ".join(argument.replace(",", ", ").replace(":", ": ") for argument in arguments) + "`"

    rows = [
        (
            name,
            show_arguments(ReplyCodec("", _Reply, form).encode(_Reply(price=20))),
            show_arguments(ReplyCodec("", None, form).encode(None)),
            show_arguments(FailureEncoder(form_of_errors, form).encode_acknowledgement(failed, "bid", b"[]")),
        )
        for name, form in ACKNOWLEDGEMENTS.items()
    ]
    return build_table(("`Acknowledgements(…)`", "success", "success without a reply", "failure"), *rows)


def build_error_values() -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in SOURCES.items()]
    return build_table(("value", "meaning"), *rows)


def build_handshake_errors() -> str:
    rows = [(str(error.code), error.message, str(error.status)) for error in find_constants(engineio, HandshakeError)]
    return build_table(("code", "message", "HTTP status"), *rows)


def build_rooms(contract: Contract) -> str:
    """The rooms of a contract; a column that is the same for all rooms is left out."""
    rooms = [room for namespace in contract.namespaces for room in namespace.rooms.kinds]
    at_once = all(room.on_connect for room in rooms)
    columns = {
        "namespace": [f"`{room.namespace}`" for room in rooms] if len(contract.namespaces) > 1 else [],
        "gateway": [room.gateway or "" for room in rooms] if any(room.gateway for room in rooms) else [],
        "room": [f"`{room.pattern}`" for room in rooms],
        "joined by": [describe_join(room) for room in rooms] if not at_once else [],
        "clients that join it on connecting" if at_once else "who may join": [
            f"a client that {room.rule.text}" for room in rooms
        ],
    }
    return build_columns(columns)


def describe_join(room: Room) -> str:
    if room.on_connect:
        return "connecting"
    return f"`{room.join}({', '.join(room.placeholders)})`" + (f", until `{room.leave}`" if room.leave else "")


def build_columns(columns: Mapping[str, Sequence[str]]) -> str:
    """A table of the columns that are not empty."""
    kept = {heading: cells for heading, cells in columns.items() if cells}
    return build_table(tuple(kept), *zip(*kept.values(), strict=True))


def build_events(contract: Contract, senders: Mapping[str, str] | None = None) -> str:
    """The events of a contract; `senders`: what sends each of them."""
    events = list(contract.events.values())
    kept = ["volatile" if event.volatile else "stored" if event.durable else "an answer" for event in events]
    columns = {
        "event": [f"`{event.name}`" for event in events],
        "goes to": [
            "; ".join(
                f"{f'`{namespace}` ' if len(contract.namespaces) > 1 else ''}{goes_to(targets)}"
                for namespace, targets in event.targets.items()
            )
            for event in events
        ],
        "kept": kept if len(set(kept)) > 1 else [],
        "what has happened": [event.description for event in events],
        "sent by": [senders[event.name] for event in events] if senders else [],
    }
    return build_columns(columns)


def build_commands(contract: Contract) -> str:
    declared: dict[str, list[DeclaredCommand]] = {}
    for _, command in find_commands(contract):
        declared.setdefault(command.name, []).append(command)
    found = list(declared.values())
    columns = {
        "command": [f"`{commands[0].name}` {describe_arguments(commands[0])}" for commands in found],
        "namespace": [", ".join(f"`{command.namespace}`" for command in commands) for commands in found]
        if len(contract.namespaces) > 1
        else [],
        "what it does": [commands[0].description for commands in found],
        "limit": [describe_limits(commands[0]) for commands in found],
        "reply": [describe_reply(commands[0]) for commands in found],
    }
    return build_columns(columns)


def describe_arguments(declared: DeclaredCommand) -> str:
    fields = msgspec.structs.fields(declared.command)
    names = ", ".join(field.encode_name + "?" * (field.default is msgspec.UNSET) for field in fields)
    return f"({names})" if declared.arguments == "positional" else f"{{{names}}}"


def describe_limits(declared: DeclaredCommand) -> str:
    return ", ".join([declared.limit.text, *(shared.text for shared in declared.shared)])


def describe_reply(declared: DeclaredCommand) -> str:
    fields = declared.reply.__struct_encode_fields__ if declared.reply else ()
    return ", ".join(f"`{field}`" for field in fields)


def build_states(
    kinds: Mapping[str, Mapping[Any, Mapping[Any, str]]], sentences: Mapping[Any, str] | None = None
) -> str:
    """The actions in each state of each kind of record; `sentences`: what customers read about a state."""
    states = [(kind, state, actions) for kind, table in kinds.items() for state, actions in table.items()]
    columns = {
        "record": [kind for kind, _, _ in states] if len(kinds) > 1 else [],
        "status": [f"`{state}`" for _, state, _ in states],
        "sentence for the customer": [sentences[state] for _, state, _ in states] if sentences else [],
        "actions and the next status": [
            ", ".join(f"{action} → `{after}`" for action, after in actions.items()) or "none"
            for _, _, actions in states
        ],
    }
    return build_columns(columns)


def build_types(contract: Contract) -> str:
    """The TypeScript types of all payloads of the events of a contract."""
    payloads: dict[str, type[Payload]] = {}
    for event in contract.events.values():
        payloads |= find_payloads(event.payload)
    types = "\n".join(f"type {name} = {{\n{to_fields(payload)}}};\n" for name, payload in payloads.items())
    return f"```ts\n{types}```"


def build_systems() -> str:
    return "\n\n".join(f"## {system}\n\n{build_matrix(system)}" for system in list_systems())


def build_matrix(system: str) -> str:
    contract = load_system(system).contract
    rows = [
        (f"`{event.name}`", "to clients", where, goes_to(targets), name_roles(contract, where, targets), case)
        for event in contract.events.values()
        for where, targets in event.targets.items()
        for case in [find_case(EVENTS, system, event.name) or find_case(ANSWERS, system, where, event.name)]
    ]
    for namespace, command in find_commands(contract):
        rooms = [room for room in (command.joins, command.leaves) if room is not None]
        roles = ", ".join(find_senders(contract.roles, namespace, command))
        case = find_case(COMMANDS, system, namespace.name, command.name)
        row = (f"`{command.name}`", "from clients", namespace.name, goes_to(rooms) or "the server", roles, case)
        rows.append(row)
    return build_table(("event", "direction", "namespace", "rooms", "roles", "case"), *rows)


def find_case(cases: Sequence[tuple[str, ...]], *case: str) -> str:
    """The name of the case in the test matrix; empty if there is none."""
    return f"`{'-'.join(case)}`" if case in cases else ""


def goes_to(targets: Iterable[Target]) -> str:
    return " or ".join(target.text for target in targets)


def name_roles(contract: Contract, where: str, targets: Iterable[Target]) -> str:
    """The roles whose clients can receive an event that goes to `targets`."""
    namespace = next(namespace for namespace in contract.namespaces if namespace.name == where)
    return ", ".join(find_receivers(contract.roles, namespace, targets))


def build_prompt() -> str:
    return build_table(
        ("line", "what it does"), *((f"`{usage}`", meaning) for usage, meaning in PROMPT_COMMANDS.values())
    )


def find_payloads(payload: type[Payload]) -> dict[str, type[Payload]]:
    """A payload and the payloads inside it, by name."""
    inside = [kind.cls for kind in iter_types(type_info(payload)) if isinstance(kind, StructType)]
    return {kind.__name__: kind for kind in inside if issubclass(kind, Payload)}


def to_fields(payload: type[Payload]) -> str:
    """The fields of a payload's TypeScript type, one line each."""
    config = payload.__struct_config__
    lines = [] if config.tag_field is None else [f'  {config.tag_field}: "{config.tag}";\n']
    for declared in msgspec.structs.fields(payload):
        optional = "" if declared.required else "?"
        lines.append(f"  {declared.encode_name}{optional}: {to_typescript(type_info(declared.type))};\n")
    return "".join(lines)


def to_typescript(found: Type) -> str:
    match found:
        case Metadata(type=described):
            return to_typescript(described)
        case UnionType(types=types):
            ordered = sorted(types, key=lambda option: isinstance(option, NoneType))
            return " | ".join(dict.fromkeys(map(to_typescript, ordered)))
        case LiteralType(values=values):
            texts = (f'"{value}"' if isinstance(value, str) else str(value) for value in sorted(values, key=str))
            return " | ".join(texts)
        case CollectionType(item_type=item):
            text = to_typescript(item)
            return f"({text})[]" if " | " in text else f"{text}[]"
        case TupleType(item_types=items):
            return f"[{', '.join(map(to_typescript, items))}]"
        case DictType(value_type=value):
            return f"Record<string, {to_typescript(value)}>"
        case AnyType():
            return "unknown"
        case StructType(cls=cls):
            return cls.__name__
        case CustomType(cls=cls):
            return {"Time": "string", "Money": "number", "Total": "number"}[cls.__name__]
        case NoneType():
            return "null"
        case BoolType():
            return "boolean"
        case IntType() | FloatType():
            return "number"
    assert isinstance(found, StrType), found
    return "string"


def build_reasons() -> str:
    """The constants with the reasons why a session was not recovered, and the docstring below each."""
    tree = ast.parse(inspect.getsource(recovery)).body
    rows = [
        (f"`{declared.value.value}`", " ".join(str(below.value.value).split()))
        for declared, below in pairwise(tree)
        if isinstance(declared, ast.Assign)
        and isinstance(declared.value, ast.Constant)
        and isinstance(declared.value.value, str)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    ]
    return build_table(("reason", "what it means"), *rows)


def build_checks() -> str:
    where: dict[str, Sequence[Check[Any]]] = {"settings": BEFORE_START, "machine": MACHINE, "running server": RUNNING}
    rows = ((check.subject, place, FINDS[check.subject]) for place, checks in where.items() for check in checks)
    return build_table(("check", "of the", "finds"), *rows)


def build_log_parts() -> str:
    rows = ((f"`{part}`", meaning) for part, meaning in PARTS.items())
    return build_table(("part", "lines about"), *rows)


def build_metrics() -> str:
    rows = [
        (f"`{one.name}`", one.kind, ", ".join((*one.labels, *(() if one.shared else (WORKER,)))), one.help)
        for one in FAMILIES
    ]
    return build_table(("metric", "kind", "labels", "meaning"), *rows)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "reasons": ("recovery", build_reasons),
    "settings": ("settings", build_settings),
    "limits": ("settings", build_limits),
    "back ends": ("settings", partial(build_group, BackendSettings)),
    "webhooks": ("settings", partial(build_group, WebhookSettings)),
    "operations": ("server-api", build_operations),
    "kinds of change": ("compatibility", build_kinds),
    "kinds of change in data": ("compatibility", build_schema_kinds),
    "refusals": ("architecture", build_refusals),
    "acknowledgements": ("contract-reference", build_acknowledgements),
    "error values": ("contract-reference", build_error_values),
    "handshake errors": ("protocol", build_handshake_errors),
    "checks": ("doctor", build_checks),
    "log-parts": ("logging", build_log_parts),
    "metrics": ("metrics", build_metrics),
    "systems": ("systems", build_systems),
    "prompt": ("testing", build_prompt),
    **{
        f"{system} rooms": (system, partial(build_rooms, contract))
        for system, contract in CONTRACTS.items()
        if system != "rez"
    },
    **{f"{system} events": (system, partial(build_events, contract)) for system, contract in CONTRACTS.items()},
    **{f"{system} commands": (system, partial(build_commands, contract)) for system, contract in WITH_COMMANDS.items()},
    "qscrap events": ("qscrap", partial(build_events, qscrap, qscrap_tables.SENDERS)),
    "bookings states": ("bookings", partial(build_states, {"": TRANSITIONS}, SENTENCES)),
    "qscrap states": ("qscrap", partial(build_states, QSCRAP_STATES)),
    "rez orders": ("rez", partial(build_states, {"": rez_states.ORDERS})),
    "rez tickets": ("rez", partial(build_states, {"": rez_states.TICKETS})),
    "rez groups": ("rez", partial(build_states, {"": rez_states.GROUPS})),
    **{f"{system} types": (system, partial(build_types, contract)) for system, contract in TYPED.items()},
    **{
        f"{page} {name}": (page, partial(build_table, *rows))
        for page, tables in PAGES.items()
        for name, rows in tables.items()
    },
}
"""For each table its page and the function that builds it."""


def read(page: str) -> str:
    """The text of a page of docs/."""
    return (DOCS / f"{page}.md").read_text()


def replace_table(text: str, name: str, table: str) -> str:
    """Replace the table of that name in `text`."""
    begin = f"<!-- {name}: made by `python -m tools.docs.tables` -->"
    before, found, rest = text.partition(begin)
    assert found, f"{begin} is missing"
    return f"{before}{begin}\n\n{table}\n\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


def write_tables() -> None:
    for name, (page, build) in TABLES.items():
        (DOCS / f"{page}.md").write_text(replace_table(read(page), name, build()))


if __name__ == "__main__":
    write_tables()
