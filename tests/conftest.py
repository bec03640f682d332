"""What all tests share: coroutine tests run on uvloop, as the server does; examples may take their time; databases."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from tests.support.js_client import JsDriver
from tests.support.postgres import PostgreSQL, serve_postgresql
from tests.support.tasks import Spawn, own_tasks
from tests.support.valkey import ValkeyServer, serve_valkey

pytest_plugins = ["oyez.pytest_plugin"]

# The time of one example depends more on the machine than on the code.
settings.register_profile("oyez", deadline=None)
settings.load_profile("oyez")

# Hundreds of processes are started; without byte code each would compile Oyez again, in half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


LONG = (
    "tests/test_",
    "tests/examples/",
    "tests/cli/",
    "tests/service/",
    "tests/web/",
    "tests/log/test_model",
    "tests/server/test_given",
)
"""Files with tests that take long. They begin first: at the end, no process works alone at one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """Each file runs in one process, and all files that share a browser."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/web" if nodeid.startswith("tests/web/") else str(super()._split_scope(nodeid))


LOGGERS = ("", "oyez", "uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error")


@pytest.fixture(scope="module", autouse=True)
def restore_logging() -> Iterator[None]:
    """Restores what a module changes about logging: the modules before it are others in each run in parallel."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate, logger.disabled, [*logger.handlers]) for logger in loggers]
    yield
    for logger, (level, propagate, disabled, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.disabled, logger.handlers = propagate, disabled, handlers


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    """Starts tasks that end with the test."""
    async with own_tasks() as spawn:
        yield spawn


@pytest.fixture(scope="module")
async def js() -> AsyncIterator[JsDriver]:
    """A process for the JavaScript clients of a module's tests."""
    async with JsDriver.start() as driver:
        yield driver


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One server for all tests that do not break it; each uses names of its own in it."""
    with serve_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that a test may break; it loses nothing when it is killed."""
    with serve_valkey(tmp_path / "valkey", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with serve_postgresql() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def make_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes empty databases; the test runs with every kind there is. For fixtures that outlive one test."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return server.make_database
    folder, numbers = tmp_path_factory.mktemp("sqlite"), count(1)
    return lambda: f"sqlite:///{folder / f'market{next(numbers)}.sqlite'}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest, make_database: Callable[[], str]) -> Iterator[str]:
    """The address of an empty database of the test's own; the test runs with every kind there is."""
    url = make_database()
    server = request.getfixturevalue("postgresql") if url.startswith("postgresql") else None
    yield url
    if server is not None:
        server.drop_database(url)
