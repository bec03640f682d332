"""One of several workers of `oyez serve`: `python -m oyez.cli.worker`, which only `supervisor.py` starts."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

import msgspec

from oyez.cli.console import fail
from oyez.cli.mistakes import describe
from oyez.cli.serve import AnnouncingServer, build_oyez, prepare_process
from oyez.cli.supervisor import BEAT_INTERVAL, WorkerOrder, WorkerReport
from oyez.errors import OyezError
from oyez.ops.health import Team
from oyez.ops.logs import configure_logging
from oyez.server.connections.outages import Outages
from oyez.service.app import Oyez

MAX_READ = 65_536


class SupervisorLink:
    """The process that started this one: it sends lines on standard input, and is sent reports through `reports`."""

    def __init__(self, reports: int) -> None:
        self.team: Team | None = None
        """Its last report about the workers."""
        self._reports = reports
        self._begun = b""
        self._ready = False
        self._log: str | None = None

    def note_log(self, reason: str | None) -> None:
        """The log is unavailable for `reason`, or, with None, available."""
        self._log = reason
        if self._ready:
            self._report()

    def _report(self) -> None:
        # A supervisor that is stopped reads nothing for a while: it counts missing reports from then on.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._reports, msgspec.json.encode(WorkerReport(log=self._log)) + b"\n")

    async def report_regularly(self) -> None:
        os.set_blocking(self._reports, False)
        self._ready = True
        while True:
            self._report()
            await asyncio.sleep(BEAT_INTERVAL)

    def read(self) -> bool:
        """Read its lines. False if the supervisor has ended."""
        read = os.read(sys.stdin.fileno(), MAX_READ)
        *lines, self._begun = (self._begun + read).split(b"\n")
        for line in lines:
            self.team = msgspec.json.decode(line, type=Team)
        return bool(read)


class WorkerServer(AnnouncingServer):
    """Reports regularly, also while it stops, and stops if its supervisor has ended."""

    def __init__(self, oyez: Oyez, supervisor: SupervisorLink) -> None:
        super().__init__(oyez, self._begin_reports)
        self._supervisor = supervisor
        self._reporting: asyncio.Task[None] | None = None

    async def main_loop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._look)
        try:
            await super().main_loop()
        finally:
            loop.remove_reader(sys.stdin.fileno())

    def _begin_reports(self) -> None:
        # It ends with the loop, after everything else.
        self._reporting = asyncio.get_running_loop().create_task(self._supervisor.report_regularly())

    def _look(self) -> None:
        if not self._supervisor.read():
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True


def main() -> int:
    # SIGHUP is for the supervisor, which replaces the workers.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerOrder)
    configure_logging(order.settings.log_level)
    supervisor = SupervisorLink(order.ready)
    try:
        # What one log's absence means for all workers is logged once, by the supervisor.
        outages = Outages(lambda _: supervisor.note_log(outages.reason))
        oyez = build_oyez(order.systems, order.settings, lambda: supervisor.team, outages)
        prepare_process()
        server = WorkerServer(oyez, supervisor)
        server.run([socket.socket(fileno=file) for file in order.sockets])
    except OyezError as error:
        return max(fail(line) for line in describe(error, order.systems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
