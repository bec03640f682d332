"""One Chromium and two servers in development for all tests of pages, which therefore run in one process."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from tests.support.browser import Browser
from tests.support.clock import PATIENCE
from tests.support.shops import Market, serve, shop
from tests.web import hostile

EXAMPLES = ("examples/auction.py", "examples/dispatch.py", "examples/game.py", "examples/newsroom.py")
SYSTEMS = [load_system(reference) for reference in (*list_systems(), *EXAMPLES)]


@pytest.fixture(scope="package")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("web")
    return Settings(port=0, oyez_data=str(folder / "data"), shutdown_timeout=5.0, console_tokens=True)


@pytest.fixture(scope="package")
async def market(settings: Settings) -> AsyncIterator[Market]:
    """Two small systems."""
    async with serve(Oyez([shop("books"), shop("fruit")], settings)) as market:
        yield market


@pytest.fixture(scope="package")
async def showcase(settings: Settings) -> AsyncIterator[Market]:
    """Every system that ships, the examples, and one with hostile texts."""
    own = replace(settings, oyez_data=f"{settings.oyez_data}-showcase")
    async with serve(Oyez([*SYSTEMS, hostile.system], own)) as showcase:
        yield showcase


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with Browser.start() as browser:
        yield browser


@pytest.fixture(scope="package")
async def http(market: Market) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=market.url, timeout=PATIENCE) as client:
        yield client
