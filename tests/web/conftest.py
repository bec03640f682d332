"""A server in development, whose pages are on. Each module of tests shares one, with one client for its requests."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.shops import Market, serve, shop


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("web")
    return Settings(port=0, oyez_data=str(folder / "data"), shutdown_timeout=5.0)


@pytest.fixture(scope="module")
async def market(settings: Settings) -> AsyncIterator[Market]:
    async with serve(Oyez([shop("books"), shop("fruit")], settings)) as market:
        yield market


@pytest.fixture(scope="module")
async def http(market: Market) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=market.url) as client:
        yield client
