"""Processes that drive clients in another language or version by lines of JSON, and those clients as tests see them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

TIMEOUT = 12.0
"""Seconds after which something that was to happen counts as not happening. Nothing waits for it to pass."""
JAVASCRIPT = ("node", str(Path(__file__).parents[1] / "js" / "clients.mjs"))
PYTHON = (sys.executable, str(Path(__file__).with_name("python_driver.py")))
VERSIONS = Path(sys.prefix) / "clients"
"""Where `make clients` installs old versions of python-socketio, each in a folder of its own."""

CURRENT = ".".join(metadata.version("python-socketio").split(".")[:2])


def python_path(version: str) -> dict[str, str]:
    """The environment in which Python finds that version of python-socketio; the current one is installed already."""
    folders = [VERSIONS / name for name in ([] if version == CURRENT else [version]) + ["sync"]]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing: run `make clients`, which installs it")
    return {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders), "PYTHONWARNINGS": "ignore"}


class Remote:
    """One client in a driver's process. Reports are kept in order."""

    def __init__(self, driver: "Driver", name: str) -> None:
        self._driver = driver
        self.name = name
        self.reports: list[dict[str, Any]] = []
        self.changed = asyncio.Event()

    async def open(self, url: str, **details: Any) -> None:
        await self._command("open", url=url, **details)

    async def emit(self, event: str, *args: Any) -> None:
        await self._command("emit", event=event, args=args)

    async def call(self, event: str, *args: Any) -> Any:
        """Emit with an acknowledgement; the list of its arguments."""
        return await self._command("call", event=event, args=args)

    async def transport(self) -> str | None:
        name: str | None = await self._command("transport")
        return name

    async def close(self) -> None:
        await self._command("close")

    async def _command(self, command: str, **details: Any) -> Any:
        return await self._driver.command(command, name=self.name, **details)

    async def until(self, what: str, count: int = 1, **details: Any) -> list[dict[str, Any]]:
        """All reports of that kind with those details, as soon as there are `count`."""
        async with asyncio.timeout(TIMEOUT):
            while len(found := self.find(what, **details)) < count:
                self.changed.clear()
                try:
                    await self.changed.wait()
                except asyncio.CancelledError:
                    raise AssertionError(f"{self.name} expected {count} {what} {details}: {self.reports}") from None
        return found

    def find(self, what: str, **details: Any) -> list[dict[str, Any]]:
        return [
            report
            for report in self.reports
            if report["what"] == what and all(report.get(key) == value for key, value in details.items())
        ]

    def arguments(self, event: str) -> list[list[Any]]:
        """The arguments of each event of that name."""
        return [report["args"] for report in self.find("event", event=event)]


class Driver:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._clients: dict[str, Remote] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def start(cls, program: Sequence[str], environ: Mapping[str, str] | None = None) -> AsyncIterator["Driver"]:
        process = await asyncio.create_subprocess_exec(
            *program,
            env={**os.environ, **(environ or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        driver = cls(process)
        try:
            yield driver
        finally:
            # Clients that are connected, or look for a server, would keep it alive.
            process.kill()
            await process.wait()
            await driver._reader

    def client(self, name: str) -> Remote:
        self._clients[name] = Remote(self, name)
        return self._clients[name]

    async def command(self, command: str, **details: Any) -> Any:
        number = len(self._answers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "command": command, **details}).encode() + b"\n")
        async with asyncio.timeout(TIMEOUT):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            report = json.loads(line)
            if "client" in report:
                client = self._clients[report["client"]]
                client.reports.append(report)
                client.changed.set()
            elif (answer := self._answers[report["id"]]).done():
                # It was waited for too long.
                continue
            elif "error" in report:
                answer.set_exception(RuntimeError(report["error"]))
            else:
                answer.set_result(report["result"])
