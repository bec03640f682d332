"""What `oyez listen` does while it listens: obeys what is typed or piped in, or waits for what is expected."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout

from oyez.cli import console
from oyez.cli.listener import Listener
from oyez.cli.prompt import LineError, Prompt
from oyez.client import Disconnected

Orders = Sequence[tuple[str, list[Any]]]
"""Events to send, with their arguments."""

STDIN, STDOUT = 0, 1
"""By their numbers: Python's own objects may be missing, or locked by whoever reads."""


async def attend(listener: Listener, prompt: Prompt, orders: Orders, expect: Sequence[str], timeout: float) -> int:
    """Listen, and do what has to be done besides, until one of both is over; the exit status."""
    doing = asyncio.create_task(
        await_events(listener, prompt, orders, expect, timeout) if expect else obey_lines(listener, prompt, orders)
    )
    listening = asyncio.create_task(listener.run())
    try:
        await asyncio.wait({listening, doing}, return_when=asyncio.FIRST_COMPLETED)
        return listening.result() if listening.done() else doing.result()
    finally:
        for task in (doing, listening):
            task.cancel()
        await asyncio.wait({listening, doing})


async def await_events(
    listener: Listener, prompt: Prompt, orders: Orders, expect: Sequence[str], timeout: float
) -> int:
    """Wait for each of these events; the exit status."""
    missing, heard = list(expect), asyncio.Queue[str]()
    listener.hear = heard.put_nowait
    try:
        async with asyncio.timeout(timeout):
            await listener.connected.wait()
            if not await send_all(prompt, orders):
                return 1
            while missing:
                name = await heard.get()
                if name in missing:
                    missing.remove(name)
    except TimeoutError:
        return console.fail(f"{' and '.join(missing)} did not come within {timeout:g} s.")
    return 0


async def obey_lines(listener: Listener, prompt: Prompt, orders: Orders) -> int:
    """Send what is to be sent, and obey what is typed or piped in; the exit status."""
    await listener.connected.wait()
    if not await send_all(prompt, orders):
        return 1
    if is_foreground():
        if os.isatty(STDIN) and os.isatty(STDOUT):
            return await converse(prompt)
        async for line in read_lines(STDIN):
            if not await prompt.obey(line):
                return 0
    # Whoever has no more to say may still listen.
    await asyncio.Future()
    return 0


async def send_all(prompt: Prompt, orders: Orders) -> bool:
    """Whether all were done; what was refused is shown."""
    for name, arguments in orders:
        try:
            answer = await prompt.send(name, *arguments)
        except (LineError, Disconnected) as error:
            console.fail(str(error))
            return False
        if isinstance(answer, dict) and answer.get("ok") is False:
            console.fail(f"{name} was refused: {answer['error']['code']}: {answer['error']['message']}")
            return False
    return True


async def converse(prompt: Prompt) -> int:
    """Obey what is typed at a prompt; events go on above it."""
    session: PromptSession[str] = PromptSession("> ", completer=prompt)
    with patch_stdout(raw=True):
        while True:
            try:
                line = await session.prompt_async()
            except (EOFError, KeyboardInterrupt):
                return 0
            if not await prompt.obey(line):
                return 0


def is_foreground() -> bool:
    """Whether standard input may be read: in the background of a terminal, that would stop the process."""
    try:
        return not os.isatty(STDIN) or os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:
        # A terminal that is not this process's own.
        return False


async def read_lines(descriptor: int) -> AsyncIterator[str]:
    """The lines of a file, pipe or terminal, as they come, up to its end."""
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def read() -> None:
        piece = b"-"
        while piece:
            try:
                piece = os.read(descriptor, 65_536)
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except (OSError, RuntimeError):
                # Nothing can be read here, or nobody wants it any more.
                return

    # A thread that does not keep the process from ending: what it waits for may never come.
    threading.Thread(target=read, daemon=True).start()
    rest = b""
    while piece := await pieces.get():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
