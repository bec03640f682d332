"""A client of `oyez listen`: one that shows each event as it comes and, when it is cut off, comes back."""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from oyez.cli import console
from oyez.cli.flags import SAME_SETTINGS
from oyez.cli.reach import explain_cause, explain_unreachable
from oyez.client import SERVER_DISCONNECT, Client, ConnectFailed, ConnectRefused, Disconnected, connect
from oyez.concurrency.backoff import Backoff
from oyez.errors import TOKEN_INVALID
from oyez.server.recovery.recovery import EVENT as RECOVERY

BACKOFF = Backoff(1.0, 5.0, jitter=0.5)
"""Between attempts to reconnect: the official client's defaults."""


@dataclass(slots=True, kw_only=True)
class Listener:
    """One client, as often as it has to connect."""

    url: str
    path: str
    namespace: str
    auth: Mapping[str, Any]
    token: Callable[[], str]
    """Asked for each connection: a token that was made may have run out by then."""
    transports: Sequence[str]
    client: Client | None = None
    """While it is connected."""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first connection."""
    hear: Callable[[str], object] = lambda name: None
    """Called with the name of each event that has come."""
    _recovery: Mapping[str, str] = field(default_factory=dict)
    """By which the server knows what we have missed."""

    async def run(self) -> int:
        """Print events until the server does not want us; the exit status."""
        failures = 0
        while True:
            try:
                token = self.token()
                async with self._connect(token) as client:
                    console.show_note(
                        f"connected to {self.url}{self.path} over {client.transport}, {self._presence(token)}"
                    )
                    failures, self.client = 0, client
                    self.connected.set()
                    async for name, arguments in client.events():
                        if name == RECOVERY:
                            console.show_note(_explain_recovery(arguments[0]))
                            continue
                        console.show_event(name, arguments, datetime.now(UTC))
                        self.hear(name)
                    reason = await client.expect_disconnect()
            except ConnectRefused as refused:
                return console.fail(_explain_refusal(refused))
            except ConnectFailed as failed:
                if not self.connected.is_set():
                    return console.fail(self._explain_failure(failed))
                reason = explain_cause(failed)
            except Disconnected as gone:
                reason = gone.reason
            finally:
                if self.client is not None:
                    self._recovery = self.client.recovery
                self.client = None
            if reason == SERVER_DISCONNECT:
                return console.fail("The server has disconnected us and does not want us back.")
            console.show_note(f"disconnected ({reason}); coming back")
            failures += 1
            await asyncio.sleep(BACKOFF.delay(failures))

    def _presence(self, token: str) -> str:
        """Where we are and as whom; in which rooms, the protocol does not tell."""
        return f"in namespace {self.namespace} as {describe_user(token)}"

    def _connect(self, token: str) -> AbstractAsyncContextManager[Client]:
        auth = {**self.auth, **self._recovery, "token": token}
        return connect(self.url, self.namespace, auth=auth, transports=self.transports, path=self.path)

    def _explain_failure(self, failed: ConnectFailed) -> str:
        if failed.status is None:
            return explain_unreachable(self.url, failed)
        return f"{self.url} answers {self.path} with status {failed.status}. Serve the system there, or give its --url."


def _explain_recovery(answer: dict[str, Any]) -> str:
    if answer["recovered"]:
        return f"recovered; {answer['replayed']} missed events were sent again"
    return f"not recovered ({answer['reason']}): events may be missing"


def describe_user(token: str) -> str:
    """Whom a token is for, as far as it can be read here; whether that is so is the server's business."""
    claims = read_claims(token)
    if not claims:
        return "whoever the token is for"
    subject, role = claims.get("sub", claims.get("userId")), claims.get("role")
    return f"{subject} ({role})" if role else f"{subject}"


def read_claims(token: str) -> dict[str, Any]:
    """What a token says, unverified; empty where it cannot be read."""
    try:
        part = token.split(".")[1]
        return msgspec.json.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
    except (IndexError, ValueError):
        return {}


def _explain_refusal(refused: ConnectRefused) -> str:
    code = refused.data.get("code") if isinstance(refused.data, dict) else None
    explained = f"The server refused us: {f'{code}: ' if code else ''}{refused.message}"
    return f"{explained} {SAME_SETTINGS}" if code == TOKEN_INVALID.code else explained
