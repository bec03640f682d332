"""The control port of a measured Python server: POST /emit?count=K&burst=B&interval_us=I, POST /publish.

The body of the latter is [[room, payload], ...].

It knows nothing about Socket.IO: the server gives it a function that emits one event.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlsplit

TEXT = "x" * 168

Emit = Callable[..., Awaitable[object]]
"""Takes a payload, and a room where it is not the one."""


async def run_emit(emit: Emit, count: int, burst: int, interval_us: int) -> dict[str, object]:
    """Emit `count` events, one burst a loop turn; with an interval, bursts keep to a fixed timetable."""
    started = time.monotonic()
    emitted = 0
    while emitted < count:
        size = min(burst, count - emitted)
        for _ in range(size):
            await emit({"sent": time.monotonic_ns(), "text": TEXT})
        emitted += size
        due = started + emitted / burst * interval_us / 1e6
        await asyncio.sleep(max(0.0, due - time.monotonic()) if interval_us else 0)
    return {"emitted": emitted, "seconds": time.monotonic() - started}


async def answer_request(emit: Emit, request_line: str, body: bytes) -> tuple[str, dict[str, object]]:
    method, _, rest = request_line.partition(" ")
    url = urlsplit(rest.split(" ")[0])
    options = {name: int(value) for name, value in parse_qsl(url.query)}
    if (method, url.path) == ("POST", "/emit"):
        count, burst = options.get("count", 1), options.get("burst", 1)
        return "200 OK", await run_emit(emit, count, burst, options.get("interval_us", 0))
    if (method, url.path) == ("POST", "/publish"):
        for room, payload in json.loads(body):
            await emit(payload, room)
        return "200 OK", {}
    return "404 Not Found", {"error": f"{method} {url.path} is not POST /emit"}


async def serve_control(port: int, emit: Emit) -> asyncio.Server:
    """Listen on `port` of the loopback; the caller closes the returned server."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        status, answer = await answer_request(emit, request_line.upper()[:4] + request_line[4:], body)
        content = json.dumps(answer)
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n{content}".encode())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(on_connection, "127.0.0.1", port)
