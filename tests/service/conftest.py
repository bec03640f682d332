"""Settings of a service whose data is in a folder of the test's own."""

from pathlib import Path

import pytest

from oyez.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, oyez_data=str(tmp_path / "data"), shutdown_timeout=5.0)
