"""The clock of a process: what time it is, and how to wait. The test kit has one that only the test moves."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call. Does nothing if the call has been made."""


class Clock:
    """The real time. Everything that depends on time asks the clock that it was given."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` gives seconds since 1970."""
        self.now = now

    monotonic = staticmethod(time.monotonic)
    """Seconds since an arbitrary moment; they never go back. Each command asks twice: it is the function itself."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        """`sleep`, between two attempts to use something that does not answer."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """Call `call(*args)` after `seconds`, in the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, call, *args)
