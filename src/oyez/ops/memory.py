"""Gives freed memory back to the operating system.

glibc keeps what was freed below memory that is still used: after an attack or a crowd, up to some hundred megabytes for
as long as the process lives. Other C libraries and systems are left as they are.
"""

import ctypes
import os
import time
from pathlib import Path
from threading import Thread

CHECK_SECONDS = 30.0
GROWTH = 32_000_000
"""Bytes of freed memory from which on it is given back: a megabyte takes half a millisecond."""
_SIZES = Path("/proc/self/statm")


class _Usage(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    )


class Allocator:
    """glibc's `malloc`. Raises AttributeError if the process has another one, or an old one."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._trim = library.malloc_trim
        self._read_usage = library.mallinfo2
        self._read_usage.restype = _Usage

    def trim(self) -> None:
        """Give back all whole pages that hold nothing."""
        self._trim(0)

    def read_unused(self) -> int:
        """Bytes that are in memory and that `malloc` has not handed out: what it keeps, and what others have."""
        usage = self._read_usage()
        return read_resident() - int(usage.uordblks) - int(usage.hblkhd)


def start_giving_back() -> None:
    """From now on, give freed memory back when there is more than GROWTH of it. Does nothing without glibc."""
    try:
        allocator = Allocator()
    except AttributeError:
        return
    if _SIZES.exists():
        Thread(target=_run, args=(allocator,), name="oyez-memory", daemon=True).start()


def read_resident() -> int:
    """Bytes of this process that are in memory."""
    return int(_SIZES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _run(allocator: Allocator) -> None:
    lowest = allocator.read_unused()
    while True:
        time.sleep(CHECK_SECONDS)
        lowest = min(lowest, unused := allocator.read_unused())
        if unused - lowest > GROWTH:
            allocator.trim()
            lowest = allocator.read_unused()
