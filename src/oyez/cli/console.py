"""What a command shows: plain lines that can be copied, colour where there is a terminal, errors in one line."""

import os
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> int:
    """Show an error in one line; the exit status to end with."""
    err.print(Text.assemble(("Error: ", "bold red"), " ".join(message.split())))
    return 1


def invocation() -> str:
    """How this program was called, so that commands which are shown can be copied."""
    called = Path(sys.argv[0])
    if shutil.which("oyez") and Path(shutil.which("oyez") or "").resolve() == called.resolve():
        return "oyez"
    relative = os.path.relpath(called)
    return relative if len(relative) < len(str(called)) else str(called)


def show_command(purpose: str, *words: str) -> None:
    """A command to copy, with what it is for."""
    out.print(Text.assemble((f"  {purpose:<9}", "dim"), (" ".join(map(quote, words)), "cyan")))


def quote(word: str) -> str:
    """A word as a shell wants it; `$TOKEN` stays what it is."""
    return f'"{word}"' if word.startswith("$") else shlex.quote(word)


def show_note(text: str) -> None:
    out.print(Text(text, "dim"))


def show_event(name: str, arguments: list[Any], at: datetime | None = None) -> None:
    """One event as it came: time, name, data."""
    moment = (at or datetime.now(UTC)).astimezone()
    data = " ".join(msgspec.json.encode(argument).decode() for argument in arguments)
    stamp = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
    out.print(Text.assemble((stamp, "dim"), "  ", (name, "bold green"), "  ", data))
