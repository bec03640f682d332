"""The README, done: every block of it is run as a reader would run it, in an empty folder.

The port is another one, so that a server which happens to run on this machine is left alone.
"""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from oyez.systems.listing import list_systems
from tests.support.terminal import Ended, Running, start_program

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EVENT = r"^\d\d:\d\d:\d\d\.\d{3}  order_shipped  \{.*\}$"


class Block(NamedTuple):
    """The line before a fenced block, its language, and its text."""

    before: str
    language: str
    text: str


OWN = "pip install oyez pytest"
"""What `tests/test_wheel.py` does without a package index."""
BLOCKS = [Block(*found) for found in re.findall(r"([^\n]*)\n\n```(\w*)\n(.*?)```", README, re.DOTALL)]


def test_every_block_is_known() -> None:
    """The tests below know these; a new one needs a way to run it."""
    assert [(block.language, block.text.removeprefix(".venv/bin/oyez ").split()[0]) for block in BLOCKS] == [
        ("sh", "make"),
        ("sh", "python3"),
        ("python", "from"),
        ("sh", "serve"),
        ("sh", "listen"),
        ("sh", "publish"),
        ("sh", "curl"),
        ("js", "import"),
        ("python", "SHIPPED"),
        ("sh", ".venv/bin/python"),
        ("sh", "demo"),
    ]
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("line", [line for line in BLOCKS[0].text.splitlines() if line])
def test_make_has_what_is_promised(line: str) -> None:
    target = line.split()[1]
    # What it would do is enough: `make test` would run this very test.
    planned = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    assert {"serve": "oyez serve", "test": "pytest"}[target] in planned.stdout


def test_the_way_to_a_system_of_ones_own_has_real_commands() -> None:
    lines = [line.partition("#")[0].split() for line in BLOCKS[1].text.splitlines()]
    assert OWN.split() in lines
    assert [line for line in lines if line[0] == "oyez"] == [["oyez", "new", "parcels"]]


class Reader:
    """A reader who copies the blocks into terminals, one after the other."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "oyez").symlink_to(Path(sys.executable).with_name("oyez"))
        # A link to the interpreter of an environment would be another environment.
        python = folder / ".venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (folder / "node_modules").symlink_to(ROOT / "tests" / "js" / "node_modules")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])

    async def open_terminal(self, line: str, **environ: str) -> Running:
        """Run a command that keeps running."""
        line = line.replace(":5001", f":{self.port}").strip()
        started = start_program(self._folder, "sh", "-c", line, PORT=self.port, **environ)
        return await self._stack.enter_async_context(started)

    async def run(self, line: str) -> Ended:
        """Run a line that ends."""
        return await (await self.open_terminal(line)).wait()

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text.replace(":5001", f":{self.port}"))


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    async with AsyncExitStack() as stack:
        yield Reader(tmp_path, stack)


async def test_a_reader_gets_to_the_end(reader: Reader) -> None:
    _, _, contract, serve, listen, publish, curl, page, test, run_test, _ = BLOCKS

    named = re.search(r"in a file `(\S+)`", contract.before)
    assert named
    reader.write(named[1], contract.text)
    serving = await reader.open_terminal(f"exec {serve.text}")
    await serving.expect_out(f"listens at http://127.0.0.1:{reader.port} ")
    listening = await reader.open_terminal(f"exec {listen.text}")
    await listening.expect_note("^connected to")

    published = await reader.run(publish.text)
    assert re.fullmatch(r"published at \S+\n", published.out), published
    await listening.expect_out(EVENT)
    await check_refusals(reader, publish.text)

    answer = await reader.run(curl.text)
    assert re.fullmatch(r'\{"position":"\S+","rooms":\["customer:ada"\]\}', answer.out), answer
    await listening.expect_out(EVENT)

    named = re.search(r"TOKEN=\$\(\.venv/bin/(oyez token \S+ --sub \w+)\)", README)
    assert named
    token = await reader.run(f".venv/bin/{named[1]}")
    reader.write("page.mjs", page.text)
    # The official client's own log reports its connection; the program does not.
    program = await reader.open_terminal("exec node page.mjs", TOKEN=token.out.strip(), DEBUG="socket.io-client:socket")
    await program.expect_note("connected with id")
    await reader.run(curl.text)
    await program.expect_out("^o-17 is on its way with Swift Post$")

    assert (await serving.stop(signal.SIGINT)).status == 0
    serving = await reader.open_terminal(f"exec {serve.text}")
    await serving.expect_out(f"listens at http://127.0.0.1:{reader.port} ")
    assert (await reader.run(curl.text)).status == 0
    await program.expect_out("^o-17 is on its way with Swift Post$")
    await listening.expect_out(EVENT)

    for running in (listening, serving):
        assert (await running.stop(signal.SIGINT)).status == 0

    named = re.search(r"into a file `(\S+)`", test.before)
    assert named
    reader.write(named[1], test.text)
    tested = await reader.run(run_test.text)
    assert "1 passed" in tested.out, tested


async def test_the_day_is_as_it_should_be(reader: Reader) -> None:
    ended = await (await reader.open_terminal(BLOCKS[-1].text)).wait(patience=120.0)
    assert ended.status == 0, ended
    summaries = [line for line in ended.out.splitlines() if "events received;" in line]
    assert [summary.partition(":")[0] for summary in summaries] == list_systems()


async def check_refusals(reader: Reader, line: str) -> None:
    """ "If you omit a field, or publish to another customer's room, the server sends nothing"."""
    without = await reader.run(re.sub(r'"carrier": "[^"]*", ', "", line))
    assert "carrier" in without.error
    elsewhere = await reader.run(f"{line.strip()} --to customer:bob")
    assert "customer:bob" in elsewhere.error
