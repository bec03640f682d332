"""`rez` at a server of the test kit, and as `oyez serve rez`; on each kind of database."""

import pytest

from oyez.testing import Harness
from tests.systems.rez.market import Market


@pytest.fixture
def market(oyez: Harness) -> Market:
    return Market(oyez)
