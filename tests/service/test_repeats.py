"""Commands and HTTP writes that are sent again with the same key: one effect, and the answer of the first one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select, update

from oyez.client import Client
from oyez.log.memory import MemoryLog
from oyez.runtime import idempotency
from oyez.service.app import Oyez
from oyez.service.database.tables import commands
from oyez.settings import Settings
from tests.service.payment_system import system
from tests.support import served
from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.shops import Market, serve
from tests.support.tasks import Spawn

FILE = Path(__file__).with_name("payment_system.py")


@asynccontextmanager
async def opened(folder: Path, database_url: str, log: MemoryLog) -> AsyncIterator[Market]:
    """A node."""
    settings = Settings(port=0, oyez_data=str(folder), database_url=database_url, jwt_secret="s" * 32)
    async with serve(Oyez([system], settings, build_log=lambda name: log)) as market:
        yield market


class SharedLog(MemoryLog):
    """One that several nodes use: the first that stops does not end it for the others."""

    async def close(self) -> None:
        pass


@pytest.fixture
def log() -> MemoryLog:
    return SharedLog()


@pytest.fixture
async def market(tmp_path: Path, database_url: str, log: MemoryLog) -> AsyncIterator[Market]:
    async with opened(tmp_path, database_url, log) as market:
        yield market


@pytest.fixture
async def client(market: Market) -> AsyncIterator[Client]:
    async with market.connect("till", transports=["websocket"]) as client:
        yield client


def key(id: str) -> dict[str, str]:
    """The last argument of a command that may be repeated."""
    return {"idempotencyKey": id}


def done(total: float) -> dict[str, Any]:
    return {"ok": True, "total": total}


async def test_the_same_id_is_done_once(client: Client) -> None:
    assert [await client.call("pay", {"amount": 5}, key("id-1")) for _ in range(3)] == [done(5)] * 3
    assert await client.call("pay", {"amount": 5}, key("id-2")) == done(10)
    assert await client.call("pay", {"amount": 5}) == done(15), "without an id each counts"
    assert [(await client.expect_event("paid")).args[0]["total"] for _ in range(3)] == [5, 10, 15]


async def test_arguments_are_counted(client: Client) -> None:
    """The last argument of a command may be a string of its own."""
    assert await client.call("tip", 1, "thanks") == done(1)
    assert await client.call("tip", 1, "thanks") == done(2)
    assert [await client.call("tip", 1, "thanks", key("id")) for _ in range(2)] == [done(3)] * 2


@pytest.mark.parametrize(
    "id", [key(""), key("x" * 129), 7, None, {"id": 1}, {**key("a"), "b": 1}, {"idempotencyKey": 7}]
)
async def test_what_is_no_key_is_no_argument_either(client: Client, id: Any) -> None:
    answer = await client.call("pay", {"amount": 5}, id)
    assert answer["error"]["code"] == "invalid_data"


async def test_a_string_too_many_is_no_key(client: Client) -> None:
    """Otherwise the second of two equal commands would be answered and not done."""
    for _ in range(2):
        error = (await client.call("pay", {"amount": 5}, "bob"))["error"]
        assert (error["code"], error["details"]["field"]) == ("invalid_data", "")
        assert error["message"].endswith('a key for repeats is {"idempotencyKey": "…"}, not a string.')
    assert await client.call("pay", {"amount": 5}) == done(5)


async def test_a_wrong_argument_is_reported_with_a_key_as_without(client: Client) -> None:
    for ids in ([], [key("id")]):
        answer = await client.call("pay", {"amount": "much"}, *ids)
        assert answer["error"]["details"]["field"] == "amount"


async def test_another_command_with_the_same_id_is_refused(client: Client) -> None:
    await client.call("pay", {"amount": 5}, key("id"))
    answer = await client.call("pay", {"amount": 6}, key("id"))
    assert answer["error"]["code"] == "id_reused"
    assert await client.call("tip", 1, "thanks", key("id")) == done(6), "names are told apart"


async def test_ids_are_the_users_own(market: Market, client: Client) -> None:
    async with market.connect("till", "bob") as other:
        assert await client.call("pay", {"amount": 5}, key("id")) == done(5)
        assert await other.call("pay", {"amount": 5}, key("id")) == done(10)


async def test_what_another_node_is_long_at_comes_again_later(
    client: Client, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "WAIT", 0.1)
    digest = idempotency._digest(b'["pay",{"amount":5},{"idempotencyKey":"id"}]')
    await log.put("command:/\0ada\0pay\0id", digest, 60)
    answer = await client.call("pay", {"amount": 5}, key("id"))
    assert (answer["error"]["code"], answer["ok"]) == ("in_progress", False)


async def test_transactions_that_were_committed_are_not_repeated(client: Client) -> None:
    """The command fails after its transactions; when it is repeated, they are not."""
    assert (await client.call("fail", {}, key("id")))["error"]["code"] == "internal"
    assert (await client.call("fail", {}, key("id")))["error"]["code"] == "already_done"
    assert await client.call("pay", {"amount": 5}) == done(7)


async def test_an_id_whose_answer_is_forgotten_is_free_for_something_else(client: Client, log: MemoryLog) -> None:
    """What the database knows longer is what was done with these arguments, and nothing of others."""
    assert await client.call("pay", {"amount": 5}, key("id")) == done(5)
    for amount, total in ((7, 12), (5, 5)):
        assert await log.get_and_delete("command:/\0ada\0pay\0id") is not None
        assert await client.call("pay", {"amount": amount}, key("id")) == done(total)
    assert await client.call("pay", {"amount": 1}) == done(13)


# Official clients, and servers that are killed.


async def test_an_official_client_that_repeats(market: Market) -> None:
    """Its first attempts time out: the answer takes longer than it waits."""
    slow = asyncio.Event()
    add = MemoryLog.put

    async with JsDriver.start() as js:
        client = await js.connect(
            market.url,
            path="/till/socket.io/",
            auth={"token": market.token("ada")},
            transports=["websocket"],
            retries=50,
            ackTimeout=200,
        )
        log = market.oyez.systems["till"].log
        assert isinstance(log, MemoryLog)

        async def put_late(key: str, value: bytes, ttl: float) -> None:
            if not slow.is_set() and key.startswith("command:"):
                slow.set()
                await asyncio.sleep(0.5)
            await add(log, key, value, ttl)

        log.put = put_late  # type: ignore[method-assign]
        assert await client.call("pay", {"amount": 5}, key("id-1"), timeout=0.2) == done(5)
        assert slow.is_set()
        assert await client.call("pay", {"amount": 5}, key("id-2")) == done(10)


@pytest.mark.parametrize("retention", ["300", "1"], ids=["kept", "forgotten by the log"])
async def test_a_server_that_is_killed_after_the_commit_of_a_command(
    tmp_path: Path, database_url: str, retention: str, spawn: Spawn
) -> None:
    environ = {"JWT_SECRET": "s" * 32, "DATABASE_URL": database_url, "LOG_RETENTION": retention}
    async with JsDriver.start() as js:
        async with served.serve(tmp_path / "data", str(FILE), **environ) as first:
            port = first.url.rpartition(":")[2]
            client = await js.connect(
                first.url,
                path="/till/socket.io/",
                auth={"token": first.token("ada", "buyer")},
                transports=["websocket"],
                reconnection=True,
                reconnectionDelay=100,
                reconnectionDelayMax=200,
                retries=50,
                ackTimeout=1_000,
            )
            (tmp_path / "crash").touch()
            calling = spawn(client.call("pay", {"amount": 5}, key("id-1"), timeout=2))
            await first.process.wait()
            await asyncio.sleep(float(retention) if retention == "1" else 0)
        async with served.serve(tmp_path / "data", str(FILE), **environ, PORT=port):
            assert await calling == done(5)
            assert await client.call("pay", {"amount": 5}, key("id-2")) == done(10)


# HTTP writes with an `Idempotency-Key`.


FIVE = {"buyer": "ada", "amount": 5}


class Harness:
    """The HTTP API of one node, called with a service key."""

    def __init__(self, market: Market) -> None:
        self.market = market

    async def pay(self, body: Any = None, key: str | None = "key-1", **headers: str) -> httpx.Response:
        return await self.send("/payments", FIVE if body is None else body, key, **headers)

    async def send(self, path: str, body: Any, key: str | None, method: str = "POST", **headers: str) -> httpx.Response:
        # A new service key each time, as some back ends sign one for each request.
        if key is not None:
            headers["idempotency-key"] = key
        return await self.market.call(method, f"/till/api{path}", body, headers=headers)


@pytest.fixture
def harness(market: Market) -> Harness:
    return Harness(market)


def total(response: httpx.Response) -> float:
    assert response.status_code == 201, response.text
    return float(response.json()["total"])


async def test_another_request_with_the_same_key_is_refused(harness: Harness, log: MemoryLog) -> None:
    """Also when only the database still knows the key."""
    await harness.pay()
    for forgotten in (False, True):
        if forgotten:
            assert await log.get_and_delete("command:http\0\0key-1") is not None
        refused = await harness.pay({**FIVE, "amount": 6})
        assert (refused.status_code, refused.json()["code"]) == (422, "id_reused")
        assert (await harness.send("/payments?again", FIVE, "key-1")).json()["code"] == "id_reused"
        assert total(await harness.pay()) == 5


async def test_a_request_that_was_refused_may_be_corrected(harness: Harness) -> None:
    assert (await harness.pay({**FIVE, "amount": 0})).status_code == 403
    assert (await harness.pay({**FIVE, "amount": "much"})).status_code == 422
    assert total(await harness.pay()) == 5


async def test_every_route_takes_the_key(harness: Harness) -> None:
    """Also one that asks for no service key: there each caller has their own keys, by their credentials."""
    rings = [(await harness.send("/rings", {}, "key-1", cookie=cookie)).json()["rings"] for cookie in ("a=1", "a=1")]
    assert rings == [1, 1], "a caller with a service key"
    for cookie, expected in (("a=1", 2), ("a=2", 3), ("a=1", 2)):
        answer = await harness.send("/rings", {}, "key-1", cookie=cookie, authorization="")
        assert answer.json()["rings"] == expected
    assert (await harness.send("/rings", {}, "key-1", "GET")).json()["rings"] == 4, "a GET has no key"


async def test_members_take_the_key(harness: Harness) -> None:
    """The repeat of the request that made a member is answered as the request was."""
    path = "/till/rooms/shift:1/members/user:ada"
    headers = {"idempotency-key": "key-1"}
    answers = [await harness.market.call("PUT", path, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert (await harness.market.call("DELETE", path, headers=headers)).json()["code"] == "id_reused"


@pytest.mark.parametrize("keys", [["with space"], [""], ["x" * 129], ["one", "two"]])
async def test_what_is_no_key_is_refused(harness: Harness, keys: list[str]) -> None:
    key = harness.market.oyez.signer.sign_service("till", 60.0)
    headers = [("authorization", f"Bearer {key}"), *(("idempotency-key", key) for key in keys)]
    async with httpx.AsyncClient(base_url=harness.market.url, headers=headers, timeout=PATIENCE) as http:
        refused = await http.post("/till/api/payments", json=FIVE)
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
    assert total(await harness.pay()) == 5


async def test_an_answer_is_repeated_only_with_a_service_key(harness: Harness) -> None:
    await harness.pay()
    assert (await harness.pay(authorization="Bearer wrong")).status_code == 401
    assert (await harness.pay(authorization="")).status_code == 401


def flip(data: bytes, bit: int) -> bytes:
    return bytes(byte ^ (1 << bit % 8) * (number == bit // 8) for number, byte in enumerate(data))


async def test_an_answer_of_which_a_bit_has_changed_is_refused(harness: Harness, log: MemoryLog) -> None:
    await harness.pay()
    kept = await log.get("command:http\0\0key-1")
    assert kept is not None
    for bit in [*range(0, 8 * len(kept), 97), *range(96)]:
        await log.put("command:http\0\0key-1", flip(kept, bit), 300.0)
        refused = await harness.pay()
        assert (refused.status_code, refused.json()["code"]) == (409, "already_done"), bit
    await log.put("command:http\0\0key-1", kept, 300.0)
    assert total(await harness.pay()) == 5


async def test_a_result_in_the_database_of_which_a_bit_has_changed_is_refused(harness: Harness, log: MemoryLog) -> None:
    await harness.pay()

    def spoil(connection: Connection, bit: int) -> None:
        for row in connection.execute(select(commands)).all():
            changed = {"result": flip(row.result, bit)}
            connection.execute(update(commands).where(commands.c.step == row.step).values(changed))

    for bit in (0, 70, 100):
        await harness.market.oyez.database.run(spoil, bit)
        await log.get_and_delete("command:http\0\0key-1")
        refused = await harness.pay()
        assert (refused.status_code, refused.json()["code"]) == (409, "already_done")
        await harness.market.oyez.database.run(spoil, bit)
    await log.get_and_delete("command:http\0\0key-1")
    assert total(await harness.pay()) == 5


async def pay(server: served.Served, key: str) -> httpx.Response:
    return await server.request("POST", "/till/api/payments", FIVE, headers={"idempotency-key": key}, timeout=PATIENCE)


async def test_two_processes_get_the_same_key_at_once(tmp_path: Path, database_url: str) -> None:
    """They share a data folder, and in it a log and a database, or use a database of PostgreSQL."""
    environ = {"JWT_SECRET": "s" * 32, "DATABASE_URL": database_url}
    async with (
        served.serve(tmp_path / "data", str(FILE), **environ) as first,
        served.serve(tmp_path / "data", str(FILE), **environ) as second,
    ):
        for number in range(1, 6):
            answers = await asyncio.gather(*(pay(server, f"key-{number}") for server in (first, second) * 3))
            assert [total(answer) for answer in answers] == [5 * number] * 6


async def test_a_server_that_is_killed_after_the_commit(tmp_path: Path, database_url: str) -> None:
    environ = {"JWT_SECRET": "s" * 32, "DATABASE_URL": database_url}

    async with served.serve(tmp_path / "data", str(FILE), **environ) as first:
        (tmp_path / "crash").touch()
        with pytest.raises(httpx.TransportError):
            await pay(first, "key-1")
        await first.process.wait()
    async with served.serve(tmp_path / "data", str(FILE), **environ) as second:
        assert total(await pay(second, "key-1")) == 5
        assert total(await pay(second, "key-2")) == 10


async def test_a_request_with_the_same_key_is_done_once(harness: Harness) -> None:
    first, second = await harness.pay(), await harness.pay()
    assert (total(first), total(second)) == (5, 5)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    assert total(await harness.pay(key="key-2")) == 10
    assert total(await harness.pay(key=None)) == 15, "without a key each request counts"


@pytest.mark.parametrize("way", ["command", "request"])
async def test_many_at_once_on_two_nodes_are_done_once(
    tmp_path: Path, database_url: str, log: MemoryLog, market: Market, way: str
) -> None:
    async def pay(node: Market) -> float:
        if way == "request":
            return total(await Harness(node).pay())
        async with node.connect("till", transports=["websocket"]) as client:
            answer = await client.call("pay", {"amount": 5}, key("id"))
            return float(answer["total"])

    async with opened(tmp_path, database_url, log) as second:
        assert await asyncio.gather(*(pay(node) for node in [market, second] * 5)) == [5] * 10
