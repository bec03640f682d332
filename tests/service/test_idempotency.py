"""HTTP writes with an `Idempotency-Key`: the effect is there once, and the answer is the first one's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select, update

from oyez.log.memory import MemoryLog
from oyez.service.database.tables import commands
from tests.service.test_repeats import FILE, SharedLog, opened
from tests.support import served
from tests.support.shops import Market

FIVE = {"buyer": "ada", "amount": 5}


class Harness:
    """The HTTP API of one node, called with a service key."""

    def __init__(self, market: Market) -> None:
        self.market = market

    async def pay(self, body: Any = None, key: str | None = "key-1", **headers: str) -> httpx.Response:
        return await self.send("/payments", FIVE if body is None else body, key, **headers)

    async def send(self, path: str, body: Any, key: str | None, method: str = "POST", **headers: str) -> httpx.Response:
        # A new service key each time, as some back ends sign one for each request.
        headers = {"authorization": f"Bearer {self.market.oyez.signer.sign_service('till', 60.0)}", **headers}
        if key is not None:
            headers["idempotency-key"] = key
        return await self.market.request(method, f"/till/api{path}", json=body, headers=headers)


@pytest.fixture
def log() -> MemoryLog:
    return SharedLog()


@pytest.fixture
async def harness(tmp_path: Path, database_url: str, log: MemoryLog) -> AsyncIterator[Harness]:
    async with opened(tmp_path, database_url, log) as market:
        yield Harness(market)


def total(response: httpx.Response) -> float:
    assert response.status_code == 201, response.text
    return float(response.json()["total"])


async def test_the_same_key_is_done_once(harness: Harness) -> None:
    first, second = await harness.pay(), await harness.pay()
    assert (total(first), total(second)) == (5, 5)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    assert total(await harness.pay(key="key-2")) == 10
    assert total(await harness.pay(key=None)) == 15, "without a key each request counts"


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


async def test_many_at_once_on_two_nodes(tmp_path: Path, database_url: str, log: MemoryLog, harness: Harness) -> None:
    async with opened(tmp_path, database_url, log) as second:
        answers = await asyncio.gather(*(one.pay() for one in [harness, Harness(second)] * 5))
    assert [total(answer) for answer in answers] == [5] * 10


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
    headers = {
        "authorization": f"Bearer {harness.market.oyez.signer.sign_service('till', 60.0)}",
        "idempotency-key": "key-1",
    }
    answers = [await harness.market.request("PUT", path, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert (await harness.market.request("DELETE", path, headers=headers)).json()["code"] == "id_reused"


@pytest.mark.parametrize("keys", [["with space"], [""], ["x" * 129], ["one", "two"]])
async def test_what_is_no_key_is_refused(harness: Harness, keys: list[str]) -> None:
    key = harness.market.oyez.signer.sign_service("till", 60.0)
    headers = [("authorization", f"Bearer {key}"), *(("idempotency-key", key) for key in keys)]
    async with httpx.AsyncClient(base_url=harness.market.url, headers=headers) as http:
        refused = await http.post("/till/api/payments", json=FIVE)
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
    assert total(await harness.pay()) == 5


async def test_nobody_gets_an_answer_without_a_service_key(harness: Harness) -> None:
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
    headers = {"authorization": f"Bearer {server.service_key('till')}", "idempotency-key": key}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=20) as http:
        return await http.post("/till/api/payments", json=FIVE)


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
