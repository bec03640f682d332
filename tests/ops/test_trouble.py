"""Databases and keys really fail and come back while official clients connect: no refusal is permanent."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from oyez.ops.health import health_routes
from oyez.protocol import engineio
from oyez.service.app import Oyez
from oyez.service.database import probe
from oyez.settings import Limits, Settings
from oyez.systems.quotes import system as quotes
from oyez.systems.rez import system as rez
from tests.service.auth.test_keys import ROTATION, public, sign
from tests.support.clock import PATIENCE, until
from tests.support.js_client import JsClient, JsDriver
from tests.support.logged import capture_logs
from tests.support.operators import build
from tests.support.parcels import system as parcels
from tests.support.plaza import system as plaza
from tests.support.postgres import PostgreSQL, serve_postgresql
from tests.support.shops import Market, serve
from tests.support.tasks import Spawn

IMPATIENT: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 200, "reconnectionDelayMax": 400}
OFFER = {
    "id": "off-1",
    "title": "Kettles",
    "description": "All kettles.",
    "discount": 20,
    "expiresAt": "2036-04-23T22:00:00.000Z",
    "image": "https://cdn.rez.example/off-1.jpg",
    "category": "kitchen",
}
SOON = PATIENCE
"""Seconds within which trouble has to be known, and everything has to work again after it."""


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known after two seconds otherwise is known soon."""
    monkeypatch.setattr(probe, "INTERVAL", 0.2)
    monkeypatch.setattr(probe, "RETRY_INTERVAL", 0.1)


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Market]:
    chosen = Settings(port=0, oyez_data=str(folder / "data"), **settings)
    async with serve(Oyez([rez, quotes], chosen, operate=health_routes)) as market:
        yield market


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[PostgreSQL]:
    """One that a test may stop."""
    with serve_postgresql() as server:
        yield server


async def until_ready(market: Market, status: int) -> Any:
    """The answer of `/readyz` once its status is `status`."""
    async with asyncio.timeout(SOON):
        while (answer := await market.request("GET", "/readyz")).status_code != status:  # noqa: ASYNC110 - as probes do
            await asyncio.sleep(0.05)
    return answer.json()


async def until_database(market: Market, **words: str) -> Any:
    """The answer of `/readyz` once it contains these words about the database, by system."""
    async with asyncio.timeout(SOON):
        while True:
            ready = (await market.request("GET", "/readyz")).json()
            if {name: system["database"] for name, system in ready["systems"].items()} == words:
                return ready
            await asyncio.sleep(0.05)


async def ask(market: Market, system: str, method: str, path: str, body: Any) -> int:
    return (await market.call(method, f"/{system}{path}", body)).status_code


def token(market: Market, subject: str, role: str = "user") -> dict[str, str]:
    return {"token": market.oyez.signer.sign_user(subject, role, {}, 600.0)}


def expect_never_refused(client: JsClient) -> None:
    """An official client does not reconnect after a CONNECT_ERROR."""
    assert [report for report in client.reports if report["what"] == "connect_error" and report["data"]] == []


def tries(client: JsClient) -> int:
    """Connections that the client has had, or tried to have, and that have ended."""
    return len([report for report in client.reports if report["what"] in ("disconnect", "connect_error")])


async def test_the_database_is_away_while_official_clients_come_back(
    tmp_path: Path, js: JsDriver, own_postgresql: PostgreSQL
) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, database_url=own_postgresql.make_database()) as market:
            assert await ask(market, "quotes", "PUT", "/api/suppliers/sue", {"supplierId": "s-1"}) == 201
            clients = []
            for user, path, transports in (
                ("ada", "/rez/socket.io/", ["websocket"]),
                ("bob", "/rez/socket.io/", ["polling"]),
                ("sue", "/quotes/socket.io/", ["websocket"]),
            ):
                auth = token(market, user, "supplier" if user == "sue" else "user")
                clients.append(await js.connect(market.url, path=path, auth=auth, transports=transports, **IMPATIENT))
            ada, bob, sue = clients
            for client in (ada, bob):
                await client.expect_event("connected")
                assert (await client.call("subscribe", {"channel": "offers"}))["ok"]

            own_postgresql.stop()
            refused = await ada.call("subscribe", {"channel": "orders"})
            assert refused["error"]["code"] == "unavailable"
            assert await ask(market, "quotes", "PUT", "/api/suppliers/tom", {"supplierId": "s-2"}) == 503
            red = await until_database(market, rez="unavailable", quotes="unavailable")
            assert "postgres" not in json.dumps(red) and str(own_postgresql.folder) not in json.dumps(red)
            for served in market.oyez.systems.values():
                for connection in tuple(served.server.registry.connections.values()):
                    connection.close(engineio.TRANSPORT_ERROR)
            # Events need no database.
            assert await ask(market, "rez", "POST", "/events", {"event": "new_offer", "data": OFFER}) == 200
            # The clients keep trying.
            await until(lambda: min(tries(client) for client in clients) >= 4, SOON)
            let_in = [report for client in clients for report in client.reports if report["what"] == "connect"]
            assert let_in == [], "nobody is let in half"

            own_postgresql.start()
            for client in (ada, bob):
                await client.expect_event("connected")
            await until(lambda: len(market.oyez.systems["quotes"].server.namespaces["/"].sockets) == 1, SOON)
            await until_ready(market, 200)
            later = OFFER | {"id": "off-2"}
            assert await ask(market, "rez", "POST", "/events", {"event": "new_offer", "data": later}) == 200
            for client in (ada, bob):
                offers = [(await client.expect_event("new_offer"))[0]["id"] for _ in range(2)]
                assert offers == ["off-1", "off-2"], "what they missed comes once"
                assert [name for name, _ in client.events() if name == "new_offer"] == []
            for client in (ada, bob, sue):
                expect_never_refused(client)
                await client.disconnect()
    assert {"the database is unavailable", "the database is available again"} <= {line["event"] for line in logs}


@contextmanager
def publish_keys(port: int, *kids: str) -> Iterator[int]:
    """An issuer's key set served on `port` (0: any); its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [public(ROTATION[kid]) for kid in kids]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def test_the_keys_are_away_while_official_clients_connect(tmp_path: Path, js: JsDriver) -> None:
    with publish_keys(0) as port:
        pass
    async with running(tmp_path, jwks_url=f"http://127.0.0.1:{port}/") as market:
        red = await until_ready(market, 503)
        assert red["keys"] == "unavailable" and str(port) not in json.dumps(red)
        tokens = {kid: {"token": sign(ROTATION[kid], "ES256", kid=kid)} for kid in ("old", "new")}
        clients = [
            await js.begin(market.url, path="/quotes/socket.io/", auth=tokens["old"], transports=[kind], **IMPATIENT)
            for kind in ("websocket", "polling")
        ]
        server = market.oyez.systems["quotes"].server
        # The clients keep trying.
        await until(lambda: min(tries(client) for client in clients) >= 4, SOON)
        assert server.namespaces["/"].sockets == {}
        with publish_keys(port, "old"):
            for client in clients:
                await client.expect("connect")
            assert (await until_ready(market, 200))["keys"] == "ok"
        with publish_keys(port, "new"):
            # Rotated: the new key counts at once.
            clients.append(await js.connect(market.url, path="/quotes/socket.io/", auth=tokens["new"]))
        for client in clients:
            expect_never_refused(client)
            await client.disconnect()


@contextmanager
def lock_table(url: str) -> Iterator[None]:
    """Lock a table of `rez`. SQLite has one lock, so there all writing waits."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE rez_subscriptions IN ACCESS EXCLUSIVE MODE")
            yield
    else:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            yield


async def test_a_locked_table_of_one_system_leaves_another_unharmed(
    tmp_path: Path, js: JsDriver, database_url: str, spawn: Spawn
) -> None:
    limits = Limits(database_lock_timeout=3.0, database_queue_timeout=4.5)
    async with running(tmp_path, database_url=database_url, limits=limits) as market:
        on_postgresql = database_url.startswith("postgresql")
        assert await ask(market, "quotes", "PUT", "/api/suppliers/sue", {"supplierId": "s-1"}) == 201
        path = "/rez/socket.io/"
        users = [await js.connect(market.url, path=path, auth=token(market, f"u{number}")) for number in range(5)]
        for user in users:
            await user.expect_event("connected")
        with lock_table(database_url):
            waiting = [spawn(user.call("subscribe", {"channel": "offers"})) for user in users]
            # A CONNECT of the other system, which looks its supplier up in the database. If it waited for the lock,
            # which is released later, it would be refused.
            sue = await js.connect(market.url, path="/quotes/socket.io/", auth=token(market, "sue", "supplier"))
            if on_postgresql:
                assert await ask(market, "quotes", "PUT", "/api/suppliers/tom", {"supplierId": "s-2"}) == 201
            answers = await asyncio.gather(*waiting)
            assert {answer["error"]["code"] for answer in answers} == {"unavailable"}
            await until_database(market, rez="unavailable", quotes="ok" if on_postgresql else "unavailable")
        await until_ready(market, 200)
        assert (await users[0].call("subscribe", {"channel": "offers"}))["ok"]
        for client in (*users, sue):
            await client.disconnect()


async def test_receipts_and_members_while_the_database_is_away(
    tmp_path: Path, js: JsDriver, own_postgresql: PostgreSQL
) -> None:
    """Namespaces of members open to nobody and refuse nobody for good; no acknowledgement is lost."""
    url, arrived = own_postgresql.make_database(), {"event": "arrived", "data": {"customerId": "ada", "parcel": "p-1"}}
    async with serve(build(tmp_path, [parcels, plaza], database_url=url)) as market:
        assert await ask(market, "plaza", "PUT", "/rooms/inside/members/user:cal?namespace=/club-1", None) == 201
        options = {"transports": ["websocket"], **IMPATIENT}
        ada = await js.connect(
            market.url,
            path="/parcels/socket.io/",
            auth={"token": market.token("ada")},
            answers={"arrived": []},
            **options,
        )
        auth = {"token": market.token("cal")}
        cal = await js.connect(f"{market.url}/club-1", path="/plaza/socket.io/", auth=auth, **options)

        own_postgresql.stop()
        answer = await market.call("POST", "/parcels/events", arrived)
        position = answer.json()["position"]
        await ada.expect_event("arrived")
        receipts = await market.call("GET", f"/parcels/events/{position}/receipts")
        assert (receipts.status_code, receipts.json()["code"]) == (503, "unavailable")
        assert "postgres" not in receipts.text
        for served in market.oyez.systems.values():
            for connection in tuple(served.server.registry.connections.values()):
                connection.close(engineio.TRANSPORT_ERROR)
        # Only the namespace of members needs the database.
        await ada.expect("connect")
        await until(lambda: tries(cal) >= 4, SOON)
        assert await ask(market, "plaza", "POST", "/events", {"event": "gong", "namespace": "/club-1"}) == 200
        # A revocation needs no database either.
        assert await ask(market, "parcels", "POST", "/users/zoe/revoke", {}) == 200
        assert [report for report in cal.reports if report["what"] == "connect"] == [], "nobody is let in half"

        own_postgresql.start()
        await cal.expect("connect")
        await cal.expect_event("gong")
        expect_never_refused(cal)
        acknowledged = False
        async with asyncio.timeout(SOON):
            while not acknowledged:
                answer = await market.call("GET", f"/parcels/events/{position}/receipts")
                found = answer.json().get("receipts", []) if answer.status_code == 200 else []
                acknowledged = any(one["user"] == "ada" and one["acknowledged"] for one in found)
                await asyncio.sleep(0.05)
        for client in (ada, cal):
            await client.disconnect()
