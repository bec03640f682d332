"""Sessions: the events about a client's own connection, from `connected` to `session_expired`."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from oyez.contract import Time
from oyez.errors import RefusedError
from oyez.runtime import Client, Hooks
from oyez.server.types import Handshake
from oyez.service.auth.tokens import SIGNED_CLAIMS, Signer
from oyez.systems.rez import payloads
from oyez.systems.rez.channels import Channels

REFRESH_BEFORE = 60.0
"""Seconds before a token ends at which its client gets the next one: time to store it, also on a slow network."""
MAX_SESSION_AGE = 24 * 3600.0
"""Seconds from signing in up to which tokens are renewed: a user who is locked out is disconnected after this time."""
DEFAULT_LIFETIME = 3600.0
"""Lifetime of a new token in seconds if the old one has no `iat`."""
SIGNED_IN_AT = "auth_time"
"""The claim with the time of signing in, the same in all tokens (OpenID Connect Core, section 2)."""

FIRST_RETRY = 1.0
"""Seconds that a client is asked to wait after its first refusal. Each further refusal doubles them."""
LONGEST_RETRY = 30.0
"""Most seconds that a client is asked to wait, so that a user who has signed in again does not wait for long."""
MAX_ADDRESSES = 10_000
"""Number of network addresses whose refusals are counted, the latest ones."""


class Sessions:
    """Sends clients the events about their connection. `clock` gives seconds since 1970."""

    def __init__(self, channels: Channels, signer: Signer | None, clock: Callable[[], float] = time.time) -> None:
        """`signer` is None if Oyez does not sign users' tokens."""
        self._channels = channels
        self._signer = signer
        self._clock = clock
        self._refusals: OrderedDict[str, int] = OrderedDict()

    def hooks(self) -> Hooks:
        return Hooks(
            connecting=self.connecting,
            connected=self.connected,
            expiring=self.refresh if self._signer is not None else None,
            expiring_before=REFRESH_BEFORE,
            ending=self.ending,
            refused=self.refused,
            limited=self.limited,
        )

    async def connecting(self, client: Client) -> None:
        """Find the client's channels, before it is notified of its connection: if that fails, it does not connect."""
        await self._channels.find(client)

    async def connected(self, client: Client) -> None:
        """Join a client to the channels of its user, and send `connected`."""
        self._refusals.pop(client.socket.handshake.address, None)
        # If this fails, `connected` is not sent and the connection is closed: the client reconnects.
        await self._channels.restore(client)
        client.emit(payloads.Connected(user_id=client.identity.subject, socket_id=client.id))

    async def refresh(self, client: Client) -> None:
        """Send a client a new token and use its expiry time for this connection."""
        identity, now = client.identity, self._clock()
        issued_at, ends_at = identity.claims.get("iat"), identity.claims.get("exp")
        signed_in_at = identity.claims.get(SIGNED_IN_AT, issued_at)
        if self._signer is None or not isinstance(signed_in_at, int | float):
            return
        lifetime = ends_at - issued_at if issued_at is not None and ends_at is not None else DEFAULT_LIFETIME
        lifetime = min(lifetime, signed_in_at + MAX_SESSION_AGE - now)
        # A token that ends no later than the old one is useless.
        if lifetime <= 0 or now + lifetime <= (identity.expires_at or math.inf):
            return
        claims = {name: value for name, value in identity.claims.items() if name not in SIGNED_CLAIMS}
        claims[SIGNED_IN_AT] = signed_in_at
        # Tokens have whole seconds and the signer rounds up: without this, each renewal would lengthen the lifetime.
        token = self._signer.sign_user(
            identity.subject, identity.roles or identity.role, claims, max(0.5, lifetime - 0.5)
        )
        expires_at = int(now) + int(lifetime)
        claims |= {"iat": int(now), "exp": expires_at}
        client.renew(replace(identity, claims={**identity.claims, **claims}, expires_at=float(expires_at)))
        client.emit(payloads.TokenRefresh(new_token=token, expires_in=int(lifetime)))

    def ending(self, client: Client, reason: str) -> None:
        """Send a client the reason why the server ends its connection."""
        if reason == "token_expired":
            expired_at = client.identity.claims.get("exp", self._clock())
            client.emit(payloads.SessionExpired(message="Please sign in again.", expired_at=Time.at(expired_at)))
        client.emit(payloads.Disconnected(reason=reason))

    def refused(self, handshake: Handshake, refused: RefusedError) -> payloads.ConnectRefused:
        """The data of a CONNECT_ERROR besides its code: before CONNECT, clients receive no events."""
        attempts = self._refusals.pop(handshake.address, 0) + 1
        self._refusals[handshake.address] = attempts
        if len(self._refusals) > MAX_ADDRESSES:
            self._refusals.popitem(last=False)
        wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(attempts - 1, 10))
        return payloads.ConnectRefused(reason=refused.refusal.code, attempts=attempts, next_retry=round(wait * 1000))

    def limited(self, client: Client, attempts: int, wait: float) -> None:
        """Send a client that exceeds a limit how long it has to wait."""
        client.emit(
            payloads.ConnectionProblem(
                reason="rate_limited", attempts=attempts, next_retry=max(1, math.ceil(wait * 1000))
            )
        )
