"""The system of the kit's own tests."""

import pytest

from oyez.service.system import System
from tests.testing.shop import system


@pytest.fixture(scope="module")
def oyez_system() -> System:
    return system
