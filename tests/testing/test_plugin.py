"""The pytest plugin in a project of a user's own, run as users run it."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

async def test_a_plain_coroutine_function(oyez):
    ada = await oyez.connect("ada")
    await oyez.publish("price")
    await ada.expect_event("price")

@pytest.mark.anyio
async def test_of_anyio(oyez):
    await (await oyez.connect("ada")).expect_nothing()

@pytest.fixture
async def ada(oyez):
    return await oyez.connect("ada")

@pytest.mark.anyio
async def test_with_a_fixture_that_connects(oyez, ada):
    await oyez.publish("price")
    await ada.expect_event("price")

class TestGroup:
    async def test_in_a_class(self, oyez):
        await (await oyez.connect("ada")).expect_nothing()

async def test_that_fails(oyez):
    await (await oyez.connect("ada")).expect_event("price")

def test_that_is_no_coroutine_function(oyez):
    pass
"""
SHOP = '''
from oyez.contract import Contract, Payload

contract = Contract("shop", roles=("buyer",), default_role="buyer")
root = contract.namespace("/")

@root.event("price", to=[root.everyone], example={"cents": 5})
class Price(Payload):
    """A price."""

    cents: int
'''


def run(folder: Path, *arguments: str) -> str:
    """What pytest prints in a folder. The plugin is named, because this environment may not have its entry point."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "oyez.pytest_plugin", "--tb=short", *arguments]
    environ = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environ).stdout


def test_the_fixture_runs_the_system_that_the_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\noyez_system = shop.py\n")
    said = run(tmp_path)
    assert "2 failed, 4 passed" in said, said
    assert "ada (in /) should receive price, and did not." in said
    assert "No price was published." in said
    assert "test_that_is_no_coroutine_function uses the fixture `oyez`: write it as `async def`." in said


def test_without_a_system_the_error_says_how_to_name_one(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text("async def test_it(oyez):\n    pass\n")
    assert "Set oyez_system in the configuration of pytest" in run(tmp_path)
