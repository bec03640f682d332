"""What a newcomer sees when the server has started: the next commands, ready to be copied into another terminal."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.text import Text

from oyez import __version__
from oyez.cli import console
from oyez.cli.address import EVERYWHERE, base_url
from oyez.cli.server_flags import ServerFlags
from oyez.contract import Contract, Event, Identity
from oyez.contract.rooms import EVERYONE, Caller, DerivedRoom, Everyone, Target
from oyez.service.app import Oyez
from oyez.settings import Settings, load_settings

EXAMPLE_SUBJECT = "ada"
TOKEN_SETTINGS = ("jwt_secret", "jwt_issuer", "jwt_audience")
"""What has to be the same where a token is made and where it is verified."""


class Banner:
    """The commands for the systems that `oyez serve` was called with, at `url`."""

    def __init__(self, oyez: Oyez, url: str, references: Sequence[str], flags: ServerFlags) -> None:
        """Raises SettingsError where the settings file does not stand on its own."""
        self._oyez = oyez
        self._url = url
        # What a command finds in another terminal: the file, but neither our flags nor our environment.
        self._elsewhere = load_settings({}, flags.config)
        self._references = dict(zip(oyez.systems, references or oyez.systems, strict=True))
        self._machine = list(self._machine_words(flags))
        self._target = [] if url == base_url(self._elsewhere) else ["--url", url]

    def show(self, log_reason: str | None = None) -> None:
        """`log_reason` is why the log is away, if it is: clients are not let in then."""
        settings = self._oyez.settings
        everywhere = " and all other addresses of this machine" if settings.host in EVERYWHERE else ""
        does = " listens at " if log_reason is None else " waits for the log at "
        address = Text.assemble("Oyez ", __version__, does, (self._url, "bold"), everywhere)
        console.out.print(address.append(" (Ctrl-C stops it)"))
        if log_reason is not None:
            console.out.print(Text(f"Clients cannot connect yet, because the log is away: {log_reason}", "bold red"))
        if self._oyez.secret.made:
            self._note(f"A secret for tokens was made in {self._oyez.secret.path}; keep it to yourself.")
        for name in self._oyez.systems:
            self._show_system(name)
        different = [name for name in TOKEN_SETTINGS if getattr(settings, name) != getattr(self._elsewhere, name)]
        if different:
            names = " and ".join(name.upper() for name in different)
            self._note(f"\nTo use these commands in another terminal, set {names} there as here.")

    def _machine_words(self, flags: ServerFlags) -> Iterator[str]:
        """The flags by which another command finds this server's settings and secret."""
        if flags.config is not None:
            yield from ("--config", str(flags.config))
        settings = self._oyez.settings
        if settings.jwt_secret is None and settings.oyez_data != self._elsewhere.oyez_data:
            yield from ("--oyez-data", settings.oyez_data)

    def _show_system(self, name: str) -> None:
        contract, reference = self._oyez.systems[name].system.contract, self._references[name]
        role = contract.default_role or contract.roles[0]
        user = ["--sub", EXAMPLE_SUBJECT, "--role", role]
        path = f"/{name}/socket.io/"
        console.out.print(Text.assemble("\n", (name, "bold"), f"  Socket.IO at {self._url}{path}"))
        if _signs_users(self._oyez.settings):
            self._command("token", "token", reference, *user, *self._machine)
            self._command("listen", "listen", reference, *user, *self._machine, *self._target)
        else:
            self._command("listen", "listen", reference, "--token", "$TOKEN", *self._machine, *self._target)
        words = suggest_publish(contract, Identity(subject=EXAMPLE_SUBJECT, role=role))
        if words is not None:
            self._command("publish", "publish", reference, *words, *self._machine, *self._target)
        self._command("key", "token", reference, "--service", *self._machine)
        address = self._url + contract.namespaces[0].name.rstrip("/")
        self._note(f'  or in JavaScript: io("{address}", {{path: "{path}", auth: {{token}}}})')
        self._note(f"  or over HTTP: POST {self._url}/{name}/events with the key")

    def _command(self, purpose: str, *words: str) -> None:
        line = console.join_words([*console.invocation(), *words])
        console.out.print(Text.assemble((f"  {purpose:<9}", "dim"), (line, "cyan")))

    def _note(self, text: str) -> None:
        console.out.print(Text(text, "dim"))


def _signs_users(settings: Settings) -> bool:
    """Whether users' tokens are made here, and not by an identity provider."""
    return settings.jwks_url is None and settings.jwt_key_file is None


def suggest_publish(contract: Contract, listener: Identity) -> list[str] | None:
    """The words of a publish command that `listener` hears, for the event with the shortest payload.

    `listener` is in the contract's first namespace.
    """
    namespace = contract.namespaces[0].name
    suggestions = [
        words
        for event in contract.events.values()
        for target in event.targets.get(namespace, ())
        if (words := _suggest(event, target, listener)) is not None
    ]
    return min(suggestions, key=lambda words: len(words[-1]), default=None)


def _suggest(event: Event, target: Target, listener: Identity) -> list[str] | None:
    """How to publish `event` so that it reaches `listener` by `target`; None where it would not."""
    data = copy.deepcopy(dict(event.example))
    to: list[str] = []
    if isinstance(target, Caller):
        return None
    if isinstance(target, Everyone):
        to = ["--to", EVERYONE]
    else:
        room = target.room if isinstance(target, DerivedRoom) else target
        values = next(iter(room.rule.entitlements(listener)), None) if room.on_connect else None
        if values is None or not values.keys() >= set(room.placeholders):
            return None
        if isinstance(target, DerivedRoom):
            if not all(_put(data, path.split("."), values[name]) for name, path in target.paths.items()):
                return None
        else:
            to = ["--to", room.name({placeholder: values[placeholder] for placeholder in room.placeholders})]
    return [event.name, *to, "--data", msgspec.json.encode(data).decode()]


def _put(data: Any, path: Sequence[str], value: str) -> bool:
    """Set what is at `path` in `data`; False where an object on the way is left out."""
    for step in path[:-1]:
        data = data.get(step)
        if data is None:
            return False
    data[path[-1]] = value
    return True
