"""A data folder that cannot be used: every command explains in one sentence what is wrong, and what to do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import start_program

IS_ROOT = os.geteuid() == 0
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if IS_ROOT else ()
"""Takes the right to do everything from a superuser, under whom the tests may run."""
COMMANDS = {
    "serve": ("serve", "quotes", "--port", "0"),
    "token": ("token", "quotes", "--sub", "ada"),
    "check": ("check", "quotes"),
}
NOBODY = 65534

pytestmark = pytest.mark.skipif(IS_ROOT and not shutil.which("setpriv"), reason="setpriv is not installed")


def close_to_all(data: Path) -> str:
    data.mkdir(mode=0o000)
    return f"{data} cannot be used by user {os.geteuid()}: it belongs to user {os.geteuid()}"


def give_away(data: Path) -> str:
    if not IS_ROOT:
        pytest.skip("only a superuser can give a folder away")
    data.mkdir(mode=0o700)
    os.chown(data, NOBODY, NOBODY)
    return "with mode 0700. Change its owner, run Oyez as that user, or set OYEZ_DATA to another folder."


def make_file(data: Path) -> str:
    data.touch()
    return f"{data} is not a folder. Set OYEZ_DATA to another folder."


def close_parent(data: Path) -> str:
    data.mkdir()
    data.parent.chmod(0o000)
    return f"Run `chmod u+rwx {data.parent}`, or set OYEZ_DATA to another folder."


def mount_read_only(data: Path) -> str:
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(data)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    return f"{data} is in a file system that is mounted read-only. Mount it for writing, or set OYEZ_DATA"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    data = tmp_path / "parent" / "data"
    data.parent.mkdir()
    yield data
    data.parent.chmod(0o700)
    if os.path.ismount(data):
        subprocess.run(["umount", str(data)], check=True)


@pytest.mark.parametrize("spoil", [close_to_all, give_away, make_file, close_parent, mount_read_only])
@pytest.mark.parametrize("command", COMMANDS)
async def test_a_sentence_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, data: Path, spoil: object, command: str
) -> None:
    assert callable(spoil)
    expected = spoil(data)
    words = (*AS_OTHERS, sys.executable, "-m", "oyez.cli", *COMMANDS[command])
    async with start_program(tmp_path, *words, OYEZ_DATA=str(data)) as program:
        ended = await program.wait()
    said = ended.out + ended.err
    assert ended.status == 1
    assert "Errno" not in said and "Traceback" not in said
    if spoil is mount_read_only and command == "token":
        # A folder that holds a secret may be read-only for this command.
        expected = f"There is no secret in {data}"
    assert expected in said
    if command != "check":
        assert len(said.splitlines()) == 1
