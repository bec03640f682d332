"""Gives freed memory back to the operating system.

glibc keeps what was freed below memory that is still used: after an attack or a crowd, up to some hundred megabytes for
as long as the process lives. Other C libraries and systems are left as they are.
"""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

CHECK_SECONDS = 30.0
GROWTH = 32_000_000
"""Bytes by which a process must have grown since the last time: to give back a megabyte takes half a millisecond."""
_SIZES = Path("/proc/self/statm")


def start_giving_back() -> None:
    """From now on, give freed memory back whenever the process has grown by GROWTH. Does nothing without glibc."""
    trim = find_trim()
    if trim is not None and _SIZES.exists():
        Thread(target=_run, args=(trim,), name="oyez-memory", daemon=True).start()


def find_trim() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; None if there is none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def read_resident() -> int:
    """Bytes of this process that are in memory."""
    return int(_SIZES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _run(trim: Callable[[int], int]) -> None:
    lowest = read_resident()
    while True:
        time.sleep(CHECK_SECONDS)
        lowest = min(lowest, resident := read_resident())
        if resident - lowest > GROWTH:
            trim(0)
            lowest = read_resident()
