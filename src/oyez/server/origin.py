"""Which web pages may talk to the server: the origins of `CLIENT_ORIGIN`, else only pages of the same host.

Used for polling (CORS headers and refusal) and for WebSocket upgrades, which browsers do not guard by CORS.
Programs that are no browsers send no Origin and are not stopped here: their token decides.
"""

from urllib.parse import urlsplit

ANY = "*"


class OriginPolicy:
    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins - {ANY}
        self._any = ANY in origins

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with this `Origin` header, to this `Host`, may be served."""
        return self._any or self.allows_cookies(origin, host)

    def allows_cookies(self, origin: str | None, host: str | None) -> bool:
        """Whether the cookies of such a request count: not where only `*` admits it.

        A browser sends a visitor's cookies along with a WebSocket upgrade, whichever page asks for it.
        """
        if origin is None or origin in self._origins:
            return True
        return host is not None and host != "" and _host_of(origin) == host.lower()

    def headers(self, origin: str | None) -> list[tuple[str, str]]:
        """The CORS headers of an answer to an allowed `origin`."""
        if origin is None:
            return []
        if origin in self._origins:
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


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
