"""`oyez listen`: a client on the terminal, which shows each event as it comes and comes back when cut off."""

import asyncio
import random
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from oyez.cli import console
from oyez.cli.console import CallError
from oyez.cli.flags import HERE, NOBODY, SAME_SETTINGS, Machine, Repeatable, User, parse_json
from oyez.cli.reach import FOUND, Target, explain_cause, explain_unreachable
from oyez.errors import TOKEN_INVALID
from oyez.service.system import load_system
from oyez.testing.client import SERVER_DISCONNECT, Client, ConnectFailed, ConnectRefused, Disconnected, connect

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
"""Seconds between attempts to come back: the official client's defaults."""


def listen(
    system: str,
    /,
    *,
    user: User = NOBODY,
    namespace: str | None = None,
    auth: str = "{}",
    transport: Annotated[tuple[Literal["polling", "websocket"], ...], Repeatable] = (),
    target: Target = FOUND,
    machine: Machine = HERE,
) -> int:
    """Connect as a user and print each event as it comes.

    It prints time, name and data, comes back when it is cut off, and ends with Ctrl-C.

    For example:
      oyez listen quotes --sub 5f0c --role supplier
      oyez listen quotes --sub 77aa --auth '{"gateways": ["quote-offers"]}'
      oyez listen quotes --token "$TOKEN" --url https://events.example.com

    Parameters
    ----------
    system
        The system to listen to: the name of one that ships, or a file with a contract.
    namespace
        The namespace to connect to. [default: the contract's first]
    auth
        More for the handshake's auth, as a JSON object.
    transport
        With both, polling first, it begins with one and changes to the other; websocket is meant by default.
    """
    loaded, settings = load_system(system), machine.load()
    if user.sub is None and target.token is None:
        raise CallError("Listening needs a user. Add --sub ID to make a token, or --token TOKEN to use yours.")
    listener = Listener(
        url=target.find(settings),
        path=f"/{loaded.name}/socket.io/",
        namespace=namespace or loaded.contract.namespaces[0].name,
        auth=parse_json(auth, "--auth"),
        token=lambda: target.token or user.sign(loaded, settings),
        transports=transport or ("websocket",),
    )
    try:
        return asyncio.run(listener.run())
    except KeyboardInterrupt:
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One client, as often as it has to connect."""

    url: str
    path: str
    namespace: str
    auth: Mapping[str, Any]
    token: Callable[[], str]
    """Asked for each connection: a token that was made may have run out by then."""
    transports: Sequence[str]

    async def run(self) -> int:
        """Print events until the server does not want us; the exit status."""
        pause, connected = FIRST_PAUSE, False
        while True:
            try:
                token = self.token()
                async with self._connect(token) as client:
                    console.show_note(
                        f"connected to {self.url}{self.path} over {client.transport}, {self._presence(token)}"
                    )
                    pause, connected = FIRST_PAUSE, True
                    async for name, arguments in client.events():
                        console.show_event(name, arguments, datetime.now(UTC))
                    reason = await client.expect_disconnect()
            except ConnectRefused as refused:
                return console.fail(_explain_refusal(refused))
            except ConnectFailed as failed:
                if not connected:
                    return console.fail(self._explain_failure(failed))
                reason = explain_cause(failed)
            except Disconnected as gone:
                reason = gone.reason
            if reason == SERVER_DISCONNECT:
                return console.fail("The server has disconnected us and does not want us back.")
            console.show_note(f"disconnected ({reason}); coming back")
            # Half of it at random, so that clients which were cut off together do not come back together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _presence(self, token: str) -> str:
        """Where we are and as whom; in which rooms, the protocol does not tell."""
        return f"in namespace {self.namespace} as {describe_user(token)}"

    def _connect(self, token: str) -> AbstractAsyncContextManager[Client]:
        auth = {**self.auth, "token": token}
        return connect(self.url, self.namespace, auth=auth, transports=self.transports, path=self.path)

    def _explain_failure(self, failed: ConnectFailed) -> str:
        if failed.status is None:
            return explain_unreachable(self.url, failed)
        return f"{self.url} answers {self.path} with status {failed.status}. Serve the system there, or give its --url."


def describe_user(token: str) -> str:
    """Whom a token is for, as far as it can be read here; whether that is so is the server's business."""
    try:
        part = token.split(".")[1]
        claims = msgspec.json.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
    except (IndexError, ValueError):
        return "whoever the token is for"
    subject, role = claims.get("sub", claims.get("userId")), claims.get("role")
    return f"{subject} ({role})" if role else f"{subject}"


def _explain_refusal(refused: ConnectRefused) -> str:
    code = refused.data.get("code") if isinstance(refused.data, dict) else None
    explained = f"The server refused us: {f'{code}: ' if code else ''}{refused.message}"
    return f"{explained} {SAME_SETTINGS}" if code == TOKEN_INVALID.code else explained
