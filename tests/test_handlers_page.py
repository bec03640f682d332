"""docs/handlers.md lists what handlers can use: the tables have the names and the arguments that the code has."""

import inspect
import re
from pathlib import Path

import pytest

from oyez.contract import Identity
from oyez.runtime import Client, Hooks, RoomHooks
from oyez.server.types import Handshake
from oyez.service.system import Services, SystemServices

PAGE = (Path(__file__).parents[1] / "docs/handlers.md").read_text()
INTERNAL = {"access", "awaits_latest", "awaits_welcome", "become", "bucket", "connection_id", "decide", "declared"} | {
    *("ending", "enter", "find_parts", "forget", "held", "hold", "join_postponed", "own_room", "payer", "places"),
    *("postpone", "postponed", "recovers", "refused", "socket", "unhold"),
}
"""What the runtime uses of a client, and handlers do not."""
TABLES: list[tuple[str, type, set[str]]] = [
    ("`client…`", Client, INTERNAL),
    ("`client.identity…`", Identity, set()),
    ("`client.handshake…`", Handshake, {"ignores_close", "network"}),
    ("`services…`", Services, set()),
    ("`SystemServices(…)`", SystemServices, set()),
    # What the sections below the tables describe.
    ("hook", Hooks, {"expiring_before"}),
    ("function", RoomHooks, {"version"}),
]


def read_table(head: str) -> dict[str, tuple[bool, str | None]]:
    """By name: whether it is awaited, and the text of its arguments, which is None if it is not called."""
    rows = PAGE.partition(f"\n| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    members = [code for row in rows for code in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    pattern = re.compile(r"(await )?\.?(\w+)(?:\((.*)\))?")
    found = [matched for code in members if (matched := pattern.fullmatch(code))]
    assert len(found) == len(members) > 0
    return {matched[2]: (matched[1] is not None, matched[3]) for matched in found}


@pytest.mark.parametrize(("head", "owner", "unlisted"), TABLES, ids=[owner.__name__ for _, owner, _ in TABLES])
def test_the_table_has_what_the_code_has(head: str, owner: type, unlisted: set[str]) -> None:
    listed = read_table(head)
    assert set(listed) == {name for name in dir(owner) if not name.startswith("_")} - unlisted
    for name, (awaited, arguments) in listed.items():
        member = inspect.getattr_static(owner, name)
        assert inspect.isfunction(member) is (arguments is not None), name
        if arguments is None:
            continue
        assert awaited is inspect.iscoroutinefunction(inspect.unwrap(member)), name
        given = [argument.strip() for argument in arguments.split(",")]
        positional = [argument for argument in given if "=" not in argument]
        named = dict(argument.split("=") for argument in given if "=" in argument)
        signature = inspect.signature(member)
        # The arguments fit, and those with a value have that default.
        signature.bind(None, *positional, **named)
        assert {key: str(signature.parameters[key].default) for key in named} == named, name
