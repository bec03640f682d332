"""The data folder and the version of its format, and the migrations from older versions.

The version is in one file, and is about the folder as a whole: its files and their names. The logs and the database
have versions of their own for their contents.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from oyez.concurrency.file_lock import lock_folder
from oyez.errors import SettingsError
from oyez.logger import get_logger
from oyez.settings import Settings

logger = get_logger("oyez.service")

Step = Callable[[Path], None]
"""Brings a folder from one format to the next. It may be run again after an interruption."""


def keep_as_it_is(folder: Path) -> None:
    """Format 0 had no number, and was otherwise the same."""


STEPS: Sequence[Step] = (keep_as_it_is,)
"""From format 0 to 1, and so on: there are as many as the number of today's format."""
DATA = ("domain.sqlite", "log-*.sqlite")
"""Files of a folder of format 0 that is not empty."""
KEPT = (*DATA, "log-*.peers", "nodes")
"""What the server must be able to read and write if it is there, besides the secret."""
_REMEDY = "Set OYEZ_DATA to another folder."


def open_folder(settings: Settings, steps: Sequence[Step] = STEPS) -> None:
    """Bring the data folder into today's format, if anything is stored in it.

    Blocks; of several processes that start together one migrates. Raises SettingsError if a newer Oyez wrote it, or
    it cannot be used.
    """
    folder = settings.data_folder
    elsewhere = settings.jwt_secret is not None and settings.database_url is not None
    if elsewhere and not settings.log_address.startswith("sqlite:") and not folder.exists():
        return
    check_usable(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_kept(folder)
        with lock_folder(folder):
            found = _read_format(folder, len(steps))
            for number, step in enumerate(steps[found:], found + 1):
                step(folder)
                _write_format(folder, number)
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(f"oyez_data {folder} cannot be used: {reason}. Set OYEZ_DATA to another folder.") from None
    if found < len(steps):
        logger.info("the data folder was migrated", folder=str(folder), was=found, format=len(steps))


def examine_folder(settings: Settings, steps: Sequence[Step] = STEPS) -> str:
    """Describe the data folder, without a change. Raises SettingsError if the server could not use it."""
    folder = settings.data_folder.absolute()
    check_usable(folder)
    if not folder.exists():
        return f"{folder} does not exist; the first start makes it"
    _check_kept(folder)
    about = folder.stat()
    if about.st_mode & 0o002:
        raise SettingsError(
            f"{folder} can be written by all users of this machine (mode {about.st_mode & 0o777:04o}), who could"
            f" replace the secret. Run `chmod 700 {folder}`."
        )
    try:
        found = find_format(folder, len(steps))
    except OSError as error:
        raise SettingsError(f"{folder} cannot be read: {error.strerror}. Set OYEZ_DATA to another folder.") from None
    if found is None:
        return f"{folder} is empty; the first start fills it"
    then = "" if found == len(steps) else f"; the next start changes it to {len(steps)}"
    return f"{folder} has format {found}{then}"


def _check_kept(folder: Path) -> None:
    """Raises SettingsError for the first file that this user cannot use, such as one that another user's run made."""
    for path in sorted(found for pattern in KEPT for found in folder.glob(pattern)):
        _check_rights(path)


def check_usable(folder: Path) -> None:
    """Raises SettingsError unless this user may read and write `folder`, or make it if it does not exist."""
    check_reachable(folder)
    path = folder.absolute()
    _check_rights(next(found for found in (path, *path.parents) if found.exists()))


def check_reachable(folder: Path) -> None:
    """Raises SettingsError if this user may not enter `folder` or one of its parents, or if one of them is a file.

    Without this check, a look for a file inside of it may raise PermissionError.
    """
    path = folder.absolute()
    for found in (*reversed(path.parents), path):
        if not found.exists():
            return
        if not found.is_dir():
            raise SettingsError(f"{found} is not a folder. {_REMEDY}")
        if not os.access(found, os.X_OK):
            raise SettingsError(explain_rights(found))


def explain_rights(path: Path) -> str:
    """Why this user cannot use `path`, and what to do."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return (
            f"{path} is in a file system that is mounted read-only. Mount it for writing,"
            " or set OYEZ_DATA to another folder."
        )
    about = path.stat()
    mode = about.st_mode & 0o777
    remedy = f"Run `chmod u+rw{'x' if path.is_dir() else ''} {path}`"
    if about.st_uid != os.geteuid():
        remedy = "Change its owner, run Oyez as that user"
    return (
        f"{path} cannot be used by user {os.geteuid()}: it belongs to user {about.st_uid} and group {about.st_gid},"
        f" with mode {mode:04o}. {remedy}, or set OYEZ_DATA to another folder."
    )


def _check_rights(path: Path) -> None:
    """Raises SettingsError unless this user may read and write `path`, and enter it if it is a folder."""
    if not path.is_dir() and path.suffix != ".sqlite":
        raise SettingsError(f"{path} is not a folder. {_REMEDY}")
    if not os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)):
        raise SettingsError(explain_rights(path))


def _read_format(folder: Path, newest: int) -> int:
    """Raises SettingsError if the format cannot be read."""
    found = find_format(folder, newest)
    if found is None:
        # A new one begins with today's.
        _write_format(folder, newest)
        return newest
    return found


def find_format(folder: Path, newest: int) -> int | None:
    """The format of `folder`; None if it is empty. Raises SettingsError if this Oyez cannot read it."""
    file = folder / "format"
    if not file.exists():
        return 0 if any(found for pattern in DATA for found in folder.glob(pattern)) else None
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
    # By a rename: a process that is killed leaves the old number or the new one.
    draft = folder / "format.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{number}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / "format")
