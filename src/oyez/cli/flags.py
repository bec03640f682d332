"""Flags that several commands share: the settings to use, and the user."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Group, Parameter

from oyez.cli.console import CallError
from oyez.protocol.socketio import mend_halves
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import Signer, build_signer
from oyez.service.system import System
from oyez.settings import Settings, load_settings

TOKEN_LIFETIME = 3600.0
"""Seconds."""
SAME_SETTINGS = "Use the server's own settings: --oyez-data, --config, or its environment."

Repeatable = Parameter(negative="")
SystemName = Annotated[str, Parameter(help="The system: the name of one that ships, or a file with a contract.")]


@Parameter(name="*", group=Group("Settings", sort_key=2))
@dataclass(frozen=True)
class SettingsFlags:
    """The server's settings and secret, which a command uses."""

    oyez_data: str | None = None
    """The server's data folder, with its secret. [default: ./oyez-data]"""
    config: Path | None = None
    """The server's settings file. [default: ./oyez.toml]"""

    def load(self) -> Settings:
        return load_settings(file=self.config, oyez_data=self.oyez_data)


OWN_SETTINGS = SettingsFlags()


@Parameter(name="*", group=Group("User", sort_key=0))
@dataclass(frozen=True)
class UserFlags:
    """The user that a token is for."""

    sub: str | None = None
    """The user's id."""
    role: str | None = None
    """The user's role. [default: the system's default role]"""
    claim: Annotated[tuple[str, ...], Repeatable] = ()
    """A claim for the token, as NAME=VALUE; repeatable."""

    def sign(self, system: System, settings: Settings, lifetime: float = TOKEN_LIFETIME) -> str:
        """A token for this user. Raises CallError, SettingsError, InvalidDataError."""
        assert self.sub is not None
        self._check_role(system)
        claims = self._claims()
        signer = load_signer(settings).of_contract(system.contract.claims)
        return signer.sign_user(self.sub, self.role, claims, lifetime)

    def _check_role(self, system: System) -> None:
        known = ", ".join(system.contract.roles)
        if self.role is None and system.contract.default_role is None:
            raise CallError(f"{system.name} has no default role. Add --role with one of {known}.")
        if self.role is not None and self.role not in system.contract.roles:
            raise CallError(f"{system.name} knows no role {self.role!r}. Its roles are {known}.")

    def _claims(self) -> dict[str, str]:
        claims = {}
        for text in self.claim:
            name, equals, value = text.partition("=")
            if not (name and equals):
                raise CallError(f"The claim {text!r} has no value. Write --claim NAME=VALUE.")
            claims[name] = value
        return claims


NOBODY = UserFlags()


def load_signer(settings: Settings) -> Signer:
    """What signs with the server's secret. Raises SettingsError if there is none: only the server makes one."""
    secret = load_secret(settings, make=False)
    return build_signer(settings, secret)


def parse_value(text: str | bytes, flag: str) -> Any:
    """JSON of any kind given to a flag. Raises CallError."""
    try:
        return msgspec.json.decode(mend_halves(text.encode() if isinstance(text, str) else text))
    except (ValueError, RecursionError) as error:
        raise CallError(
            f"""{flag} is not JSON: {error}. Write it like '{{"name": "value"}}', and text in double quotes."""
        ) from None


def parse_json(text: str | bytes, flag: str) -> dict[str, Any]:
    """A JSON object given to a flag. Raises CallError."""
    try:
        return msgspec.json.decode(mend_halves(text.encode() if isinstance(text, str) else text), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise CallError(f"""{flag} is not a JSON object: {error}. Write it like '{{"name": "value"}}'.""") from None
