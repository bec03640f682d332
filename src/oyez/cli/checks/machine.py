"""What may be wrong around a server that could start: its port, disk, open files, clocks, certificate and storage."""

import asyncio
import errno
import resource
import shutil
import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography import x509
from sqlalchemy import text

from oyez.cli.address import base_url
from oyez.cli.checks.before_start import Before, examine_secret, examine_storage
from oyez.cli.checks.report import Check, ProblemError, UnknownError
from oyez.errors import RefusedError
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import build_verifier
from oyez.service.database.examine import open_unchanged
from oyez.settings import Settings

TIMEOUT = 5.0
"""Seconds for one answer."""
MIN_FILES = 10_000
"""Open files below which a busy server turns clients away; each client is one."""
OTHER_FILES = 200
"""Open files of a process that are no clients: database, logs, peers."""
MAX_SKEW = 5.0
"""Seconds between two clocks: half of the default of `jwt_leeway`."""
WARN_DAYS = 14
"""Days before the end of a certificate from which on it is reported."""


def examine_port(settings: Settings) -> str:
    """Whether the port is free, or Oyez listens there."""
    host = settings.host or "127.0.0.1"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server does: connections that have just ended do not keep the port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise ProblemError(f"Port {settings.port} may not be used by this user. Set PORT above 1023.") from None
        if error.errno != errno.EADDRINUSE:
            raise
        if is_oyez(settings):
            return f"Oyez listens at {base_url(settings)}"
        raise ProblemError(
            f"Another program listens at port {settings.port} of {host}. Stop it, or set PORT to another port."
        ) from None
    return f"{settings.port} is free"


def is_oyez(settings: Settings) -> bool:
    """True if a server of Oyez answers at the address of the settings."""
    try:
        # The certificate is for another name than the address of this machine.
        answer = httpx.get(f"{base_url(settings)}/healthz", timeout=TIMEOUT, verify=False, trust_env=False)
        return bool(answer.json() == {"alive": True})
    except (httpx.HTTPError, ValueError):
        return False


def examine_disk(settings: Settings, names: tuple[str, ...] | list[str]) -> str:
    """Whether the disk can hold the logs."""
    folder = settings.data_folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    wanted = settings.log_max_bytes * max(1, len(names)) if settings.log_address.startswith("sqlite:") else 0
    if free < max(wanted, MIN_FREE):
        reason = f", and the logs may grow to {_megabytes(wanted)} (LOG_MAX_BYTES for each system)" if wanted else ""
        raise ProblemError(
            f"The disk of {folder} has {_megabytes(free)} left{reason}. Make room, set OYEZ_DATA to a larger disk, or"
            " LOG_MAX_BYTES lower."
        )
    return f"{_megabytes(free)} are left for {folder}"


MIN_FREE = 100_000_000
"""Bytes that a disk should have left for the database and for what the system itself writes."""


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"


def examine_files(settings: Settings) -> str:
    """Whether a process may open a file for each client."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return "a process may open any number"
    most = max(0, hard - OTHER_FILES)
    if hard < MIN_FILES:
        raise ProblemError(
            f"A process may open {hard:,} files, so it can serve about {most:,} clients. Raise the limit: `LimitNOFILE`"
            " of systemd, `--ulimit nofile` of Docker, or `ulimit -Hn`."
        )
    return f"{hard:,} for each process, enough for about {min(most, settings.limits.max_connections):,} clients"


def examine_certificate_dates(settings: Settings) -> str:
    """Whether the certificate is valid now, and for how long."""
    if settings.ssl_certfile is None:
        return "there is none"
    certificates = x509.load_pem_x509_certificates(Path(settings.ssl_certfile).read_bytes())
    now = datetime.now(UTC)
    for certificate in certificates:
        name, end = certificate.subject.rfc4514_string(), certificate.not_valid_after_utc
        if now < certificate.not_valid_before_utc:
            raise ProblemError(
                f"The certificate {name} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} on."
                " Check the clock of this machine."
            )
        if end < now:
            raise ProblemError(f"The certificate {name} has expired on {end:%Y-%m-%d}. Renew it, and send SIGHUP.")
        if (end - now).days < WARN_DAYS:
            raise ProblemError(f"The certificate {name} expires on {end:%Y-%m-%d}. Renew it, and send SIGHUP.")
    return f"valid until {min(one.not_valid_after_utc for one in certificates):%Y-%m-%d}"


def examine_log_risks(settings: Settings) -> str:
    """Whether the storage of the logs may lose entries."""
    risks = examine_storage(settings, "oyez").risks
    if risks:
        raise ProblemError("\n".join(f"{risk}." for risk in risks))
    return "the storage keeps the logs"


def examine_clocks(settings: Settings) -> str:
    """Whether the clocks of Redis and PostgreSQL agree with that of this machine."""
    skews = {}
    if (clock := examine_storage(settings, "oyez").clock) is not None:
        skews["Redis"] = clock - time.time()
    with open_unchanged(settings) as connection:
        if connection is not None and connection.dialect.name == "postgresql":
            found = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
            skews["PostgreSQL"] = float(found) - time.time()
    for name, skew in skews.items():
        check_skew(name, skew)
    return f"as those of {' and '.join(skews)}" if skews else "there is no other machine to compare with"


def check_skew(name: str, ahead: float) -> None:
    """Raises ProblemError if a clock differs too much from that of this machine."""
    if abs(ahead) > MAX_SKEW:
        direction = "ahead of" if ahead > 0 else "behind"
        raise ProblemError(
            f"The clock of {name} is {abs(ahead):.0f} s {direction} the clock of this machine. Tokens then expire too"
            " early, or are not valid yet. Synchronise the clocks (NTP)."
        )


def examine_token(settings: Settings, token: str | None) -> str:
    """Whether a server with these settings would accept a user's token."""
    if token is None:
        raise UnknownError("No token is given. Give one with --token to learn whether it is accepted.")
    examine_secret(settings)
    verifier = build_verifier(settings, load_secret(settings, make=False))
    try:
        claims = asyncio.run(verifier.verify(token))
    except RefusedError as refused:
        raise ProblemError(explain_token(refused.refusal.code, refused.message)) from None
    return f"is accepted: its user is {claims.subject}"


TOKEN_REMEDIES = {
    "expired": "Sign in again; if the token is new, compare the clocks of both machines.",
    "not valid before": "Compare the clocks of the machine that signs tokens and of this one.",
    "signature": "Sign it with the key that the server has: the same JWT_SECRET, JWT_KEY_FILE or JWKS_URL.",
    "names the key": "Publish the key that signs at JWKS_URL, or set JWT_KEY_FILE to it.",
    "algorithm": "Sign with the algorithm of the server's key.",
    "audience": "Set JWT_AUDIENCE to the audience of the tokens, or let them have the audience that is expected.",
    "issuer": "Set JWT_ISSUER to the issuer of the tokens.",
    "service token": "Use a token of a user: `oyez token SYSTEM --sub ID`.",
    "who its user is": "Set JWT_SUBJECT to the claim that has the user's id.",
    "role": "Let the token have a role of the contract, in the claim that JWT_ROLE names.",
    "keys": "Make JWKS_URL reachable from the server.",
}
"""What to do, by words of the refusal."""


def explain_token(code: str, message: str) -> str:
    """Why a token is refused, and what to do."""
    remedy = next((remedy for words, remedy in TOKEN_REMEDIES.items() if words in message), "")
    return f"The token is refused ({code}): {message} {remedy}".rstrip()


MACHINE: tuple[Check[Before], ...] = (
    Check("port", lambda case: examine_port(case.settings), ("address",)),
    Check("disk", lambda case: examine_disk(case.settings, list(case.names))),
    Check("open files", lambda case: examine_files(case.settings)),
    Check("certificate dates", lambda case: examine_certificate_dates(case.settings), ("certificate",)),
    Check("log storage", lambda case: examine_log_risks(case.settings), ("log",)),
    Check("clocks", lambda case: examine_clocks(case.settings), ("log", "database")),
)
"""What `oyez doctor` asks about settings besides."""


def build_ssl() -> ssl.SSLContext:
    """How the server's certificate is verified: as clients do; `SSL_CERT_FILE` adds an authority."""
    return ssl.create_default_context()
