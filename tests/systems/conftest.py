"""Fixtures of the systems' tests: a server of the system whose folder a module is in, with each kind of database."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.served import Served, serve


@pytest.fixture(scope="module")
async def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]
) -> AsyncIterator[Served]:
    system = request.path.parent.name
    async with serve(tmp_path_factory.mktemp(system) / "data", system, DATABASE_URL=make_database()) as running:
        yield running
