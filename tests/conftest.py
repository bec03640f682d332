"""What all tests share: coroutine tests run on uvloop, as the server does; examples may take their time."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.valkey import ValkeyServer

# How long one example takes says more about the machine than about the code.
settings.register_profile("oyez", deadline=None)
settings.load_profile("oyez")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One server for all tests that break nothing; each uses names of its own in it."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()
