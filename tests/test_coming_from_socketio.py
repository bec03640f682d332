"""The page about moving from Socket.IO: its counts are those of its code. `test_docs` runs that code."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "coming-from-socketio.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def count_lines(block: str) -> int:
    """The lines that are neither empty nor imports nor the name of the file."""
    return sum(not re.match(r"\s*$|from |import |# \w+\.py$", line) for line in block.splitlines())


@pytest.mark.parametrize(
    ("example", "first"), [("chat (Node)", "# chat.py"), ("rooms (python-socketio)", "# rooms.py")]
)
def test_the_lines_are_counted(example: str, first: str) -> None:
    place = next(number for number, block in enumerate(BLOCKS) if block.startswith(first))
    (row,) = re.findall(rf"^\| {re.escape(example)} \| (\d+) \| \d+ \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert [int(cell) for cell in row] == [0, count_lines(BLOCKS[place + 1]), count_lines(BLOCKS[place])]
