"""Health: what probes receive while the process lives, and while a log works, fails, hangs or does not deliver."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from oyez.errors import LogUnavailableError
from oyez.log.log import Checkpoint, Deliver, Entry
from oyez.log.memory import MemoryLog
from oyez.ops.health import health_routes
from oyez.server.delivery import probe
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.shops import shop

FINE = {"log": "ok", "database": "ok"}


class ShakyLog(MemoryLog):
    """A log that can lose its storage, hang, or stop delivering."""

    lost = False
    silent = False
    broken = False
    unheard = False

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        if self.lost:
            raise LogUnavailableError("on purpose")
        if self.broken:
            raise ZeroDivisionError("on purpose")
        if self.silent:
            await asyncio.Event().wait()
        return await super().append(entries, checkpoint)

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        await super().tail(lambda entries: None if self.unheard else deliver(entries), after)


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
            {"ready": True, "keys": "ok", "systems": {"books": FINE, "fruit": FINE}},
        )
        assert live.headers["cache-control"] == ready.headers["cache-control"] == "no-store"


async def expect_ready(client: httpx.AsyncClient, status: int) -> httpx.Response:
    async with asyncio.timeout(PATIENCE):
        while (ready := await client.get("/readyz")).status_code != status:  # noqa: ASYNC110 - probes ask, too
            await asyncio.sleep(0.01)
    return ready


@pytest.mark.parametrize("fault", ["lost", "silent", "unheard", "broken"])
async def test_a_log_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    for name in ("INTERVAL", "PROBE_TIMEOUT", "RETRY_INTERVAL"):
        monkeypatch.setattr(probe, name, 0.05)
    fruit = ShakyLog()
    async with running(tmp_path, {"books": ShakyLog(), "fruit": fruit}) as client:
        setattr(fruit, fault, True)
        ready = await expect_ready(client, 503)
        systems = {"books": FINE, "fruit": {"log": "unavailable", "database": "ok"}}
        assert ready.json() == {"ready": False, "keys": "ok", "systems": systems}
        # The process is not to blame: starting it again would only send its clients away.
        assert (await client.get("/healthz")).status_code == 200
        setattr(fruit, fault, False)
        await expect_ready(client, 200)


async def test_probes_only_look(tmp_path: Path) -> None:
    async with running(tmp_path, {"books": ShakyLog()}) as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.post(path)).status_code == 405
            assert (await client.head(path)).status_code == 200
