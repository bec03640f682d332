"""Which web pages may talk to the server: the rule alone, and live over polling and upgrades of both kinds."""

import pytest

from oyez.server.http.origin import OriginPolicy
from oyez.settings import Settings
from tests.support.serving import Running, serve
from tests.support.wire import POLLING, WEBSOCKET, PollingWire, SocketWire, Wire

HOST = "shop.example:8080"
SAME, LISTED, OTHER = "https://shop.example:8080", "https://listed.example", "https://other.example"

# The rule.

NONE, ONE, ANY, BOTH, PATTERN = "", f"{LISTED}/", "*", f"{LISTED}, *", "https://*.pr.example"


@pytest.mark.parametrize(
    ("listed", "origin", "host", "allowed", "cookies"),
    [
        # A program that is no browser.
        (NONE, None, HOST, True, True),
        (NONE, None, None, True, True),
        (ANY, None, HOST, True, True),
        (NONE, SAME, HOST, True, True),
        (NONE, "http://shop.example:8080", HOST, False, False),
        (NONE, "https://SHOP.example:8080", HOST, True, True),
        (NONE, SAME, "Shop.Example:8080", True, True),
        (NONE, "https://shop.example", HOST, False, False),
        (NONE, "https://shop.example:8081", HOST, False, False),
        (NONE, "https://shop.example:8080.evil.example", HOST, False, False),
        (NONE, "https://evil-shop.example:8080", HOST, False, False),
        (NONE, "https://shop.example:8080@evil.example", HOST, False, False),
        (NONE, "https://evil.example/shop.example:8080", HOST, False, False),
        (NONE, SAME, None, False, False),
        (NONE, SAME, "", False, False),
        (NONE, OTHER, HOST, False, False),
        # A page from a file or a sandbox, and things no browser sends.
        (NONE, "null", HOST, False, False),
        (NONE, "null", "", False, False),
        (NONE, "", HOST, False, False),
        (NONE, "https://[::1", HOST, False, False),
        (NONE, HOST, HOST, False, False),
        (ONE, LISTED, HOST, True, True),
        (ONE, SAME, HOST, True, True),
        (ONE, "http://listed.example", HOST, False, False),
        (ONE, "https://listed.example:8443", HOST, False, False),
        (ONE, "https://sub.listed.example", HOST, False, False),
        (ONE, "https://listed.example.evil.example", HOST, False, False),
        # What programs send: path and query, which do not count, and the scheme of the WebSocket.
        (ONE, f"{LISTED}/", HOST, True, True),
        (ONE, f"{LISTED}/live?token=secret", HOST, True, True),
        (ONE, "wss://listed.example", HOST, True, True),
        (ONE, "ws://listed.example", HOST, False, False),
        (NONE, "wss://shop.example:8080", HOST, True, True),
        (NONE, f"{SAME}?token=secret", HOST, True, True),
        (NONE, f"{SAME}#there", HOST, True, True),
        (NONE, "https://evil.example?https://shop.example:8080", HOST, False, False),
        (NONE, "https://evil.example\\@shop.example:8080", HOST, False, False),
        (NONE, "https://a@shop.example:8080", HOST, False, False),
        (ONE, OTHER, HOST, False, False),
        (ONE, "*", HOST, False, False),
        (ANY, OTHER, HOST, True, False),
        (ANY, "null", HOST, True, False),
        (ANY, "*", HOST, True, False),
        (ANY, SAME, HOST, True, True),
        # As operators write it; browsers use lower case and leave a usual port out.
        ("https://Listed.example", LISTED, HOST, True, True),
        (f"{LISTED}:443", LISTED, HOST, True, True),
        (f"{LISTED}:8443", LISTED, HOST, False, False),
        ("http://listed.example:443", LISTED, HOST, False, False),
        (PATTERN, "https://12.pr.example", HOST, True, True),
        (PATTERN, "https://A.b.PR.example:443", HOST, True, True),
        (PATTERN, "https://pr.example", HOST, False, False),
        (PATTERN, "https://evilpr.example", HOST, False, False),
        (PATTERN, "https://.pr.example", HOST, False, False),
        (PATTERN, "https://a..pr.example", HOST, False, False),
        (PATTERN, "https://a.pr.example.evil.example", HOST, False, False),
        (PATTERN, "https://evil.example/.pr.example", HOST, False, False),
        (PATTERN, "https://evil.example#.pr.example", HOST, False, False),
        (PATTERN, "https://evil@a.pr.example", HOST, False, False),
        (PATTERN, "https://a.prxexample", HOST, False, False),
        (PATTERN, "http://12.pr.example", HOST, False, False),
        (PATTERN, "https://12.pr.example:8443", HOST, False, False),
        (f"{PATTERN}:8443", "https://12.pr.example:8443", HOST, True, True),
        (BOTH, LISTED, HOST, True, True),
        (BOTH, OTHER, HOST, True, False),
        (BOTH, SAME, HOST, True, True),
    ],
)
def test_the_rule(listed: str, origin: str | None, host: str | None, allowed: bool, cookies: bool) -> None:
    policy = OriginPolicy(Settings(client_origin=listed).origins)
    assert policy.allows(origin, host, secure=True) is allowed
    assert policy.allows_cookies(origin, host, secure=True) is cookies


@pytest.mark.parametrize(
    ("origin", "host", "secure", "allowed"),
    [
        ("https://shop.example", "shop.example", True, True),
        ("http://shop.example", "shop.example", False, True),
        # An attacker on the network can forge a page of http://, but none of https://.
        ("http://shop.example", "shop.example", True, False),
        # A proxy in front may have ended TLS.
        ("https://shop.example", "shop.example", False, True),
        ("wss://shop.example", "shop.example", False, True),
        ("ws://shop.example", "shop.example", False, True),
        ("ws://shop.example", "shop.example", True, False),
        ("https://other.example", "shop.example", False, False),
        # The scheme's default port may be given or left out.
        ("https://shop.example", "shop.example:443", True, True),
        ("https://shop.example:443", "shop.example", True, True),
        ("http://shop.example", "shop.example:80", False, True),
        ("http://shop.example", "shop.example:443", False, False),
        ("http://shop.example:443", "shop.example", True, False),
        ("https://shop.example:80", "shop.example", True, False),
        ("http://[::1]:5001", "[::1]:5001", False, True),
        ("http://[::1]", "[::1]:80", False, True),
        ("http://[::80]", "[::]", False, False),
        ("ftp://shop.example", "shop.example", False, False),
    ],
)
def test_the_same_origin_is_scheme_host_and_port(origin: str, host: str, secure: bool, allowed: bool) -> None:
    policy = OriginPolicy(frozenset())
    assert policy.allows(origin, host, secure=secure) is allowed
    assert policy.allows_cookies(origin, host, secure=secure) is allowed


def test_an_empty_host_is_no_origin() -> None:
    # `null` and such have no host either.
    for origin in ("null", "", "file://", "https://"):
        assert not OriginPolicy(frozenset()).allows(origin, "", secure=True)


@pytest.mark.parametrize("listed", [NONE, ONE, ANY, BOTH])
def test_without_an_origin_there_are_no_headers(listed: str) -> None:
    policy = OriginPolicy(Settings(client_origin=listed).origins)
    assert policy.headers(None) == []
    assert policy.preflight_headers(None, "x-custom") == []


def test_headers_never_combine_any_page_with_credentials() -> None:
    for listed in (NONE, ONE, ANY, BOTH):
        policy = OriginPolicy(Settings(client_origin=listed).origins)
        for origin in (SAME, LISTED, OTHER, "null", "*"):
            headers = dict(policy.headers(origin))
            if "access-control-allow-credentials" in headers:
                assert (origin, headers["access-control-allow-origin"]) == (LISTED, LISTED)


@pytest.mark.parametrize("listed", [ONE, BOTH, "HTTPS://Listed.example:443"])
def test_a_listed_page_is_answered_by_name(listed: str) -> None:
    policy = OriginPolicy(Settings(client_origin=listed).origins)
    assert dict(policy.headers(LISTED)) == {
        "access-control-allow-origin": LISTED,
        "access-control-allow-credentials": "true",
        "vary": "Origin",
    }


# Live.


async def ask(running: Running, origin: str | None) -> tuple[int, int, str | None]:
    """The statuses of a polling handshake and of an upgrade, and what CORS allows."""
    headers = {"Origin": origin} if origin is not None else {}
    async with Wire.open(running) as polling, Wire.open(running) as websocket:
        answer = await polling.request("GET", POLLING, headers=headers)
        upgraded = await websocket.upgrade(headers=headers)
        return answer.status, upgraded.status, answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize(
    ("listed", "origin", "allowed", "named"),
    [
        (NONE, None, True, None),
        (NONE, "http://localhost", True, None),
        # Port 443, because `Host` names no other one, through a proxy that ends TLS.
        (NONE, "https://localhost", True, None),
        (NONE, "wss://localhost/socket.io/?token=secret", True, None),
        (NONE, OTHER, False, None),
        (NONE, "null", False, None),
        (ONE, LISTED, True, LISTED),
        (ONE, OTHER, False, None),
        (ANY, OTHER, True, "*"),
        (ANY, None, True, None),
    ],
)
async def test_pages_that_may_connect(
    kind: str, listed: str, origin: str | None, allowed: bool, named: str | None
) -> None:
    async with serve(kind, client_origin=listed) as running:
        refused = 400 if kind == "picows" else 403
        assert await ask(running, origin) == ((200, 101, named) if allowed else (403, refused, None))


async def test_a_page_that_may_not_connect_cannot_use_a_session_it_knows_of(
    running: Running, polling: PollingWire
) -> None:
    for method, body in (("GET", None), ("POST", b"41"), ("OPTIONS", None)):
        assert (await polling.request(method, body=body, headers={"Origin": OTHER})).error == (403, 4)
    async with Wire.open(running) as wire:
        refused = await wire.upgrade(f"{WEBSOCKET}&sid={polling.sid}", {"Origin": OTHER})
        assert refused.status in (400, 403)
    await polling.expect_echo()


async def test_a_page_of_a_pattern_is_answered_by_name(kind: str) -> None:
    page = "https://12.pr.example"
    async with serve(kind, client_origin=PATTERN) as running, Wire.open(running) as wire:
        answer = await wire.request("GET", POLLING, headers={"Origin": page})
        assert answer.headers["access-control-allow-origin"] == page
        assert answer.headers["access-control-allow-credentials"] == "true"


async def test_a_refused_origin_is_logged_without_path_and_query(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(kind) as running:
        for _ in range(2):
            assert (await ask(running, f"{OTHER}/page?token=secret#secret"))[0] == 403
    assert caplog.text.count(OTHER) == 1
    assert "secret" not in caplog.text


async def test_preflight(kind: str) -> None:
    asked = {"Origin": LISTED, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a,x-b"}
    async with serve(kind, client_origin=LISTED) as running, Wire.open(running) as wire:
        answer = await wire.request("OPTIONS", POLLING, headers=asked)
        assert (answer.status, answer.body) == (204, b"")
        allowed = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
        assert allowed == {
            "access-control-allow-origin": LISTED,
            "access-control-allow-credentials": "true",
            "access-control-allow-methods": "GET,POST",
            "access-control-allow-headers": "x-a,x-b",
            "access-control-max-age": "600",
        }
        assert answer.headers["vary"] == "Origin"
        assert (await wire.request("OPTIONS", POLLING, headers={**asked, "Origin": OTHER})).error == (403, 4)
        # The page of the same host needs no permission, and a program does not ask.
        assert (await wire.request("OPTIONS", POLLING, headers={"Origin": "http://localhost"})).error == (400, 2)
        assert (await wire.request("OPTIONS", POLLING)).error == (400, 2)


async def test_errors_can_be_read_by_a_listed_page(kind: str) -> None:
    async with serve(kind, client_origin=LISTED) as running, Wire.open(running) as wire:
        answer = await wire.request("GET", f"{POLLING}&sid=nobody", headers={"Origin": LISTED})
        assert answer.error == (400, 1)
        assert answer.headers["access-control-allow-origin"] == LISTED


@pytest.mark.parametrize(
    ("listed", "origin", "counted"),
    [
        (NONE, None, True),
        (NONE, "http://localhost", True),
        (ONE, LISTED, True),
        (ANY, "http://localhost", True),
        (ANY, OTHER, False),
        (BOTH, OTHER, False),
        (BOTH, LISTED, True),
    ],
)
async def test_cookies_count_where_more_than_any_page_is_admitted(
    kind: str, listed: str, origin: str | None, counted: bool
) -> None:
    headers = {"Cookie": "access_token=secret", "Authorization": "Bearer token", "User-Agent": "browser"}
    if origin is not None:
        headers["Origin"] = origin
    async with serve(kind, client_origin=listed) as running, SocketWire.connect(running, headers=headers) as wire:
        client = await PollingWire.connect(running, None, **headers)
        for socket_id in (wire.id, client.id):
            kept = running.market.socket(socket_id).handshake.headers
            assert kept.get("cookie") == ("access_token=secret" if counted else None)
            assert (kept["authorization"], kept["user-agent"]) == ("Bearer token", "browser")
            assert kept.get("origin") == origin
