"""Guests: clients without credentials that keep their identity as long as they keep the `pid` of their session.

A guest's key is a part of the `pid`. Only the server can make one, and the id of a guest, which other clients may
learn, does not lead back to it. A client that brings a key is the same guest again, at each node and also after its
session has expired.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

from oyez.server.types import Guest

PREFIX = "guest:"
"""The beginning of a guest's id. No token can state such an id for a user."""
_SECRET = 22
"""Characters of the random part of a key: 16 bytes, which cannot be guessed."""
_PROOF = 16
"""Characters of the other part, by which the server recognizes it: 12 bytes, so that a `pid` stays below 64 characters,
which is the most that a client may state."""
_KEY = re.compile(rf"[\w-]{{{_SECRET + _PROOF}}}", re.ASCII)
_SEPARATOR = "."
"""Before the key in a `pid`. The part before it never contains one."""


class Guests:
    """Makes and recognizes the guests of one system. All nodes need the same `secret`."""

    def __init__(self, secret: str, system: str) -> None:
        self._secret = f"{system}\n{secret}".encode()

    def find(self, pid: Any) -> Guest | None:
        """The guest to whom a `pid` belongs; None if it is not one that the server has made for a guest."""
        key = pid.rpartition(_SEPARATOR)[2] if isinstance(pid, str) and len(pid) < MAX_PID else ""
        if _KEY.fullmatch(key) is None or not hmac.compare_digest(key[_SECRET:], self._prove(key[:_SECRET])):
            return None
        return self._make(key)

    def create(self) -> Guest:
        """A guest that has not been here before."""
        secret = secrets.token_urlsafe(16)
        return self._make(secret + self._prove(secret))

    def _make(self, key: str) -> Guest:
        return Guest(PREFIX + self._digest("id", key), _SEPARATOR + key)

    def _prove(self, secret: str) -> str:
        return self._digest("key", secret)[:_PROOF]

    def _digest(self, purpose: str, text: str) -> str:
        digest = hmac.digest(self._secret, f"{purpose}\n{text}".encode(), sha256)
        return urlsafe_b64encode(digest[:16]).decode().rstrip("=")


MAX_PID = 200
"""Characters of a `pid` that are looked at."""
