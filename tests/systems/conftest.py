"""Fixtures of the systems' tests, for the system whose folder a module is in: a server with each kind of database, and
the test kit on each of them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from oyez.service.system import System
from oyez.systems.loader import load_system
from tests.support.clock import WALL_TIME
from tests.support.postgres import PostgreSQL
from tests.support.served import Served, serve


@pytest.fixture(scope="module")
async def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]
) -> AsyncIterator[Served]:
    system = request.path.parent.name
    async with serve(tmp_path_factory.mktemp(system) / "data", system, DATABASE_URL=make_database()) as running:
        yield running


@pytest.fixture(scope="module")
def oyez_system(request: pytest.FixtureRequest) -> System:
    return load_system(request.path.parent.name)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def oyez_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "sqlite":
        return {}
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return {"database_url": server.address("postgres")}


@pytest.fixture(scope="module")
def oyez_start() -> float:
    return WALL_TIME
