"""Request smuggling: no byte that came after a request's head is ever served as a request of its own."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from oyez.log.memory import MemoryLog
from oyez.server.cluster.node import Node
from oyez.server.http.direct import Responder
from oyez.server.server import Server
from oyez.settings import Settings
from tests.server.framing_tricks import TAILS, TRICKS, read_trick
from tests.support.application import Market
from tests.support.clock import PATIENCE
from tests.support.pooled_proxy import Belief, pool
from tests.support.round_robin import NGINX, balance_by_nginx
from tests.support.serving import PATH, Certificates, InLoop, OwnPort, make_settings
from tests.support.wire import POLLING

SECRET = "s" * 64
_victims = count(1)


@dataclass
class Seen:
    """A server that notes every path that it is asked for, and answers with it."""

    port: int = 0
    paths: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        await request.body()
        return Response(f"this is {request.url.path}", media_type="text/plain")


def serve_seen(seen: Seen, server: Server, settings: Settings) -> InLoop:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with server.running():
            yield

    methods = ["GET", "HEAD", "POST", "PUT"]
    routes = [Mount("/socket.io", server), Route("/{path:path}", seen.answer, methods=methods)]
    app = Starlette(routes=routes, lifespan=lifespan)

    def find_responder(target: bytes) -> Responder | None:
        return seen.answer if target == b"/direct" else None

    return OwnPort(app, {PATH: server}.get, settings, server.drain, server.node, find_responder)


@asynccontextmanager
async def serve(node: Node | None = None, **given: Any) -> AsyncIterator[Seen]:
    # Some tricks are polls, which end with a ping.
    settings = make_settings({}, {"ping_interval": 0.1, **given})
    seen = Seen()
    http = serve_seen(seen, Server({"/": Market()}, MemoryLog(), settings, node=node), settings)
    async with run(http):
        seen.port = http.port
        yield seen


@asynccontextmanager
async def run(http: InLoop) -> AsyncIterator[None]:
    serving = asyncio.create_task(http.serve())
    try:
        async with asyncio.timeout(PATIENCE):
            await http.ready.wait()
        yield
    finally:
        http.told_to_stop.set()
        await serving


@dataclass
class Way:
    """A route to a server: where to send, which target to request, and how to ask the server what it received."""

    port: int
    seen: list[Seen]
    target: Callable[[], Awaitable[str]]
    pooled: bool = False
    """True if a proxy of the tests' own is on the way: it waits for a body that the client has not sent."""
    proxied: bool = False
    """True if a proxy is on the way. What it takes for a second request is one, and is answered as one."""
    trust: ssl.SSLContext | None = None
    """Whom a client of TLS trusts; None without TLS."""


async def ask_for_a_page() -> str:
    return "/asked"


async def ask_a_responder() -> str:
    """A path that is answered without the application, if nothing is unusual about the request."""
    return "/direct"


def ask_for_a_session(port: int) -> Callable[[], Awaitable[str]]:
    """A new session of the server at `port`, for each trick."""

    async def target() -> str:
        answer = await exchange(port, [encode_get(POLLING)])
        (sid,) = re.findall(rb'"sid":"([^"]+)"', answer)
        return f"{POLLING}&sid={sid.decode()}"

    return target


def encode_get(target: str, connection: str = "close") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n".encode()


async def exchange(
    port: int, segments: list[bytes], *, half_close: bool = False, trust: ssl.SSLContext | None = None
) -> bytes:
    """What is answered to `segments` until the connection ends. With `half_close` no more comes."""
    name = "localhost" if trust is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
    answers = b""
    try:
        async with asyncio.timeout(PATIENCE):
            with suppress(OSError, RuntimeError):
                for segment in segments:
                    writer.write(segment)
                    await writer.drain()
                    # The next one is a segment of its own.
                    await asyncio.sleep(0.002)
                if half_close:
                    writer.write_eof()
                while chunk := await reader.read(65_536):
                    answers += chunk
    finally:
        writer.close()
    return answers


@asynccontextmanager
async def two_nodes(make_node: Callable[[], Node]) -> AsyncIterator[Way]:
    async with serve(make_node()) as one, serve(make_node()) as other:
        yield Way(other.port, [one, other], ask_for_a_session(one.port))


@asynccontextmanager
async def open_way(name: str, folder: Path, certificates: Certificates) -> AsyncIterator[Way]:
    async with AsyncExitStack() as stack:
        if name == "handed over":
            yield await stack.enter_async_context(two_nodes(lambda: Node(SECRET, folder=folder / "nodes")))
        elif name == "tunnelled":
            yield await stack.enter_async_context(two_nodes(lambda: Node(SECRET, host="127.0.0.1")))
        elif name == "over TLS":
            given: dict[str, Any] = {"ssl_certfile": certificates.chain, "ssl_keyfile": certificates.key}
            seen = await stack.enter_async_context(serve(**given))
            yield Way(seen.port, [seen], ask_a_responder, trust=certificates.trust)
        else:
            seen = await stack.enter_async_context(serve())
            port = seen.port
            if name == "nginx":
                url = await stack.enter_async_context(balance_by_nginx(folder, [port], guarded=False))
                port = int(url.rpartition(":")[2])
            elif name in BELIEFS:
                port = await stack.enter_async_context(pool(port, BELIEFS[name]))
            ask = ask_for_a_page if name == "directly" else ask_a_responder
            yield Way(port, [seen], ask, pooled=name in BELIEFS, proxied=name in BELIEFS or name == "nginx")


BELIEFS: dict[str, Belief] = {"pooled, by length": "length", "pooled, by chunks": "chunks"}
WAYS = ["directly", "by a responder", "over TLS", "handed over", "tunnelled", *BELIEFS]


@pytest.fixture(
    scope="module",
    params=[*WAYS, pytest.param("nginx", marks=pytest.mark.skipif(NGINX is None, reason="there is no nginx"))],
)
async def way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> AsyncIterator[Way]:
    async with open_way(request.param, tmp_path_factory.mktemp("way"), certificates) as opened:
        yield opened


@pytest.mark.parametrize("trick", TRICKS.values(), ids=list(TRICKS))
async def test_a_trick_gets_one_answer_or_none(way: Way, trick: str) -> None:
    for seen in way.seen:
        seen.paths.clear()
    segments = read_trick(trick, await way.target())
    answers = await exchange(way.port, [*segments, encode_get("/after")], half_close=way.pooled, trust=way.trust)
    served = sum(seen.paths.count("/smuggled") for seen in way.seen)
    if way.proxied:
        assert served == answers.count(b"this is /smuggled")
    else:
        assert served == 0
        statuses = [status for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers) if status != b"100"]
        assert len(statuses) <= 1 + answers.count(b"this is /after"), answers
    # The next client whose request takes a connection that the proxy has kept gets its own answer.
    victim = f"/victim/{next(_victims)}"
    assert (await exchange(way.port, [encode_get(victim)], trust=way.trust)).endswith(f"this is {victim}".encode())


@pytest.mark.parametrize("trick", TAILS.values(), ids=list(TAILS))
async def test_nothing_is_read_after_a_refused_tunnel(trick: str) -> None:
    async with serve() as seen:
        answers = await exchange(seen.port, read_trick(trick, PATH))
        assert answers.startswith(b"HTTP/1.1 400 ")
        assert answers.count(b"HTTP/1.1 ") == 1
        assert seen.paths == []
