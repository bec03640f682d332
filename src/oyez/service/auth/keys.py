"""The keys that verify tokens, and their sources: the secret, a file, or an address.

Knows keys (RFC 7517) and algorithms (RFC 7518, RFC 8037); `tokens.py` knows what a token claims.
Every key carries the one algorithm it verifies, so a token's header can never choose another (RFC 8725, section 3.1).
"""

import asyncio
import codecs
import ipaddress
import time
import urllib.request
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit

import msgspec
from joserfc import jwk
from joserfc.errors import InvalidKeyTypeError, JoseError, SecurityWarning, UnsupportedAlgorithmError
from joserfc.jwa import EdDSAAlgorithm, ESAlgorithm, HMACAlgorithm, JWSAlgModel, RSAAlgorithm
from joserfc.jws import JWSRegistry

from oyez.errors import KEYS_UNAVAILABLE, TOKEN_INVALID, RefusedError, SettingsError
from oyez.logger import get_logger

logger = get_logger("oyez.service")

MIN_RSA_MODULUS = 342
"""base64url characters of 2048 bits, the smallest RSA key RS256 may use (RFC 7518, section 3.3)."""
MAX_KEY_SET_BYTES = 262_144
"""A published key set: a handful of keys is a few kilobytes, certificate chains included."""
FETCH_TIMEOUT = 5.0
"""Seconds for one fetch of published keys; clients that connect at the same time wait for it."""
FRESH_TIME = 600.0
"""Seconds after which published keys are fetched again: how long a withdrawn key may still count."""
EARLY = 0.9
"""Part of FRESH_TIME after which the keys are fetched in the background, so that no client waits for a fetch."""
FETCH_INTERVAL = 0.5
"""Seconds between the end of a fetch and the next, for any key ids: a new key counts within a second, and
invented key ids cost the issuer two requests a second from each process, however many tokens bring them."""
RETRY_INTERVAL = 1.0
"""Seconds between two background fetches while they fail: so the return of the issuer is noticed at once."""


class Algorithm(JWSRegistry):
    """One algorithm, under the names a token's header may give it, in place of joserfc's table of all."""

    max_header_length = 2_048  # bytes of a token's header, encoded

    def __init__(self, model: JWSAlgModel, *names: str) -> None:
        super().__init__(strict_check_header=False)
        self.model = model
        self.names = names

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in self.names:
            raise UnsupportedAlgorithmError(f"{name!r} is not {self.names[0]}")
        return self.model


HS256 = Algorithm(HMACAlgorithm(256), "HS256")
PUBLIC_ALGORITHMS: Mapping[tuple[str, str | None], Algorithm] = {
    ("RSA", None): Algorithm(RSAAlgorithm(256), "RS256"),
    ("EC", "P-256"): Algorithm(ESAlgorithm("ES256", "P-256", 256), "ES256"),
    # RFC 8037 calls it EdDSA, RFC 9864 Ed25519; issuers use both.
    ("OKP", "Ed25519"): Algorithm(EdDSAAlgorithm(), "EdDSA", "Ed25519"),
}
PUBLIC_MEMBERS = ("kty", "crv", "n", "e", "x", "y")


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its only algorithm."""

    material: jwk.Key = field(repr=False)
    algorithm: Algorithm
    kid: str | None = None
    older: "tuple[Key, ...]" = ()
    """Secrets that it replaces, which verify too as long as they are in the settings."""


class KeySource(Protocol):
    """A source of keys."""

    @property
    def begun(self) -> int:
        """Fetches that have begun so far."""

    def find(self, kid: str | None, algorithm: str, asked: int) -> Key | None:
        """The key for a token with this header; None: `fetch` first, then ask again with the same `asked`.

        `asked` is what `begun` was when the token arrived: only a fetch that began later can show that the token's
        key does not exist. Raises RefusedError if no fetch can help: TOKEN_INVALID, or KEYS_UNAVAILABLE.
        """

    async def fetch(self) -> None:
        """Wait for the next fetch to end. Never raises: a failure shows in what `find` answers."""

    async def run(self) -> None:
        """Keep the keys fresh, and notice at once when they can be fetched again, until cancelled."""

    @property
    def reason(self) -> str | None:
        """Why no token can be verified: no key is known, and the last fetch failed. None if keys are known."""


def load_key_file(path: Path) -> list[Key]:
    """The public keys in a PEM file (key or certificate), a JWK or a JWK set.

    Raises SettingsError where there is none that Oyez can use, with the reason.
    """
    try:
        document = _decode_text(path.read_bytes())
        return parse_key_set(document) if document.lstrip().startswith(b"{") else [_key_of_pem(document)]
    except Exception as error:  # Parsers of keys raise many kinds of errors with the same meaning.
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"jwt_key_file {path} cannot be used: {reason}. It should hold an RSA (2048 bits or more), P-256 or"
            " Ed25519 public key, as PEM or JWK."
        ) from None


def parse_key_set(document: bytes) -> list[Key]:
    """The usable keys of a JWK set (or of one JWK); others are passed over (RFC 7517, section 5).

    Raises ValueError where none can be used, and msgspec.DecodeError where it is no JSON object.
    """
    data = msgspec.json.decode(_decode_text(document), type=dict[str, Any])
    entries = data.get("keys", [data])
    if not isinstance(entries, list):
        raise ValueError("'keys' is not a list")
    keys: list[Key] = []
    reason = "it is empty"
    for entry in entries:
        try:
            keys.append(_key_of_jwk(entry))
        except (ValueError, TypeError, JoseError) as error:
            reason = str(error)
    if not keys:
        raise ValueError(f"no key in it verifies signatures: {reason}")
    return keys


def _decode_text(document: bytes) -> bytes:
    """`document` without a byte order mark. Raises ValueError if it is UTF-16."""
    if document.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16; save it as UTF-8")
    return document.removeprefix(codecs.BOM_UTF8)


def _key_of_pem(document: bytes) -> Key:
    if b"PRIVATE KEY" in document:
        raise ValueError("it holds a private key; take the public one out with `openssl pkey -in FILE -pubout`")
    for kind in (jwk.RSAKey, jwk.ECKey, jwk.OKPKey):
        with warnings.catch_warnings():
            # joserfc warns of a weak key, _key_of_jwk refuses it.
            warnings.simplefilter("ignore", SecurityWarning)
            try:
                return _key_of_jwk(kind.import_key(document).as_dict())
            except InvalidKeyTypeError:
                continue
    raise ValueError("it is of an unknown type")


def _key_of_jwk(data: Mapping[str, Any]) -> Key:
    if not isinstance(data, dict):
        raise TypeError("a key must be a JSON object")
    if "d" in data:
        raise ValueError("it holds a private key; leave only the public members")
    kty, crv, kid = data.get("kty"), data.get("crv"), data.get("kid")
    algorithm = PUBLIC_ALGORITHMS.get((kty, crv)) if isinstance(kty, str) and isinstance(crv, str | None) else None
    if algorithm is None or data.get("alg", algorithm.names[0]) not in algorithm.names:
        raise ValueError(f"no algorithm for a key of kty {kty!r}, crv {crv!r}, alg {data.get('alg')!r}")
    if data.get("use", "sig") != "sig" or "verify" not in data.get("key_ops", ["verify"]):
        raise ValueError("the key is not meant for signatures")
    if not isinstance(kid, str | None):
        raise ValueError("'kid' must be a string")
    if kty == "RSA" and len(str(data.get("n"))) < MIN_RSA_MODULUS:
        raise ValueError("an RSA key must have at least 2048 bits")
    # Only the members of the key itself: uses and certificates were checked before, or are not needed.
    return Key(jwk.import_key({name: data[name] for name in PUBLIC_MEMBERS if name in data}), algorithm, kid)


def _pick(keys: Sequence[Key], kid: str | None, algorithm: str) -> Key | None:
    """The key that fits (a key without an id fits every id); None if no key has that id."""
    named = keys if kid is None else [key for key in keys if key.kid == kid] or [key for key in keys if key.kid is None]
    fitting = [key for key in named if algorithm in key.algorithm.names]
    if len(fitting) == 1:
        return fitting[0]
    if not named:
        return None
    if not fitting:
        expected = " or ".join(sorted({name for key in named for name in key.algorithm.names}))
        raise RefusedError(TOKEN_INVALID, f"The token's algorithm is {algorithm!r:.40}, expected {expected}.")
    # OpenID Connect Core 1.0, section 10.1: with several keys a token must name one.
    raise RefusedError(TOKEN_INVALID, "The token does not say which of several keys signed it (`kid`).")


def _unknown_key(kid: str | None) -> RefusedError:
    return RefusedError(TOKEN_INVALID, f"The token names the key {kid!r:.80}, which is not among the known ones.")


class LocalKeys:
    """Keys that are known from the start."""

    begun = 0
    reason = None

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, kid: str | None, algorithm: str, asked: int) -> Key:
        if (key := _pick(self._keys, kid, algorithm)) is None:
            raise _unknown_key(kid)
        return key

    async def fetch(self) -> None:
        pass

    async def run(self) -> None:
        pass


class PublishedKeys:
    """A KeySource that reads a JWK set at an address (`jwks_url`), in the background of one event loop.

    The set is fetched on first use, again when it is older than FRESH_TIME, and when a token names an unknown `kid`.
    There is one fetch at a time, shared by all who wait, and FETCH_INTERVAL between two. If a fetch fails, the keys
    known before stay in use.
    """

    def __init__(self, url: str, timeout: float = FETCH_TIMEOUT, clock: Callable[[], float] = time.monotonic) -> None:
        """`timeout` is in seconds, for a whole fetch. Raises SettingsError for an address that is not safe."""
        check_url(url)
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._keys: Sequence[Key] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failure: Exception | None = None
        self._fetching: asyncio.Task[None] | None = None
        self.begun = 0
        self._ended = 0

    @property
    def reason(self) -> str | None:
        """Why no token can be verified: no key is known, and the last fetch failed. None if keys are known."""
        return repr(self._failure) if self._failure is not None and not self._keys else None

    def find(self, kid: str | None, algorithm: str, asked: int) -> Key | None:
        key = _pick(self._keys, kid, algorithm)
        if key and (self._is_fresh() or self._failure or self._fetching or self._ended > asked):
            return key
        if self._failure and self._fetching is None and not self._may_fetch():
            raise RefusedError(KEYS_UNAVAILABLE) from self._failure
        if self._ended <= asked:
            return None
        raise _unknown_key(kid)

    def _may_fetch(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= FETCH_INTERVAL

    def _is_fresh(self) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at < FRESH_TIME

    async def fetch(self) -> None:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._load())
        # Shielded: others wait for the same fetch when this caller is cancelled.
        await asyncio.shield(self._fetching)

    async def run(self) -> None:
        """Keep the keys fresh, and notice at once when they can be fetched again, until cancelled."""
        while True:
            await self.fetch()
            await asyncio.sleep(RETRY_INTERVAL if self._failure else FRESH_TIME * EARLY)

    async def _load(self) -> None:
        try:
            if self._tried_at is not None:
                await asyncio.sleep(self._tried_at + FETCH_INTERVAL - self._clock())
            self.begun += 1
            async with asyncio.timeout(self._timeout):
                self._keys = await asyncio.to_thread(lambda: parse_key_set(read_url(self._url, self._timeout)))
            self._fetched_at = self._clock()
            if self._failure is not None:
                logger.info("the keys that verify tokens can be fetched again", host=self._host)
            self._failure = None
        except Exception as error:  # Another server may answer anything: tokens are refused then.
            if repr(error) != repr(self._failure):
                logger.warning(
                    "the keys that verify tokens cannot be fetched",
                    host=self._host,
                    error=repr(error),
                    known_keys=len(self._keys),
                )
            self._failure = error
        finally:
            self._ended = self.begun
            self._tried_at = self._clock()
            self._fetching = None

    @property
    def _host(self) -> str | None:
        return urlsplit(self._url).hostname


def check_url(url: str) -> None:
    """Raises SettingsError unless `url` is https, or http to this machine: a person who can change the keys can sign
    tokens for every user."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise SettingsError(f"jwks_url is not an address: {error}.") from None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_local(host))
    if not is_safe or not host or parts.username is not None:
        raise SettingsError(
            "jwks_url must be https://HOST/PATH without a password (http for this machine only);"
            f" its scheme is {parts.scheme!r} and its host is {host!r}."
        )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # A redirect could lead to plain http, or to an address inside the network.
    def redirect_request(self, *args: Any) -> None:
        return None


def read_url(url: str, timeout: float) -> bytes:
    """The document at `url`, which has passed `check_url`. Blocks; raises OSError, HTTPException or ValueError."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_local(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "oyez"})
    deadline = time.monotonic() + timeout
    body = bytearray()
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
            while chunk := response.read1(65_536):
                body += chunk
                if len(body) > MAX_KEY_SET_BYTES:
                    raise ValueError(f"The key set is larger than {MAX_KEY_SET_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"The key set took longer than {timeout} s")
    except HTTPError as error:
        with error:
            raise ValueError(f"The server answered {error.code}") from None
    return bytes(body)
