"""Commands that are sent again with the same id: the effect is there once, and the answer is the first one's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client
from oyez.log.memory import MemoryLog
from oyez.runtime import idempotency
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.service.payment_system import system
from tests.support import served
from tests.support.js_client import JsDriver
from tests.support.shops import Market, serve

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
        assert error["message"].endswith('a key for repeats is {"idempotencyKey": "…"}, not a string')
    assert await client.call("pay", {"amount": 5}) == done(5)


async def test_a_fault_behind_an_id_is_told_as_without(client: Client) -> None:
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


async def test_many_at_once_on_two_nodes(tmp_path: Path, database_url: str, log: MemoryLog, client: Client) -> None:
    async with (
        opened(tmp_path, database_url, log) as second,
        second.connect("till", transports=["websocket"]) as other,
    ):
        calls = [one.call("pay", {"amount": 5}, key("id")) for one in [client, other] * 5]
        assert await asyncio.gather(*calls) == [done(5)] * 10


async def test_what_another_node_is_long_at_comes_again_later(
    client: Client, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "WAIT", 0.1)
    digest = idempotency._digest(b'["pay",{"amount":5},{"idempotencyKey":"id"}]')
    await log.put("command:/\0ada\0pay\0id", digest, 60)
    answer = await client.call("pay", {"amount": 5}, key("id"))
    assert (answer["error"]["code"], answer["ok"]) == ("in_progress", False)


async def test_transactions_that_were_committed_are_not_repeated(client: Client) -> None:
    """The command fails behind them; it is repeated, and so are none of them."""
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
            retries=5,
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
        assert await client.call("pay", {"amount": 5}, key("id-2"), timeout=5) == done(10)


@pytest.mark.parametrize("retention", ["300", "1"], ids=["kept", "forgotten by the log"])
async def test_a_server_that_is_killed_behind_the_commit(tmp_path: Path, database_url: str, retention: str) -> None:
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
            calling = asyncio.create_task(client.call("pay", {"amount": 5}, key("id-1"), timeout=2))
            await first.process.wait()
            await asyncio.sleep(float(retention) if retention == "1" else 0)
        async with served.serve(tmp_path / "data", str(FILE), **environ, PORT=port):
            assert await calling == done(5)
            assert await client.call("pay", {"amount": 5}, key("id-2"), timeout=5) == done(10)
