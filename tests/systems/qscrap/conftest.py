"""The back end of `qscrap`, on each kind of database."""

import pytest

from oyez.testing import Harness
from tests.systems.qscrap.backend import START, Backend, to_seconds


@pytest.fixture(scope="module")
def oyez_start() -> float:
    return to_seconds(START)


@pytest.fixture
def backend(oyez: Harness) -> Backend:
    return Backend(oyez)
