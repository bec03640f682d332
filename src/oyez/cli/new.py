"""`oyez new`: a starting project, which runs and passes its tests at once."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from oyez import __version__
from oyez.cli import console
from oyez.cli.console import fail
from oyez.scaffold.project import build_example, build_from_document, check_folder, check_name, write_project

MAX_SHOWN = 200
"""Decisions that are shown; the comments in the contract have all of them."""


def new(name: str, /, *, document: Annotated[Path | None, Parameter(name="--from")] = None) -> int:
    """Write a starting project into a new folder.

    It has a contract, handlers, a table with its migration, tests, a Dockerfile and a CI file. No file is overwritten.

    With --from, the contract is written from an event document, as far as the document goes, and what a person has to
    decide is listed. The status is 1 if the contract has errors.

    For example:
      oyez new parcels
      oyez new parcels --from events.md

    Parameters
    ----------
    name
        The name of the system, and of the folder.
    document
        An event document: Markdown with tables, headings or lists of events, or AsyncAPI 2 or 3 in YAML or JSON.
    """
    package = check_name(name)
    folder = Path(name)
    check_folder(folder)
    words = {"name": name, "version": __version__, "oyez": _from(folder, "oyez"), "python": _from(folder, "python")}
    if document is None:
        write_project(folder, build_example(package, words))
        show_next(folder, words)
        return 0
    return write_from(document, name, package, words)


def write_from(path: Path, name: str, package: str, words: dict[str, str]) -> int:
    """Write a project from a document, and list what a person has to decide."""
    # Half of the time that `oyez new` takes without a document.
    from oyez.scaffold.reader.read import read_text, write_contract

    folder = Path(name)
    read = write_contract(read_text(path), name, path.name, path.suffix.lower(), package)
    contract, handlers = read.written.contract, read.written.handlers
    write_project(folder, build_from_document(package, {**words, "source": path.name}, contract, handlers))
    messages = list(read.document.messages.values())
    events = sum(message.direction == "event" for message in messages)
    show_next(folder, words)
    decisions = read.written.decisions
    console.out.print(f"\n{path} has {events} events and {len(messages) - events} commands.")
    console.out.print(Text(f"To decide, also as comments in {folder}/{package}/contract.py:", "bold"))
    for decision in decisions[:MAX_SHOWN]:
        console.out.print(Text(console.printable(f"  {path}:{decision.line}: {decision.text}")))
    if len(decisions) > MAX_SHOWN:
        console.out.print(f"  and {len(decisions) - MAX_SHOWN} more, in the comments")
    return max((fail(f"{folder}/{package}/contract.py: {line}") for line in read.errors), default=0)


def show_next(folder: Path, words: dict[str, str]) -> None:
    """The three commands that come next."""
    console.out.print(Text.assemble("Written: ", (f"{folder}/", "bold"), ". Next:"))
    console.show_command("enter", f"cd {folder}")
    console.show_command("test", f"{words['python']} -m pytest")
    console.show_command("serve", f"{words['oyez']} serve system.py")


def _from(folder: Path, program: str) -> str:
    """How to call a program of this environment in `folder`."""
    if console.invocation() == ["oyez"]:
        return program
    beside = Path(sys.executable).parent / program
    return console.join_words([min(str(beside), os.path.relpath(beside, folder), key=len)])
