"""Commands that a newcomer can copy into another terminal, for one system of one server."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from oyez.cli import console
from oyez.cli.address import base_url
from oyez.contract import Contract, Event, Identity
from oyez.contract.arguments import join_values, name_values
from oyez.contract.rooms import EVERYONE, Caller, DerivedRoom, Everyone, Target
from oyez.contract.schema import read_number
from oyez.settings import Settings, load_settings

EXAMPLE_SUBJECTS = ("ada", "42")
"""The user of the commands; the second one for systems whose ids are numbers."""
TOKEN_SETTINGS = ("jwt_secret", "jwt_issuer", "jwt_audience")
"""Settings that must be the same where a token is made and where it is verified."""


class Suggestions:
    """Commands that find the server at `url` from another terminal, whose settings may be others."""

    def __init__(self, url: str, settings: Settings, config: Path | None) -> None:
        """`settings` are the server's, `config` is its settings file. Raises SettingsError if the file is not valid."""
        self.url = url
        self._settings = settings
        # Another terminal has the same file, but neither this command's flags nor its environment.
        self._elsewhere = load_settings({}, config)
        self._settings_words = list(self._find_settings_words(config))
        self._url_words = [] if url == base_url(self._elsewhere) else ["--url", url]

    def _find_settings_words(self, config: Path | None) -> Iterator[str]:
        if config is not None:
            yield from ("--config", str(config))
        if self._settings.jwt_secret is None and self._settings.oyez_data != self._elsewhere.oyez_data:
            yield from ("--oyez-data", self._settings.oyez_data)

    def list_different(self) -> list[str]:
        """The settings, in capitals, that must be set in another terminal as they are for the server."""
        settings, elsewhere = self._settings, self._elsewhere
        return [name.upper() for name in TOKEN_SETTINGS if getattr(settings, name) != getattr(elsewhere, name)]

    def suggest(self, reference: str, contract: Contract) -> dict[str, str]:
        """`token`, `listen` and `publish` as command lines, as far as the system has them.

        `reference` names the system on the command line. Without `token`, an identity provider signs users' tokens.
        """
        # Guests need no token.
        with_token = [role for role in contract.roles if role != contract.guests]
        role = contract.default_role or next(iter(with_token), contract.roles[0])
        suggested = {
            subject: suggest_publish(contract, Identity(subject=subject, role=role)) for subject in EXAMPLE_SUBJECTS
        }
        subject = next((subject for subject, words in suggested.items() if words), EXAMPLE_SUBJECTS[0])
        user = ["--sub", subject, *(() if contract.default_role else ("--role", role))]
        lines = {}
        if self._settings.jwks_url is None and self._settings.jwt_key_file is None:
            lines["token"] = self._join("token", reference, *user)
        else:
            user = ["--token", "$TOKEN"]
        lines["listen"] = self._join("listen", reference, *user, url=True)
        words = suggested[subject]
        if words is not None:
            lines["publish"] = self._join("publish", reference, *words, url=True)
        return lines

    def suggest_key(self, reference: str) -> str:
        """How to make a service key."""
        return self._join("token", reference, "--service")

    def suggest_systems(self, references: Sequence[str]) -> str:
        """How to show all commands of these systems."""
        return self._join("systems", *references, url=True)

    def _join(self, *words: str, url: bool = False) -> str:
        target = self._url_words if url else []
        return console.join_words([*console.invocation(), *words, *self._settings_words, *target])


def suggest_publish(contract: Contract, listener: Identity) -> list[str] | None:
    """The words of a publish command whose event `listener` receives in the contract's first namespace.

    Of all such events it is the one with the shortest payload; None if there is none.
    """
    if contract.namespaces[0].placeholders:
        # Only a person knows what is there.
        return None
    namespace = contract.namespaces[0].name
    suggestions = [
        words
        for event in contract.events.values()
        for target in event.targets.get(namespace, ())
        if (words := _suggest(event, target, listener)) is not None
    ]
    return min(suggestions, key=lambda words: sum(map(len, words)), default=None)


def _suggest(event: Event, target: Target, listener: Identity) -> list[str] | None:
    """How to publish `event` so that it reaches `listener` through `target`; None if it cannot."""
    data = copy.deepcopy(event.example)
    if event.arguments == "positional":
        data = name_values(event.payload, data)
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
    if event.arguments == "positional":
        data = join_values(data)
    given = [] if data is None else ["--data", msgspec.json.encode(data).decode()]
    return [event.name, *to, *given]


def _put(data: Any, path: Sequence[str], value: str) -> bool:
    """Set the value at `path` in `data`; False if `data` lacks an object on the path, or has a number there."""
    for step in path[:-1]:
        data = data.get(step)
        if data is None:
            return False
    try:
        data[path[-1]] = read_number(value) if type(data.get(path[-1])) is int else value
    except ValueError:
        return False
    return True
