"""The supervisor of `oyez serve --workers`: it looks after the processes that share a port and a data folder.

It serves no clients. It starts the workers, starts another if one dies or stops reporting, and stops them on SIGTERM
and SIGINT. On SIGHUP it replaces them one by one, each only when its successor serves. Each worker reports every second
from its event loop, and receives the number of workers that report.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from oyez.concurrency.backoff import Backoff
from oyez.concurrency.task_set import run_beside
from oyez.errors import OyezError
from oyez.logger import get_logger
from oyez.ops.health import Team
from oyez.server.connections.outages import Outages
from oyez.settings import Settings

logger = get_logger("oyez.cli")

START_TIMEOUT = 60.0
"""Seconds a worker has to come up: some tenths of one, unless the machine is busy or the log has to be made."""
BACKOFF = Backoff(0.5, 30.0)
"""Before a worker that did not live long is started again."""
LONG_LIFE = 60.0
"""Seconds after which a worker's death is not put down to its start."""
STOP_SPARE = 10.0
"""Seconds a worker has to stop, besides those the settings give it, before it is killed."""


BEAT_INTERVAL = 1.0
"""Seconds between two reports of a worker that it works."""
SUSPICIOUS_BEATS = 3
"""Reports that are missing before a worker counts as not answering: one or two may be late on a busy machine."""


class WorkerOrder(msgspec.Struct, frozen=True):
    """The first line on a worker's standard input, which the supervisor keeps open as long as it lives."""

    systems: list[str]
    settings: Settings
    sockets: list[int]
    """Files it takes connections from."""
    ready: int
    """The file to write a WorkerReport to when it serves, and after each BEAT_INTERVAL from then on."""


class WorkerReport(msgspec.Struct, frozen=True):
    """A worker's report about itself, as a line of JSON."""

    log: str | None
    """Why the log is unavailable to it; None if it is available."""


class Worker:
    """One process."""

    def __init__(
        self, process: asyncio.subprocess.Process, reports: asyncio.StreamReader, channel: asyncio.StreamWriter
    ) -> None:
        """`reports` is read from `channel`, which is closed when the worker has ended."""
        self.process = process
        self.started_at = asyncio.get_running_loop().time()
        self.answers = False
        """True if it serves, and its last reports are not missing."""
        self.report = WorkerReport(None)
        """The last one."""
        self._reports = reports
        self._channel = channel
        self._stopping = False

    def send(self, team: Team) -> None:
        """Send the worker how many workers report, as a line. A worker that has ended does not receive it."""
        stdin = self.process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(msgspec.json.encode(team) + b"\n")

    async def supervise(self, timeout: float, changed: Callable[[], None]) -> None:
        """Wait until it has ended, and kill it if it reports nothing for `timeout` seconds.

        `changed` is called when `answers` changes.
        """
        ended = asyncio.create_task(self.process.wait())
        silent = asyncio.create_task(self._wait_for_silence(timeout, changed))
        try:
            await asyncio.wait((ended, silent), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                logger.error("a worker does not answer and is killed", pid=self.process.pid, seconds=timeout)
                with suppress(ProcessLookupError):
                    self.process.kill()
            await ended
        finally:
            ended.cancel()
            silent.cancel()
            self._channel.close()
            self._set_answers(False, changed)

    async def _wait_for_silence(self, timeout: float, changed: Callable[[], None]) -> None:
        """Return when reports have been missing for `timeout` seconds.

        What counts is intervals without a report, not time: if this process was stopped itself, it has seen none.
        """
        missing = 0
        while missing * BEAT_INTERVAL < timeout or self._stopping:
            try:
                async with asyncio.timeout(BEAT_INTERVAL):
                    line = await self._reports.readline()
                    if not line:
                        # The worker has ended, or is about to: the kernel closed its end.
                        await asyncio.Future()
                missing = 0
                self.take(line, changed)
            except TimeoutError:
                missing += 1
            self._set_answers(missing < SUSPICIOUS_BEATS, changed)

    def take(self, line: bytes, changed: Callable[[], None] = lambda: None) -> None:
        """Record a report."""
        # A worker writes half a line if this process was stopped for hours.
        with suppress(msgspec.DecodeError):
            report = msgspec.json.decode(line, type=WorkerReport)
            if report != self.report:
                self.report = report
                changed()

    def _set_answers(self, answers: bool, changed: Callable[[], None]) -> None:
        if self.answers != answers:
            self.answers = answers
            changed()

    def stop(self) -> None:
        self._stopping = True
        with suppress(ProcessLookupError):
            self.process.terminate()

    async def wait(self, timeout: float | None = None) -> None:
        """Until it has ended; it is killed after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.process.wait()
        except TimeoutError:
            logger.error("a worker did not stop and is killed", pid=self.process.pid)
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


class Supervisor:
    """Runs `settings.workers` processes that serve `systems` at `sockets`; `reload` reads the settings again."""

    def __init__(
        self,
        systems: Sequence[str],
        settings: Settings,
        reload: Callable[[], Settings],
        sockets: Sequence[socket.socket],
        *,
        quiet: bool = False,
    ) -> None:
        """With `quiet`, replacements are not logged: somebody else shows them."""
        self._systems = list(systems)
        self._settings = settings
        self._count = settings.workers
        self._reload = reload
        self._sockets = list(sockets)
        self._log = logger.debug if quiet else logger.info
        self._log_error = logger.debug if quiet else logger.error
        self._workers: dict[int, Worker] = {}
        """By place."""
        self._outages = Outages()
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()
        self._generations = [0] * self._count
        self._replacing: asyncio.Task[bool] | None = None

    def run(
        self, announce: Callable[[str | None], None], beside: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> int:
        """Start the workers, call `announce`, and supervise until a signal stops them; returns the exit status.

        `announce` is given why the log is away, or None if it is available. `beside` runs as long as the workers.
        """
        return asyncio.run(self._run(announce, beside))

    async def replace(self) -> bool:
        """Replace all workers, one by one. False if a new one does not come up: the old ones stay then."""
        self._replace()
        assert self._replacing is not None
        # The replacement ends also if the caller does not wait for it.
        return await asyncio.shield(self._replacing)

    async def _run(
        self, announce: Callable[[str | None], None], beside: Callable[[], Coroutine[Any, Any, None]] | None
    ) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        started = await asyncio.gather(*(self._start(place) for place in range(self._count)))
        self._workers = {place: worker for place, worker in enumerate(started) if worker is not None}
        if len(self._workers) < self._count:
            # Only a signal makes it a success.
            status = 0 if self._stopping.is_set() else 1
            self._stop()
            await self._wait_for_all()
            return status
        loop.add_signal_handler(signal.SIGHUP, self._replace)
        try:
            announce(self._outages.reason)
        except SystemExit:
            # Nobody reads what is shown, as in `oyez serve | head`.
            self._stop()
        async with run_beside(*([beside()] if beside is not None else [])):
            await asyncio.gather(*(self._keep(place) for place in range(self._count)))
        await self._wait_for_all()
        return 0

    # One place.

    async def _keep(self, place: int) -> None:
        """Keep a worker in `place`: start another one when it dies."""
        failures = 0
        while not self._stopping.is_set():
            worker = self._workers[place]
            await self._unless_stopped(
                worker.supervise(self._settings.worker_timeout, partial(self._note_change, worker))
            )
            self._outages.remove(worker)
            if self._stopping.is_set() or self._workers[place] is not worker:
                continue
            lived = asyncio.get_running_loop().time() - worker.started_at
            failures = 0 if lived > LONG_LIFE else failures + 1
            pause = BACKOFF.delay(failures) if failures else 0.0
            status = worker.process.returncode
            logger.error("a worker died; another takes its place", pid=worker.process.pid, status=status, pause=pause)
            await self._unless_stopped(asyncio.sleep(pause))
            async with self._changing:
                if self._workers[place] is worker and not self._stopping.is_set():
                    # If the new worker did not start, the old one is still recorded, and the loop tries again.
                    self._workers[place] = await self._start(place) or worker

    async def _unless_stopped(self, work: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """The result of `work`; None if everything stops first, or after `timeout` seconds."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((task, stopping), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stopping.cancel()

    async def _start(self, place: int) -> Worker | None:
        """A worker that serves; None if it did not start."""
        generation, self._generations[place] = self._generations[place], self._generations[place] + 1
        ours, theirs = socket.socketpair()
        files = [each.fileno() for each in self._sockets]
        order = WorkerOrder(self._systems, self._settings_of(place, generation), files, theirs.fileno())
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "oyez.cli.worker"),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(*files, theirs.fileno()),
            )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = Worker(process, reader, writer)
        ready = await self._unless_stopped(reader.readline(), START_TIMEOUT)
        if ready:
            worker.take(ready)
            self._outages.record(worker, worker.report.log)
            return worker
        writer.close()
        if not self._stopping.is_set():
            self._log_error("a worker did not come up", pid=process.pid)
        worker.stop()
        await worker.wait(STOP_SPARE)
        return None

    def _settings_of(self, place: int, generation: int) -> Settings:
        """With a port of its own for its peers, also beside the worker whose place it is to take."""
        address = self._settings.node_address
        host, _, port = (address or "").rpartition(":")
        if not host or port in ("", "0"):
            return self._settings
        own = int(port) + place + self._count * (generation % 2)
        return msgspec.structs.replace(self._settings, node_address=f"{host}:{own}")

    # All of them.

    def _note_change(self, worker: Worker) -> None:
        self._outages.record(worker, worker.report.log)
        answering = sum(worker.answers for worker in self._workers.values())
        for worker in self._workers.values():
            worker.send(Team(self._count, answering))

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers.values():
            worker.stop()

    async def _wait_for_all(self) -> None:
        if self._replacing is not None:
            await self._replacing
        patience = self._settings.drain_time + 2 * self._settings.shutdown_timeout + STOP_SPARE
        for worker in self._workers.values():
            # Also one that came up just now.
            worker.stop()
        await asyncio.gather(*(worker.wait(patience) for worker in self._workers.values()))

    def _replace(self) -> None:
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.get_running_loop().create_task(self._replace_all())

    async def _replace_all(self) -> bool:
        """Replace the worker in every place. False if a new one does not start: the old ones stay."""
        try:
            settings = self._reload()
            if settings.workers != self._count:
                logger.warning("the number of workers changes only with a new start", workers=self._count)
            self._settings = settings
        except OyezError as error:
            logger.error("the settings cannot be read; the workers stay", error=str(error))
            return False
        self._log("replacing the workers", workers=self._count)
        for place in range(self._count):
            async with self._changing:
                if self._stopping.is_set():
                    return False
                old, new = self._workers[place], await self._start(place)
                if new is None:
                    self._log_error("the new worker does not come up; the old ones stay")
                    return False
                self._workers[place] = new
            old.stop()
            await old.wait(self._settings.drain_time + 2 * self._settings.shutdown_timeout + STOP_SPARE)
        self._log("all workers have been replaced", workers=self._count)
        return True
