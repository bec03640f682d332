"""The pytest plugin: the fixture `oyez` is a server of the project's system, new for each test.

`oyez_system` in the configuration of pytest names the system, by its name or by the path of its file:

    [tool.pytest.ini_options]
    oyez_system = "shop.py"

A module with another system overrides the fixture `oyez_system`. Tests are coroutine functions. They run with anyio or
pytest-asyncio if the test is theirs, and otherwise by this plugin.
"""

import asyncio
import functools
import inspect
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from oyez.service.system import System
    from oyez.testing.harness import Harness
    from oyez.testing.template import Template

FIXTURE = "oyez"
"""The fixture of the server."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("oyez_system", "the system of the fixture `oyez`: its name, or the path of its file", default="")


@pytest.fixture(scope="module")
def oyez_system(pytestconfig: pytest.Config) -> "System":
    """The system of the fixture `oyez`. Override it to test another one."""
    # Here, and not at the top: sessions without such tests do not need it.
    from oyez.systems.loader import load_system

    named = pytestconfig.getini("oyez_system")
    if not named:
        raise pytest.UsageError(
            "The fixture `oyez` does not know which system to run. Set oyez_system in the configuration of pytest, such"
            ' as oyez_system = "shop.py" under [tool.pytest.ini_options] of pyproject.toml, or write a fixture'
            " `oyez_system` that returns the System."
        )
    path = pytestconfig.rootpath / named
    return load_system(str(path) if named.endswith(".py") and path.exists() else named)


@pytest.fixture(scope="module")
def oyez_settings() -> dict[str, Any]:
    """The settings of the server, by the names of `oyez.settings.Settings`. Override it for others."""
    return {}


@pytest.fixture(scope="module")
def oyez_start() -> float | None:
    """When the clock of the server begins, in seconds since 1970; None: at the real time. Override it for a date."""
    return None


@pytest.fixture(scope="module")
def oyez_template(oyez_system: "System", oyez_settings: dict[str, Any]) -> "Iterator[Template]":
    """What the servers of a module share: a database with all tables, which each of them copies."""
    from oyez.testing.template import Template

    template = Template(oyez_system, **oyez_settings)
    yield template
    template.close()


@pytest.fixture
def oyez(oyez_template: "Template", oyez_start: float | None) -> "Harness":
    """A server of the system, with its own data and clock, for one test."""
    from oyez.testing.harness import Harness

    return Harness(oyez_template, at=oyez_start)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Run the server of a test around the test, in the event loop of the test."""
    harness = _find_harness(item)
    if harness is None or not isinstance(item, pytest.Function):
        yield
        return
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        pytest.fail(f"{item.name} uses the fixture `oyez`: write it as `async def`.", pytrace=False)

    @functools.wraps(test)
    async def with_server(*args: Any, **kwargs: Any) -> None:
        async with harness:
            await test(*args, **kwargs)

    item.obj = with_server
    try:
        yield
    finally:
        item.obj = test


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that no other plugin runs."""
    # Another plugin has made a plain function of it: pytest-asyncio.
    if _find_harness(pyfuncitem) is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    with asyncio.Runner(loop_factory=_find_loop_factory()) as runner:
        runner.run(pyfuncitem.obj(**arguments))
    return True


def _find_harness(item: pytest.Item) -> "Harness | None":
    """The server of a test; None if it uses none of this plugin's."""
    value = getattr(item, "funcargs", {}).get(FIXTURE)
    module = sys.modules.get("oyez.testing.harness")
    return value if module is not None and isinstance(value, module.Harness) else None


def _find_loop_factory() -> Any:
    """That of uvloop, with which Oyez serves; None where there is no uvloop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
