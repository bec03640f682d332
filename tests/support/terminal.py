"""Commands as a person has them: called in a folder, with an environment, and judged by what they print.

`Calls` runs a command in this process, `run` in one of its own, `start` beside the test.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from oyez.cli.main import main
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import Signer, build_signer
from oyez.settings import Settings
from tests.support.clock import PATIENCE

ORDERS = Path(__file__).parents[1] / "cli" / "orders.py"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one line of error, without the word."""
        assert self.status in (1, 2), self
        found = re.fullmatch(r"Error: (.+)\n", self.err)
        assert found, self
        return found[1]


class Calls:
    """Runs `oyez` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> Ended:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = self._capsys.readouterr()
        status = ended.value.code or 0
        assert isinstance(status, int)
        return Ended(status, captured.out, captured.err)


class Running:
    """A command at work."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[str] = []
        """The lines that it has printed and a test has read."""

    async def expect_out(self, pattern: str) -> re.Match[str]:
        """The next line of standard output that has `pattern`; those before it are passed over."""
        return await self._expect(self.process.stdout, pattern)

    async def expect_note(self, pattern: str) -> re.Match[str]:
        """The same for standard error."""
        return await self._expect(self.process.stderr, pattern)

    async def stop(self, signal: int) -> Ended:
        """Send a signal; what it printed from then on."""
        self.process.send_signal(signal)
        return await self.wait()

    async def wait(self, patience: float = PATIENCE) -> Ended:
        async with asyncio.timeout(patience):
            out, err = await self.process.communicate()
        return Ended(self.process.returncode or 0, out.decode(), err.decode())

    async def _expect(self, stream: asyncio.StreamReader | None, pattern: str) -> re.Match[str]:
        assert stream is not None
        begin = len(self.seen)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                async for line in stream:
                    self.seen.append(line.decode().rstrip("\n"))
                    if found := re.search(pattern, self.seen[-1]):
                        return found
        raise AssertionError(f"expected {pattern!r}, got {self.seen[begin:]}")


@asynccontextmanager
async def start(folder: Path, *words: str | Path, **environ: str) -> AsyncIterator[Running]:
    """`oyez WORDS` in `folder`; killed at the end where it still runs."""
    async with start_program(folder, sys.executable, "-m", "oyez.cli", *words, **environ) as running:
        yield running


@asynccontextmanager
async def start_program(folder: Path, *words: str | Path, **environ: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        cwd=folder,
        env={**plain_environment(), **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running, failed = Running(process), True
    try:
        yield running
        failed = False
    finally:
        if process.returncode is None:
            process.kill()
        out, err = await process.communicate()
        if failed:
            # pytest shows it with the failure.
            print(f"{words} printed:", *running.seen, out.decode(), err.decode(), sep="\n")


async def run(folder: Path, *words: str | Path, **environ: str) -> Ended:
    """`oyez WORDS`, to its end."""
    async with start(folder, *words, **environ) as running:
        return await running.wait()


async def run_line(folder: Path, line: str) -> Ended:
    """A line that was shown to be copied, given to a shell."""
    async with start_program(folder, "sh", "-c", line) as running:
        return await running.wait()


def find_signer(folder: Path) -> Signer:
    """What signs as `oyez token` and `oyez key` in `folder` do, without a process for each."""
    settings = Settings(oyez_data=str(folder / "oyez-data"))
    return build_signer(settings, load_secret(settings))


def sign(folder: Path) -> str:
    """A token of Ada's for each system that `oyez serve` serves in `folder`."""
    return find_signer(folder).sign_user("ada", None, {}, 600.0)


def plain_environment() -> dict[str, str]:
    """This process's environment without anything that is a setting."""
    settings = {name.upper() for name in Settings.__struct_fields__}
    return {name: value for name, value in os.environ.items() if name not in settings}
