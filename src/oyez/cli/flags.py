"""Flags that several commands share, and what they mean: whose settings count, and which user."""

from dataclasses import asdict, dataclass
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


@Parameter(name="*", group=Group("Settings", sort_key=2))
@dataclass(frozen=True)
class Machine:
    """Whose settings and secret count: those of the server."""

    oyez_data: str | None = None
    """The server's data folder, with its secret. [default: ./oyez-data]"""
    config: Path | None = None
    """The server's settings file. [default: ./oyez.toml]"""

    def load(self) -> Settings:
        return load_settings(file=self.config, oyez_data=self.oyez_data)


HERE = Machine()


@Parameter(name="*", group=Group("User", sort_key=0))
@dataclass(frozen=True)
class User:
    """Who a token is for."""

    sub: str | None = None
    """The user's id."""
    role: str | None = None
    """The user's role; left out, the system's default role counts."""
    claim: Annotated[tuple[str, ...], Repeatable] = ()
    """A claim for the token, as NAME=VALUE; repeatable."""

    def sign(self, system: System, settings: Settings, lifetime: float = TOKEN_LIFETIME) -> str:
        """A token for this user. Raises CallError, SettingsError, InvalidDataError."""
        assert self.sub is not None
        self._check_role(system)
        claims = self._claims()
        return load_signer(settings).sign_user(self.sub, self.role, claims, lifetime)

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


NOBODY = User()


@Parameter(name="*", group=Group("Settings"))
@dataclass(frozen=True)
class ServerFlags:
    """Every setting but the limits."""

    host: str | None = None
    """Address to listen at; 0.0.0.0 for all. [default: 127.0.0.1]"""
    port: int | None = None
    """Port to listen at; 0 for any that is free. [default: 5001]"""
    client_origin: str | None = None
    """Origins whose pages may connect, comma-separated; * for any. [default: same origin only]"""
    ws_path: str | None = None
    """Where Socket.IO is served besides, when one system is. [default: /socket.io]"""
    serve_client: bool | None = None
    """Whether the official browser client is served at /socket.io/socket.io.js. [default: yes]"""
    oyez_data: str | None = None
    """Folder of the secret, of the SQLite database and of the logs. [default: ./oyez-data]"""
    database_url: str | None = None
    """Database of the systems' own tables, sqlite:///PATH or postgresql://… [default: SQLite in the data folder]"""
    database_connections: int | None = None
    """Connections to PostgreSQL for each system. [default: 6]"""
    time_zone: str | None = None
    """The operator's time zone, such as Europe/Berlin: "today" begins there at midnight. [default: UTC]"""
    log_level: str | None = None
    """debug, info, warning or error. [default: info]"""
    ssl_certfile: str | None = None
    """The certificate, for HTTPS."""
    ssl_keyfile: str | None = None
    """Its key."""
    jwt_secret: str | None = None
    """The secret that signs and verifies tokens; safer in the environment. [default: made in the data folder]"""
    jwt_key_file: str | None = None
    """A PEM or JWK file with the public key that verifies users' tokens."""
    jwks_url: str | None = None
    """Where the keys that verify users' tokens are published."""
    jwt_issuer: str | None = None
    """What the tokens' iss has to be."""
    jwt_audience: str | None = None
    """What the tokens' aud has to be."""
    jwt_subject: str | None = None
    """The claim that holds the user's id; of several, the first one. [default: sub, userId]"""
    jwt_role: str | None = None
    """The claim that holds the role, or a list of roles. [default: role]"""
    jwt_claims: str | None = None
    """Claims whose names in tokens differ from the contract's: NAME=CLAIM, comma-separated."""
    jwt_leeway: float | None = None
    """Seconds that clocks may differ. [default: 10]"""
    cookie_name: str | None = None
    """The cookie that holds a token, for systems that take one. [default: access_token]"""
    keep_alive: float | None = None
    """Seconds an HTTP connection is kept without a request, longer than balancers keep theirs. [default: 75]"""
    ping_interval: float | None = None
    """Seconds between a client's last answer and the next ping. [default: 25]"""
    ping_timeout: float | None = None
    """Seconds a client has to answer. [default: 20]"""
    ack_timeout: float | None = None
    """Seconds a client has to acknowledge. [default: 10]"""
    drain_time: float | None = None
    """Seconds over which clients are sent away when stopping. [default: 5]"""
    shutdown_timeout: float | None = None
    """Seconds to wait then for clients and handlers. [default: 10]"""
    workers: int | None = None
    """Processes that share the port. [default: 1]"""
    worker_timeout: float | None = None
    """Seconds without a report after which a worker is killed and replaced. [default: 10]"""
    node_address: str | None = None
    """HOST:PORT for what other nodes bring, with Redis. [default: as this machine reaches Redis, any free port]"""
    log_retention: float | None = None
    """Seconds for which the log keeps events. [default: 300]"""
    log_max_bytes: int | None = None
    """Bytes of a system's log in SQLite. [default: 1000000000]"""
    log_sync: str | None = None
    """What a log in SQLite survives: normal, a killed process; full, power loss too. [default: normal]"""
    redis_url: str | None = None
    """The Redis that holds the logs, for several machines. [default: SQLite in the data folder]"""
    redis_prefix: str | None = None
    """What all names in Redis begin with. [default: oyez]"""
    redis_emitter: bool | None = None
    """Whether what @socket.io/redis-emitter says in that Redis is published. [default: yes]"""
    redis_emitter_key: str | None = None
    """The key of such emitters where one system is served. [default: the system's name, and socket.io]"""
    compression_threshold: int | None = None
    """Bytes from which on messages are compressed; 0 for never. [default: 1024]"""
    config: Path | None = None
    """The settings file. [default: ./oyez.toml]"""

    def load(self) -> Settings:
        flags = asdict(self)
        return load_settings(file=flags.pop("config"), **flags)


DEFAULTS = ServerFlags()


def load_signer(settings: Settings) -> Signer:
    """What signs with the server's secret. Raises SettingsError if there is none: only the server makes one."""
    secret = load_secret(settings, make=False)
    return build_signer(settings, secret)


def parse_json(text: str | bytes, flag: str) -> dict[str, Any]:
    """A JSON object given to a flag. Raises CallError."""
    try:
        return msgspec.json.decode(mend_halves(text.encode() if isinstance(text, str) else text), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise CallError(f"""{flag} is not a JSON object: {error}. Write it like '{{"name": "value"}}'.""") from None
