"""`bookings` for a module's tests, and a scenario for each test; on each kind of database."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.systems.bookings.market import Market, Scenario, open_market


@pytest.fixture(scope="module")
async def market(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    async with open_market(make_database(), tmp_path_factory.mktemp("bookings")) as market:
        yield market


@pytest.fixture
async def scenario(market: Market) -> AsyncIterator[Scenario]:
    async with market.scenario() as scenario:
        yield scenario
