"""Oyez' server layer alone, without contract, tokens or stored log: what the rest of Oyez costs shows beside it.

usage: python -m bench.serve_bare PORT CONTROL_PORT
"""

import logging
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvloop
from starlette.applications import Starlette

from bench.control import serve_control
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.server.http.port import HttpServer
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.socket import Socket
from oyez.server.server import Server
from oyez.server.types import ReceivedEvent
from oyez.settings import load_settings

PATH = "/bench/socket.io/"
_ECHO_PREFIX = len(b'["echo",')


class BareApplication(Application):
    """Accepts every client into `room`, and answers every command with its own bytes, as `echo` does."""

    async def connect(self, socket: Socket, auth: Any) -> None:
        socket.join("room")

    def receive(self, socket: Socket, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        if event.ack is not None:
            event.ack(b"[" + event.data[_ECHO_PREFIX:])
        return None

    def disconnect(self, socket: Socket, reason: str) -> None:
        pass


async def run(port: int, control_port: int) -> None:
    logging.getLogger("oyez").setLevel(logging.WARNING)
    settings, log = load_settings(port=port), MemoryLog()
    server = Server({"/": BareApplication()}, log, settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with server.running():
            yield

    async def emit(payload: dict[str, object]) -> None:
        await log.append([Entry(namespace="/", rooms=("room",), data=msgspec.json.encode(["news", payload]))])

    control = await serve_control(control_port, emit)
    app = Starlette(lifespan=lifespan)
    await HttpServer(app, lambda path: server if path == PATH else None, settings, server.drain).serve()
    control.close()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))
