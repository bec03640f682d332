"""The back end of `qscrap`, on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.systems.qscrap.backend import Backend, open_backend


@pytest.fixture
async def backend(tmp_path: Path, database_url: str) -> AsyncIterator[Backend]:
    async with open_backend(tmp_path, database_url) as backend:
        yield backend
