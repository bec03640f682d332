"""The data folder and the version of its format: which Oyez wrote it, and what makes it one that this Oyez reads.

The number is in one file and stands for the folder as a whole: which files there are, and what they are called. What is
inside of the logs and of the database has versions of its own, in there.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from oyez.errors import SettingsError
from oyez.logger import get_logger
from oyez.settings import Settings

logger = get_logger("oyez.service")

Step = Callable[[Path], None]
"""Brings a folder from one format to the next. It may be run again where it was interrupted."""


def keep_as_it_is(folder: Path) -> None:
    """Format 0 had no number, and was otherwise the same."""


STEPS: Sequence[Step] = (keep_as_it_is,)
"""From format 0 to 1, and so on: there are as many as the number of today's format."""
DATA = ("domain.sqlite", "log-*.sqlite")
"""What a folder of format 0 holds, where it is not empty."""


def open_folder(settings: Settings, steps: Sequence[Step] = STEPS) -> None:
    """Have the data folder in today's format, where anything is kept in it.

    Blocks; of several processes that start together one migrates. Raises SettingsError where a newer Oyez wrote it, or
    it cannot be used.
    """
    folder = settings.data_folder
    if None not in (settings.jwt_secret, settings.database_url, settings.redis_url) and not folder.exists():
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            found = _read_format(folder, len(steps))
            for number, step in enumerate(steps[found:], found + 1):
                step(folder)
                _write_format(folder, number)
    except OSError as error:
        raise SettingsError(f"oyez_data {folder} cannot be used: {error}. Set OYEZ_DATA to another folder.") from None
    if found < len(steps):
        logger.info("the data folder was migrated", folder=str(folder), was=found, format=len(steps))


def _read_format(folder: Path, newest: int) -> int:
    """Raises SettingsError where it is none that can be read."""
    file = folder / "format"
    if not file.exists():
        if any(found for pattern in DATA for found in folder.glob(pattern)):
            return 0
        # A new one begins with today's.
        _write_format(folder, newest)
        return newest
    text = file.read_text(errors="replace").strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise SettingsError(f"{file} holds {text[:40]!r}, and should hold a number. Restore the folder from a backup.")
    if int(text) > newest:
        raise SettingsError(
            f"{folder} was written by a newer Oyez: its format is {text}, this one reads up to {newest}."
            " Start the newer Oyez again, or set OYEZ_DATA to another folder."
        )
    return int(text)


def _write_format(folder: Path, number: int) -> None:
    # In one piece: who is killed leaves the old number or the new one.
    draft = folder / "format.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{number}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / "format")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
