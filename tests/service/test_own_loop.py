"""The loop that Oyez runs in: in another loop a system's log is refused, before anything is changed."""

import asyncio
from pathlib import Path

import pytest

from oyez.errors import NotRunningError, WrongLoopError
from oyez.service.app import Oyez
from oyez.service.system import Services, SystemServices
from oyez.settings import Settings
from tests.support.shops import shop


async def test_the_log_of_a_system_is_for_its_own_loop(tmp_path: Path) -> None:
    offered: list[Services] = []

    def build(services: Services) -> SystemServices:
        offered.append(services)
        return SystemServices()

    oyez = Oyez([shop("books", build=build)], Settings(oyez_data=str(tmp_path)))
    log = offered[0].log
    with pytest.raises(NotRunningError, match="Oyez does not run"):
        await log.put("key", b"value", 60)
    async with oyez.running():
        with pytest.raises(WrongLoopError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(lambda: asyncio.run(log.put("key", b"other", 60)))
        assert await log.get("key") is None
        await log.put("key", b"value", 60)
        loop = asyncio.get_running_loop()

        def read() -> bytes | None:
            return asyncio.run_coroutine_threadsafe(log.get("key"), loop).result()

        assert await asyncio.to_thread(read) == b"value"
