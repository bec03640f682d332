"""`oyez serve --reload`: a project is edited under a connected client, which misses nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from watchfiles import Change

from oyez.cli.mistakes import describe
from oyez.cli.reload import ProjectFilter, find_folders
from oyez.client import Client, connect
from oyez.concurrency.task_set import run_beside
from oyez.errors import ContractError, OyezError
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import Signer, build_signer
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.support.clock import PATIENCE
from tests.support.terminal import Running, start

SHOP = '''"""A shop."""

from events import Price
from oyez.contract import Contract

contract = Contract("shop", roles=("buyer",), default_role="buyer")
root = contract.namespace("/")
root.event("price", to=[root.everyone])(Price)
'''
EVENTS = '''from oyez.contract import Payload


class Price(Payload):
    """A price."""

    cents: int
'''
DISCOUNT = """

class Discount(Payload):
    "A discount."

    percent: int
"""


class Shop:
    """A served project, and what a back end and a front end do with it."""

    def __init__(self, folder: Path, serving: Running, url: str) -> None:
        self.folder = folder
        self.serving = serving
        self.url = url
        settings = Settings(oyez_data=str(folder / "oyez-data"))
        self._signer: Signer = build_signer(settings, load_secret(settings))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def publish(self, event: str, **data: Any) -> None:
        headers = {"authorization": f"Bearer {self._signer.sign_service('shop', None)}"}
        async with httpx.AsyncClient(timeout=PATIENCE) as back_end:
            response = await back_end.post(
                f"{self.url}/shop/events", json={"event": event, "data": data}, headers=headers
            )
        assert response.status_code == 200, response.text

    @asynccontextmanager
    async def connect(self, recovery: dict[str, str] | None = None) -> AsyncIterator[Client]:
        auth = {"token": self._signer.sign_user("ada", None, {}, 600.0), "recovery": True, **(recovery or {})}
        async with connect(self.url, path="/shop/socket.io/", auth=auth, transports=["websocket"]) as client:
            yield client


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Shop]:
    (folder / "shop.py").write_text(SHOP)
    (folder / "events.py").write_text(EVENTS)
    async with start(folder, "serve", "shop.py", "--reload", "--port", "0") as serving:
        url = (await serving.expect_out(r"listens at (\S+)"))[1]
        await serving.expect_note("^Reloads when a Python file or oyez.toml changes in ")
        yield Shop(folder, serving, url)


async def test_a_project_is_edited_under_a_client_that_misses_nothing(tmp_path: Path) -> None:
    async with serve(tmp_path) as shop:
        async with shop.connect() as client:
            await shop.publish("price", cents=1)
            await client.expect_event("price")

            # A syntax error in an imported module: the version before serves.
            shop.write("events.py", EVENTS + "class Broken(:\n")
            await shop.serving.expect_note(r"events\.py:8: SyntaxError: ")
            await shop.serving.expect_note(r"^Not reloaded \(.* s\): .*events\.py\. The version before continues")
            await shop.publish("price", cents=2)
            assert (await client.expect_event("price")).args == [{"cents": 2}]

            # A mistake of the contract: its line is shown.
            shop.write("events.py", EVENTS + DISCOUNT)
            mistaken = SHOP.replace("Price\n", "Discount, Price\n", 1)
            shop.write("shop.py", mistaken + 'root.event("discount", to=[root.everyone], timestamp="when")(Discount)\n')
            await shop.serving.expect_note(r"shop\.py:9: contract shop: event discount: ")
            await shop.publish("price", cents=3)
            await client.expect_event("price")

            # The mistake is corrected: the client is sent away, and a new version serves.
            shop.write("shop.py", mistaken + 'root.event("discount", to=[root.everyone])(Discount)\n')
            await client.expect_disconnect(PATIENCE)
            recovery = client.recovery
        await shop.serving.expect_note(r"^Reloaded in \d+\.\d s: .*shop\.py$")
        await shop.publish("discount", percent=10)
        async with shop.connect(recovery) as client:
            assert (await client.expect_event("oyez:recovery")).args[0]["recovered"] is True
            assert (await client.expect_event("discount")).args == [{"percent": 10}]


async def repeat(act: Callable[[], object]) -> None:
    """Do something every half second, until cancelled."""
    while True:
        act()
        await asyncio.sleep(0.5)


async def test_a_server_that_cannot_start_waits_for_a_correction(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "events.py").write_text(EVENTS.replace("int", "integer"))
    async with start(tmp_path, "serve", "shop.py", "--reload", "--port", "0", "--host", "0.0.0.0") as serving:
        await serving.expect_note("^Warning: --reload is for development")
        await serving.expect_note(r"events\.py:7: NameError|integer")
        await serving.expect_note("^Not started. Waits for a change.")
        # It watches when this is shown, or soon after: the file is written until the change is noticed.
        async with run_beside(repeat(partial((tmp_path / "events.py").write_text, EVENTS))):
            await serving.expect_note("^Starts again: ")
        await serving.expect_out("listens at")


# What counts as a change, and where a mistake is.


@pytest.mark.parametrize("name", ["shop.py", "sub/a.py", "oyez.toml"])
def test_what_counts_as_a_change(tmp_path: Path, name: str) -> None:
    assert ProjectFilter(None)(Change.modified, str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["test_shop.py", "conftest.py", "notes.md", "__pycache__/a.pyc", ".venv/lib/x.py", "data/domain.sqlite"]
)
def test_what_is_no_change(tmp_path: Path, name: str) -> None:
    assert not ProjectFilter(None)(Change.modified, str(tmp_path / name))


def test_the_folders_of_all_systems_and_of_the_settings_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inside").mkdir()
    folders = find_folders(["inside/shop.py", "quotes"], None)
    assert tmp_path in folders and (tmp_path / "inside") not in folders
    assert any(folder.name == "quotes" for folder in folders)


def test_modules_elsewhere_are_watched_but_not_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def module(path: Path) -> ModuleType:
        made = ModuleType(path.stem)
        made.__file__ = str(path)
        return made

    app, shared = tmp_path / "app", tmp_path / "lib" / "shared"
    for folder in (app, shared):
        folder.mkdir(parents=True)
    monkeypatch.chdir(app)
    monkeypatch.setenv("HOME", str(tmp_path / "lib"))
    installed = [pytest, asyncio, httpx, ModuleType("built-in"), module(app / "site-packages" / "x" / "y.py")]
    own = [module(shared / "events.py"), module(tmp_path / "lib" / "all_of_home.py"), module(app / "tables.py")]
    assert find_folders(["shop.py"], None, [*installed, *own]) == [app, shared]


def test_mistakes_have_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases = {
        "contract = 1 / 0\n": "shop.py:1: ZeroDivisionError: division by zero",
        "x = (\n": "shop.py:1: SyntaxError: '(' was never closed",
        SHOP.replace("root.event", "\nroot.room('price-{id', members=[])\nroot.event"): "shop.py:9: ",
    }
    for text, expected in cases.items():
        (tmp_path / "shop.py").write_text(text)
        (tmp_path / "events.py").write_text(EVENTS)
        with pytest.raises(OyezError) as failed:
            load_system("shop.py")
        assert describe(failed.value, ["shop.py"])[0].startswith(expected)
    assert describe(ContractError("contract shop: roles is empty"), ["shop.py"]) == ["contract shop: roles is empty"]
