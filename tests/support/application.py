"""The application of the tests' servers: clients state in `auth` what shall happen to them."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import msgspec

from oyez.errors import Refusal, RefusedError
from oyez.log.log import Entry
from oyez.protocol.engineio import SERVER_SHUTDOWN
from oyez.protocol.socketio import find_placeholders
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.socket import Socket
from oyez.server.types import ReceivedEvent
from tests.support.clock import Change

CLOSED_TODAY = Refusal("closed_today", "The market is closed today.")


class Market(Application):
    """Records what it receives, in order, and lets tests wait for it.

    `auth` may hold: `user`, `rooms` to join, `refuse`, `crash`, `hold` (wait for `release`), `lifetime` in seconds,
    `text` to receive at once.
    Events: `join` enters a room, `echo` answers with its arguments, `echo later` does so in a handler that waits,
    `hold` does so after `release`, `crash` and `crash later` raise, `ask` calls the client back with `question` and
    answers with its answer; all others are only noted.
    Any control entry disconnects its sockets, as a server that stops does.
    """

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.heard: list[tuple[str, Any]] = []
        self.gone: list[tuple[str, str]] = []
        self.held = 0
        """How many handlers have begun to wait for `release`."""
        self.closed_rooms: set[str] = set()
        """Rooms that cannot be recovered."""
        self._released = asyncio.Semaphore(0)
        self._changed = Change()

    # What Server asks of an Application.

    async def connect(self, socket: Socket, auth: Any) -> None:
        socket.data = auth
        socket.identify(auth.get("user", ""), None)
        for room in auth.get("rooms", ()):
            socket.join(room)
        if "text" in auth:
            socket.send(msgspec.json.encode(["text", auth["text"]]))
        if auth.get("hold"):
            await self._hold()
        if auth.get("crash"):
            raise RuntimeError("as asked")
        if auth.get("refuse"):
            raise RefusedError(CLOSED_TODAY, opens="tomorrow")
        if "lifetime" in auth:
            socket.identify(socket.user_id, socket.handshake.time + auth["lifetime"])
        self.sockets.append(socket)
        self._changed.set()

    def receive(self, socket: Socket, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        _, *args = find_placeholders(msgspec.json.decode(event.data), event.attachments)
        self.heard.append((event.name, args[0] if args else None))
        self._changed.set()
        if event.name == "crash":
            raise RuntimeError("as asked")
        if event.name in ("hold", "crash later", "echo later", "ask", "join"):
            return self._work(socket, event, args)
        if event.name in ("echo", "oyez:barrier") and event.ack is not None:
            event.ack(*pack(args))
        return None

    async def may_join(self, socket: Socket, room: str) -> bool:
        return room not in self.closed_rooms

    def control(self, entry: Entry, sockets: Collection[Socket]) -> None:
        for socket in sockets:
            socket.connection.close(SERVER_SHUTDOWN)

    def disconnect(self, socket: Socket, reason: str) -> None:
        self.sockets.remove(socket)
        self.gone.append((socket.id, reason))
        self._changed.set()

    async def _work(self, socket: Socket, event: ReceivedEvent, args: list[Any]) -> None:
        if event.name == "hold":
            await self._hold()
        if event.name == "join":
            await socket.replay_room(args[0])
            socket.join(args[0])
        answer: tuple[bytes, tuple[bytes, ...]] = pack(args)
        if event.name == "crash later":
            await asyncio.sleep(0)
            raise RuntimeError("as asked")
        if event.name == "ask":
            answer = (await socket.call(b'["question"]'), ())
        self.heard.append((f"{event.name} done", args[0] if args else None))
        self._changed.set()
        if event.ack is not None:
            event.ack(*answer)

    async def _hold(self) -> None:
        self.held += 1
        self._changed.set()
        await self._released.acquire()

    # What tests do.

    def release(self, times: int = 1) -> None:
        """Let so many waiting handlers continue."""
        for _ in range(times):
            self._released.release()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return when `happened` is true; checked after each call of the application."""
        await self._changed.until(happened)

    async def expect(self, name: str, argument: Any = None) -> None:
        """That event has come."""
        await self.until(lambda: (name, argument) in self.heard)

    async def expect_gone(self, socket_id: str) -> str:
        """The reason for which that socket is gone."""
        await self.until(lambda: socket_id in dict(self.gone))
        return dict(self.gone)[socket_id]

    def socket(self, socket_id: str) -> Socket:
        return next(socket for socket in self.sockets if socket.id == socket_id)

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


def pack(values: list[Any]) -> tuple[bytes, tuple[bytes, ...]]:
    """A JSON array and its attachments."""
    attachments: list[bytes] = []

    def replace(value: Any) -> Any:
        if isinstance(value, bytes):
            attachments.append(value)
            return {"_placeholder": True, "num": len(attachments) - 1}
        if isinstance(value, list):
            return [replace(item) for item in value]
        if isinstance(value, dict):
            return {key: replace(item) for key, item in value.items()}
        return value

    return msgspec.json.encode(replace(values)), tuple(attachments)
