"""Requests of a page on this machine: the only ones for which a server in development makes tokens.

A token that anybody may ask for is a hole, so a request must prove that it comes from a browser on the same machine,
which shows a page of this server.
"""

from ipaddress import ip_address

from starlette.requests import Request

from oyez.errors import FORBIDDEN, RefusedError

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of proxies and tunnels: behind one, requests of other machines come from this machine too."""
REMEDY = "Make it in a terminal with `oyez token`."


def check_local(request: Request) -> None:
    """Raises RefusedError (forbidden) unless a page of this server on this machine has sent the request."""
    headers = request.headers
    if request.client is None or not is_loopback(request.client.host):
        raise RefusedError(FORBIDDEN, f"Tokens are made only for this machine itself. {REMEDY}")
    if any(name in headers for name in FORWARDED):
        raise RefusedError(FORBIDDEN, f"Tokens are not made through a proxy. {REMEDY}")
    # A page of another site can have its name resolved to 127.0.0.1 (DNS rebinding). It cannot choose this header.
    if not is_loopback(request.url.hostname or ""):
        raise RefusedError(FORBIDDEN, f"Open the page at http://127.0.0.1, not at another name. {REMEDY}")
    own = f"{request.url.scheme}://{headers.get('host', '')}"
    if headers.get("origin") != own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise RefusedError(FORBIDDEN, f"Tokens are made only for this server's own page. {REMEDY}")


def is_loopback(host: str) -> bool:
    """True if `host` names this machine whatever a name server answers."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
