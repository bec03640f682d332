"""Two processes that serve the same system: they share a data folder, or Redis.

Each has an address of its own, so a test chooses who is connected to which.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served, serve
from tests.support.valkey import ValkeyServer

FOLDER = Path(__file__).parent
SECRET = "p" * 64
_prefixes = count(1)


@dataclass
class Pair:
    """The two processes, and official clients for them."""

    system: str
    here: Served
    there: Served
    js: JsDriver
    environ: dict[str, str]

    async def connect(
        self, server: Served, user: str, namespace: str = "/", *, role: str | None = None, **options: Any
    ) -> JsClient:
        path, auth = f"/{self.system}/socket.io/", {"token": server.token(user, role)}
        return await self.js.connect(f"{server.url}{namespace}", path=path, auth=auth, **options)


@asynccontextmanager
async def open_pair(system: str, place: str, folder: Path, valkey: ValkeyServer) -> AsyncIterator[Pair]:
    """Serve the file `system` of this folder. `place` is `folder` or `redis`."""
    environ = {"JWT_SECRET": SECRET}
    names = ("shared", "shared")
    if place == "redis":
        names = ("one", "two")
        environ |= {
            "REDIS_URL": valkey.url,
            "REDIS_PREFIX": f"pairs{next(_prefixes)}",
            "DATABASE_URL": f"sqlite:///{folder}/shared.sqlite",
        }
    file = str(FOLDER / f"{system}.py")
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(serve(folder / name, file, **environ)) for name in names]
        yield Pair(system, here, there, await stack.enter_async_context(JsDriver.start()), environ)
