"""What every answer of an Oyez has, however it is served, and requests that another server's parser could misread."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from oyez.server.http.guard import UpgradeGuard
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.server.framing_tricks import TAILS, TRICKS, read_trick
from tests.support.clock import PATIENCE
from tests.support.serving import InLoop
from tests.support.shops import KINDS, Market, serve, shop

SOLD = {"item": "i-7", "buyer": "ada", "timestamp": "2026-01-31T12:00:00Z"}
AS_SECOND_REQUESTS = {
    "mounted by httptools": {"gzip and chunked", "a long extension"},
    "mounted by h11": {"a folded line", "chunks on a folded line", "an extension with CR", "a long extension"},
}
"""Of these the server's parser accepts the first request as any lenient one does; what follows is another one."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, oyez_data=str(tmp_path / "data"), shutdown_timeout=5.0, client_origin="http://shop.example")


async def exchange(port: int, segments: list[bytes], patience: float = PATIENCE) -> bytes:
    """What is answered until the connection ends, or for `patience` seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    with suppress(OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(patience):
            for segment in segments:
                writer.write(segment)
                await writer.drain()
                # The next one is a segment of its own.
                await asyncio.sleep(0.002)
            while chunk := await reader.read(65_536):
                answers += chunk
    writer.close()
    return answers


@pytest.mark.parametrize("kind", KINDS)
async def test_a_browser_sniffs_runs_frames_and_keeps_no_answer(settings: Settings, kind: str) -> None:
    origin = {"origin": "http://shop.example", "access-control-request-headers": "x-one, <script>"}
    async with serve(Oyez([shop("books")], settings), kind) as market:
        polling = "/books/socket.io/?EIO=4&transport=polling"
        requests = [
            ("GET", polling, {}, 200),
            ("GET", polling + "&sid=nobody", {}, 400),
            ("GET", polling, {"origin": "http://elsewhere.example"}, 403),
            ("OPTIONS", polling, origin, 204),
            ("GET", "/books/ws", {}, 426),
            ("GET", "/nowhere/<script>", {}, 404),
            ("GET", "/books/events", {}, 405),
            ("POST", "/books/events", {}, 401),
        ]
        for method, path, headers, status in requests:
            answer = await market.request(method, path, headers=headers)
            assert answer.status_code == status
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
            assert answer.headers.get_list("content-security-policy") == ["default-src 'none'; frame-ancestors 'none'"]
            assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
            assert answer.headers.get_list("cache-control") == ["no-store"]
            assert "<script>" not in str(answer.headers)
            assert not (answer.headers.get("content-type", "").startswith("text/html") and "<script>" in answer.text)


@pytest.mark.parametrize("kind", ["own port", "mounted by h11"])
async def test_clients_that_offer_http2_publish(settings: Settings, kind: str) -> None:
    # `curl --http2` and Java's HttpClient ask like this, and continue in HTTP/1.1 if the server does.
    oyez = Oyez([shop("books")], settings)
    async with serve_kind(oyez, kind) as (port, prefix, _):
        segments = publish_with_upgrade(oyez, prefix)
        answer = await exchange(port, segments)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["position"]


async def test_a_body_that_the_server_around_it_has_dropped_is_refused(settings: Settings) -> None:
    oyez = Oyez([shop("books")], settings)
    async with serve_kind(oyez, "mounted by httptools") as (port, prefix, _):
        answer = await exchange(port, publish_with_upgrade(oyez, prefix))
        # The answer is lost if the body comes after the connection has been closed.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") <= 1


def publish_with_upgrade(oyez: Oyez, prefix: str) -> list[bytes]:
    body = json.dumps({"event": "sold", "data": SOLD}).encode()
    head = (
        f"POST {prefix}/books/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        f"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {oyez.signer.sign_service('books', 60.0)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return [head.encode(), body]


@asynccontextmanager
async def serve_kind(oyez: Oyez, kind: str) -> AsyncIterator[tuple[int, str, list[str]]]:
    """The port, what Oyez' paths begin with, and the paths that the application around it is asked for."""
    if kind == "own port":
        async with serve(oyez) as market:
            yield find_port(market), "", []
        return
    seen: list[str] = []
    http = "h11" if kind == "mounted by h11" else "httptools"
    server = InLoop(uvicorn.Config(build_app(oyez, seen), port=0, http=http, log_config=None))
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE):
            await server.ready.wait()
        yield server.port, "/live", seen
    finally:
        server.told_to_stop.set()
        await serving


def build_app(oyez: Oyez, seen: list[str]) -> FastAPI:
    app = FastAPI(lifespan=lambda app: oyez.running())
    app.mount("/live", oyez)
    app.add_middleware(UpgradeGuard)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def answer(path: str, request: Request) -> PlainTextResponse:
        seen.append(path)
        await request.body()
        return PlainTextResponse(f"this is {path}")

    return app


def find_port(market: Market) -> int:
    return int(market.url.rpartition(":")[2])


@pytest.mark.parametrize("kind", AS_SECOND_REQUESTS)
async def test_no_trick_smuggles_a_request_into_an_application_around_it(settings: Settings, kind: str) -> None:
    tricks = [trick for name, trick in {**TRICKS, **TAILS}.items() if name not in AS_SECOND_REQUESTS[kind]]
    async with serve_kind(Oyez([shop("books")], settings), kind) as (port, prefix, seen):
        for target in (f"{prefix}/books/events", "/page"):
            # uvicorn waits for the rest of some of them for ever.
            await asyncio.gather(*(exchange(port, read_trick(trick, target), 1.0) for trick in tricks))
            assert "smuggled" not in seen
        assert "page" in seen


@pytest.mark.parametrize("kind", ["own port", "mounted by h11", "mounted by httptools"])
async def test_what_comes_instead_of_a_body_that_was_not_asked_for_is_no_body(settings: Settings, kind: str) -> None:
    async with serve_kind(Oyez([shop("books")], settings), kind) as (port, prefix, _):
        head = "Host: localhost\r\nExpect: 100-continue\r\nContent-Length: 200\r\n\r\n"
        # A proxy that has this answer sends the next user's request, or closes if it is to be closed.
        answer = await exchange(port, [f"POST {prefix}/books/events HTTP/1.1\r\n{head}".encode()])
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
