"""Signatures of requests that one node forwards to another: they prove that a node sent it, and name the client."""

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from oyez.settings import split_secret

PEER_HEADER = b"x-oyez-peer"
"""The header of a forwarded request: the time, the client, and the signature."""
PEER_SECONDS = 30.0
"""Seconds for which a signature is valid: the clocks of machines may differ by as much."""


class ClientAddress(NamedTuple):
    """The scheme and the address with which the client of a forwarded request has connected."""

    scheme: Literal["http", "https"]
    address: tuple[str, int] | None


class RequestSigner:
    """Signs and verifies with the `secret` that all nodes share: the first of several signs, and all verify.

    `clock` gives seconds since 1970.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        known = [hmac.digest(each.encode(), b"oyez: peers", "sha256") for each in split_secret(secret)]
        self._keys = known if secret else [secrets.token_bytes(32)]
        self._clock = clock

    def sign(self, owner: str, client: ClientAddress, method: bytes, url: bytes) -> bytes:
        """The value of PEER_HEADER for a request that is forwarded to node `owner`."""
        host, port = client.address or ("-", 0)
        claim = f"{self._clock():.0f} {client.scheme} {host} {port}".encode()
        return claim + b" " + _sign(self._keys[0], owner, claim, method, url)

    def verify(self, owner: str, value: bytes, method: bytes, url: bytes) -> ClientAddress | None:
        """The client of a request to node `owner`; None if no node has signed it within PEER_SECONDS."""
        claim, _, signature = value.rpartition(b" ")
        valid = [hmac.compare_digest(signature, _sign(key, owner, claim, method, url)) for key in self._keys]
        if not any(valid):
            return None
        at, scheme, host, port = claim.decode().split(" ")
        if abs(self._clock() - float(at)) > PEER_SECONDS:
            return None
        return ClientAddress("https" if scheme == "https" else "http", (host, int(port)) if host != "-" else None)


def _sign(key: bytes, owner: str, claim: bytes, method: bytes, url: bytes) -> bytes:
    return hmac.digest(key, b"\n".join((owner.encode(), claim, method, url)), "sha256").hex().encode()
