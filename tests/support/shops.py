"""Small systems, and an Oyez that serves them in the test's own loop: on its own port, or mounted in an application."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from msgspec.structs import replace

from oyez.client import Client, connect
from oyez.contract import Contract, Id, Stamped, own
from oyez.service.app import Oyez
from oyez.service.system import System
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.serving import InLoop, OwnPort

KINDS = ["own port", "plain uvicorn", "mounted in FastAPI"]


class Sold(Stamped):
    """Something was sold."""

    item: Id
    buyer: Id


def declare(name: str) -> Contract:
    """A contract in which each buyer receives its own purchases."""
    contract = Contract(name, roles=("buyer",), default_role="buyer")
    root = contract.namespace("/")
    buyer = root.room("buyer:{buyer}", members=own("buyer", claim="sub"), on_connect=True)
    example = {"item": "i-1", "buyer": "ada", "timestamp": "2026-01-31T12:00:00Z"}
    root.event("sold", to=[buyer.of("buyer")], example=example)(Sold)
    return contract


def shop(name: str, **parts: Any) -> System:
    return System(contract=declare(name), **parts)


@dataclass
class Market:
    """A running Oyez at `url`; its paths begin with `prefix`."""

    oyez: Oyez
    url: str
    prefix: str
    http: InLoop

    def token(self, subject: str) -> str:
        return self.oyez.signer.sign_user(subject, None, {}, 60.0)

    def connect(self, name: str, subject: str = "ada", **options: Any) -> AbstractAsyncContextManager[Client]:
        """Oyez' own client, in a system."""
        return self.connect_at(f"/{name}/socket.io/", subject, **options)

    def connect_at(self, path: str, subject: str = "ada", **options: Any) -> AbstractAsyncContextManager[Client]:
        return connect(self.url, path=f"{self.prefix}{path}", auth={"token": self.token(subject)}, **options)

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"{self.url}{self.prefix}", timeout=PATIENCE) as client:
            return await client.request(method, path, **options)

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A request of a back end, with a service key of the system that `path` begins with."""
        key = self.oyez.signer.sign_service(path.split("/")[1], 60.0)
        headers = {"authorization": f"Bearer {key}", **options.pop("headers", {})}
        return await self.request(method, path, json=body, headers=headers, **options)

    async def publish(self, name: str, data: Mapping[str, Any], key: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return await self.call("POST", f"/{name}/events", {"event": "sold", "data": data}, headers=headers)


@asynccontextmanager
async def serve(oyez: Oyez, kind: str = "own port") -> AsyncIterator[Market]:
    """Serve `oyez` until the block ends."""
    prefix = "/live" if kind == "mounted in FastAPI" else ""
    http = build_server(oyez, kind, prefix)
    serving = asyncio.create_task(http.serve())
    try:
        async with asyncio.timeout(PATIENCE):
            await http.ready.wait()
        yield Market(oyez, f"http://127.0.0.1:{http.port}", prefix, http)
    finally:
        http.told_to_stop.set()
        await serving


def build_server(oyez: Oyez, kind: str, prefix: str) -> InLoop:
    if kind == "own port":
        settings = oyez.settings
        if settings.port == Settings().port:
            # A test that sets no port gets a free one: other tests run at the same time.
            settings = replace(settings, port=0)
        return OwnPort(oyez, oyez.find_server, settings, oyez.drain, None, oyez.find_responder)
    app: Any = oyez
    if prefix:
        app = FastAPI(lifespan=lambda app: oyez.running())
        app.mount(prefix, oyez)
    return InLoop(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
