"""The sign-in of operators: a key is exchanged for a token that ends soon, and that can be renewed for some hours.

The settings have only the hashes of keys. A key has 256 random bits, so its hash needs no salt and no slow function.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from hmac import compare_digest

from oyez.concurrency.token_bucket import Rate
from oyez.contract.types import Time
from oyez.errors import TOKEN_EXPIRED, TOKEN_INVALID, RefusedError
from oyez.ops.admin.answers import Session
from oyez.runtime.failed_sign_ins import FailedSignIns
from oyez.service.auth.tokens import Signer, VerifiedClaims

PREFIX = "oyo_"
"""The beginning of an operator's key, so that tools that search for secrets recognize it."""
KEY_BYTES = 32
TOKEN_SECONDS = 900.0
"""Life of a token: a stolen one is of little use, and a page renews it without being noticed."""
SESSION_SECONDS = 12 * 3_600.0
"""Time after which an operator signs in again: longer than a shift."""
FAILURES = Rate(10, 60.0)
"""Failed sign-ins of one network address: more than a person mistypes."""
LOCAL = "local"
"""The key of tokens that commands sign for themselves: they know the server's secret."""


def make_key() -> str:
    """A new key of an operator."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_key(key: str) -> str:
    """The hash of a key, in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


class SignIns:
    """Signs operators in. `now` gives seconds since 1970."""

    def __init__(
        self,
        keys: Mapping[str, str],
        signer: Signer,
        failed: FailedSignIns,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`keys` are the hashes of the operators' keys, by their names."""
        self._keys = keys
        self._signer = signer
        self._failed = failed
        self._now = now

    def sign_in(self, key: str, network: str) -> Session:
        """A token for the operator whose key this is. Raises RefusedError: token_invalid, rate_limited."""
        self._failed.check(network)
        digest, found = hash_key(key), ""
        for name, expected in self._keys.items():
            # All of them: the time does not tell which key is nearly right.
            if compare_digest(digest, expected):
                found = name
        if not found:
            self._failed.count(network)
            raise RefusedError(TOKEN_INVALID, "The key is not an operator's. Take one that `admin_keys` has.")
        return self._begin(found, _identify(digest), self._now())

    def renew(self, token: str) -> Session:
        """A newer token. Raises RefusedError: token_invalid, token_expired."""
        claims = self._verify(token)
        began = claims.claims["began"]
        if self._now() >= began + SESSION_SECONDS:
            raise RefusedError(TOKEN_EXPIRED, "The sign-in is too long ago: sign in again.")
        return self._begin(claims.subject, claims.claims["key"], began)

    def authorize(self, token: str) -> tuple[str, float]:
        """The name of the operator, and when the token expires. Raises RefusedError: token_invalid, token_expired."""
        claims = self._verify(token)
        assert claims.expires_at is not None
        return claims.subject, claims.expires_at

    def _verify(self, token: str) -> VerifiedClaims:
        claims = self._signer.verify_operator(token)
        key, began = claims.claims.get("key"), claims.claims.get("began")
        expected = self._keys.get(claims.subject)
        known = key == LOCAL or (expected is not None and key == _identify(expected))
        if not known or not isinstance(began, int | float):
            raise RefusedError(TOKEN_INVALID, "The key of this sign-in is no longer an operator's.")
        return claims

    def _begin(self, name: str, key: str, began: float) -> Session:
        now, ends_at = self._now(), began + SESSION_SECONDS
        expires_at = min(now + TOKEN_SECONDS, ends_at)
        token = self._signer.sign_operator(name, key, began, max(1.0, expires_at - now))
        return Session(token=token, name=name, expires_at=Time.at(expires_at), ends_at=Time.at(ends_at))


def _identify(digest: str) -> str:
    """What a token says of its key: enough to notice that the key was replaced, and too little to show the hash."""
    return digest[:16]
