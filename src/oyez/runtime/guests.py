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
from oyez.settings import split_secret

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
    """Makes and recognizes the guests of one system. All nodes need the same `secret`.

    Of several secrets, the first makes guests, and all recognize them.
    """

    def __init__(self, secret: str, system: str) -> None:
        self._secrets = [f"{system}\n{each}".encode() for each in split_secret(secret)]

    def find(self, pid: Any) -> Guest | None:
        """The guest to whom a `pid` belongs; None if it is not one that the server has made for a guest."""
        key = pid.rpartition(_SEPARATOR)[2] if isinstance(pid, str) and len(pid) < MAX_PID else ""
        if _KEY.fullmatch(key) is None:
            return None
        found = [
            secret for secret in self._secrets if hmac.compare_digest(key[_SECRET:], _prove(secret, key[:_SECRET]))
        ]
        return _make(found[0], key) if found else None

    def create(self) -> Guest:
        """A guest that has not been here before."""
        secret = secrets.token_urlsafe(16)
        return _make(self._secrets[0], secret + _prove(self._secrets[0], secret))


def _make(secret: bytes, key: str) -> Guest:
    return Guest(PREFIX + _digest(secret, "id", key), _SEPARATOR + key)


def _prove(secret: bytes, text: str) -> str:
    return _digest(secret, "key", text)[:_PROOF]


def _digest(secret: bytes, purpose: str, text: str) -> str:
    digest = hmac.digest(secret, f"{purpose}\n{text}".encode(), sha256)
    return urlsafe_b64encode(digest[:16]).decode().rstrip("=")


MAX_PID = 200
"""Characters of a `pid` that are looked at."""
