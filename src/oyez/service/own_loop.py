"""The event loop that an Oyez runs in: calls from other loops and threads are refused.

Locks and connections belong to that loop, and a call from elsewhere would leave them in a state that nothing ends. So
it is refused before anything is changed.
"""

import asyncio
from functools import wraps
from typing import Any

from oyez.errors import NotRunningError, WrongLoopError
from oyez.log.log import Log

REMEDY = (
    "Enter `oyez.running()` in the lifespan of the application that it is mounted in, as"
    " `FastAPI(lifespan=lambda app: oyez.running())`: a mounted application gets no lifespan of its own."
)


class OwnLoop:
    """The loop between the beginning and the end of `Oyez.running`; there is none before and after it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.was_entered = False
        """True if Oyez has run once, also if it no longer does."""

    @property
    def entered(self) -> bool:
        return self._loop is not None

    def enter(self) -> None:
        self._loop, self.was_entered = asyncio.get_running_loop(), True

    def leave(self) -> None:
        self._loop = None

    def check(self) -> None:
        """Raises NotRunningError if Oyez does not run, WrongLoopError if it runs in another loop than the caller."""
        if self._loop is None:
            raise NotRunningError(f"Oyez does not run, so nothing was done. {REMEDY}")
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoopError(
                "This was called in another thread or event loop than the one that Oyez runs in, so nothing was done."
                " Get that loop there with asyncio.get_running_loop(), and call"
                " asyncio.run_coroutine_threadsafe(publisher.emit(...), loop).result() in the other thread."
            )


class LoopBoundLog:
    """A log that a system may use in Oyez's own loop only; every call is checked."""

    def __init__(self, log: Log, own_loop: OwnLoop) -> None:
        self._log = log
        self._own_loop = own_loop

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._log, name)

        @wraps(call)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            self._own_loop.check()
            return await call(*args, **kwargs)

        return checked
