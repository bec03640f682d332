"""Which web pages may talk to the server: the origins of `CLIENT_ORIGIN`, else only pages of the same origin.

Used for polling (CORS headers and refusal) and for WebSocket upgrades, which browsers do not guard by CORS.
Programs that are no browsers send no Origin and are not stopped here: their token decides.
"""

ANY = "*"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class OriginPolicy:
    """From which pages requests may come: the origins in `CLIENT_ORIGIN`, and always the server's own."""

    def __init__(self, origins: frozenset[str]) -> None:
        # An operator may write them otherwise than browsers do, who use lower case and leave a usual port out.
        self._origins = {_normalize(origin) for origin in origins - {ANY}}
        self._any = ANY in origins

    def allows(self, origin: str | None, host: str | None, *, secure: bool) -> bool:
        """Whether a request with this `Origin` header, to this `Host`, over TLS or not, may be served."""
        return self._any or self.allows_cookies(origin, host, secure=secure)

    def allows_cookies(self, origin: str | None, host: str | None, *, secure: bool) -> bool:
        """Whether the cookies of such a request count: not where only `*` admits it.

        A browser sends a visitor's cookies along with a WebSocket upgrade, whichever page asks for it.
        """
        if origin is None or _normalize(origin) in self._origins:
            return True
        # RFC 6454, section 5: scheme, host and port. A page that came in the clear may be anybody's work.
        scheme = "https" if secure else "http"
        return bool(host) and _normalize(origin) == _normalize(f"{scheme}://{host}")

    def headers(self, origin: str | None) -> list[tuple[str, str]]:
        """The CORS headers of an answer to an allowed `origin`."""
        if origin is None:
            return []
        if _normalize(origin) in self._origins:
            return [
                ("access-control-allow-origin", origin),
                ("access-control-allow-credentials", "true"),
                ("vary", "Origin"),
            ]
        # Without credentials: a cookie must never be sent on behalf of just any page.
        return [("access-control-allow-origin", ANY)] if self._any else []

    def preflight_headers(self, origin: str | None, requested: str | None) -> list[tuple[str, str]]:
        """The answer to an OPTIONS request; empty where the origin gets none."""
        headers = self.headers(origin)
        if headers:
            headers.append(("access-control-allow-methods", "GET,POST"))
            headers.append(("access-control-max-age", "600"))
            if requested:
                headers.append(("access-control-allow-headers", requested))
        return headers


def _normalize(origin: str) -> str:
    """In lower case, and without the port that its scheme implies."""
    lowered = origin.lower()
    return lowered.removesuffix(_DEFAULT_PORTS.get(lowered.partition("://")[0], ""))
