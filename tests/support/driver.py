"""A program that drives Socket.IO clients: one JSON command a line in, one JSON report a line out."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, MutableSequence, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from tests.support.clock import PATIENCE


class Reporter:
    """A client in the program; its reports in order."""

    def __init__(self, driver: "Driver", name: str, reports: MutableSequence[dict[str, Any]]) -> None:
        self._driver = driver
        self.name = name
        self.reports = reports
        self.arrived = asyncio.Event()
        driver.clients[name] = self

    async def command(self, command: str, **details: Any) -> Any:
        """The result of a command to this client."""
        return await self._driver.command(command, name=self.name, **details)

    async def transport(self) -> str | None:
        """`polling` or `websocket`; None if it has none."""
        name: str | None = await self.command("transport")
        return name

    async def wait_for_report(self, expected: str) -> None:
        """Return when another report has come. If the test is cancelled first, raise AssertionError with `expected`."""
        self.arrived.clear()
        try:
            await self.arrived.wait()
        except asyncio.CancelledError:
            raise AssertionError(f"{self.name} expected {expected}, has {list(self.reports)}") from None


class Driver:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.clients: dict[str, Reporter] = {}
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def start_program(
        cls, program: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> AsyncIterator[Self]:
        """Run `program`, with `environ` added to this process's environment; killed when the block ends."""
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

    async def command(self, command: str, **details: Any) -> Any:
        """The result of a command. Raises RuntimeError with the program's error."""
        number = len(self._answers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "command": command, **details}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            report = json.loads(line)
            if "client" in report:
                client = self.clients[report["client"]]
                client.reports.append(report)
                client.arrived.set()
            elif (answer := self._answers[report["id"]]).done():
                # The test no longer waits for it.
                continue
            elif "error" in report:
                answer.set_exception(RuntimeError(report["error"]))
            else:
                answer.set_result(report["result"])
