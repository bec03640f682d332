"""Files that several processes of one user share: locks between the processes, and no access for other users."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def lock_folder(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `folder` while inside. The operating system releases it if the process ends.

    Raises OSError if the folder cannot be opened, and BlockingIOError if another process holds the lock and `wait` is
    False.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def make_private(file: Path) -> None:
    """Create `file` if it is missing, for its owner only. SQLite's other files get the same rights."""
    # If the file cannot be created, the code that opens it reports the reason.
    with suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
