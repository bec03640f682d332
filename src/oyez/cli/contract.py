"""`oyez contract diff`: what a new contract changes for those who use the old one."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.text import Text

from oyez.cli import console
from oyez.cli.console import CallError
from oyez.cli.contract_sources import read_description
from oyez.documents.diff.compare import compare
from oyez.documents.diff.kinds import BREAKING, RISKY, SAFE, Change, Level

app = App(name="contract", help="Compare contracts.")

STYLES: Mapping[Level, str] = {BREAKING: "bold red", RISKY: "yellow", SAFE: "green"}


@app.command
def diff(
    old: str,
    new: str,
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    fail_on: Literal["breaking", "risky"] = "breaking",
) -> int:
    """Show what a new contract changes for publishers and clients that use the old one.

    Each change is breaking, risky or safe. The status is 1 if one is breaking, 0 otherwise.

    A contract is a description (.json), a Python file, the name of a system, REV:path of a git revision, or the
    address of a running server. The code of Python files is run, that of a revision too.

    For example:
      oyez contract diff contract.json my_contract.py
      oyez contract diff main:my_contract.py my_contract.py
      oyez contract diff https://live.example/quotes quotes --json

    Parameters
    ----------
    old
        The contract that is in use.
    new
        The contract that is to replace it.
    as_json
        Write JSON instead of text.
    fail_on
        The mildest changes for which the status is 1: breaking or risky.
    """
    before, after = read_description(old), read_description(new)
    try:
        changes = compare(before, after)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CallError(
            f"The descriptions cannot be compared: {type(error).__name__} {error}. One is incomplete, or another"
            " version of Oyez has written it: write both with the same version."
        ) from None
    if as_json:
        sys.stdout.write(json.dumps({"changes": [_to_json(change) for change in changes]}, indent=2) + "\n")
    else:
        _show(changes)
    worst = BREAKING if fail_on == "breaking" else RISKY
    return int(any(change.level >= worst for change in changes))


def _to_json(change: Change) -> dict[str, Any]:
    return {
        "level": change.level.text,
        "publishers": change.publishers.text if change.publishers is not None else None,
        "clients": change.clients.text if change.clients is not None else None,
        "kind": change.kind,
        "place": change.place,
        "text": change.text,
    }


def _show(changes: Sequence[Change]) -> None:
    for level in (BREAKING, RISKY, SAFE):
        found = [change for change in changes if change.level is level]
        if found:
            console.out.print(Text.assemble((level.text.capitalize(), STYLES[level]), f" ({len(found)})"))
        for change in found:
            _show_change(change)
    if not changes:
        console.out.print("No change that publishers or clients would notice.")


def _show_change(change: Change) -> None:
    concerned = {"publishers": change.publishers, "clients": change.clients}
    said = [f"{level.text} for {who}" for who, level in concerned.items() if level is not None]
    console.out.print(
        Text.assemble(
            ("  ", ""),
            (console.printable(change.place), "bold"),
            f": {console.printable(change.text)} ",
            (f"[{change.kind}: {', '.join(said)}]", "dim"),
        )
    )
