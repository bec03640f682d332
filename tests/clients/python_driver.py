"""Drives python-socketio in the version on its path: one JSON command a line in, one JSON report a line out.

It runs in a process of its own, with an old version's folder in PYTHONPATH. Handlers report exactly the arguments they
got. A client's style is `async`, `sync`, or that of `SimpleClient`, sync or async.
"""

import asyncio
import base64
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import socketio
from socketio.exceptions import ConnectionError as SocketConnectionError

TIMEOUT = 20.0
RECONNECTION = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.3, "randomization_factor": 0}
Say = Callable[..., None]

POSITION = re.compile(r"[0-9a-f]{8}\.\d+$")
offsets: dict[int, str] = {}
"""By client the newest position it knows."""

_lock = threading.Lock()


def report(message: dict[str, Any]) -> None:
    with _lock:
        print(json.dumps(message), flush=True)


def pack(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    if isinstance(value, dict):
        return {key: pack(item) for key, item in value.items()}
    return value


def unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == ["base64"]:
            return base64.b64decode(value["base64"])
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value


def remember(client: Any, offset: str) -> None:
    """Keep the newest position: handlers of `Client` run in threads, which may overtake each other."""
    with _lock:
        offsets[id(client)] = max(offsets.get(id(client), offset), offset, key=lambda each: int(each.split(".")[1]))


def watch(client: Any, say: Say, events: list[str]) -> None:
    """Report what happens to a client; its handlers may be called in any thread."""

    def watch_event(event: str) -> None:
        def handle(*args: Any) -> dict[str, Any]:
            offset = args[0]["to"] if event == "oyez:recovery" else args[-1] if args else None
            if isinstance(offset, str) and POSITION.match(offset):
                remember(client, offset)
            say("event", event=event, args=pack(args))
            return {"echo": args[0] if args else None}

        client.on(event, handle)

    for event in events:
        watch_event(event)
    client.on("connect", lambda: say("connect", id=client.get_sid(), transport=client.transport(), recovered=None))
    client.on("connect_error", lambda data: say("connect_error", **read_refusal(data)))
    client.on("disconnect", lambda *reason: say("disconnect", reason=reason[0] if reason else None))


def read_refusal(data: Any) -> dict[str, Any]:
    """A refusal's message and data; one of the transport is text, or what the server answered."""
    if isinstance(data, dict):
        return {"message": data.get("message"), "data": data.get("data")}
    return {"message": str(data), "data": None}


def ask_for_recovery(client: Any, auth: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """`auth` of a client that wants to miss nothing: the newest position goes out with each connection."""
    return lambda: {**auth, "recovery": True, "offset": offsets.get(id(client))}


class Async:
    """`AsyncClient`."""

    library = "AsyncClient"
    """Its name: old versions of the library do not have all of them."""

    def __init__(self, say: Say, events: list[str]) -> None:
        self.client = getattr(socketio, self.library)(**RECONNECTION)
        self._say = say
        self._watch(events)

    def _watch(self, events: list[str]) -> None:
        watch(self.client, self._say, events)

    async def _do(self, method: str, *args: Any, **options: Any) -> Any:
        return await getattr(self.client, method)(*args, **options)

    async def open(self, url: str, **options: Any) -> None:
        await self._do("connect", url, **options)

    async def emit(self, event: str, args: list[Any]) -> None:
        await self._do("emit", event, unpack(args[0]))

    async def call(self, event: str, args: list[Any]) -> Any:
        return [pack(await self._do("call", event, unpack(args[0]), timeout=TIMEOUT))]

    async def transport(self) -> str:
        return str(self.client.transport())

    async def close(self) -> None:
        await self._do("disconnect")


class Sync(Async):
    """`Client`, each call in a thread."""

    library = "Client"

    async def _do(self, method: str, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client, method), *args, **options)


class Simple(Sync):
    """`SimpleClient`: a loop around `receive` takes the place of handlers."""

    library = "SimpleClient"

    def _watch(self, events: list[str]) -> None:
        """This client reports all events."""

    async def open(self, url: str, **options: Any) -> None:
        await super().open(url, **options)
        self._say("connect", id=self.client.sid, transport=self.client.transport, recovered=None)
        threading.Thread(target=self._receive, daemon=True).start()

    async def transport(self) -> str:
        return str(self.client.transport)

    def _receive(self) -> None:
        while True:
            try:
                event, *args = self.client.receive()
            except socketio.exceptions.SocketIOError:
                return
            self._say("event", event=event, args=pack(args))


class AsyncSimple(Async):
    """`AsyncSimpleClient`."""

    library = "AsyncSimpleClient"

    def _watch(self, events: list[str]) -> None:
        """This client reports all events."""

    async def open(self, url: str, **options: Any) -> None:
        await super().open(url, **options)
        self._say("connect", id=self.client.sid, transport=self.client.transport, recovered=None)
        self._receiving = asyncio.create_task(self._receive())

    async def transport(self) -> str:
        return str(self.client.transport)

    async def _receive(self) -> None:
        while True:
            try:
                event, *args = await self.client.receive()
            except socketio.exceptions.SocketIOError:
                return
            self._say("event", event=event, args=pack(args))


STYLES: dict[str, type[Async]] = {"async": Async, "sync": Sync, "simple": Simple, "async simple": AsyncSimple}


class Driver:
    """Carries out commands, each in a task of its own."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, line: str) -> None:
        task = asyncio.ensure_future(self._handle(**json.loads(line)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, id: int, command: str, name: str, **details: Any) -> None:
        try:
            result = None
            if command == "open":
                await self._open(name, **details)
            else:
                result = await getattr(self._clients[name], command)(**details)
            report({"id": id, "result": result})
        except Exception as error:
            report({"id": id, "error": f"{type(error).__name__}: {error}"})

    async def _open(
        self, name: str, library: str, url: str, events: list[str], options: dict[str, Any], asks: bool
    ) -> None:
        def say(what: str, **details: Any) -> None:
            report({"client": name, "what": what, **details})

        client = self._clients[name] = STYLES[library](say, events)
        if asks:
            options["auth"] = ask_for_recovery(client.client, options["auth"])
        try:
            await client.open(url, **options)
        except SocketConnectionError as error:
            # What a user of this client sees; `connect_error` has been reported before.
            say("refused", message=str(error))


async def main() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    driver = Driver()
    while line := await asyncio.to_thread(sys.stdin.readline):
        driver.start(line)
    # Threads of sync clients would keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
