"""Tokens of users and of back ends, verified and signed (JWT, RFC 7519).

This file knows claims; keys and algorithms are in `keys.py`. A user's token identifies a client; a service token
allows a back end to publish into one system. Their audiences differ: those of service tokens begin with `oyez:`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError

from oyez.contract.claims import Claims as ContractClaims
from oyez.contract.policy import MAX_SUBJECT_LENGTH
from oyez.errors import TOKEN_EXPIRED, TOKEN_INVALID, InvalidDataError, RefusedError, SettingsError
from oyez.service.auth.claims import MISSING, USUAL_NAMES, ClaimNames, find_claim, read_claim_names
from oyez.service.auth.keys import HS256, Key, KeySource, LocalKeys, PublishedKeys, load_key_file
from oyez.service.auth.secrets import Secret, secret_key
from oyez.settings import Settings

MAX_TOKEN_BYTES = 8_192
"""Characters of an encoded token: a longer one is refused before it is parsed. Half of the size of a request's head."""
KEPT_TOKENS = 256
"""Service tokens whose signature is not verified again: at most 2 MB."""
MAX_DATE = 1e12
"""Seconds since 1970 in a token: far beyond the year 9999, and below today's date in milliseconds."""
OWN_AUDIENCE = "oyez:"
SERVICE_SUBJECT = "service"
PUBLISH = "publish"
"""The scope of a service token for everything but receivers of webhooks."""
WEBHOOKS = "webhooks"
"""The scope of a service token for receivers of webhooks: it lets its owner read the events of all users."""
OPERATOR = "operator"
"""The scope of tokens for the admin page, the admin API and the commands that use it."""
UNSAFE_HEADERS = ("crit", "b64", "jwk", "jku", "x5c", "x5u")
"""Headers by which a token brings or points to its own key, or changes how it is read (RFC 8725, section 3.10)."""
TOKEN_TYPES = ("jwt", "at+jwt")
"""Accepted values of `typ`: other tokens (logout tokens, security events) do not identify a user (RFC 8725, section
3.11)."""
SIGNED_CLAIMS = ("sub", "role", "iss", "aud", "iat", "nbf", "exp")


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """The content of a verified token.

    `subject` is the user's id, `claims` all claims by the names that contracts have for them, `expires_at` the second
    (since 1970, leeway included) from which on the token no longer counts, or None.
    """

    subject: str
    claims: Mapping[str, Any]
    expires_at: float | None


class Verifier:
    """Verifies users' tokens. Raises nothing but RefusedError, with a message that the client may read."""

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: float = 10.0,
        names: ClaimNames = USUAL_NAMES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`issuer` and `audience`, if given, are required of tokens; `leeway` is seconds two clocks may differ.

        A token's subject is the first of `names.subject` that it has; if it has several, they must agree.
        Raises SettingsError for an audience that is Oyez's own.
        """
        if audience and audience.startswith(OWN_AUDIENCE):
            raise SettingsError(f"jwt_audience may not begin with {OWN_AUDIENCE!r}: those are service tokens.")
        self.keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._names = names
        self._clock = clock

    def of_contract(self, claims: ContractClaims | None) -> "Verifier":
        """A verifier with the same keys, for the claims' names that a contract states."""
        return Verifier(
            self.keys,
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway,
            names=self._names.of_contract(claims),
            clock=self._clock,
        )

    async def verify(self, token: str) -> VerifiedClaims:
        """The claims of `token`; waits if keys must be fetched first.

        Raises RefusedError: TOKEN_INVALID, TOKEN_EXPIRED or KEYS_UNAVAILABLE.
        """
        asked = self.keys.begun
        # At most twice: for a running fetch, and for a fetch that begins after the token arrived.
        while (claims := self.verify_now(token, asked)) is None:
            await self.keys.fetch()
        return claims

    def verify_now(self, token: str, asked: int | None = None) -> VerifiedClaims | None:
        """As `verify`, without waiting: None if keys must be fetched first. Never None with local keys.

        `asked` is the number of fetches that had begun when the token arrived; None: the token arrives now.
        """
        claims = read_token(token, self.keys, asked)
        if claims is None:
            return None
        expires_at = check_times(claims, self._clock(), self._leeway)
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise _invalid(f"The token's issuer is {_show(claims.get('iss'))}, expected {self._issuer!r}.")
        self._check_audience(claims)
        return VerifiedClaims(find_subject(claims, self._names.subject), self._names.read(claims), expires_at)

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        audiences = _audiences(claims)
        if any(audience.startswith(OWN_AUDIENCE) for audience in audiences):
            raise _invalid("This is a service token; it publishes and cannot connect. Use a user's token.")
        if self._audience is None and audiences:
            # RFC 7519, section 4.1.3: a server that is not in the audience must refuse.
            raise _invalid(f"The token's audience is {_show(claims['aud'])}, and no jwt_audience is set here.")
        if self._audience is not None and self._audience not in audiences:
            raise _invalid(f"The token's audience is {_show(claims.get('aud'))}, expected {self._audience!r}.")


class Signer:
    """Signs tokens with Oyez's own secret, and verifies those that only Oyez gives out: service tokens."""

    def __init__(
        self,
        secret: str,
        *,
        signs_users: bool = True,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: float = 10.0,
        names: ClaimNames = USUAL_NAMES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`signs_users`: True if this secret verifies users' tokens. Raises SettingsError for a weak one."""
        self._key = secret_key(secret)
        self._keys = LocalKeys([self._key])
        self.signs_users = signs_users
        """True if `sign_user` can be used."""
        self._identity = {name: value for name, value in (("iss", issuer), ("aud", audience)) if value is not None}
        self._leeway = leeway
        self._names = names
        self._clock = clock
        # A back end sends the same token with each request. The secret stays, and the times are checked each time.
        self._read_own = lru_cache(KEPT_TOKENS)(partial(read_token, keys=self._keys))

    def of_contract(self, claims: ContractClaims | None) -> "Signer":
        """A signer with the same secret, for the claims' names that a contract states."""
        made = copy(self)
        made._names = self._names.of_contract(claims)
        return made

    def sign_user(
        self, subject: str, role: str | Sequence[str] | None, claims: Mapping[str, Any], lifetime: float
    ) -> str:
        """A user's token for `lifetime` seconds, with `claims` beside those Oyez sets, as a Verifier accepts it.

        `claims` go by the names that contracts have for them.

        Raises SettingsError if users' tokens come from an identity provider, and InvalidDataError for a subject,
        claim or lifetime that no token may have.
        """
        if not self.signs_users:
            raise SettingsError(
                "Users' tokens are verified by public keys (JWKS_URL or JWT_KEY_FILE): only the identity provider that"
                " has the private key can sign them."
            )
        for name in SIGNED_CLAIMS:
            if name in claims:
                raise InvalidDataError(name, "is set by Oyez itself; leave it out of the claims")
        named: dict[str, Any] = {**claims} if role is None else {**claims, "role": role}
        signed = {**self._names.write(named), self._names.subject[0]: subject}
        try:
            find_subject(signed, self._names.subject)
        except RefusedError as error:
            raise InvalidDataError("sub", error.message) from None
        return self._sign({**signed, **self._identity}, lifetime)

    def sign_service(self, system: str, lifetime: float | None, scope: str = PUBLISH) -> str:
        """A token for the HTTP API of `system`, for `lifetime` seconds or (None) until the secret changes."""
        return self._sign({"sub": SERVICE_SUBJECT, "aud": f"{OWN_AUDIENCE}{scope}:{system}"}, lifetime)

    def verify_service(self, token: str, system: str, scope: str = PUBLISH) -> VerifiedClaims:
        """The claims of a service token for `system`. Raises RefusedError: TOKEN_INVALID or TOKEN_EXPIRED."""
        claims = self._read_own(token)
        if claims is None:
            raise _invalid("The token cannot be verified here.")
        expires_at = check_times(claims, self._clock(), self._leeway)
        # Exactly this audience: Oyez signs no token for several systems or scopes, or for a user too.
        if claims.get("aud") != f"{OWN_AUDIENCE}{scope}:{system}" or claims.get("sub") != SERVICE_SUBJECT:
            command = f"oyez token {system} --service" + (f" --scope {scope}" if scope != PUBLISH else "")
            raise _invalid(
                f"The token is no service token of {system!r}: its audience is {_show(claims.get('aud'))}."
                f" Use what `{command}` prints."
            )
        return VerifiedClaims(SERVICE_SUBJECT, claims, expires_at)

    def sign_operator(self, name: str, key: str, began: float, lifetime: float) -> str:
        """A token for the admin API, for `lifetime` seconds.

        `name` is the operator, `key` identifies the key of the sign-in, which was at `began`, in seconds since 1970.
        """
        return self._sign({"sub": name, "aud": f"{OWN_AUDIENCE}{OPERATOR}", "key": key, "began": began}, lifetime)

    def verify_operator(self, token: str) -> VerifiedClaims:
        """The claims of a token for the admin API. Raises RefusedError: TOKEN_INVALID or TOKEN_EXPIRED."""
        claims = read_token(token, self._keys)
        if claims is None:
            raise _invalid("The token cannot be verified here.")
        expires_at = check_times(claims, self._clock(), self._leeway)
        if claims.get("aud") != f"{OWN_AUDIENCE}{OPERATOR}" or expires_at is None:
            raise _invalid(f"The token is no operator's: its audience is {_show(claims.get('aud'))}. Sign in first.")
        return VerifiedClaims(find_subject(claims, ("sub",)), claims, expires_at)

    def _sign(self, claims: dict[str, Any], lifetime: float | None) -> str:
        now = self._clock()
        claims["iat"] = int(now)
        if lifetime is not None:
            if not 0 < lifetime < MAX_DATE - now:
                raise InvalidDataError("lifetime", f"is {lifetime} seconds, expected more than 0 and no eternity")
            claims["exp"] = math.ceil(now + lifetime)
        token = jwt.encode({"alg": "HS256"}, claims, self._key.material, registry=HS256)
        if len(token) > MAX_TOKEN_BYTES:
            raise InvalidDataError("claims", f"make a token of {len(token)} bytes, expected at most {MAX_TOKEN_BYTES}")
        return token


def build_verifier(settings: Settings, secret: Secret, *, clock: Callable[[], float] = time.time) -> Verifier:
    """The Verifier of users' tokens that `settings` ask for: by published keys, a key file, or the secret.

    Raises SettingsError if the settings contradict each other or a key cannot be used.
    """
    if settings.jwks_url is not None and settings.jwt_key_file is not None:
        raise SettingsError("JWKS_URL and JWT_KEY_FILE are both set, and keys can come from one only. Unset one.")
    keys: KeySource
    if settings.jwks_url is not None:
        keys = PublishedKeys(settings.jwks_url)
    elif settings.jwt_key_file is not None:
        keys = LocalKeys(load_key_file(Path(settings.jwt_key_file)))
    else:
        keys = LocalKeys([secret_key(secret.value)])
    return Verifier(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
        names=read_claim_names(settings),
        clock=clock,
    )


def build_signer(settings: Settings, secret: Secret, *, clock: Callable[[], float] = time.time) -> Signer:
    """The Signer that goes with `build_verifier`."""
    return Signer(
        secret.value,
        signs_users=settings.jwks_url is None and settings.jwt_key_file is None,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
        names=read_claim_names(settings),
        clock=clock,
    )


_SCHEME = "bearer "


def read_token(token: str, keys: KeySource, asked: int | None = None) -> dict[str, Any] | None:
    """The claims of a token with a valid signature, not checked yet; None if keys must be fetched first.

    `asked` is as in `Verifier.verify_now`. Raises RefusedError (RFC 7515, section 5.2; RFC 8725, section 3).
    """
    if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise _invalid(f"A token is ASCII text of at most {MAX_TOKEN_BYTES} bytes.")
    if token[: len(_SCHEME)].lower() == _SCHEME:
        raise _invalid("The token begins with `Bearer `. Give the token without that word.")
    try:
        # Only decoded here: the key determines the algorithm that verifies.
        signed = jws.extract_compact(token.encode(), registry=HS256)
        algorithm, kid = _read_header(signed.headers())
        key = keys.find(kid, algorithm, keys.begun if asked is None else asked)
        if key is None:
            return None
        if not any(_is_signed(signed, each) for each in (key, *key.older)):
            raise _invalid("The token's signature does not match.")
        return msgspec.json.decode(signed.payload, type=dict[str, Any])
    except (JoseError, ValueError, TypeError, RecursionError, msgspec.DecodeError):
        raise _invalid("The token is not well-formed: expected a signed JWT, three base64url parts.") from None


def _is_signed(signed: Any, key: Key) -> bool:
    return bool(jws.validate_compact(signed, key.material, registry=key.algorithm))


def _read_header(header: Any) -> tuple[str, str | None]:
    if not isinstance(header, dict):
        raise _invalid("The token's header is not a JSON object.")
    for name in UNSAFE_HEADERS:
        if name in header:
            raise _invalid(f"The token's header may not have {name!r}.")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None) or not isinstance(kind, str):
        raise _invalid("The token's alg, kid and typ must be strings.")
    if kind.lower().removeprefix("application/") not in TOKEN_TYPES:
        raise _invalid(f"The token's type is {_show(kind)}, expected 'JWT'.")
    return algorithm, kid


def check_times(claims: Mapping[str, Any], now: float, leeway: float) -> float | None:
    """When the token expires, `leeway` included, or None. Raises RefusedError if it is not valid at `now`.

    RFC 7519, sections 4.1.4 to 4.1.6; an `iat` in the future is no reason to refuse.
    """
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if type(value) not in (int, float) or not -MAX_DATE < value < MAX_DATE:
            raise _invalid(f"The token's {name} is {_show(value)}, expected a number of seconds since 1970.")
    if claims.get("nbf", 0) > now + leeway:
        raise _invalid(f"The token is not valid before {_show_time(claims['nbf'])} (it is {_show_time(now)} here).")
    if "exp" not in claims:
        return None
    expires_at = float(claims["exp"]) + leeway
    if now >= expires_at:
        raise RefusedError(
            TOKEN_EXPIRED, f"The token expired at {_show_time(claims['exp'])} (it is {_show_time(now)} here)."
        )
    return expires_at


def find_subject(claims: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The user's id: the claims of these `names` that are there must be one printable string. Raises RefusedError.

    Numbers count as their digits: many databases have them for ids.
    """
    values = [find_claim(claims, name) for name in names]
    found = [str(value) if type(value) is int else value for value in values if value is not MISSING]
    if not found:
        raise _invalid(f"The token does not say who its user is: expected a claim {' or '.join(map(repr, names))}.")
    subject = found[0]
    if any(other != subject for other in found):
        raise _invalid(f"The token's {' and '.join(map(repr, names))} name different users.")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise _invalid(
            f"The token's user is {_show(subject)}, expected a string of 1 to {MAX_SUBJECT_LENGTH} printable letters."
        )
    return subject


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    value = claims.get("aud", [])
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        raise _invalid(f"The token's audience is {_show(value)}, expected a string or a list of strings.")
    return audiences


def _show_time(seconds: float) -> str:
    """Seconds since 1970 as people read them; those beyond the calendar stay what they are."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} seconds since 1970"
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _show(value: object) -> str:
    return f"{value!r:.80}"


def _invalid(message: str) -> RefusedError:
    return RefusedError(TOKEN_INVALID, message)
