"""A scenario of `bookings` for each test, on each kind of database."""

import pytest

from oyez.testing import Harness
from tests.systems.bookings.market import Market


@pytest.fixture
def scenario(oyez: Harness) -> Market:
    return Market(oyez)
