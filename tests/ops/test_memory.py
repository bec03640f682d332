"""Memory that was freed goes back to the operating system."""

import platform
import time

import pytest

from oyez.ops import memory
from tests.support.clock import PATIENCE

PIECE = 20_000
"""Less than the size from which glibc takes each block from the operating system on its own."""


def test_memory_that_was_freed_below_memory_in_use_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("this C library is not glibc")
    monkeypatch.setattr(memory, "CHECK_SECONDS", 0.01)
    memory.start_giving_back()
    pieces = [bytes(PIECE) + b"x" for _ in range(5_000)]
    kept = pieces[::50] + pieces[-1:]
    before = memory.read_resident()
    del pieces
    deadline = time.monotonic() + PATIENCE
    while before - memory.read_resident() < 50_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(kept) == 101
