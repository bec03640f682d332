"""What all tests share: coroutine tests run on uvloop, as the server does; examples may take their time."""

import pytest
from hypothesis import settings

# How long one example takes says more about the machine than about the code.
settings.register_profile("oyez", deadline=None)
settings.load_profile("oyez")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": True})
