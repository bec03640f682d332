"""Where a mistake is: the file and the line of an error in a project, or of a declaration that a contract refuses."""

import ast
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from oyez import errors
from oyez.errors import ContractError, OyezError
from oyez.logger import redact
from oyez.systems.listing import find_file

NAMED = re.compile(
    r"(?:event|command|relay|signal|room|namespace|gateway|user attribute|refusal|job) '?([^\s']+?)'?:? "
)
"""How an error of a contract names a declaration, as in `event order:created: …`."""
_INSTALLED = (Path(errors.__file__).parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")))
"""Folders of code that is not the project's."""


def describe(error: OyezError, references: Sequence[str]) -> list[str]:
    """The lines of an error, each with its place as FILE:LINE if that is known."""
    cause = error.__cause__
    if isinstance(cause, Exception) and (place := _find_place(cause)) is not None:
        message = cause.msg if isinstance(cause, SyntaxError) else redact(str(cause))
        return [f"{place}: {type(cause).__name__}: {message}"]
    lines = str(error).splitlines()
    if not isinstance(error, ContractError):
        return lines
    files = [file for reference in references for file in _list_sources(find_file(reference))]
    raised = _find_declaring_line(error, files)
    return [f"{place}: {line}" if (place := _locate(line, files) or raised) else line for line in lines]


def shorten(path: Path) -> str:
    """A path as seen from the current folder, if it is inside of it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _find_place(error: Exception) -> str | None:
    """The last line of the project that an exception has passed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shorten(Path(error.filename))}:{error.lineno or 1}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_project(frame.filename)]
    return f"{shorten(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else None


def _find_declaring_line(error: ContractError, files: list[Path]) -> str | None:
    """The line of a file that raised the error while it was loaded."""
    names = {str(file) for file in files}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    return f"{shorten(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else None


def _is_of_project(filename: str) -> bool:
    path = Path(filename)
    return path.is_file() and not any(path.is_relative_to(folder) for folder in _INSTALLED)


def _list_sources(file: Path) -> list[Path]:
    """The Python files of a system: the one that is named, and those beside it."""
    folder = file.resolve().parent
    others = sorted(path for path in folder.glob("**/*.py") if not path.name.startswith("test_"))
    return [file.resolve(), *(path for path in others if path != file.resolve())]


def _locate(line: str, files: list[Path]) -> str | None:
    """The declaration that a line of an error names; None if no file has it."""
    named = NAMED.search(f"{line} ")
    if named is None:
        return None
    for file in files:
        for number, name in _find_declarations(file):
            if name == named[1]:
                return f"{shorten(file)}:{number}"
    return None


def _find_declarations(file: Path) -> Iterator[tuple[int, str]]:
    """The calls in a file whose first argument is a text: their lines, and the texts."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value
