"""An Oyez: several systems in one process, each at its own paths, alone and mounted in another application."""

import asyncio
import threading
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Column, Connection, MetaData, String, Table, select
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from oyez.client import ConnectFailed
from oyez.concurrency.clock import Clock as SystemClock
from oyez.errors import ContractError, LogUnavailableError, SettingsError
from oyez.log.memory import MemoryLog
from oyez.runtime import service_route
from oyez.service.app import Oyez
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings
from tests.support.clock import PATIENCE, WALL_TIME, Clock
from tests.support.js_client import JsDriver
from tests.support.ledger import Ledger
from tests.support.shops import KINDS, Sold, declare, serve, shop
from tests.support.tasks import Spawn

SOLD = {"item": "i-7", "buyer": "ada", "timestamp": "2026-01-31T12:00:00Z"}
ROOMS = frozenset({"buyer:ada"})
WEBSOCKETS = ["/books/socket.io", "/books/ws", "/fruit/socket.io", "/fruit/ws"]
WAYS = [["polling"], ["websocket"], ["polling", "websocket"]]


async def test_the_log_keeps_events_as_long_as_the_settings_say(settings: Settings) -> None:
    for retention, kept in ((300.0, True), (1e-9, False)):
        chosen = replace(settings, log_retention=retention)
        async with serve(Oyez([shop("books")], chosen), KINDS[0]) as market:
            log = market.oyez.systems["books"].log
            before = await log.position()
            assert (await market.publish("books", SOLD)).status_code == 200
            if kept:
                assert len(await log.read(before, "/", ROOMS, 10)) == 1
            else:
                with pytest.raises(KeyError):
                    await log.read(before, "/", ROOMS, 10)


# Paths.


@pytest.mark.parametrize("kind", KINDS)
async def test_several_systems_share_a_process_and_nothing_else(settings: Settings, kind: str) -> None:
    async with serve(Oyez([shop("books"), shop("fruit")], settings), kind) as market:
        async with market.connect("books") as books, market.connect("fruit") as fruit:
            assert (await market.publish("books", SOLD)).status_code == 200
            assert (await books.expect_event("sold")).args == [SOLD]
            await fruit.expect_nothing()
        foreign = market.oyez.signer.sign_service("fruit", 60.0)
        assert (await market.publish("books", SOLD, foreign)).json()["code"] == "token_invalid"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_several_systems_have_no_path_in_common(settings: Settings, kind: str, transport: str) -> None:
    async with serve(Oyez([shop("books"), shop("fruit")], settings), kind) as market:
        for path in ("/socket.io/", "/cellar/socket.io/"):
            with pytest.raises(ConnectFailed):
                async with market.connect_at(path, transports=[transport]):
                    pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ws_path", [None, "/rt", "/a/b.c/"])
async def test_one_system_has_a_short_path_too(settings: Settings, kind: str, ws_path: str | None) -> None:
    chosen = replace(settings, ws_path=ws_path)
    short = (ws_path or "/socket.io").rstrip("/")
    async with serve(Oyez([shop("books")], chosen), kind) as market:
        for path in (short, f"{short}/", "/books/socket.io", "/books/socket.io/"):
            for transport in ("polling", "websocket"):
                async with market.connect_at(path, transports=[transport]) as client:
                    assert client.transport == transport
        if ws_path is not None:
            assert (await market.request("GET", "/socket.io/?EIO=4&transport=polling")).status_code == 404


@pytest.mark.parametrize("ws_path", ["rt", "/", "//", "/a//b", "/{name}", "/a b", "/é"])
def test_a_path_that_is_none(settings: Settings, ws_path: str) -> None:
    chosen = replace(settings, ws_path=ws_path)
    with pytest.raises(SettingsError, match="WS_PATH"):
        Oyez([shop("books")], chosen)


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no system to serve"), (["books", "books"], "2 systems are called 'books'")],
)
def test_systems_have_different_names(settings: Settings, names: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Oyez([shop(name) for name in names], settings)


# HTTP.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/", "/cellar/events", "/books", "/books/api/none", "/books/socket.io/x"])
async def test_what_is_not_there_is_a_problem_that_says_what_is(settings: Settings, kind: str, path: str) -> None:
    async with serve(Oyez([shop("books"), shop("fruit")], settings), kind) as market:
        answer = await market.request("GET", path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert answer.json() == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": f"There is nothing at {market.prefix}{path}. Served here: books, fruit.",
        }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/book/ws", "/books/websocket"])
async def test_a_websocket_at_a_wrong_path_receives_the_valid_paths(settings: Settings, kind: str, path: str) -> None:
    async with serve(Oyez([shop("books"), shop("fruit")], settings), kind) as market:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{market.url}{market.prefix}{path}".replace("http", "ws", 1)):
                pass
        assert refused.value.response.status_code == 404
        assert refused.value.response.body.decode() == (
            "There is no WebSocket at this path."
            f" There is one at: {', '.join(market.prefix + each for each in WEBSOCKETS)}."
        )


async def test_a_wrong_method_is_a_problem(settings: Settings) -> None:
    async with serve(Oyez([shop("books")], settings)) as market:
        answer = await market.request("GET", "/books/events")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["title"] == "Method Not Allowed"


async def test_a_mistake_of_the_servers_is_a_problem_and_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request) -> Response:
        raise ZeroDivisionError("of the shop's own")

    routes = [Route("/broken", fail)]
    async with serve(Oyez([shop("books", build=lambda services: SystemServices(routes=routes))], settings)) as market:
        answer = await market.request("GET", "/books/api/broken")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["code"] == "internal"
    assert "shop" not in answer.text
    assert "ZeroDivisionError: of the shop's own" in caplog.text


# Behaviour.

visits = Table("visits", MetaData(), Column("name", String, primary_key=True))


def visited(services: Services) -> SystemServices:
    """A system with a table, and a route that writes to it and publishes."""

    def write(connection: Connection, name: str) -> int:
        connection.execute(visits.insert().values(name=name))
        return len(connection.execute(select(visits)).all())

    async def visit(request: Request) -> Response:
        name = request.path_params["name"]
        count = await services.database.run(write, name)
        await services.publisher.emit(Sold(item=f"visit-{count}", buyer=name))
        return PlainTextResponse(str(count))

    return SystemServices(routes=[service_route("/visits/{name}", visit, services.authorize)])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_systems_own_api_has_the_database_and_publishes(settings: Settings, kind: str) -> None:
    system = System(contract=declare("books"), build=visited, tables=visits.metadata)
    async with serve(Oyez([system], settings), kind) as market, market.connect("books") as client:
        assert (await market.request("POST", "/books/api/visits/ada")).status_code == 401
        assert (await market.call("POST", "/books/api/visits/ada")).text == "1"
        (sold,) = (await client.expect_event("sold")).args
        assert sold["item"] == "visit-1"


async def test_a_program_publishes_from_python(settings: Settings) -> None:
    oyez = Oyez([shop("books")], settings)
    async with serve(oyez) as market, market.connect("books") as ada, market.connect("books", "bob") as bob:
        publisher = oyez.systems["books"].publisher
        position = await publisher.emit(Sold(item="i-7", buyer="ada"))
        assert position == await oyez.systems["books"].log.position()
        (sold,) = (await ada.expect_event("sold")).args
        assert (sold["item"], sold["timestamp"][-1]) == ("i-7", "Z")
        await bob.expect_nothing()


@pytest.mark.parametrize("way", WAYS, ids="+".join)
async def test_the_official_client_receives_events_when_mounted_in_fastapi(
    settings: Settings, js: JsDriver, way: list[str]
) -> None:
    async with serve(Oyez([shop("books")], settings), "mounted in FastAPI") as market:
        client = await js.connect(
            market.url, path="/live/books/socket.io/", auth={"token": market.token("ada")}, transports=way
        )
        assert await client.transport() == way[-1]
        await market.publish("books", SOLD)
        assert await client.expect_event("sold") == [SOLD]
        await client.disconnect()


# Life.


class WatchedLog(MemoryLog):
    """A log that records whether it was closed, and can fail to close."""

    closed = False
    fails = False

    async def close(self) -> None:
        self.closed = True
        await super().close()
        if self.fails:
            raise LogUnavailableError("broken")


def nothing(connection: Connection) -> None:
    """A transaction."""


@pytest.mark.parametrize("kind", KINDS)
async def test_at_shutdown_clients_are_notified_and_everything_is_closed(settings: Settings, kind: str) -> None:
    logs = {name: WatchedLog() for name in ("books", "fruit")}
    oyez = Oyez([shop("books"), shop("fruit")], settings, build_log=logs.__getitem__)
    async with (
        serve(oyez, kind) as market,
        market.connect("books") as websocket,
        market.connect("fruit", transports=["polling"]) as polling,
    ):
        market.http.told_to_stop.set()
        assert await websocket.expect_disconnect() == "transport close"
        assert await polling.expect_disconnect() == "transport error"
    assert [log.closed for log in logs.values()] == [True, True]
    with pytest.raises(RuntimeError):
        await oyez.database.run(nothing)


async def test_a_log_that_cannot_be_closed_keeps_nothing_else_open(settings: Settings) -> None:
    logs = {name: WatchedLog() for name in ("books", "fruit")}
    logs["books"].fails = logs["fruit"].fails = True
    oyez = Oyez([shop("books"), shop("fruit")], settings, build_log=logs.__getitem__)
    with pytest.raises(LogUnavailableError):
        async with oyez.running():
            pass
    assert [log.closed for log in logs.values()] == [True, True]
    with pytest.raises(RuntimeError):
        await oyez.database.run(nothing)


async def test_what_cannot_be_built_leaves_nothing_open(settings: Settings) -> None:
    databases = []

    def build(services: Services) -> SystemServices:
        databases.append(services.database)
        return SystemServices(resolvers={"nobody's": lambda identity: None})  # type: ignore[dict-item, return-value]

    with pytest.raises(ContractError, match="nobody's"):
        Oyez([shop("books", build=build)], settings)
    with pytest.raises(RuntimeError):
        await databases[0].run(nothing)


# Transactions and jobs.


def sell(tx: Transaction, item: str, started: threading.Event, may_commit: threading.Event) -> None:
    started.set()
    assert may_commit.wait(PATIENCE)
    tx.emit(Sold(item=item, buyer="ada"))


async def test_what_is_being_committed_while_all_stops_is_sent(
    settings: Settings, database_url: str, spawn: Spawn
) -> None:
    log = Ledger()
    oyez = Oyez([shop("books")], replace(settings, database_url=database_url), build_log=lambda system: log)
    started, may_commit = threading.Event(), threading.Event()
    async with oyez.running():
        selling = spawn(oyez.systems["books"].outbox.run(sell, "i-7", started, may_commit))
        await asyncio.to_thread(started.wait)
        asyncio.get_running_loop().call_later(0.05, may_commit.set)
    await selling
    assert [entry.rooms for entry in log.stored.values()] == [("buyer:ada",)]


async def test_without_its_log_all_stops_in_time_and_sends_at_the_next_start(
    settings: Settings, database_url: str
) -> None:
    chosen = replace(settings, database_url=database_url, shutdown_timeout=0.2)
    dead, log = MemoryLog(), Ledger()
    await dead.close()
    oyez = Oyez([shop("books")], chosen, build_log=lambda system: dead)
    go = threading.Event()
    go.set()
    async with oyez.running():
        await oyez.systems["books"].outbox.run(sell, "i-7", threading.Event(), go)
    again = Oyez([shop("books")], chosen, build_log=lambda system: log)
    async with again.running():
        await again.systems["books"].outbox.drained()
    assert len(log.stored) == 1


async def test_a_systems_jobs_are_done_by_the_clock(settings: Settings, database_url: str) -> None:
    clock = Clock(WALL_TIME)

    def remind(tx: Transaction, key: str, data: dict[str, Any]) -> None:
        tx.emit(Sold(item=data["item"], buyer=key))

    system = shop("books", build=lambda services: SystemServices(jobs={"remind": remind}))
    oyez = Oyez([system], replace(settings, database_url=database_url), time=SystemClock(clock))
    async with serve(oyez) as market, market.connect("books") as client:
        served = oyez.systems["books"]
        await served.outbox.run(lambda tx: tx.schedule("remind", "ada", tx.now + 3600, {"item": "i-7"}))
        await served.jobs.done()
        await client.expect_nothing()
        clock.now += 3600
        await served.jobs.done()
        (sold,) = (await client.expect_event("sold")).args
        assert sold == {"item": "i-7", "buyer": "ada", "timestamp": "2023-11-14T23:13:20.000Z"}


async def test_systems_share_a_database_and_no_events(settings: Settings, database_url: str) -> None:
    logs = {"books": Ledger(), "fruit": Ledger()}
    chosen = replace(settings, database_url=database_url)
    oyez = Oyez([shop("books"), shop("fruit")], chosen, build_log=logs.__getitem__)
    go = threading.Event()
    go.set()
    async with oyez.running():
        for name, item in (("books", "b"), ("fruit", "f")):
            await oyez.systems[name].outbox.run(sell, item, threading.Event(), go)
            await oyez.systems[name].outbox.drained()
    assert [b'"item":"b"' in entry.data for entry in logs["books"].stored.values()] == [True]
    assert [b'"item":"f"' in entry.data for entry in logs["fruit"].stored.values()] == [True]
