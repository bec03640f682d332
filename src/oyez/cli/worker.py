"""One of several workers of `oyez serve`: `python -m oyez.cli.worker`, which only `workers.py` calls."""

import asyncio
import os
import signal
import socket
import sys
from functools import partial

import msgspec

from oyez.cli.console import fail
from oyez.cli.serve import AnnouncingServer, build_oyez, prepare_process
from oyez.cli.workers import READY, Order
from oyez.errors import OyezError
from oyez.ops.logs import configure_logging


class WorkerServer(AnnouncingServer):
    """Stops when nobody looks after it any more: when its standard input ends."""

    async def main_loop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._look)
        try:
            await super().main_loop()
        finally:
            loop.remove_reader(sys.stdin.fileno())

    def _look(self) -> None:
        if not os.read(sys.stdin.fileno(), 1):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True


def main() -> int:
    # That one is for whoever looks after the workers.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    configure_logging(order.settings.log_level)
    try:
        oyez = build_oyez(order.systems, order.settings)
        prepare_process()
        server = WorkerServer(oyez, partial(_report, order.ready))
        server.run([socket.socket(fileno=file) for file in order.sockets])
    except OyezError as error:
        return fail(str(error))
    return 0


def _report(file: int) -> None:
    os.write(file, READY)
    os.close(file)


if __name__ == "__main__":
    sys.exit(main())
