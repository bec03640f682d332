"""`oyez serve --reload`: when a file of the project changes, new workers take the place of the old ones.

A new worker takes over only when it serves, so a version with a mistake is never served: the mistake is shown, and the
version before continues. Clients of the old worker are disconnected as at a deployment; they reconnect to the new one
and recover what they missed.
"""

import asyncio
import os
import sys
import sysconfig
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import ModuleType

from watchfiles import Change, DefaultFilter, awatch

import oyez
from oyez.cli import console
from oyez.cli.mistakes import shorten
from oyez.cli.supervisor import Supervisor
from oyez.settings import Settings
from oyez.systems.listing import find_file

DEBOUNCE = 800
"""Milliseconds for which changes are collected at most: an editor or `git checkout` changes many files."""
STEP = 100
"""Milliseconds without a change after which what was collected counts."""
TEST_FILES = ("test_", "conftest.py")
"""How the names of files begin that no server runs."""
INSTALLED = {"site-packages", "dist-packages"}
"""Folders of packages that are installed."""
SETTINGS_FILE = "oyez.toml"
WARNING = "--reload is for development, and others use this server: each changed file disconnects all clients."


class ProjectFilter(DefaultFilter):
    """Changes that concern a running server: Python files, without tests, and the settings file."""

    def __init__(self, settings_file: Path | None) -> None:
        super().__init__()
        self._settings_file = settings_file.resolve() if settings_file is not None else None

    def __call__(self, change: Change, path: str) -> bool:
        if not super().__call__(change, path):
            return False
        name = Path(path).name
        if self._settings_file is not None and Path(path) == self._settings_file:
            return True
        return name == SETTINGS_FILE or (name.endswith(".py") and not name.startswith(TEST_FILES))


def warn(settings: Settings) -> None:
    """Warn if the server is set up for others than the developer."""
    if not settings.development:
        console.show_note(f"Warning: {WARNING}")


async def watch(supervisor: Supervisor, references: Sequence[str], settings_file: Path | None) -> None:
    """Replace the workers after each change, until cancelled; one line for each reload."""
    folders = find_folders(references, settings_file, sys.modules.values())
    shown = ", ".join(shorten(folder) for folder in folders)
    console.show_note(f"Reloads when a Python file or {SETTINGS_FILE} changes in {shown}.")
    loop = asyncio.get_running_loop()
    async with aclosing(find_changes(folders, settings_file)) as changes:
        async for names in changes:
            began = loop.time()
            replaced = await supervisor.replace()
            taken = f"{loop.time() - began:.1f} s"
            if replaced:
                console.show_note(f"Reloaded in {taken}: {names}")
            else:
                console.show_note(f"Not reloaded ({taken}): {names}. The version before continues to serve.")


async def find_changes(folders: Iterable[Path], settings_file: Path | None) -> AsyncGenerator[str]:
    """The names of the files that have changed, each time some have."""
    concerns = ProjectFilter(settings_file)
    async for changes in awatch(*folders, watch_filter=concerns, debounce=DEBOUNCE, step=STEP, raise_interrupt=False):
        yield ", ".join(sorted({shorten(Path(path)) for _, path in changes}))


def wait_and_start_again(references: Sequence[str], settings_file: Path | None) -> None:
    """The first version has a mistake, which has been shown: start again after the next change."""
    console.show_note("Not started. Waits for a change.")

    async def wait() -> None:
        folders = find_folders(references, settings_file, sys.modules.values())
        async with aclosing(find_changes(folders, settings_file)) as changes:
            async for names in changes:
                console.show_note(f"Starts again: {names}")
                return

    try:
        asyncio.run(wait())
    except KeyboardInterrupt:
        sys.exit(0)
    # Modules that were loaded would not be loaded again in this process.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def find_folders(
    references: Sequence[str], settings_file: Path | None, modules: Iterable[ModuleType] = ()
) -> list[Path]:
    """The folders to watch: those of the systems, of the settings file, and of the project's modules elsewhere.

    Folders inside of others are left out.
    """
    files = [find_file(reference) for reference in references]
    files.append(settings_file or Path(SETTINGS_FILE))
    folders = {file.resolve().parent for file in files} | set(find_module_folders(modules))
    return sorted(one for one in folders if one.is_dir() and not any(other in folders for other in one.parents))


def find_module_folders(modules: Iterable[ModuleType]) -> Iterator[Path]:
    """The folders of modules that a project has imported, without what is installed."""
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed |= {Path(os.__file__).resolve().parent, Path(oyez.__file__).resolve().parent}
    # To watch a home folder means to watch everything that a user has.
    large = {Path.home(), *Path.home().parents}
    for file in {str(getattr(module, "__file__", None) or "") for module in list(modules)}:
        folder = Path(file).resolve().parent
        around = {folder, *folder.parents}
        if (
            file.endswith(".py")
            and not around & installed
            and not INSTALLED & set(folder.parts)
            and folder not in large
        ):
            yield folder
