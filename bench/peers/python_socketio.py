"""python-socketio (ASGI) on uvicorn and uvloop, with the same room, command and control port as the Node peers.

usage: python -m bench.peers.python_socketio PORT CONTROL_PORT [store]

With `store`, the command `send` stores a message and its event by SQLAlchemy in one transaction, before it sends the
event and acknowledges.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from uuid import uuid4

import socketio
import uvicorn
from bench.control import serve_control
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, insert

metadata = MetaData()
messages = Table(
    "messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("sender", String, nullable=False),
    Column("recipient", String, nullable=False),
    Column("text", String, nullable=False),
)
events = Table(
    "events",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("room", String, nullable=False),
    Column("data", String, nullable=False),
)


def open_store() -> Engine:
    """What is committed survives the end of the process, as with Oyez' default; not the end of the machine."""
    engine = create_engine(f"sqlite:///{os.environ['OYEZ_DATA']}/chat.sqlite")

    @event.listens_for(engine, "connect")
    def configure(connection: object, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA synchronous = NORMAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA busy_timeout = 30000")  # type: ignore[attr-defined]

    metadata.create_all(engine)
    return engine


def add_send(server: socketio.AsyncServer) -> None:
    engine, turn = open_store(), asyncio.Lock()

    def store(message: Mapping[str, str], recipient: str) -> None:
        with engine.begin() as connection:
            connection.execute(insert(messages), {**message, "recipient": recipient})
            data = json.dumps(["message", message])
            connection.execute(insert(events), {"room": f"user:{recipient}", "data": data})

    async def send(sid: str, payload: Mapping[str, str]) -> Mapping[str, str]:
        message = {"id": str(uuid4()), "sender": sid, "text": payload["text"]}
        # SQLite has one writer. Without the lock the threads wait for it in its file, which takes longer.
        async with turn:
            await asyncio.to_thread(store, message, payload["to"])
        await server.emit("message", message, room=f"user:{payload['to']}")
        return {"id": message["id"], "to": payload["to"]}

    server.on("send", send)


def build_server(prepare: Callable[[socketio.AsyncServer], None] | None = None) -> socketio.AsyncServer:
    server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])

    async def connect(sid: str, _environ: object, auth: Mapping[str, str] | None) -> None:
        for room in ("room", "shared", f"user:{(auth or {}).get('user')}"):
            await server.enter_room(sid, room)

    async def echo(_sid: str, payload: object) -> object:
        return payload

    server.on("connect", connect)
    server.on("echo", echo)
    if prepare is not None:
        prepare(server)
    return server


async def run(port: int, control_port: int, *, store: bool) -> None:
    server = build_server(add_send if store else None)

    async def emit(payload: dict[str, object], room: str = "room") -> None:
        await server.emit("news", payload, room=room)

    config = uvicorn.Config(
        socketio.ASGIApp(server), host="127.0.0.1", port=port, log_level="warning", access_log=False, backlog=4096
    )
    control = await serve_control(control_port, emit)
    await uvicorn.Server(config).serve()
    control.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), store=sys.argv[3:] == ["store"]))
