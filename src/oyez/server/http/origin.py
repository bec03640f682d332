"""Which web pages may use the server: the origins of `CLIENT_ORIGIN`, otherwise only pages of the same origin.

Used for polling (CORS headers and refusal) and for WebSocket upgrades, which browsers do not guard by CORS. Programs
that are no browsers send no Origin, or that of the address they connect to, often with the scheme of the WebSocket or
with path and query: only scheme and authority count, and `wss` is `https`. Their token decides.
"""

import re

_HEADER_NAMES = re.compile(r"[\w-]+(?:[ \t]*,[ \t]*[\w-]+)*", re.ASCII)
"""The names of headers in a preflight request. The answer repeats the value only if it matches."""
ANY = "*"
WILDCARD = "://*."
"""Before a host name in `CLIENT_ORIGIN`: one or more whole labels."""
_SCHEMES = {"ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#\\\s]*)")
_LABELS = r"(?:[a-z0-9_-]+\.)+"


class OriginPolicy:
    """From which pages requests may come: the origins in `CLIENT_ORIGIN`, and always the server's own."""

    def __init__(self, origins: frozenset[str]) -> None:
        # An operator may write them differently from browsers, which use lower case and leave a usual port out.
        named = {normalize(origin) for origin in origins - {ANY}}
        self._patterns = [_compile(origin) for origin in named if WILDCARD in origin]
        self._origins = {origin for origin in named if WILDCARD not in origin}
        self._any = ANY in origins

    def allows(self, origin: str | None, host: str | None, *, secure: bool) -> bool:
        """True if a request with this `Origin` header, to this `Host`, over TLS or not, may be served."""
        return self._any or self.allows_cookies(origin, host, secure=secure)

    def allows_cookies(self, origin: str | None, host: str | None, *, secure: bool) -> bool:
        """True if the cookies of such a request count: not if only `*` admits it.

        A browser sends a visitor's cookies along with a WebSocket upgrade, whichever page asks for it.
        """
        if origin is None or self._is_listed(origin):
            return True
        # RFC 6454, section 5: scheme, host and port. A page that came without TLS may be forged, so it is not the same
        # origin as one of https. A page of https counts as the same as http, because a proxy may end TLS.
        schemes = ("https",) if secure else ("http", "https")
        return bool(host) and normalize(origin) in {normalize(f"{scheme}://{host}") for scheme in schemes}

    def _is_listed(self, origin: str) -> bool:
        normal = normalize(origin)
        return normal in self._origins or any(pattern.fullmatch(normal) for pattern in self._patterns)

    def headers(self, origin: str | None) -> list[tuple[str, str]]:
        """The CORS headers of an answer to an allowed `origin`."""
        if origin is None:
            return []
        if self._is_listed(origin):
            return [
                ("access-control-allow-origin", origin),
                ("access-control-allow-credentials", "true"),
                ("vary", "Origin"),
            ]
        # Without credentials: a cookie must never be sent on behalf of just any page.
        return [("access-control-allow-origin", ANY)] if self._any else []

    def preflight_headers(self, origin: str | None, requested: str | None) -> list[tuple[str, str]]:
        """The answer to an OPTIONS request; empty if the origin is not allowed."""
        headers = self.headers(origin)
        if headers:
            headers.append(("access-control-allow-methods", "GET,POST"))
            headers.append(("access-control-max-age", "600"))
            if requested and _HEADER_NAMES.fullmatch(requested):
                headers.append(("access-control-allow-headers", requested))
        return headers


def normalize(origin: str) -> str:
    """Scheme and authority in lower case, as a browser would write them; any other text only in lower case."""
    lowered = origin.lower()
    parsed = _ORIGIN.match(lowered)
    if parsed is None:
        return lowered
    scheme = _SCHEMES.get(parsed[1], parsed[1])
    return f"{scheme}://{parsed[2].removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def _compile(origin: str) -> re.Pattern[str]:
    """The origins that a pattern such as `https://*.pr.example` names."""
    scheme, _, host = origin.partition(WILDCARD)
    return re.compile(f"{re.escape(scheme)}://{_LABELS}{re.escape(host)}")
