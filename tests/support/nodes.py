"""Two nodes of one cluster in this process, which share a log in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from oyez.log.memory import MemoryLog
from oyez.server.cluster.node import Node
from tests.support.round_robin import balance
from tests.support.serving import Running, serve
from tests.support.wire import PollingWire, Wire

SECRET = "s" * 64
MakeNode = Callable[[str], Node]
TWO = ('42["first"]', '42["second"]')


@dataclass
class Two:
    """Two nodes that share a log, and a balancer before them."""

    one: Running
    other: Running
    url: str


class SharedLog(MemoryLog):
    """Is still there when one of the nodes has closed it."""

    async def close(self) -> None:
        return


@asynccontextmanager
async def two_nodes(
    make_node: MakeNode, *, secrets: tuple[str, str] = (SECRET, SECRET), **options: Any
) -> AsyncIterator[Two]:
    log = SharedLog()
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(serve(log=log, node=make_node(secret), **options)) for secret in secrets
        ]
        yield Two(one, other, await stack.enter_async_context(balance([one.port, other.port])))


class Elsewhere(PollingWire):
    """A polling client whose session is at one node, and who talks to another."""

    @classmethod
    async def move(cls, client: PollingWire, running: Running) -> "Elsewhere":
        moved = cls(running)
        moved.sid, moved.id = client.sid, client.id
        return moved


def send_two_posts(wire: Wire, target: str) -> None:
    posts = [f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}" for body in TWO]
    wire.send("".join(posts))
