"""The official JavaScript client for tests: one Node process that drives any number of clients.

Verbs are those of Oyez' own client: connect, emit, call, expect_event, expect_nothing.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

from tests.support.clock import PATIENCE
from tests.support.driver import Driver, Reporter

FOLDER = Path(__file__).parents[1] / "js"


class JsConnectError(Exception):
    """The client got `connect_error`."""

    def __init__(self, message: str, data: Any, status: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.status = status
        """The HTTP status where the transport was refused."""


class JsClient(Reporter):
    """One official client. Reports come in order; what is not asked for yet waits."""

    def __init__(self, driver: "JsDriver", name: str) -> None:
        super().__init__(driver, name, deque())
        self.id = ""

    async def emit(self, event: str, *args: Any) -> None:
        await self.command("emit", event=event, args=args)

    async def call(self, event: str, *args: Any, timeout: float = PATIENCE) -> Any:
        """Emit with an acknowledgement and return it."""
        return await self.command("call", event=event, args=args, timeout=timeout * 1000)

    async def callback(self, event: str, *args: Any) -> list[Any]:
        """All arguments of the acknowledgement."""
        async with asyncio.timeout(PATIENCE):
            arguments: list[Any] = await self.command("callback", event=event, args=args)
        return arguments

    async def volley(self, event: str, *args: Any, count: int, timeout: float = 0.9 * PATIENCE) -> list[Any]:
        """Call that many times at once, so that the server reads the calls at once; their acknowledgements in order."""
        answers: list[Any] = await self._driver.command(
            "volley", name=self.name, event=event, args=args, count=count, timeout=timeout * 1000
        )
        return answers

    async def burst(self, event: str, *, count: int, size: int) -> int:
        """Call that many times at once, with so many bytes each; how many calls were answered with the same bytes."""
        answered: int = await self._driver.command(
            "burst", name=self.name, event=event, count=count, size=size, timeout=0.9 * PATIENCE * 1000
        )
        return answered

    async def expect(self, what: str, **details: Any) -> dict[str, Any]:
        """The next report of that kind with those details; earlier ones of other kinds stay."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for report in self.reports:
                    if report["what"] == what and all(report.get(key) == value for key, value in details.items()):
                        self.reports.remove(report)
                        return report
                await self.wait_for_report(f"{what} {details}")

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

        An acknowledged command uses the same ordered connection, so its answer comes after all that was sent before.
        """
        await self.call("oyez:barrier")
        assert self.events() == []

    async def disconnect(self) -> None:
        await self.command("disconnect")

    async def cut(self) -> None:
        await self.command("cut")


class JsCrowd:
    """Many official clients at once."""

    def __init__(self, driver: "JsDriver", name: str) -> None:
        self._driver = driver
        self._name = name

    async def count_deaf(self, seconds: float = 30.0) -> int:
        """How many clients of a server that has gone still take themselves for connected after `seconds`.

        Less than a ping time-out, after which every client notices.
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


class JsDriver(Driver):
    """The Node process."""

    @classmethod
    def start(cls, environ: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Self]:
        return cls.start_program(("node", str(FOLDER / "driver.mjs")), environ)

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
        client = JsClient(self, f"client-{len(self.clients)}")
        await self.command("connect", name=client.name, url=url, options=options, answers=answers or {})
        return client

    async def crowd(self, url: str, *, count: int, seconds: float, **options: Any) -> JsCrowd:
        """Have `count` clients connect over so many seconds. Returns when the first one begins."""
        name = f"crowd-{len(self._answers)}"
        await self.command("crowd", name=name, url=url, count=count, seconds=seconds, options=options)
        return JsCrowd(self, name)

    async def emitter(self, url: str, **options: Any) -> JsEmitter:
        """An emitter that speaks to the Redis at `url`."""
        name = f"emitter-{len(self._answers)}"
        await self.command("emitter", name=name, url=url, options=options)
        return JsEmitter(self, name)

    async def _expect_connected(self, client: JsClient) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                for report in client.reports:
                    if report["what"] == "connect":
                        client.reports.remove(report)
                        client.id = report["id"]
                        return
                    if report["what"] == "connect_error":
                        raise JsConnectError(report["message"], report["data"], report["context"])
                await client.wait_for_report("connect")
