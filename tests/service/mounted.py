"""A shop mounted in FastAPI under uvicorn, as a program: it prints its addresses and serves until it is stopped.

`python -m tests.service.mounted HOW`: `plain`; `without-lifespan`, which nobody may do; `forked`, where the application
is made before two processes are forked that serve it, as `gunicorn --preload` does. `POST /sell/{item}` publishes
from a thread and answers with what came of it.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from oyez.service.app import Oyez
from oyez.settings import load_settings
from tests.support.shops import Sold, shop

CHILDREN = 2
oyez = Oyez([shop("books")], load_settings())


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with oyez.running():
        yield


app = FastAPI(lifespan=None if sys.argv[1:] == ["without-lifespan"] else lifespan)


@app.post("/sell/{item}")
def sell(item: str) -> dict[str, Any]:
    """A plain function, which FastAPI runs in a thread; there is no event loop in it but the one that it makes."""
    try:
        position = asyncio.run(oyez.systems["books"].publisher.emit(Sold(item=item, buyer="ada")))
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"position": position}


app.mount("/live", oyez)


def open_files() -> list[str]:
    """Sockets and files of the data folder that this process has open, besides its standard streams."""
    files = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    standard = {str(path.readlink()) for path in files if path.name in ("0", "1", "2")}
    names = {str(path.readlink()) for path in files} - standard
    return [name for name in names if name.startswith("socket:") or "sqlite" in name]


def serve(listening: socket.socket) -> None:
    # In one piece: two processes write to the same place.
    os.write(1, f"http://127.0.0.1:{listening.getsockname()[1]}\n".encode())
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


def serve_in_children() -> None:
    print(f"open before the fork: {open_files()}, {threading.active_count()} thread", flush=True)
    children = []
    for _ in range(CHILDREN):
        listening = socket.create_server(("127.0.0.1", 0))
        if (child := os.fork()) == 0:
            # prctl(PR_SET_PDEATHSIG): a test that fails kills only the parent.
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            serve(listening)
            os._exit(0)
        listening.close()
        children.append(child)

    def stop(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["forked"]:
        serve_in_children()
    else:
        serve(socket.create_server(("127.0.0.1", 0)))
