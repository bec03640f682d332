"""The tables of the documents, made from the code: `python -m tools.docs.tables` writes all of them again.

A table stands between `<!-- NAME: made by … -->` and `<!-- end -->`. Tables that only one system's page has are in
`{system}_tables.py`.
"""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import pairwise
from operator import and_
from pathlib import Path
from typing import Any

import msgspec
from msgspec.inspect import (
    BoolType,
    CustomType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)
from tests.systems.matrix.cases import find_commands
from tests.systems.test_matrix import ANSWERS, COMMANDS, EVENTS

from oyez import errors
from oyez.cli.prompt import COMMANDS as PROMPT_COMMANDS
from oyez.cli.server_flags import find_field_docs
from oyez.contract import Acknowledgements, Contract, Errors, Identity
from oyez.contract.replies import SOURCES
from oyez.contract.rooms import DerivedRoom, Room, Target
from oyez.contract.schema import iter_types
from oyez.contract.types import Payload
from oyez.errors import Refusal
from oyez.ops.families import FAMILIES, WORKER
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.runtime.replies import Failure, FailureEncoder, ReplyCodec
from oyez.server.recovery import recovery
from oyez.settings import Limits, Settings
from oyez.systems.bookings.contract import contract as bookings
from oyez.systems.fixrx.contract import contract as fixrx
from oyez.systems.loader import list_systems, load_system
from oyez.systems.qscrap.contract import contract as qscrap
from oyez.systems.quotes.contract import contract as quotes
from oyez.systems.rez.contract import contract as rez

DOCS = Path(__file__).parents[2] / "docs"

LISTED = {"fixrx": fixrx, "quotes": quotes}
"""Systems whose page has only the tables of rooms and events from here."""
TYPED = {"bookings": bookings, "qscrap": qscrap, "rez": rez}
"""Systems whose page has generated TypeScript types."""
PAGES = {
    path.stem.removesuffix("_tables"): importlib.import_module(f"tools.docs.{path.stem}").TABLES
    for path in sorted(Path(__file__).parent.glob("*_tables.py"))
}
"""The further tables of a system, as rows."""


def build_table(*rows: tuple[str, ...]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    escaped.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def build_settings() -> str:
    remarks = find_field_docs(Settings)
    rows = [
        (f"`{name}`", show(getattr(Settings(), name)), remarks[name])
        for name in Settings.__struct_fields__
        if name != "limits"
    ]
    return build_table(("setting", "default", "meaning"), *rows)


def build_limits() -> str:
    remarks = find_field_docs(Limits)
    rows = [
        (f"`{name}`", f"{getattr(Limits(), name):,}".removesuffix(".0"), remarks[name])
        for name in Limits.__struct_fields__
    ]
    return build_table(("limit", "default", "what it is for"), *rows)


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
    """The rooms that clients join on connecting; with their gateways, if there are any."""
    rooms = [room for namespace in contract.namespaces for room in namespace.rooms.kinds]
    gateways = [room.gateway for room in rooms if room.gateway]
    rows = [("gateway", "room", "clients that join it on connecting")]
    rows += [(room.gateway or "", f"`{room.pattern}`", f"a client that {room.rule.text}") for room in rooms]
    return build_table(*(row if gateways else row[1:] for row in rows))


def build_events(contract: Contract) -> str:
    rows = [
        (f"`{event.name}`", " or ".join(target.text for target in event.targets["/"]), event.description)
        for event in contract.events.values()
    ]
    return build_table(("event", "goes to", "what has happened"), *rows)


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
        right = reduce(and_, (room.rule for room in rooms), namespace.who & command.who)
        roles = join_roles(contract, right.admits)
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
    kinds = [target.room if isinstance(target, DerivedRoom) else target for target in targets]
    rules = [kind.rule if isinstance(kind, Room) else namespace.who for kind in kinds]
    return join_roles(contract, lambda who: namespace.who.admits(who) and any(rule.admits(who) for rule in rules))


def join_roles(contract: Contract, may: Callable[[Identity], bool]) -> str:
    return ", ".join(role for role in contract.roles if may(Identity(subject="somebody", role=role)))


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
    lines = []
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
            return " | ".join(f'"{value}"' for value in sorted(map(str, values)))
        case ListType(item_type=item):
            return f"{to_typescript(item)}[]"
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
    "refusals": ("architecture", build_refusals),
    "acknowledgements": ("contracts", build_acknowledgements),
    "error values": ("contracts", build_error_values),
    "handshake errors": ("protocol", build_handshake_errors),
    "metrics": ("metrics", build_metrics),
    "systems": ("systems", build_systems),
    "prompt": ("testing", build_prompt),
    **{f"{system} rooms": (system, partial(build_rooms, contract)) for system, contract in LISTED.items()},
    **{f"{system} events": (system, partial(build_events, contract)) for system, contract in LISTED.items()},
    **{f"{system} types": (system, partial(build_types, contract)) for system, contract in TYPED.items()},
    **{
        f"{system} {name}": (system, partial(build_table, *rows))
        for system, page in PAGES.items()
        for name, rows in page.items()
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
