"""`oyez new`: a starting project, which runs and passes its tests at once."""

import os
import sys
from pathlib import Path

from rich.text import Text

from oyez import __version__
from oyez.cli import console
from oyez.scaffold.project import check_name, write_project


def new(name: str, /) -> int:
    """Write a starting project into a new folder.

    It has a contract, handlers, a table with its migration, tests, a Dockerfile and a CI file. No file is overwritten.

    For example:
      oyez new parcels

    Parameters
    ----------
    name
        The name of the system, and of the folder.
    """
    package = check_name(name)
    folder = Path(name)
    words = {"name": name, "version": __version__, "oyez": _from(folder, "oyez"), "python": _from(folder, "python")}
    write_project(folder, package, words, {})
    console.out.print(Text.assemble("Written: ", (f"{folder}/", "bold"), ". Next:"))
    show_next(folder, words)
    return 0


def show_next(folder: Path, words: dict[str, str]) -> None:
    """The three commands that come next."""
    console.show_command("enter", f"cd {folder}")
    console.show_command("test", f"{words['python']} -m pytest")
    console.show_command("serve", f"{words['oyez']} serve system.py")


def _from(folder: Path, program: str) -> str:
    """How to call a program of this environment in `folder`."""
    (*start, last) = console.invocation()
    if [*start, last] == ["oyez"]:
        return program
    beside = Path(sys.executable).parent / program
    return console.join_words([min(str(beside), os.path.relpath(beside, folder), key=len)])
