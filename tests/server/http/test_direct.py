"""Requests that have come whole are answered without the application, and exactly as those that come in pieces."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from oyez.protocol.http_framing import RequestFramer
from oyez.server.http.direct import is_plain
from tests.support.clock import PATIENCE
from tests.support.operators import build
from tests.support.pharmacy import system
from tests.support.shops import Market, serve
from tests.support.tasks import Spawn

CALL = {"event": "called", "data": {"ticket": 1}, "to": "counter:1"}
BODIES: dict[str, Any] = {
    "an event": CALL,
    "a list": [CALL, CALL],
    "an empty list": [],
    "an unknown event": {"event": "sold", "data": {}},
    "a bad field": {"event": "called", "data": {"ticket": "x"}, "to": "counter:1"},
    "a bad item of a list": [CALL, {"event": "called", "data": {}}],
    "a room of nobody": {"event": "called", "data": {"ticket": 1}, "to": "cellar"},
    "no JSON": b'{"event": ',
    "nothing": b"",
}
HEADS: dict[str, tuple[bytes, ...]] = {
    "no key": (b"Content-Type: application/json",),
    "a wrong key": (b"Content-Type: application/json", b"Authorization: Bearer x"),
    "another type": (b"Content-Type: text/plain", b"Authorization: Bearer %b"),
    "a bad idempotency key": (
        b"Content-Type: application/json",
        b"Authorization: Bearer %b",
        b"Idempotency-Key: \xff",
    ),
    "a repeated key": (b"Content-Type: application/json", b"Authorization: Bearer %b", b"Idempotency-Key: k1"),
}
USUAL = (b"Content-Type: application/json", b"Authorization: Bearer %b")
CASES = [(name, USUAL, body) for name, body in BODIES.items()] + [(name, head, CALL) for name, head in HEADS.items()]
VARIES = re.compile(
    rb"(?mi)^date: .*\r\n|\"positions?\":(\"[^\"]*\"|\[[^\]]*\])|\"error_id\":\"[^\"]*\"|^content-length: .*\r\n"
)
"""What differs between two answers to the same request."""


@pytest.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    async with serve(build(tmp_path_factory.mktemp("direct"), [system], port=0)) as market:
        yield market


def encode(market: Market, headers: tuple[bytes, ...], body: Any, *more: bytes) -> tuple[bytes, bytes]:
    """The head and the body of a request that publishes."""
    key = market.oyez.signer.sign_service("pharmacy", 60.0).encode()
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    given = [header.replace(b"%b", key) for header in headers]
    lines = [b"POST /pharmacy/events HTTP/1.1", b"Host: localhost", *given, *more]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(content), b"", b""]), content


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        return head + await reader.readexactly(int(length))


async def ask(market: Market, *segments: bytes) -> bytes:
    """The answer to a request that comes in these segments."""
    reader, writer = await asyncio.open_connection("127.0.0.1", market.http.port)
    try:
        for number, segment in enumerate(segments):
            if number:
                # Only then the head has been read without the body.
                while not market.http.server_state.tasks:  # noqa: ASYNC110 - nothing says when
                    await asyncio.sleep(0)
            writer.write(segment)
        return await read_answer(reader)
    finally:
        writer.close()


@pytest.mark.parametrize(("headers", "body"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_both_ways_give_the_same_answer(
    market: Market, headers: tuple[bytes, ...], body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, content = encode(market, headers, body)
    asked: list[str] = []
    application = market.oyez._app

    async def count(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await application(scope, receive, send)

    monkeypatch.setattr(market.oyez, "_app", count)
    whole = await ask(market, head + content)
    assert asked == []
    # An unusual header leads to the application, which knows it. The key of a repeated request is the same.
    usual, content = encode(market, headers, body, b"Connection: keep-alive, x")
    assert VARIES.sub(b"", await ask(market, usual + content)) == VARIES.sub(b"", whole)
    assert asked == ["/pharmacy/events"]
    if content:
        pieces = await ask(market, head, content)
        assert VARIES.sub(b"", pieces) == VARIES.sub(b"", whole)
        assert asked == ["/pharmacy/events"] * 2


async def test_requests_on_one_connection_are_answered_in_turn(market: Market) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", market.http.port)
    try:
        head, content = encode(market, USUAL, CALL)
        get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write((head + content + get) * 3)
        answers = [await read_answer(reader) for _ in range(6)]
        assert all(b'"position":"' in answer for answer in answers[::2])
        assert not any(b'"position":"' in answer for answer in answers[1::2])
    finally:
        writer.close()


async def test_answers_wait_for_a_client_that_does_not_read(market: Market) -> None:
    """Their number in memory is bounded: the next request is answered when the client has read."""
    head, content = encode(market, USUAL, [{"event": "called", "data": {}}] * 300)
    before = set(market.http.server_state.connections)
    reader, writer = await asyncio.open_connection("127.0.0.1", market.http.port, limit=4_096)
    try:
        writer.write((head + content) * 400)
        async with asyncio.timeout(PATIENCE):
            while not (opened := set(market.http.server_state.connections) - before):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            (connection,) = opened
            while not connection.flow.write_paused:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # Meanwhile the server has time for others, and so for the other requests.
        whole = b"".join(encode(market, USUAL, CALL))
        assert {(await ask(market, whole))[:13] for _ in range(20)} == {b"HTTP/1.1 200 "}
        assert connection.transport.get_write_buffer_size() < 2**18
        assert len(await read_answer(reader)) > 10_000
    finally:
        writer.transport.abort()


async def test_an_error_of_the_server_is_answered(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(market.oyez.systems["pharmacy"].publisher, "append_all", fail)
    head, content = encode(market, USUAL, CALL)
    whole, pieces = await ask(market, head + content), await ask(market, head, content)
    assert whole.startswith(b"HTTP/1.1 500 ")
    assert VARIES.sub(b"", whole) == VARIES.sub(b"", pieces)


async def test_a_stopping_server_answers_a_request(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    arrived, going = asyncio.Event(), asyncio.Event()
    async with serve(build(tmp_path, [system], port=0, shutdown_timeout=PATIENCE)) as market:
        publisher = market.oyez.systems["pharmacy"].publisher
        append_all = publisher.append_all

        async def wait(*args: Any, **options: Any) -> Any:
            arrived.set()
            await going.wait()
            return await append_all(*args, **options)

        monkeypatch.setattr(publisher, "append_all", wait)
        head, content = encode(market, USUAL, CALL)
        answered = spawn(ask(market, head + content))
        await arrived.wait()
        market.http.told_to_stop.set()
        while not market.oyez.stopping:  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.01)
        going.set()
        answer = await answered
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("request_", "plain"),
    [
        (b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"POST /e HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{}", False),
        (b"POST /e HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", False),
        (b"POST /e HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", False),
    ],
)
def test_only_whole_and_usual_requests_are_plain(request_: bytes, plain: bool) -> None:
    framer = RequestFramer(10_000)
    framer.receive(request_)
    head: Any = framer.next_event()
    assert is_plain(head, framer.waiting) is plain
