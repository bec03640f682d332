"""What `oyez serve bench/contract.py` serves, and a control port by which events are emitted inside the process.

usage: python -m bench.serve_oyez PORT CONTROL_PORT [memory]

With `memory` its log is there, and nothing is stored.
"""

import sys

import uvloop

from bench.contract import News, contract, handlers, room
from bench.control import serve_control
from oyez.log.memory import MemoryLog
from oyez.ops.logs import configure_logging
from oyez.server.http.port import HttpServer
from oyez.service.app import Oyez
from oyez.service.system import System, SystemServices
from oyez.settings import load_settings


async def run(port: int, control_port: int, *, memory: bool) -> None:
    settings = load_settings(port=port)
    configure_logging(settings.log_level)
    system = System(contract=contract, build=lambda services: SystemServices(handlers=handlers))
    oyez = Oyez([system], settings, build_log=(lambda name: MemoryLog()) if memory else None)
    publisher, everybody = oyez.systems[contract.name].publisher, room()

    async def emit(payload: dict[str, object]) -> None:
        await publisher.emit(News(**payload), everybody)  # type: ignore[arg-type]

    control = await serve_control(control_port, emit)
    await HttpServer(oyez, oyez.find_server, settings, oyez.drain, find_responder=oyez.find_responder).serve()
    control.close()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), memory=sys.argv[3:] == ["memory"]))
