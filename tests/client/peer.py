"""Servers of others for our client: python-socketio on uvicorn, and scripts that send any bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

import socketio
import uvicorn
from websockets.asyncio.server import ServerConnection, serve

from oyez.protocol.engineio import OpenPacket, encode_open


@dataclass
class Peer:
    url: str
    sio: Any
    """The `socketio.AsyncServer`, for emitting from a test."""


@asynccontextmanager
async def serve_peer(ssl: SSLContext | None = None, **options: Any) -> AsyncIterator[Peer]:
    sio = socketio.AsyncServer(async_mode="asgi", namespaces=["/", "/chat"], **options)
    _add_handlers(sio)
    listener = socket.create_server(("127.0.0.1", 0))
    # A client that connects before uvicorn has started waits in the backlog.
    config = uvicorn.Config(
        socketio.ASGIApp(sio), log_level="critical", lifespan="off", ws="wsproto", timeout_graceful_shutdown=0
    )
    config.load()
    if ssl is not None:
        config.ssl = ssl
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    scheme = "http" if ssl is None else "https"
    try:
        yield Peer(f"{scheme}://localhost:{listener.getsockname()[1]}", sio)
    finally:
        await sio.shutdown()
        server.should_exit = True
        await running
        listener.close()


def _add_handlers(sio: Any) -> None:
    @sio.event  # type: ignore[untyped-decorator]
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        await sio.save_session(sid, {"headers": environ["asgi.scope"]["headers"], "query": environ["QUERY_STRING"]})
        if auth and auth.get("refuse"):
            raise socketio.exceptions.ConnectionRefusedError("not you", {"code": 7})

    @sio.on("connect", namespace="/chat")  # type: ignore[untyped-decorator]
    async def connect_chat(sid: str, environ: dict[str, Any], auth: Any) -> None:
        await sio.emit("welcome", auth, to=sid, namespace="/chat")

    @sio.event  # type: ignore[untyped-decorator]
    async def echo(sid: str, *args: Any) -> Any:
        await sio.emit("echoed", args, to=sid)
        return args

    @sio.event  # type: ignore[untyped-decorator]
    async def ask_back(sid: str, value: Any) -> Any:
        return await sio.call("question", value, to=sid)

    @sio.event  # type: ignore[untyped-decorator]
    async def session(sid: str) -> Any:
        found = await sio.get_session(sid)
        return found["query"], {name.decode(): value.decode() for name, value in found["headers"]}

    @sio.event  # type: ignore[untyped-decorator]
    async def leave(sid: str) -> None:
        await sio.disconnect(sid)


@asynccontextmanager
async def serve_bytes(answer: bytes | None) -> AsyncIterator[str]:
    """The address of a server that sends this answer to every request, or none, and closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def serve_script(
    script: Callable[[ServerConnection], Awaitable[None]], ping_milliseconds: int = 20_000
) -> AsyncIterator[str]:
    """The address of a WebSocket server that opens, lets the client into `/`, and then does as `script` does."""
    packet = OpenPacket("s", [], ping_milliseconds, ping_milliseconds, 1_000_000)

    async def handle(connection: ServerConnection) -> None:
        await connection.send(encode_open(packet).decode())
        await connection.recv()
        await connection.send('40{"sid":"t","pid":"u"}')
        await script(connection)

    async with serve(handle, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
