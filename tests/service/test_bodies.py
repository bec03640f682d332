"""Bodies of HTTP requests that do not end: all of them together have a bounded memory."""

import asyncio
from itertools import islice
from pathlib import Path

import pytest

from oyez.service.app import Oyez
from oyez.settings import Limits, Settings
from tests.support.clock import PATIENCE
from tests.support.shops import Market, serve, shop
from tests.support.tasks import Spawn

SENT = 60_000
PATHS = {"publish": "POST /shop/events", "members": "PUT /shop/rooms/buyer:ada/members/user:ada"}


async def begin(market: Market, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the head of a request and most of its body, and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(market.url.rpartition(":")[2]))
    key = market.oyez.signer.sign_service("shop", 60.0)
    head = f"{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Idempotency-Key: {id(writer)}\r\nContent-Length: {SENT + 1}\r\n\r\n".encode() + b" " * SENT)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("path", PATHS)
async def test_bodies_that_do_not_end_have_one_budget(path: str, tmp_path: Path, spawn: Spawn) -> None:
    limits = Limits(max_unfinished_bytes=4 * SENT, body_timeout=PATIENCE)
    settings = Settings(port=0, oyez_data=str(tmp_path), jwt_secret="s" * 32, limits=limits, shutdown_timeout=0.5)
    async with serve(Oyez([shop("shop")], settings)) as market, asyncio.timeout(PATIENCE):
        streams = [await begin(market, PATHS[path]) for _ in range(8)]
        answers = [spawn(reader.readuntil(b"\r\n\r\n")) for reader, _ in streams]
        for answer in islice(asyncio.as_completed(answers), 4):
            head = (await answer).lower()
            assert head.startswith(b"http/1.1 503") and b"retry-after" in head
        assert sum(answer.done() for answer in answers) == 4
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*answers, return_exceptions=True)
