"""The client of `oyez listen`: it prints each event, and reconnects if it is disconnected."""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from oyez.cli import console
from oyez.cli.address import explain_cause, explain_unreachable
from oyez.cli.flags import SAME_SETTINGS
from oyez.client import SERVER_DISCONNECT, Client, ConnectFailed, ConnectRefused, Disconnected, connect
from oyez.concurrency.backoff import Backoff
from oyez.errors import TOKEN_INVALID
from oyez.server.namespaces.session_keeper import EVENT as RECOVERY
from oyez.service.auth.claims import MISSING, USUAL_NAMES, ClaimNames, find_claim

BACKOFF = Backoff(1.0, 5.0, jitter=0.5)
"""Between attempts to reconnect: the official client's defaults."""


@dataclass(slots=True, kw_only=True)
class Listener:
    """One client, through all of its connections."""

    url: str
    path: str
    namespace: str
    auth: Mapping[str, Any]
    token: Callable[[], str]
    """Called for each connection, because an earlier token may have expired."""
    transports: Sequence[str]
    client: Client | None = None
    """While it is connected."""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first connection."""
    on_event: Callable[[str], object] = lambda name: None
    """Called with the name of each event that is received."""
    names: ClaimNames = USUAL_NAMES
    """The names of claims in the token."""
    _recovery: Mapping[str, str] = field(default_factory=dict)
    """What the server needs to send the events that the client missed."""

    async def run(self) -> int:
        """Print events until the server refuses this client; returns the exit status."""
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
                        self.on_event(name)
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
                return console.fail("The server has disconnected this client for good.")
            console.show_note(f"disconnected ({reason}); reconnecting")
            failures += 1
            await asyncio.sleep(BACKOFF.delay(failures))

    def _presence(self, token: str) -> str:
        """The namespace and the user. The protocol does not name the rooms."""
        return f"in namespace {self.namespace} as {describe_user(token, self.names)}"

    def _connect(self, token: str) -> AbstractAsyncContextManager[Client]:
        auth = {**self.auth, **self._recovery, "token": token}
        return connect(self.url, self.namespace, auth=auth, transports=self.transports, path=self.path)

    def _explain_failure(self, failed: ConnectFailed) -> str:
        if failed.status is None:
            return explain_unreachable(self.url, failed)
        return f"{self.url} answers {self.path} with status {failed.status}. Serve the system there, or give its --url."


def _explain_recovery(answer: dict[str, Any]) -> str:
    if answer["recovered"]:
        return f"recovered; missed events received: {answer['replayed']}"
    return f"not recovered ({answer['reason']}): events may be missing"


def describe_user(token: str, names: ClaimNames) -> str:
    """The user that a token names, unverified: only the server can verify it."""
    if not token:
        return "a guest"
    claims = read_claims(token)
    if not claims:
        return "the token's user"
    subjects = (find_claim(claims, name) for name in names.subject)
    subject = next((found for found in subjects if found is not MISSING), "the token's user")
    role = names.read(claims).get("role")
    return f"{subject} ({role})" if role else f"{subject}"


def read_claims(token: str) -> dict[str, Any]:
    """The claims of a token, unverified; empty if it cannot be decoded."""
    try:
        part = token.split(".")[1]
        return msgspec.json.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
    except (IndexError, ValueError):
        return {}


def _explain_refusal(refused: ConnectRefused) -> str:
    code = refused.data.get("code") if isinstance(refused.data, dict) else None
    explained = f"The server refused the connection: {f'{code}: ' if code else ''}{refused.message}"
    return f"{explained} {SAME_SETTINGS}" if code == TOKEN_INVALID.code else explained
