"""`oyez serve`: checks what the server needs, then runs it."""

import asyncio
import errno
import gc
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from starlette.routing import BaseRoute

from oyez.cli.address import base_url
from oyez.cli.banner import Banner
from oyez.cli.console import explain_os_error, fail
from oyez.cli.mistakes import describe
from oyez.cli.server_flags import DEFAULTS, ServerFlags
from oyez.cli.supervisor import Supervisor
from oyez.errors import OyezError, SettingsError
from oyez.logger import get_logger
from oyez.observer import Observer
from oyez.ops.health import Team, health_routes
from oyez.ops.logs import configure_logging
from oyez.ops.memory import start_giving_back
from oyez.ops.metrics import Metrics, metrics_routes
from oyez.server.connections.outages import Outages
from oyez.server.http.port import HttpServer
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system

if TYPE_CHECKING:
    from oyez.ops.traces import OpenTelemetry

logger = get_logger("oyez.cli")

REMEDIES = {
    errno.EADDRINUSE: "Stop what listens there, or give another --port.",
    errno.EACCES: "Give a --port above 1023.",
}
"""By the reason for which an address cannot be listened at; for all others, the address is wrong."""


def serve(*systems: str, reload: Annotated[bool, Parameter(negative="")] = False, flags: ServerFlags = DEFAULTS) -> int:
    """Start the server and show how to use it.

    It serves all systems that ship, or those named.

    For example:
      oyez serve
      oyez serve quotes --port 8080
      oyez serve my_contract.py --reload

    Parameters
    ----------
    systems
        Names of systems that ship, and files with a contract.
    reload
        Start again when a file of the project changes; for development. Clients reconnect and miss nothing.
    """
    settings = flags.load()
    configure_logging(settings.log_level)
    # All that is made in the data folder is for the user who starts the server.
    os.umask(0o077)
    # Until the server serves; then it is a request to start again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    names = systems or list_systems()
    check_certificate(settings)
    with listen_at(settings.host, settings.port) as sockets:
        oyez = build_first(names, settings, flags) if reload else build_oyez(names, settings)
        banner = Banner(oyez, base_url(settings, sockets[0].getsockname()[1]), systems, flags)
        if settings.workers == 1 and not reload:
            prepare_process()
            server = SingleServer(oyez, lambda: banner.show(oyez.log_reason), flags.load)
            server.run(sockets)
            if server.restarts:
                # The same process with the code and the settings that are there now; files of this one are closed.
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
            return 0
        # All that can be wrong has been found, and what the workers share has been made.
        oyez.database.close()
        supervisor = Supervisor(names, settings, flags.load, sockets, quiet=reload)
        return supervisor.run(banner.show, partial(watch_files, supervisor, names, flags) if reload else None)


def build_first(names: Sequence[str], settings: Settings, flags: ServerFlags) -> Oyez:
    """`build_oyez` for a server that reloads: a mistake is shown, and the program starts again when it is corrected."""
    # Here, and not at the top: a server that does not reload watches no files.
    from oyez.cli.reload import wait_and_start_again, warn

    warn(settings)
    try:
        return build_oyez(names, settings)
    except OyezError as error:
        for line in describe(error, names):
            fail(line)
        wait_and_start_again(names, flags.config)
        raise


async def watch_files(supervisor: Supervisor, names: Sequence[str], flags: ServerFlags) -> None:
    """Replace the workers of `supervisor` when a file changes, until cancelled."""
    from oyez.cli.reload import watch

    await watch(supervisor, names, flags.config)


def build_oyez(
    systems: Sequence[str],
    settings: Settings,
    find_team: Callable[[], Team | None] = lambda: None,
    outages: Outages | None = None,
) -> Oyez:
    """The application that the command line and the workers serve."""
    loaded = [load_system(name) for name in systems]
    metrics, admin = Metrics(), None
    if settings.operator_keys:
        # Here, and not at the top: most servers that are started for a try have no admin.
        from oyez.ops.admin.service import Admin

        admin = Admin(settings, metrics)
    observers: list[Observer] = [metrics] if admin is not None or settings.metrics_token is not None else []
    tracing = build_tracing(shows_users=settings.tracing_users) if settings.tracing else None
    if tracing is not None:
        observers.append(tracing)
    if admin is not None:
        observers += admin.observers

    def operate(oyez: Oyez) -> list[BaseRoute]:
        routes: list[BaseRoute] = [*health_routes(oyez, find_team), *metrics_routes(oyez, metrics)]
        return routes if admin is None else [*routes, *admin.operate(oyez)]

    return Oyez(loaded, settings, operate=operate, outages=outages, observers=observers, tracing=tracing)


def build_tracing(*, shows_users: bool) -> "OpenTelemetry":
    """The tracing of this process. Raises SettingsError if OpenTelemetry is not installed."""
    try:
        # Here, and not at the top: OpenTelemetry need not be installed, and its import takes half a second.
        from oyez.ops import traces
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The setting `tracing` is on, but {error.name} is not installed. Run `pip install 'oyez[tracing]'`, or"
            " turn it off."
        ) from None
    return traces.build_tracing(shows_users=shows_users)


class AnnouncingServer(HttpServer):
    """Calls `announce` once it is at work."""

    def __init__(self, oyez: Oyez, announce: Callable[[], None]) -> None:
        super().__init__(oyez, oyez.find_server, oyez.settings, oyez.drain, oyez.node, oyez.find_responder)
        oyez.count_requests = lambda: len(self.server_state.tasks)
        self._announce = announce

    async def main_loop(self) -> None:
        try:
            self._announce()
        except SystemExit:
            # What rich makes of a pipe that nobody reads any more, as in `oyez serve | head`.
            return
        await super().main_loop()


class SingleServer(AnnouncingServer):
    """The only process: on SIGHUP it stops and starts again.

    `reload` reads the settings. If it was started at a terminal, SIGHUP means that the terminal was closed, and
    the server only stops.
    """

    def __init__(self, oyez: Oyez, announce: Callable[[], None], reload: Callable[[], Settings]) -> None:
        super().__init__(oyez, announce)
        self._reload = reload
        self._at_terminal = os.isatty(0)
        self.restarts = False
        """True if the program is to start again when it has stopped."""

    async def main_loop(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._handle_hangup_signal)
        await super().main_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A request to stop wins, also if it comes while the server stops in order to start again.
        self.restarts = False
        super().handle_exit(sig, frame)

    def _handle_hangup_signal(self) -> None:
        if self.should_exit:
            # Some managers of services send SIGHUP right after SIGTERM.
            return
        if not self._at_terminal:
            try:
                self._reload()
            except OyezError as error:
                logger.error("the settings cannot be read; the server continues with the old ones", error=str(error))
                return
            self.restarts = True
        logger.info("the server was sent SIGHUP", then="it starts again" if self.restarts else "it stops")
        self.should_exit = True


def prepare_process() -> None:
    """Prepare this process for many clients. Call it after all code is loaded."""
    raise_file_limit()
    collect_less_garbage()
    start_giving_back()


def collect_less_garbage() -> None:
    """Collect garbage less often than Python does by default, at every 700 new objects: a client has a hundred.

    What is loaded stays loaded and is not looked at again. Measured: 8 % of the CPU of a client that connects. Nor is
    it much at once, since everybody waits for it: some milliseconds for 5,000 objects, ten times that for those of the
    second generation.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 400)


@contextmanager
def listen_at(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets at every address of `host`, all at one port. Raises SettingsError."""
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            # A socket for each family: at one for both, clients of IPv4 would come from addresses of IPv6.
            found = socket.getaddrinfo(
                None if host in ("", "::") else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, (address, *_) in found:
                opened = socket.create_server((str(address), port), family=family)
                sockets.append(stack.enter_context(closing(opened)))
                # Port 0 is chosen once.
                port = opened.getsockname()[1]
        except (OSError, UnicodeError) as error:
            number = getattr(error, "errno", None)
            remedy = REMEDIES.get(number or 0, "Give an address of this machine as --host, or 0.0.0.0 for all.")
            reason = explain_os_error(error) if isinstance(error, OSError) else error
            raise SettingsError(f"Port {port} at {host!r} cannot be listened at: {reason}. {remedy}") from None
        yield sockets


def check_certificate(settings: Settings) -> None:
    """Raises SettingsError if HTTPS is set but cannot be used."""
    if settings.ssl_certfile is None and settings.ssl_keyfile is None:
        return
    if settings.ssl_certfile is None:
        raise SettingsError("SSL_KEYFILE is set without SSL_CERTFILE. Set both, or neither.")
    try:
        # Pass an empty password, so that an encrypted key fails instead of prompting.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.ssl_certfile, settings.ssl_keyfile, password=""
        )
    except OSError as error:
        files = " and ".join(filter(None, (settings.ssl_certfile, settings.ssl_keyfile)))
        raise SettingsError(
            f"The certificate in {files} cannot be used: {error.strerror or error}."
            " Set SSL_CERTFILE and SSL_KEYFILE to PEM files that belong together; the key without a password."
        ) from None


def raise_file_limit() -> None:
    """Allow as many open files as the system permits: every client is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems report no limit, and then refuse it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
