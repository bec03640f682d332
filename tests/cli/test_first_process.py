"""`oyez serve` as the first process of a container: PID 1, and nothing but the data folder can be written."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.clock import PATIENCE
from tests.support.served import Served, command, start

CONTAINER = (
    "unshare",
    "--pid",
    "--mount",
    "--mount-proc",
    "--fork",
    "--kill-child",
    "sh",
    "-ec",
    'mount --bind "$OYEZ_DATA" "$OYEZ_DATA"; mount -o remount,bind,ro /; cd "$OYEZ_DATA"; exec "$@"',
    "sh",
)
"""Runs the words that follow as PID 1; the root folder is read-only."""


def can_contain(folder: Path) -> bool:
    """True if this user may make namespaces, and the folder is on the file system that becomes read-only."""
    tried = subprocess.run(
        [*CONTAINER, "sh", "-c", f"! touch {folder}/other"],
        env={**os.environ, "OYEZ_DATA": str(folder / "data")},
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def find_first(served: Served) -> int:
    """The process that is PID 1 inside, by its number outside."""
    return int(Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()[0])


def find_number_inside(process: int) -> int:
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("NSpid:")]
    return int(line.split()[-1])


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_first_process_serves_and_stops(tmp_path: Path, workers: str) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    if not can_contain(tmp_path):
        pytest.skip("namespaces cannot be made here")
    program = [*CONTAINER, *command("serve", "quotes", "--workers", workers)]
    async with start(program, data, tmp_path) as served:
        first = find_first(served)
        assert find_number_inside(first) == 1
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            assert (await client.get(f"{served.url}/readyz")).status_code == 200
        # The kernel sends PID 1 only the signals for which it has a handler.
        os.kill(first, signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await served.process.wait() == 0
