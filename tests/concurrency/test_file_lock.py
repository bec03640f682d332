"""The lock of a folder: one process at a time, and none after the process ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from oyez.concurrency.file_lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from oyez.concurrency.file_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_holds_the_lock_until_it_is_killed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), lock_folder(tmp_path, wait=False):
            pass
        other.kill()
        with lock_folder(tmp_path):
            pass
