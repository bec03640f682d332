"""`oyez serve` while Redis is away at the start: it reports this once, in any number of processes and systems."""

import asyncio
import signal
from pathlib import Path

import pytest

from oyez.client import Client, connect
from tests.support.terminal import run, start
from tests.support.valkey import ValkeyServer


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_redis_away_at_start_is_one_line_and_its_return_another(folder: Path, workers: str) -> None:
    server = ValkeyServer(folder / "valkey", "--appendonly", "yes")
    words = ("serve", "quotes", "bookings", "--port", "0", "--workers", workers, "--redis-url", server.url)
    async with start(folder, *words) as serving:
        try:
            shown = await serving.expect_out("Oyez .+")
            assert "listens" not in shown[0]
            url = shown[0].partition(" waits for the log at ")[2].split()[0]
            await serving.expect_out("^Clients cannot connect yet, because the log is away: REDIS_URL: Redis cannot be")
            token = (await run(folder, "token", "quotes", "--sub", "ada")).out.strip()
            first = await serving.expect_note("")
            server.start()
            second = await serving.expect_note("")
            assert "the log is unavailable" in first.string
            assert "the log is available again" in second.string
            await asyncio.wait_for(enter(url, token), 20)
            ended = await serving.stop(signal.SIGTERM)
        finally:
            server.kill()
    assert ended.status == 0
    assert "the log is" not in ended.err


async def enter(url: str, token: str) -> Client:
    async with connect(url, path="/quotes/socket.io/", auth={"token": token}) as client:
        return client
