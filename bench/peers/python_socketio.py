"""python-socketio (ASGI) on uvicorn and uvloop, with the same room, command and control port as the Node peers.

usage: python -m bench.peers.python_socketio PORT CONTROL_PORT
"""

import sys
from collections.abc import Mapping

import socketio
import uvicorn
from bench.control import serve_control


def build_server() -> socketio.AsyncServer:
    server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])

    async def connect(sid: str, _environ: object, auth: Mapping[str, str] | None) -> None:
        for room in ("room", "shared", f"user:{(auth or {}).get('user')}"):
            await server.enter_room(sid, room)

    async def echo(_sid: str, payload: object) -> object:
        return payload

    server.on("connect", connect)
    server.on("echo", echo)
    return server


async def run(port: int, control_port: int) -> None:
    server = build_server()

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

    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))
