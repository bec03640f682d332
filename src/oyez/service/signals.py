"""SIGTERM and SIGINT when Oyez is mounted in another application: how Oyez is notified that the process must stop.

On its own port uvicorn handles the signals (`HttpServer.shutdown` in `server/http/port.py`), and with several workers
the supervisor does (`cli/supervisor.py`).
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
