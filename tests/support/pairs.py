"""Two processes that serve the same system: they share a data folder, or Redis.

Each has an address of its own, so a test chooses who is connected to which. Two workers share one address.
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

PLACES = ("folder", "redis", "workers")
"""Two processes with one data folder, two processes with one Redis, and one server with two workers."""
SUPPORT = Path(__file__).parent
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
        self, server: Served, user: str | None, namespace: str = "/", *, role: str | None = None, **options: Any
    ) -> JsClient:
        """A client with a token of `user`, or without a token."""
        path, auth = f"/{self.system}/socket.io/", {"token": server.token(user, role)} if user is not None else {}
        return await self.js.connect(f"{server.url}{namespace}", path=path, auth=auth, **options)


@asynccontextmanager
async def open_pair(file: Path, place: str, folder: Path, valkey: ValkeyServer, **settings: str) -> AsyncIterator[Pair]:
    """Serve the system in `file` at one of PLACES, with more settings as environment variables."""
    environ = {"JWT_SECRET": SECRET, **settings}
    names = ["shared", "shared"]
    if place == "redis":
        names = ["one", "two"]
        environ |= {
            "REDIS_URL": valkey.url,
            "REDIS_PREFIX": f"pairs{next(_prefixes)}",
            "DATABASE_URL": f"sqlite:///{folder}/shared.sqlite",
        }
    options = ["--workers", "2"] if place == "workers" else []
    starting = [serve(folder / name, str(file), *options, **environ) for name in names[: 1 if options else 2]]
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(start) for start in starting]
        js = await stack.enter_async_context(JsDriver.start())
        yield Pair(file.stem, served[0], served[-1], js, environ)
