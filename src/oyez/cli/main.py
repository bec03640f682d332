"""The `oyez` command: serve, make tokens, publish, listen.

A command says what went wrong in one line, with the remedy, and ends with status 1; a wrong call ends with status 2.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, CycloptsError, Parameter

from oyez import __version__
from oyez.cli import console
from oyez.cli.listen import run_listen
from oyez.cli.publish import send_event
from oyez.cli.quotes import app as quotes
from oyez.cli.serve import run_serve
from oyez.errors import OyezError, SettingsError
from oyez.service.auth import build_signer
from oyez.service.secrets import load_secret
from oyez.service.system import SHIPPED, System, load_system
from oyez.settings import Settings, load_settings

app = App(
    name="oyez",
    version=__version__,
    help="Real-time events for marketplaces: typed contracts, Socket.IO on the wire, an ordered log underneath.",
    help_epilogue=(
        "Every setting can also be given in `oyez.toml` or in the environment (PORT, JWT_SECRET, ...).\n\n"
        f"SYSTEM is one that ships ({', '.join(SHIPPED)}) or the path of a Python file with a contract."
    ),
)
app.command(quotes)

Url = Annotated[str | None, Parameter(help="Where the server is; default: http://HOST:PORT of the settings.")]
Token = Annotated[str | None, Parameter(help="Use this token instead of making one.")]
Claims = Annotated[
    list[str] | None, Parameter(name="--claim", negative="", help="A claim for the token, as NAME=VALUE; repeatable.")
]


@app.command
def serve(
    *systems: str,
    host: str | None = None,
    port: int | None = None,
    jwt_secret: str | None = None,
    jwt_key_file: str | None = None,
    jwks_url: str | None = None,
    jwt_issuer: str | None = None,
    jwt_audience: str | None = None,
    jwt_leeway: float | None = None,
    client_origin: str | None = None,
    ws_path: str | None = None,
    cookie_name: str | None = None,
    database_url: str | None = None,
    oyez_data: str | None = None,
    log_level: str | None = None,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    ping_interval: float | None = None,
    ping_timeout: float | None = None,
    ack_timeout: float | None = None,
    shutdown_timeout: float | None = None,
    compression_threshold: int | None = None,
    config: Path | None = None,
) -> int:
    """Start the server and show how to use it. Serves all systems that ship, or those named.

    Examples
    --------
    oyez serve

    oyez serve quotes --port 8080 --client-origin https://shop.example

    oyez serve my_contract.py

    Parameters
    ----------
    systems
        The systems to serve.
    host
        Address to listen at; 0.0.0.0 for all. [default: 127.0.0.1]
    port
        [default: 5001]
    jwt_secret
        The secret that signs and verifies tokens; without it one is made in the data folder.
    jwt_key_file
        A PEM or JWK file with the public key that verifies users' tokens.
    jwks_url
        Where the keys that verify users' tokens are published.
    jwt_issuer
        What the tokens' `iss` has to be.
    jwt_audience
        What the tokens' `aud` has to be.
    jwt_leeway
        Seconds that clocks may differ. [default: 10]
    client_origin
        Origins whose pages may connect, comma-separated; `*` for any. [default: same origin only]
    ws_path
        Where Socket.IO is served when one system is. [default: /socket.io]
    cookie_name
        The cookie that holds a token, for systems that take one. [default: access_token]
    database_url
        The database of the systems' own tables. [default: SQLite in the data folder]
    oyez_data
        The data folder. [default: ./oyez-data]
    log_level
        debug, info, warning or error. [default: info]
    ssl_certfile
        The certificate, for HTTPS.
    ssl_keyfile
        Its key.
    ping_interval
        Seconds between a client's last answer and the next ping. [default: 25]
    ping_timeout
        Seconds a client has to answer. [default: 20]
    ack_timeout
        Seconds a client has to acknowledge. [default: 10]
    shutdown_timeout
        Seconds to wait for clients and handlers when stopping. [default: 10]
    compression_threshold
        Bytes from which on messages are compressed; 0 for never. [default: 1024]
    config
        A settings file instead of ./oyez.toml.
    """
    names = set(Settings.__struct_fields__)
    given = {name: value for name, value in locals().items() if name in names}
    return run_serve([load_system(name) for name in systems or SHIPPED], load_settings(file=config, **given))


@app.command
def token(
    system: str,
    *,
    sub: str | None = None,
    role: str | None = None,
    claim: Claims = None,
    service: Annotated[bool, Parameter(negative="")] = False,
    lifetime: float = 3600.0,
) -> int:
    """Make a token with this machine's secret and print it.

    Examples
    --------
    oyez token quotes --sub 5f0c --role supplier

    oyez token quotes --service

    Parameters
    ----------
    system
        The system it is for.
    sub
        The user's id.
    role
        The user's role; left out, the system's default role counts.
    service
        Make a service key, by which a back end publishes. It stays valid until the secret changes.
    lifetime
        Seconds a user's token is valid.
    """
    loaded, settings = load_system(system), load_settings()
    if service:
        console.out.print(build_signer(settings, load_secret(settings)).sign_service(loaded.name, None))
    else:
        console.out.print(make_user_token(loaded, settings, sub, role, claim or [], lifetime))
    return 0


@app.command
def publish(
    system: str,
    event: str,
    *,
    data: str,
    to: Annotated[list[str] | None, Parameter(negative="")] = None,
    url: Url = None,
    token: Token = None,
) -> int:
    """Publish one event, as a back end would: over HTTP.

    Examples
    --------
    oyez publish quotes quote:offer:updated --data '{"offerId": "o1", "userId": "u1", ...}'

    oyez publish quotes chat:delivered --to chat:user:u1 --data @delivered.json

    Parameters
    ----------
    system
        The system to publish into.
    event
        The event's name.
    data
        Its payload as JSON, or @FILE to read it from a file, @- from standard input.
    to
        A room it goes to; repeatable. Left out, the contract derives the rooms where it can.
    """
    loaded, settings = load_system(system), load_settings()
    key = token or build_signer(settings, load_secret(settings)).sign_service(loaded.name, 60.0)
    position = send_event(url or base_url(settings), loaded.name, key, event, to, read_data(data))
    console.out.print(f"published at {position}" if position else "published (volatile: not stored)")
    return 0


@app.command
def listen(
    system: str,
    *,
    sub: str | None = None,
    role: str | None = None,
    claim: Claims = None,
    namespace: str = "/",
    auth: str = "{}",
    transport: Annotated[list[str] | None, Parameter(negative="")] = None,
    url: Url = None,
    token: Token = None,
) -> int:
    """Connect as a user and print each event as it comes, until interrupted.

    Examples
    --------
    oyez listen quotes --sub 5f0c --role supplier

    oyez listen quotes --sub 77aa --auth '{"gateways": ["quote-offers"]}' --transport polling

    Parameters
    ----------
    system
        The system to listen to.
    sub
        The user's id; a token is made for it with this machine's secret.
    role
        The user's role.
    namespace
        The namespace to connect to.
    auth
        More for the handshake's `auth`, as JSON.
    transport
        polling or websocket; given twice, the second is upgraded to. [default: websocket]
    """
    loaded, settings = load_system(system), load_settings()
    key = token or make_user_token(loaded, settings, sub, role, claim or [], 3600.0)
    return run_listen(
        url or base_url(settings),
        path=f"/{loaded.name}/socket.io/",
        namespace=namespace,
        auth={**parse_json(auth, "--auth"), "token": key},
        transports=tuple(transport or ("websocket",)),
    )


def make_user_token(
    system: System, settings: Settings, sub: str | None, role: str | None, claims: Sequence[str], lifetime: float
) -> str:
    """A token as `oyez token` prints it. Raises SettingsError for a role or claim that cannot be."""
    if sub is None:
        raise SettingsError("A user's token needs the user's id. Add --sub ID, or --service for a service key.")
    if role is not None and role not in system.contract.roles:
        known = ", ".join(system.contract.roles)
        raise SettingsError(f"{system.name} knows no role {role!r}. Its roles are {known}.")
    pairs = [claim.partition("=") for claim in claims]
    wrong = [name for name, equals, _ in pairs if not (name and equals)]
    if wrong:
        raise SettingsError(f"The claim {wrong[0]!r} has no value. Write --claim NAME=VALUE.")
    signer = build_signer(settings, load_secret(settings))
    return signer.sign_user(sub, role, {name: value for name, _, value in pairs}, lifetime)


def base_url(settings: Settings) -> str:
    """Where a server with these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"{'https' if settings.ssl_certfile else 'http'}://{host}:{settings.port}"


def read_data(data: str) -> Any:
    """The JSON of `--data`. Raises SettingsError."""
    if data.startswith("@"):
        try:
            data = sys.stdin.read() if data == "@-" else Path(data[1:]).read_text()
        except OSError as error:
            raise SettingsError(f"--data {data}: {error.strerror}. Name an existing file, or give JSON.") from None
    return parse_json(data, "--data")


def parse_json(text: str, flag: str) -> dict[str, Any]:
    """A JSON object given to a flag. Raises SettingsError."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise SettingsError(f"""{flag} is not a JSON object: {error}. Write it like '{{"name": "value"}}'.""") from None


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        status = app(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        console.fail(f"{error} Try {console.invocation()} --help.")
        status = 2
    except OyezError as error:
        status = console.fail(str(error))
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
