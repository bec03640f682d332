"""The output of commands: plain lines that can be copied, colour on a terminal, errors in one line.

Results go to standard output; notes and errors go to standard error, so that results can be piped.
"""

import json
import os
import shlex
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oyez.errors import OyezError

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=True)

FILE_WIDTH = 160
"""Characters of a table that goes to a file or another program."""


class CallError(OyezError):
    """The command was called in a way that cannot work."""


def fail(message: str, status: int = 1) -> int:
    """Show an error in one line; returns the exit status."""
    err.print(Text.assemble(("Error: ", "bold red"), printable(" ".join(message.split()))))
    return status


def explain_os_error(error: OSError) -> str:
    """The system's own sentence, without numbers and addresses."""
    # Negative numbers are those of look-ups of names, which have sentences of their own.
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)


def show_note(text: str) -> None:
    """Something to know that is not what was asked for."""
    err.print(Text(printable(text), "dim"))


def show_event(name: str, arguments: list[Any], at: datetime) -> None:
    """One event as it came: time (of the terminal's zone), name, data."""
    moment = at.astimezone()
    data = " ".join(printable(msgspec.json.encode(argument).decode()) for argument in arguments)
    stamp = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
    out.print(Text.assemble((stamp, "dim"), "  ", (printable(name), "bold green"), "  ", data))


def show_command(purpose: str, line: str) -> None:
    """A command to copy, after a word that says what it is for."""
    out.print(Text.assemble((f"  {purpose:<9}", "dim"), (line, "cyan")))


def show_table(table: Table) -> None:
    """A table that fits the terminal; in a file or pipe, a wide one without spaces at the ends of lines."""
    if out.is_terminal:
        out.print(table, soft_wrap=False)
        return
    wide = Console(width=FILE_WIDTH, highlight=False, emoji=False)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        out.print(line.rstrip())


def printable(text: str) -> str:
    """`text` without characters that would command the terminal: they are escaped as in JSON."""
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


def invocation() -> list[str]:
    """The words by which this program was called, so that commands which are shown can be copied."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return [_shorten(Path(sys.executable)), "-m", __package__]
    found = shutil.which("oyez")
    if found is not None and Path(found).resolve() == called.resolve():
        return ["oyez"]
    return [_shorten(called)]


def _shorten(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)


def join_words(words: list[str]) -> str:
    """A command line for a shell; `$TOKEN` stays what it is."""
    return " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in words)
