"""Fixtures of the systems' tests, for the system whose folder a module is in: a server with each kind of database, and
the system of the test kit."""

from collections.abc import AsyncIterator, Callable

import pytest

from oyez.service.system import System
from oyez.systems.loader import load_system
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
