"""What `oyez listen` does while it is connected: executes lines that are typed or piped in, or waits for events."""

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

Emissions = Sequence[tuple[str, list[Any]]]
"""Events to send, with their arguments."""

STDIN, STDOUT = 0, 1
"""File descriptors, because Python's own objects may be missing, or locked by a thread that reads."""


async def run_session(
    listener: Listener, prompt: Prompt, emissions: Emissions, expect: Sequence[str], timeout: float
) -> int:
    """Listen, and wait for events or execute lines, until either has ended; returns the exit status."""
    working = asyncio.create_task(
        expect_events(listener, prompt, emissions, expect, timeout)
        if expect
        else execute_lines(listener, prompt, emissions)
    )
    listening = asyncio.create_task(listener.run())
    try:
        await asyncio.wait({listening, working}, return_when=asyncio.FIRST_COMPLETED)
        return listening.result() if listening.done() else working.result()
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.wait({listening, working})


async def expect_events(
    listener: Listener, prompt: Prompt, emissions: Emissions, expect: Sequence[str], timeout: float
) -> int:
    """Wait for each of these events; returns the exit status."""
    missing, received = list(expect), asyncio.Queue[str]()
    listener.on_event = received.put_nowait
    try:
        async with asyncio.timeout(timeout):
            await listener.connected.wait()
            if not await send_all(prompt, emissions):
                return 1
            while missing:
                name = await received.get()
                if name in missing:
                    missing.remove(name)
    except TimeoutError:
        return console.fail(f"Not received within {timeout:g} s: {', '.join(missing)}.")
    return 0


async def execute_lines(listener: Listener, prompt: Prompt, emissions: Emissions) -> int:
    """Send the events, then execute lines that are typed or piped in; returns the exit status."""
    await listener.connected.wait()
    if not await send_all(prompt, emissions):
        return 1
    if is_foreground():
        if os.isatty(STDIN) and os.isatty(STDOUT):
            return await converse(prompt)
        async for line in read_lines(STDIN):
            if not await prompt.execute(line):
                return 0
    # After the last line, go on listening.
    await asyncio.Future()
    return 0


async def send_all(prompt: Prompt, emissions: Emissions) -> bool:
    """True if the server accepted all; shows the refusal otherwise."""
    for name, arguments in emissions:
        try:
            answer = await prompt.send(name, *arguments)
        except (LineError, Disconnected) as error:
            console.fail(str(error))
            return False
        refusal = prompt.find_refusal(name, answer)
        if refusal is not None:
            console.fail(f"{name} was refused: {refusal}")
            return False
    return True


async def converse(prompt: Prompt) -> int:
    """Execute lines that are typed at a prompt; events are printed above it."""
    session: PromptSession[str] = PromptSession("> ", completer=prompt)
    with patch_stdout(raw=True):
        while True:
            try:
                line = await session.prompt_async()
            except (EOFError, KeyboardInterrupt):
                return 0
            if not await prompt.execute(line):
                return 0


def is_foreground() -> bool:
    """True if standard input may be read: reading would stop a process in the background of a terminal."""
    try:
        return not os.isatty(STDIN) or os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:
        # The terminal belongs to another session.
        return False


async def read_lines(descriptor: int) -> AsyncIterator[str]:
    """The lines of a file, pipe or terminal, as they arrive, until its end."""
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def read() -> None:
        piece = b"-"
        while piece:
            try:
                piece = os.read(descriptor, 65_536)
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except (OSError, RuntimeError):
                # The file cannot be read, or the event loop has ended.
                return

    # A daemon thread: it may wait for ever, and must not keep the process from ending.
    threading.Thread(target=read, daemon=True).start()
    rest = b""
    while piece := await pieces.get():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
