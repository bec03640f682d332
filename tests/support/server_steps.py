"""More of what the tests of whole servers share: stopping in time, and clients that do not read."""

import asyncio

from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient
from tests.support.serving import Running, turn_until
from tests.support.wire import CLOSE, Frame, SocketWire


async def stop(running: Running) -> None:
    """Stop the server; it has to take far less than what clients are waited for otherwise."""
    async with asyncio.timeout(PATIENCE):
        await running.stop()


async def begin_stop(running: Running) -> None:
    """Ask the server to stop; returns when it has begun to."""
    running.stop()
    await turn_until(lambda: running.server.registry.stopping)


async def open_requests(running: Running, *, polls: int = 0, posts: int = 0) -> None:
    """Returns when so many GETs and POSTs of polling clients are being served."""

    def are_open() -> bool:
        sessions = running.polling
        return (sum(each.get_open for each in sessions), sum(each.post_open for each in sessions)) == (polls, posts)

    await turn_until(are_open)


async def stuff(running: Running, wire: SocketWire) -> None:
    """Have something wait for a client that does not read, well below the limit over which it is closed."""
    for _ in range(12):
        await running.publish("filling", "x" * 50_000, to=wire.id)
        await asyncio.sleep(0)


async def read_up_to_close(wire: SocketWire) -> tuple[list[Frame], int | None]:
    """The frames before a CLOSE, and its code."""
    frames = []
    while (frame := await wire.read_frame()).opcode != CLOSE:
        frames.append(frame)
    return frames, frame.close_code


async def expect_echo(client: JsClient, text: str = "still here") -> None:
    assert await client.call("echo", text) == text
