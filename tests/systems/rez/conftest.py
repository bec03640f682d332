"""`oyez serve rez` for a module's tests, and its transactions without a server; on each kind of database."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.systems.rez.market import Market, open_market
from tests.systems.rez.shop import Shop, open_shop


@pytest.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]) -> AsyncIterator[Market]:
    async with open_market(tmp_path_factory.mktemp("rez"), JWT_LEEWAY="0", DATABASE_URL=make_database()) as market:
        yield market


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop
