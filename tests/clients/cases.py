"""The clients of the matrix, and how each is opened. docs/clients.md prints this table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.clients.drivers import CURRENT

POLLING, WEBSOCKET, UPGRADE = ("polling",), ("websocket",), ("polling", "websocket")
TRANSPORTS = (POLLING, WEBSOCKET, UPGRADE)
JAVASCRIPT_VERSIONS = ("3.1", "4.0", "4.5", "4.7", "4.8")
PYTHON_VERSIONS = ("5.0", "5.8", CURRENT)
PATH = "/shop/socket.io/"
EVENTS = ("order", "typing", "greeting", "question", "error", "oyez:recovery", "oyez:position", "oyez:status")


@dataclass(frozen=True, slots=True)
class Case:
    """One client, version and transport."""

    language: str
    version: str
    style: str
    """Which class of python-socketio; for JavaScript `io`. With `asking`, the client asks for recovery by `auth`."""
    transports: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.language} {self.version} {self.style} {'+'.join(self.transports)}"

    @property
    def user(self) -> str:
        return self.key.replace(" ", "-").replace("+", "-")

    @property
    def driver(self) -> str:
        """The process that drives it: one for all of JavaScript, one for each version of Python's client."""
        return "javascript" if self.language == "javascript" else self.version

    @property
    def recovers(self) -> bool:
        """True if this client recovers with no code: JavaScript from 4.6 on sends `pid` and `offset` without code."""
        return self.language == "javascript" and float(self.version) >= 4.6

    @property
    def asks(self) -> bool:
        """True if this client asks for positions and recovery, as docs/recovery.md shows it."""
        return self.style.endswith("asking")

    @property
    def acknowledges(self) -> bool:
        """True if handlers of this client can acknowledge events."""
        return "simple" not in self.style

    def opening(self, token: str) -> dict[str, Any]:
        """What its driver needs to open it."""
        if self.language == "javascript":
            library = "socket.io-client" if self.version == "4.8" else f"socket.io-client-{self.version}"
            options = {
                "path": PATH,
                "auth": {"token": token},
                "transports": self.transports,
                "reconnectionDelay": 100,
                "reconnectionDelayMax": 300,
            }
            return {"library": library, "options": options, "events": EVENTS, "asks": self.asks}
        options = {"transports": self.transports, "socketio_path": PATH}
        if self.version == CURRENT:
            # As users name their programs: nothing may depend on it.
            options["headers"] = {"User-Agent": "shop-app/1.0"}
        # Version 5.0 cannot send `auth`.
        options |= (
            {"headers": {"Authorization": f"Bearer {token}"}} if self.version == "5.0" else {"auth": {"token": token}}
        )
        style = self.style.removesuffix(" asking")
        return {"library": style, "options": options, "events": EVENTS, "asks": self.asks}


def list_cases() -> Iterator[Case]:
    for transports in TRANSPORTS:
        for version in JAVASCRIPT_VERSIONS:
            yield Case("javascript", version, "io", transports)
        for version in PYTHON_VERSIONS:
            for style in ("async", "sync"):
                yield Case("python", version, style, transports)
    for style in ("simple", "async simple"):
        yield Case("python", CURRENT, style, UPGRADE)
    yield Case("javascript", "4.0", "io asking", UPGRADE)
    for version in PYTHON_VERSIONS[1:]:
        for style in ("async asking", "sync asking"):
            yield Case("python", version, style, UPGRADE)


CASES = tuple(list_cases())
