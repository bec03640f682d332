"""The event loop that an Oyez runs in, and how it learns there that the process is asked to stop.

Everything that waits belongs to that loop. A call from another thread or loop would leave locks and connections in a
state that nothing ends, so it is refused before anything is touched.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import FrameType
from typing import Any

from oyez.errors import NotRunningError, WrongLoopError
from oyez.log.log import Log

SIGNALS = (signal.SIGTERM, signal.SIGINT)
REMEDY = (
    "Enter `oyez.running()` in the lifespan of the application that it is mounted in, as"
    " `FastAPI(lifespan=lambda app: oyez.running())`: a mounted application gets no lifespan of its own."
)


class HomeLoop:
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


class HomeLog:
    """A log that a system may use in the home loop only; every call is checked."""

    def __init__(self, log: Log, home: HomeLoop) -> None:
        self._log = log
        self._home = home

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._log, name)

        @wraps(call)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            self._home.check()
            return await call(*args, **kwargs)

        return checked


@contextmanager
def notice_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` in the running loop when the process is asked to stop, before other handlers of the signal.

    An ASGI server ends the lifespan only when all requests have been answered, and a poll waits for `ping_interval`.
    Signals that would end the process at once stay as they are, and so does everything in a thread.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                _hook(number, lambda: loop.call_soon_threadsafe(stop), stack)
        yield


def _hook(number: signal.Signals, stop: Callable[[], Any], stack: ExitStack) -> None:
    before = signal.getsignal(number)
    if not callable(before):
        return

    def handle(received: int, frame: FrameType | None) -> None:
        stop()
        before(received, frame)

    def restore() -> None:
        if signal.getsignal(number) is handle:
            signal.signal(number, before)

    signal.signal(number, handle)
    # As event loops do: a system call that the signal interrupts continues.
    signal.siginterrupt(number, False)
    stack.callback(restore)
