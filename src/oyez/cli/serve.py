"""`oyez serve`: start everything, and show a newcomer the next three commands."""

import copy
import resource
from collections.abc import Sequence
from typing import Any

import msgspec

from oyez import __version__
from oyez.cli import console
from oyez.contract import Contract, Event, Identity
from oyez.contract.rooms import DerivedRoom, Room, Target
from oyez.errors import SettingsError
from oyez.ops.logs import configure_logging
from oyez.server.http import HttpServer
from oyez.service.app import Oyez
from oyez.service.system import System
from oyez.settings import Settings

EXAMPLE_SUBJECT = "ada"


class AnnouncingServer(HttpServer):
    """Shows what to do next once it listens: with port 0 the port is known only then."""

    def __init__(self, oyez: Oyez) -> None:
        super().__init__(oyez, oyez.find_server, oyez.settings, oyez.drain)
        self._oyez = oyez

    def _log_started_message(self, listeners: Sequence[object]) -> None:
        """uvicorn's own hook for saying where it listens."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if self._oyez.settings.ssl_certfile else "http"
        announce(self._oyez, f"{scheme}://{host}:{port}")


def run_serve(systems: Sequence[System], settings: Settings) -> int:
    """Serve until a signal asks to stop; the exit status."""
    configure_logging(settings.log_level)
    _raise_file_limit()
    oyez = Oyez(systems, settings)
    try:
        AnnouncingServer(oyez).run()
    except SystemExit:
        raise SettingsError(
            f"Port {settings.port} at {settings.host} cannot be used. Stop what listens there, or give another --port."
        ) from None
    return 0


def announce(oyez: Oyez, url: str) -> None:
    """Address, tokens, listening and publishing, as commands to copy."""
    console.out.print(f"Oyez {__version__} listens at [bold]{url}[/bold] (Ctrl-C stops it)")
    if oyez.secret.made:
        console.show_note(f"A secret for tokens was made in {oyez.secret.path}; keep it to yourself.")
    program = console.invocation()
    for name, served in oyez.systems.items():
        contract = served.system.contract
        role = contract.default_role or contract.roles[0]
        console.out.print(f"\n[bold]{name}[/bold]  Socket.IO at {url}/{name}/socket.io/")
        console.show_command("token", program, "token", name, "--sub", EXAMPLE_SUBJECT, "--role", role)
        console.show_command("listen", program, "listen", name, "--sub", EXAMPLE_SUBJECT, "--role", role)
        words = _suggest_publish(contract, Identity(subject=EXAMPLE_SUBJECT, role=role))
        if words is not None:
            console.show_command("publish", program, "publish", name, *words)
        console.show_note(f'  or in JavaScript: io("{url}", {{path: "/{name}/socket.io/", auth: {{token}}}})')
    console.out.file.flush()


def _suggest_publish(contract: Contract, listener: Identity) -> list[str] | None:
    """The words of a publish command that `listener` hears, for the event with the shortest payload."""
    suggestions = [
        words
        for event in contract.events.values()
        for targets in event.targets.values()
        for target in targets
        if (words := _suggest(event, target, listener)) is not None
    ]
    return min(suggestions, key=lambda words: len(words[-1]), default=None)


def _suggest(event: Event, target: Target, listener: Identity) -> list[str] | None:
    """How to publish `event` so that it reaches `listener` by `target`; None where it would not."""
    room = target.room if isinstance(target, DerivedRoom) else target
    if not isinstance(room, Room) or not room.on_connect or room.rule is None:
        return None
    values = next(iter(room.rule.entitlements(listener)), None)
    if values is None or set(values) < set(room.placeholders):
        return None
    data = copy.deepcopy(dict(event.example))
    if isinstance(target, DerivedRoom):
        for placeholder, path in target.paths.items():
            _put(data, path.split("."), values[placeholder])
    to = [] if isinstance(target, DerivedRoom) else ["--to", room.name(values)]
    return [event.name, *to, "--data", msgspec.json.encode(data).decode()]


def _put(data: dict[str, Any], path: Sequence[str], value: str) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


def _raise_file_limit() -> None:
    """Every client is an open file: take as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
