"""The address of the server that a command uses, and the error if it cannot be reached."""

import asyncio
import ssl
from dataclasses import dataclass
from urllib.error import URLError
from urllib.parse import urlsplit

from cyclopts import Group, Parameter

from oyez.cli.console import CallError, explain_os_error
from oyez.errors import SettingsError
from oyez.settings import Settings

DEFAULT_PORTS = {"http": 80, "https": 443}
REACH_TIMEOUT = 5.0
"""Seconds to wait for a server to take a connection."""
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Hosts that mean all addresses of a machine, and how it reaches itself then."""


@Parameter(name="*", group=Group("Server", sort_key=1))
@dataclass(frozen=True)
class Target:
    """The server, and the token for it."""

    url: str | None = None
    """The server's address. [default: as the settings have it]"""
    token: str | None = None
    """Use this token instead of making one with this machine's secret."""

    def find(self, settings: Settings) -> str:
        """The server's address, without a slash at the end. Raises CallError."""
        url = (self.url or base_url(settings)).rstrip("/")
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise CallError(f"--url {url!r} is no address. Write it like http://127.0.0.1:5001.")
        return url


FOUND = Target()


def base_url(settings: Settings, port: int | None = None) -> str:
    """Where a server with these settings is reached from this machine."""
    host = EVERYWHERE.get(settings.host, settings.host)
    scheme = "https" if settings.ssl_certfile else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or settings.port}"


async def check_reachable(url: str) -> None:
    """Raises SettingsError if no server takes connections at `url`."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(REACH_TIMEOUT):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme])
    except TimeoutError:
        raise SettingsError(
            f"{url} did not answer within {REACH_TIMEOUT:g} s. Start the server, or give its --url."
        ) from None
    except OSError as error:
        raise SettingsError(explain_unreachable(url, error)) from None
    writer.close()


def explain_unreachable(url: str, error: BaseException) -> str:
    """Why there is no connection to `url`, and what to do."""
    cause = find_cause(error)
    remedy = "Start the server, or give its --url."
    if isinstance(cause, ssl.SSLError):
        remedy = "Give an address as the certificate has it, and an authority of your own as SSL_CERT_FILE."
    return f"{url} cannot be reached: {explain_cause(cause)}. {remedy}"


def explain_cause(error: BaseException) -> str:
    """What `error` comes from in the end, without a full stop."""
    cause = find_cause(error)
    if isinstance(cause, ssl.SSLError):
        return cause.strerror or str(cause)
    return (explain_os_error(cause) if isinstance(cause, OSError) else str(cause)).rstrip(".")


def find_cause(error: BaseException) -> BaseException:
    """The error at the bottom, which says what happened: `Connection refused` instead of `<urlopen error>`."""
    deeper = error.reason if isinstance(error, URLError) else error.__cause__
    if deeper is None and isinstance(error.__context__, ssl.SSLError):
        # httpcore removes the cause of its errors; the context stays.
        deeper = error.__context__
    return find_cause(deeper) if isinstance(deeper, BaseException) else error
