"""The FastAPI example of docs/embedding.md works word for word, with nothing installed but Oyez and what it names."""

import re
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from tools.docs.tables import read

from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.terminal import run_line, start_program
from tests.test_docs import find_blocks

SITE = Path(str(distribution("fastapi").locate_file("")))


def find_distributions(names: list[str]) -> Iterator[Distribution]:
    """What pip installs for these names, as far as it is installed here."""
    waiting, seen = [Requirement(name) for name in names], set()
    while waiting:
        wanted = waiting.pop()
        extras = tuple(sorted(wanted.extras)) or ("",)
        if (wanted.name.lower(), extras) in seen:
            continue
        seen.add((wanted.name.lower(), extras))
        try:
            found = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        yield found
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)


def install(folder: Path, names: list[str]) -> None:
    """A folder of packages with those of `names` and theirs, and no others."""
    for found in find_distributions(names):
        for part in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if (SITE / part).exists() and not (folder / part).exists():
                (folder / part).symlink_to(SITE / part)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """What `pip install oyez`, and the page's own line, install."""
    line = re.search(r"`pip install ([^`]*fastapi[^`]*)`", read("embedding"))
    assert line is not None
    folder = tmp_path / "packages"
    folder.mkdir()
    install(folder, ["oyez", *shlex.split(line[1])])
    return folder


async def test_the_fastapi_example_works_with_what_the_page_installs(tmp_path: Path, packages: Path) -> None:
    blocks = find_blocks(read("embedding"))
    (source,) = [block.text for block in blocks if block.text.startswith("# shop.py")]
    (tmp_path / "shop.py").write_text(source)
    (command,) = [block.text for block in blocks if block.text.startswith("uvicorn shop:app")]
    words = [*shlex.split(command)[:-1], "0"]
    path = f"{packages}:{Path(__file__).parents[1] / 'src'}:{tmp_path}"
    # -S: without the packages that are installed for the tests.
    line = [sys.executable, "-S", "-m", *words]
    async with start_program(tmp_path, *line, PYTHONPATH=path) as serving, JsDriver.start() as js:
        url = (await serving.expect_note(r"running on (http://\S+)"))[1]
        token = (await run_line(tmp_path, f"{sys.executable} -m oyez.cli token quotes --sub ada")).out.strip()
        client = await js.connect(
            f"{url}/", path="/live/quotes/socket.io/", auth={"token": token}, transports=["websocket"]
        )
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            answer = await http.post("/offers/o-1/withdraw", params={"user_id": "ada"})
        assert re.fullmatch(r"\w+\.\d+", answer.json()["position"])
        (offer, *_) = await client.expect_event("quote:offer:updated")
        assert offer["offerId"] == "o-1"
