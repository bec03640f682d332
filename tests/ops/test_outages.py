"""The log's storage really fails and comes back: what clients and operators see, how soon, and nothing is lost."""

import asyncio
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from oyez.client import Client
from oyez.errors import SettingsError
from oyez.ops.health import health_routes
from oyez.server import server
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.logged import capture_logs
from tests.support.shops import Market, serve, shop
from tests.support.valkey import ValkeyServer

SOON = PATIENCE
"""Seconds after which everything has to be known, or to work again. A machine with nothing else to do needs five."""


@dataclass
class Storage:
    """Where the log is stored, and how that storage fails and returns with nothing lost."""

    settings: dict[str, str]
    go: Callable[[], None]
    come_back: Callable[[], None]


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that a test may kill; not started yet."""
    server = ValkeyServer(tmp_path / "valkey", "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.kill()


def in_redis(server: ValkeyServer, fault: str) -> Storage:
    server.start()

    def send(number: signal.Signals) -> None:
        assert server.pid is not None
        os.kill(server.pid, number)

    faults: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "killed": (server.kill, server.start),
        "hanging": (lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT)),
    }
    return Storage({"redis_url": server.url}, *faults[fault])


def in_a_file(folder: Path) -> Storage:
    """Locked, as by a process that hangs in a transaction."""
    holders: list[sqlite3.Connection] = []

    def lock() -> None:
        holders.append(sqlite3.connect(folder / "data" / "log-books.sqlite", isolation_level=None))
        holders[-1].execute("BEGIN IMMEDIATE")

    return Storage({}, lock, lambda: holders.pop().close())


@pytest.fixture(params=["redis killed", "redis hanging", "file locked"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, own_valkey: ValkeyServer) -> Storage:
    place, fault = request.param.split()
    return in_redis(own_valkey, fault) if place == "redis" else in_a_file(tmp_path)


def build(folder: Path, **settings: str) -> Oyez:
    chosen = Settings(port=0, oyez_data=str(folder / "data"), **settings)  # type: ignore[arg-type]
    return Oyez([shop("books")], chosen, operate=health_routes)


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[Market]:
    async with serve(build(folder, **settings)) as market:
        yield market


async def seconds_until_ready(market: Market, status: int) -> float:
    """How long it takes until `/readyz` answers `status`."""
    begun = time.monotonic()
    async with asyncio.timeout(4 * SOON):
        while (await market.request("GET", "/readyz")).status_code != status:  # noqa: ASYNC110 - as probes do
            await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def publish(market: Market, item: str) -> str | None:
    """The position at which it was accepted, or None where it was refused as it has to be."""
    answer = await market.publish("books", {"item": item, "buyer": "ada", "timestamp": "2026-01-31T12:00:00Z"})
    if answer.status_code == 200:
        position: str = answer.json()["position"]
        return position
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    return None


async def expect_status(client: Client, available: bool) -> None:
    name, args = await client.expect_event("oyez:status")
    assert args[0]["available"] is available and args[0]["timestamp"].endswith("Z"), name


async def test_an_outage(tmp_path: Path, storage: Storage) -> None:
    """Red and logged, no client disconnected, nothing lost, and green again."""
    async with (
        running(tmp_path, **storage.settings) as market,
        market.connect("books", transports=["websocket"]) as client,
    ):
        assert await publish(market, "before")
        await client.expect_event("sold")
        storage.go()
        red = await seconds_until_ready(market, 503)
        await expect_status(client, False)
        accepted = [item for item in ("during-1", "during-2") if await publish(market, item)]
        assert accepted == []
        async with market.connect("books", "bob", transports=["websocket"]) as newcomer:
            await expect_status(newcomer, False)
            storage.come_back()
            green = await seconds_until_ready(market, 200)
            await expect_status(client, True)
            await expect_status(newcomer, True)
        assert await publish(market, "after")
        _, args = await client.expect_event("sold")
        assert args[0]["item"] == "after", "nothing that was refused comes after all"
        print(f"red after {red:.1f} s, green after {green:.1f} s")
        assert red < SOON and green < SOON


async def test_official_clients_stay_and_miss_nothing(tmp_path: Path, own_valkey: ValkeyServer) -> None:
    redis = in_redis(own_valkey, "killed")
    async with (
        JsDriver.start() as js,
        running(tmp_path, **redis.settings) as market,
    ):
        client = await js.connect(market.url, path="/books/socket.io/", auth={"token": market.token("ada")})
        assert await publish(market, "one")
        assert (await client.expect_event("sold"))[0]["item"] == "one"
        redis.go()
        await seconds_until_ready(market, 503)
        assert not (await client.expect_event("oyez:status"))[0]["available"]
        redis.come_back()
        await seconds_until_ready(market, 200)
        assert (await client.expect_event("oyez:status"))[0]["available"]
        assert await publish(market, "two")
        assert (await client.expect_event("sold"))[0]["item"] == "two"
        assert not [report for report in client.reports if report["what"] == "disconnect"]


@pytest.mark.parametrize("place", ["redis", "file"])
async def test_a_start_without_the_log(
    tmp_path: Path, place: str, own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, str] = {}
    begin: Callable[[], None] = own_valkey.start
    if place == "redis":
        settings["redis_url"] = own_valkey.url
    else:
        data = tmp_path / "data"
        data.mkdir()
        (data / "log-books.sqlite").mkdir()
        begin = (data / "log-books.sqlite").rmdir
    async with running(tmp_path, **settings) as market:
        assert caplog.text.count("the log is unavailable") == 1
        assert await seconds_until_ready(market, 503) < SOON
        assert await publish(market, "early") is None
        begin()
        assert await seconds_until_ready(market, 200) < SOON
        async with market.connect("books") as client:
            assert await publish(market, "first")
            _, args = await client.expect_event("sold")
            assert args[0]["item"] == "first"


async def test_a_folder_that_goes(tmp_path: Path) -> None:
    """History is lost with it, so clients are sent away; what comes then is theirs again."""
    async with running(tmp_path, database_url=f"sqlite:///{tmp_path}/domain.sqlite") as market:
        async with market.connect("books", transports=["websocket"]) as client:
            assert await publish(market, "one")
            await client.expect_event("sold")
            (tmp_path / "data").rename(tmp_path / "gone")
            (tmp_path / "data").write_text("in the way")
            red = await seconds_until_ready(market, 503)
            await expect_status(client, False)
            assert await publish(market, "two") is None
            (tmp_path / "data").unlink()
            green = await seconds_until_ready(market, 200)
            await client.expect_disconnect()
        assert red < SOON and green < SOON
        async with market.connect("books") as client:
            assert await publish(market, "three")
            await client.expect_event("sold")
    shutil.rmtree(tmp_path / "gone")


async def test_a_deleted_file_is_created_again_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as market, market.connect("books", transports=["websocket"]) as client:
        first = await publish(market, "one")
        await client.expect_event("sold")
        for file in (tmp_path / "data").glob("log-books.sqlite*"):
            file.unlink()
        second = await publish(market, "two")
        assert first and second and first.partition(".")[0] != second.partition(".")[0]


def put_a_stranger(file: Path) -> None:
    """A database of another program in the place of the log."""
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE somebody (id)")


async def test_a_stranger_where_the_log_was_is_waited_out(tmp_path: Path) -> None:
    file = tmp_path / "data" / "log-books.sqlite"
    async with running(tmp_path) as market, market.connect("books", transports=["websocket"]) as client:
        assert await publish(market, "one")
        await client.expect_event("sold")
        file.rename(tmp_path / "away")
        put_a_stranger(file)
        assert await seconds_until_ready(market, 503) < SOON
        assert await publish(market, "two") is None
        await expect_status(client, False)
        (tmp_path / "away").rename(file)
        assert await seconds_until_ready(market, 200) < SOON
        assert await publish(market, "three")


async def test_another_cause_during_an_outage_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was away at the start, and what comes is none: an operator has to see why, and not only that."""
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.001)
    file = tmp_path / "data" / "log-books.sqlite"
    file.mkdir(parents=True)
    with capture_logs() as logs:
        async with running(tmp_path) as market:
            file.rmdir()
            put_a_stranger(file)
            async with asyncio.timeout(SOON):
                while not (reported := [line for line in logs if "not a log of Oyez" in str(line)]):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert await seconds_until_ready(market, 503) < SOON
            file.unlink()
            assert await seconds_until_ready(market, 200) < SOON
            assert await publish(market, "one")
            assert [line for line in logs if "not a log of Oyez" in str(line)] == reported


async def test_a_wrong_setting_ends_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    put_a_stranger(data / "log-books.sqlite")
    oyez = build(tmp_path)
    with pytest.raises(SettingsError, match="not a log of Oyez"):
        async with oyez.running():
            raise AssertionError("it has started")
