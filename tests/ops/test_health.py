"""Health: what probes are told while the process lives, and while a log answers, fails or stays silent."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from oyez.errors import LogUnavailableError
from oyez.log.memory import MemoryLog
from oyez.ops import health
from oyez.ops.health import health_routes
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.service.shops import shop


class ShakyLog(MemoryLog):
    """A log that can lose its storage."""

    lost = False
    silent = False

    async def position(self) -> str:
        if self.lost:
            raise LogUnavailableError("on purpose")
        if self.silent:
            await asyncio.Event().wait()
        return await super().position()


@asynccontextmanager
async def running(folder: Path, logs: Mapping[str, ShakyLog]) -> AsyncIterator[httpx.AsyncClient]:
    systems = [shop(name) for name in logs]
    oyez = Oyez(systems, Settings(oyez_data=str(folder)), build_log=logs.__getitem__, operate=health_routes)
    transport = httpx.ASGITransport(oyez)
    async with oyez.running(), httpx.AsyncClient(transport=transport, base_url="http://oyez") as client:
        yield client


async def test_all_is_well(tmp_path: Path) -> None:
    async with running(tmp_path, {"books": ShakyLog(), "fruit": ShakyLog()}) as client:
        live, ready = await client.get("/healthz"), await client.get("/readyz")
        assert (live.status_code, live.json()) == (200, {"alive": True})
        assert (ready.status_code, ready.json()) == (
            200,
            {"ready": True, "systems": {"books": {"log": "ok"}, "fruit": {"log": "ok"}}},
        )
        assert live.headers["cache-control"] == ready.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("fault", ["lost", "silent"])
async def test_a_log_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(health, "LOG_TIMEOUT", 0.05)
    fruit = ShakyLog()
    async with running(tmp_path, {"books": ShakyLog(), "fruit": fruit}) as client:
        setattr(fruit, fault, True)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (
            503,
            {"ready": False, "systems": {"books": {"log": "ok"}, "fruit": {"log": "unavailable"}}},
        )
        # The process is not to blame: starting it again would only send its clients away.
        assert (await client.get("/healthz")).status_code == 200
        setattr(fruit, fault, False)
        assert (await client.get("/readyz")).status_code == 200


async def test_probes_only_look(tmp_path: Path) -> None:
    async with running(tmp_path, {"books": ShakyLog()}) as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.post(path)).status_code == 405
            assert (await client.head(path)).status_code == 200
