"""Python models: right programs pass mypy --strict, and each wrong line is an error."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from oyez.documents.models import build_models
from tests.documents.contracts import NAMES, find_description

WRONG = "# wrong"
PROGRAM = """\
import typing

import socketio  # type: ignore[import-untyped]

import bazaar_models as models

client = typing.cast(models.AsyncClient, socketio.AsyncClient())
sync = typing.cast(models.Client, socketio.Client())
office = typing.cast(models.OfficeAsyncClient, socketio.AsyncClient())


def offered(data: models.Offered) -> None:
    kind: typing.Literal["tool", "food", "art"] = data["kind"]
    data["colour"]  # wrong
    print(kind, data["class"], data["odd-name"], data["parts"][0]["name"])


def changed(data: models.Sold | models.Broken | models.Numbered) -> None:
    if data["type"] == "sold":
        print(data["price"] + 1)
        data["number"]  # wrong


async def moved(socket_id: str, to: list[int], at: int = 0) -> None: ...


client.on("thing:offered", offered)
client.on("thing:changed", changed)
def pictured(data: models.Pictured) -> None:
    image: bytes = data["pictures"][0]["image"]
    print(image)


client.on("pictured", pictured)
client.on("moved", moved)
client.on("opened", moved)  # wrong
client.on("closed", moved)  # wrong
office.on("thing:offered", offered, namespace="/office")
office.on("thing:offered", offered)  # wrong


async def act() -> None:
    answer = await client.call("buy", {"stallId": "s", "buyerId": "b"})
    if answer["ok"]:
        print(answer["price"] + 1)
    else:
        code: models.ErrorCode = answer["error"]["code"]
        answer["price"]  # wrong
        print(code)
    await client.call("buy", ({"stallId": "s", "buyerId": "b", "count": 2}, {"idempotencyKey": "k"}), timeout=60)
    await client.call("buy", {"stallId": "s"})  # wrong
    await client.call("list", (5, None))
    await client.call("list", "5")  # wrong
    await client.call("ping it")
    await client.call("photo", {"image": b"data"})
    await client.call("photo", {"image": "data"})  # wrong
    await client.emit("where", {"x": 1, "y": 2})
    await client.emit("sing", {})  # wrong
    sync.emit("where", {"x": 1, "y": 2}, callback=print)


counted: tuple[None, int] | str = sync.call("count", {})
auth: models.Auth = {"token": "…", "recovery": True}
published: models.Publication = {"event": "said", "data": "hello", "to": "square"}
published = {"event": "opened"}
published = {"event": "pictured", "data": {"pictures": [{"image": "ZGF0YQ=="}]}}
published = {"event": "said", "data": 3}  # wrong
published = {"event": "welcome", "data": {"name": "x"}}  # wrong
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of each contract, and a program that uses those of one."""
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        (folder / f"{name}_models.py").write_bytes(build_models(find_description(name)))
    (folder / "program.py").write_text(PROGRAM)
    return folder


def test_right_programs_are_accepted_and_each_wrong_line_is_an_error(folder: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports", "silent", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = set(re.findall(r"^(\S+?):(\d+): error: ", done.stdout, re.MULTILINE))
    expected = {
        ("program.py", str(number)) for number, line in enumerate(PROGRAM.split("\n"), 1) if line.endswith(WRONG)
    }
    assert found == expected, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_module_needs_nothing_but_the_standard_library(folder: Path, name: str) -> None:
    source = (folder / f"{name}_models.py").read_text()
    assert re.findall(r"^(?:import|from) .+$", source, re.MULTILINE) == [
        "from __future__ import annotations",
        "import typing as t",
    ]
    members: dict[str, object] = {"__name__": name}
    exec(compile(source, f"{name}_models.py", "exec", flags=0, dont_inherit=True), members)
    assert {"Publication", "ErrorCode"} <= members.keys()
