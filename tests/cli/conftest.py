"""Fixtures of the commands' tests: an empty folder, and `oyez` called in it."""

import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from oyez.service.auth.secrets import load_secret
from oyez.service.data_folder import open_folder
from oyez.service.database.database import build_database
from oyez.settings import Settings
from tests.support.served import Served, serve
from tests.support.terminal import ORDERS, Calls, plain_environment


@pytest.fixture(scope="package")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server of two systems, for commands that speak to one."""
    async with serve(tmp_path_factory.mktemp("served") / "data", "quotes", str(ORDERS)) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - plain_environment().keys():
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def oyez(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """`oyez(...)` runs a command in `folder`, where a server has been; its changes to this process are put back."""
    open_folder(Settings())
    load_secret(Settings())
    build_database(Settings()).close()
    monkeypatch.setattr(sys, "path", [*sys.path])
    handlers, level = [*logging.root.handlers], logging.root.level
    own = logging.getLogger("oyez")
    mask = os.umask(0o022)
    os.umask(mask)
    yield Calls(capsys)
    os.umask(mask)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    own.setLevel(logging.NOTSET)
