"""The server of `oyez demo --start`: a process of its own, with a free port and a temporary data folder."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from oyez.errors import OyezError
from oyez.settings import Settings

START_TIMEOUT = 30.0
"""Seconds: a slow machine may load all modules for the first time."""


class ServerError(OyezError):
    """The server did not start."""


@asynccontextmanager
async def start_server(systems: Sequence[str]) -> AsyncIterator[tuple[str, Settings]]:
    """The address and the settings of a server that ignores this machine's settings. Raises ServerError."""
    with TemporaryDirectory(prefix="oyez-demo-") as folder:
        data = str(Path(folder) / "data")
        named = {name.upper() for name in Settings.__struct_fields__}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oyez.cli", "serve", *systems),
            *("--port", "0", "--oyez-data", data, "--log-level", "warning"),
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in named},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield await _read_address(process), Settings(oyez_data=data)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()


async def _read_address(process: asyncio.subprocess.Process) -> str:
    """The address in the first line that `oyez serve` prints."""
    assert process.stdout is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT):
            found = re.search(rb"https?://\S+", await process.stdout.readline())
            if found:
                return found[0].decode()
    raise ServerError("The server of the demo did not start; its message is above.")
