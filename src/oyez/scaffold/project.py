"""A starting project, written from the templates in `project/`; from a document, some of `document/` replace them.

A template is a file that ends with `.template`. `{{word}}` in its text stands for a value, and the folder `package` for
the name of the project's Python package. Files and folders that begin with a dot have no dot here, so that no tool
takes a template for a file of its own.
"""

import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from oyez.errors import OyezError
from oyez.systems.listing import list_systems

PROJECT = "project"
"""The folder with the templates of the example project."""
DOCUMENT = "document"
"""The folder with those that replace them in a project that is written from a document."""
EXAMPLE_ONLY = (
    "package/contract.py",
    "package/handlers.py",
    "package/tables.py",
    "package/migrations/",
    "tests/test_orders.py",
)
"""Files of the example project that others do not have."""
SUFFIX = ".template"
DOTTED = {"github", "gitignore", "dockerignore"}
"""Files and folders that begin with a dot in a project."""
TAKEN = {"tests", "test", "system", "wheels"}
"""Names of other files and folders of a project."""
MAX_NAME = 40
"""Characters: addresses, tables and images contain the name."""


class ProjectError(OyezError):
    """A project cannot be written: its name cannot be used, or its folder exists."""


def check_name(name: str) -> str:
    """The name of the Python package of a system that is called `name`. Raises ProjectError."""
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", name, re.ASCII) or len(name) > MAX_NAME:
        raise ProjectError(
            f"{name!r} cannot be the name of a system. Use 1 to {MAX_NAME} lower-case letters and digits, which begin"
            " with a letter, with single - or _ between them, such as tool-shop."
        )
    if keyword.iskeyword(package) or keyword.issoftkeyword(package) or package in TAKEN:
        raise ProjectError(f"{name!r} cannot be the name of a Python package here. Use another name.")
    if name in list_systems():
        raise ProjectError(f"{name!r} is a system that comes with Oyez. Use another name.")
    if package in sys.stdlib_module_names or _is_installed(package):
        raise ProjectError(f"There is a Python module {package!r} already, which the project would hide. Use another.")
    return package


def _is_installed(package: str) -> bool:
    """True if Python finds a module of that name, unless it is only a folder without code."""
    found = find_spec(package)
    return found is not None and found.origin is not None


def build_example(package: str, values: Mapping[str, str]) -> dict[str, str]:
    """The files of the example project, by their paths. `values` are the words of the templates."""
    return fill_in_all(read_templates(PROJECT), package, values)


def build_from_document(package: str, values: Mapping[str, str], contract: str, handlers: str) -> dict[str, str]:
    """The files of a project whose contract and handlers were written from a document."""
    shared = {path: text for path, text in read_templates(PROJECT).items() if not path.startswith(EXAMPLE_ONLY)}
    files = fill_in_all({**shared, **read_templates(DOCUMENT)}, package, values)
    return {**files, f"{package}/contract.py": contract, f"{package}/handlers.py": handlers}


def fill_in_all(templates: Mapping[str, str], package: str, values: Mapping[str, str]) -> dict[str, str]:
    words = {**values, "package": package}
    return {path.replace("package/", f"{package}/", 1): fill_in(text, words) for path, text in templates.items()}


def check_folder(folder: Path) -> None:
    """Raises ProjectError if there is something at the place of a new folder."""
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise ProjectError(f"{folder} exists already. Nothing was changed; give another name, or remove it.")


def write_project(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of a project into `folder`, which must not exist, or be empty.

    The folder appears with all files, or not at all. Raises ProjectError.
    """
    check_folder(folder)
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ProjectError(f"{folder} cannot be written: {error.strerror}. Use a folder that you may change.") from None
    try:
        for path, text in files.items():
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        draft.chmod(0o777 & ~_read_umask())
        # Replaces an empty folder only: what another program has written there in the meantime stays.
        draft.rename(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise ProjectError(f"{folder} cannot be written: {error.strerror}.") from None


def read_templates(kind: str) -> dict[str, str]:
    """The text of each template, by the path of its file in a project."""
    return {path: source.read_text(encoding="utf-8") for path, source in _find_templates(Path(__file__).parent / kind)}


def _find_templates(folder: Path) -> Iterator[tuple[str, Path]]:
    for source in sorted(folder.rglob(f"*{SUFFIX}")):
        parts = source.relative_to(folder).with_suffix("").parts
        yield "/".join(f".{part}" if part in DOTTED else part for part in parts), source


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values in the places of their words. Raises KeyError for a word without a value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
