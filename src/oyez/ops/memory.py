"""Returns freed memory to the operating system.

glibc keeps freed memory that lies below memory in use. After an attack or many clients at once, a process would keep a
few hundred megabytes until it ends. With other C libraries this module does nothing.
"""

import ctypes
import os
import time
from pathlib import Path
from threading import Thread

CHECK_SECONDS = 30.0
"""Seconds between two checks of the memory: freed memory is not urgent."""
GROWTH = 32_000_000
"""Bytes of freed memory above which it is returned: returning a megabyte takes half a millisecond."""
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
        """Return all empty pages to the operating system."""
        self._trim(0)

    def read_unused(self) -> int:
        """Bytes in memory that are not allocated by `malloc`: what it keeps, and memory of other origin."""
        usage = self._read_usage()
        return read_resident() - int(usage.uordblks) - int(usage.hblkhd)


def start_giving_back() -> None:
    """From now on, return freed memory if there is more than GROWTH of it. Does nothing without glibc."""
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
