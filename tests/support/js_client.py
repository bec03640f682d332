"""The official JavaScript client for tests: one Node process that drives any number of clients.

Verbs are those of Oyez' own client: connect, emit, call, expect_event, expect_nothing.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

FOLDER = Path(__file__).parents[1] / "js"
TIMEOUT = 20.0
"""Seconds after which something that was to happen counts as not happening. Nothing waits for it to pass."""


class JsConnectError(Exception):
    """The client got `connect_error`."""

    def __init__(self, message: str, data: Any, status: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.status = status
        """The HTTP status where the transport was refused."""


class JsClient:
    """One official client. Reports come in order; what is not asked for yet waits."""

    def __init__(self, driver: "JsDriver", name: str) -> None:
        self._driver = driver
        self.name = name
        self.id = ""
        self.reports: deque[dict[str, Any]] = deque()
        self.arrived = asyncio.Event()

    async def emit(self, event: str, *args: Any) -> None:
        await self._driver.command("emit", name=self.name, event=event, args=args)

    async def call(self, event: str, *args: Any, timeout: float = TIMEOUT) -> Any:
        """Emit with an acknowledgement and return it."""
        return await self._driver.command("call", name=self.name, event=event, args=args, timeout=timeout * 1000)

    async def volley(self, event: str, *args: Any, count: int, timeout: float = 0.9 * TIMEOUT) -> list[Any]:
        """Call that many times at once, so that the server reads the calls at once; their acknowledgements in order."""
        answers: list[Any] = await self._driver.command(
            "volley", name=self.name, event=event, args=args, count=count, timeout=timeout * 1000
        )
        return answers

    async def burst(self, event: str, *, count: int, size: int) -> int:
        """Call that many times at once, with so many bytes each; how many calls were answered with the same bytes."""
        answered: int = await self._driver.command(
            "burst", name=self.name, event=event, count=count, size=size, timeout=0.9 * TIMEOUT * 1000
        )
        return answered

    async def expect(self, what: str, **details: Any) -> dict[str, Any]:
        """The next report of that kind with those details; earlier ones of other kinds stay."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for report in self.reports:
                    if report["what"] == what and all(report.get(key) == value for key, value in details.items()):
                        self.reports.remove(report)
                        return report
                self.arrived.clear()
                try:
                    await self.arrived.wait()
                except asyncio.CancelledError:
                    raise AssertionError(f"{self.name} expected {what} {details}, has {list(self.reports)}") from None

    async def expect_event(self, event: str) -> list[Any]:
        """The arguments of the next event of that name."""
        args: list[Any] = (await self.expect("event", event=event))["args"]
        return args

    async def next_event(self) -> tuple[str, list[Any]]:
        """The next event, whichever it is."""
        report = await self.expect("event")
        return report["event"], report["args"]

    def take_events(self) -> list[tuple[str, list[Any]]]:
        """All events that have arrived and were not asked for; they are not reported again."""
        found = self.events()
        self.reports = deque(report for report in self.reports if report["what"] != "event")
        return found

    def events(self) -> list[tuple[str, list[Any]]]:
        """Events that have arrived and were not asked for."""
        return [(report["event"], report["args"]) for report in self.reports if report["what"] == "event"]

    async def expect_nothing(self) -> None:
        """Nothing was sent to this client before now that has not been asked for.

        An acknowledged command goes the same ordered way, so its answer comes behind whatever was sent before.
        """
        await self.call("oyez:barrier")
        assert self.events() == []

    async def transport(self) -> str | None:
        name: str | None = await self._driver.command("transport", name=self.name)
        return name

    async def disconnect(self) -> None:
        await self._driver.command("disconnect", name=self.name)

    async def cut(self) -> None:
        await self._driver.command("cut", name=self.name)


class JsCrowd:
    """Many official clients at once."""

    def __init__(self, driver: "JsDriver", name: str) -> None:
        self._driver = driver
        self._name = name

    async def count_deaf(self, seconds: float = 5.0) -> int:
        """How many clients of a server that has gone still take themselves for connected after `seconds`.

        Far less than a ping time-out, after which every client notices.
        """
        deaf: int = await self._driver.command("deaf", name=self._name, seconds=seconds)
        return deaf


class JsEmitter:
    """An official emitter, as a back end in Node has it."""

    def __init__(self, driver: "JsDriver", name: str) -> None:
        self._driver = driver
        self._name = name

    async def say(self, *calls: Sequence[Any]) -> None:
        """Call one thing on what the one before returned: `say(("to", "room"), ("emit", "event", {}))`.

        `{"base64": …}` and `{"moment": …}` are a Buffer and a Date there. Returns when Redis has it.
        """
        await self._driver.command("say", name=self._name, calls=calls)

    async def emit(self, event: str, *args: Any, to: str | Sequence[str] = ()) -> None:
        await self.say(*([("to", to)] if to else []), ("emit", event, *args))


class JsDriver:
    """The Node process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._clients: dict[str, JsClient] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def start(cls, environ: Mapping[str, str] | None = None) -> AsyncIterator[Self]:
        process = await asyncio.create_subprocess_exec(
            "node",
            "driver.mjs",
            cwd=FOLDER,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        driver = cls(process)
        try:
            yield driver
        finally:
            if process.stdin:
                process.stdin.close()
            await process.wait()
            await driver._reader

    async def connect(
        self,
        url: str,
        *,
        path: str = "/socket.io/",
        auth: Mapping[str, Any] | None = None,
        transports: Sequence[str] = ("polling", "websocket"),
        answers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> JsClient:
        """A connected client; with both transports, one that has upgraded. Raises JsConnectError.

        `answers` gives the acknowledgement for an event, where the server asks for one.
        """
        settings = {"path": path, "auth": auth or {}, "transports": list(transports), **options}
        client = await self.begin(url, answers=answers, **settings)
        await self._expect_connected(client)
        if list(transports) == ["polling", "websocket"] and await client.transport() != "websocket":
            await client.expect("upgrade")
        return client

    async def begin(self, url: str, *, answers: Mapping[str, Any] | None = None, **options: Any) -> JsClient:
        """A client that has begun to connect."""
        client = JsClient(self, f"client-{len(self._clients)}")
        self._clients[client.name] = client
        await self.command("connect", name=client.name, url=url, options=options, answers=answers or {})
        return client

    async def crowd(self, url: str, *, count: int, seconds: float, **options: Any) -> JsCrowd:
        """Have `count` clients connect over so many seconds. Returns when the first one begins."""
        name = f"crowd-{self._last}"
        await self.command("crowd", name=name, url=url, count=count, seconds=seconds, options=options)
        return JsCrowd(self, name)

    async def emitter(self, url: str, **options: Any) -> JsEmitter:
        """An emitter that speaks to the Redis at `url`."""
        name = f"emitter-{self._last}"
        await self.command("emitter", name=name, url=url, options=options)
        return JsEmitter(self, name)

    async def _expect_connected(self, client: JsClient) -> None:
        async with asyncio.timeout(TIMEOUT):
            while True:
                for report in client.reports:
                    if report["what"] == "connect":
                        client.reports.remove(report)
                        client.id = report["id"]
                        return
                    if report["what"] == "connect_error":
                        raise JsConnectError(report["message"], report["data"], report["context"])
                client.arrived.clear()
                await client.arrived.wait()

    async def command(self, command: str, **details: Any) -> Any:
        self._last += 1
        number = self._last
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
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
                client.arrived.set()
            elif "error" in report:
                self._answers.pop(report["id"]).set_exception(RuntimeError(report["error"]))
            else:
                self._answers.pop(report["id"]).set_result(report["result"])
