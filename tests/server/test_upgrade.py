"""The hand-over from uvicorn to picows: which requests become WebSockets, and how the others are refused."""

import pytest

from oyez.protocol.websocket_handshake import negotiate_deflate
from tests.server.extras import open_requests
from tests.server.serving import PATH, Running, serve
from tests.server.wire import KEY, PING, POLLING, TEXT, WEBSOCKET, PollingWire, SocketWire, Wire, encode_frame

REFUSED = [
    (f"{PATH}?EIO=4", {}, 400, "Transport unknown"),
    (f"{PATH}?EIO=4&transport=tcp", {}, 400, "Transport unknown"),
    # CVE-2023-31125: names of what every object has.
    (f"{PATH}?EIO=4&transport=constructor", {}, 400, "Transport unknown"),
    (f"{PATH}?EIO=4&transport=handlesUpgrades", {}, 400, "Transport unknown"),
    (POLLING, {}, 400, "Bad request"),
    (f"{WEBSOCKET}&sid=nobody", {}, 400, "Session ID unknown"),
    (f"{WEBSOCKET}&j=0", {}, 400, "Bad request"),
    (f"{PATH}?EIO=3&transport=websocket", {}, 400, "Unsupported protocol version"),
    (f"{PATH}?transport=websocket", {}, 400, "Unsupported protocol version"),
    (WEBSOCKET, {"Origin": "https://elsewhere.example"}, 400, "Forbidden"),
    (WEBSOCKET, {"Sec-WebSocket-Version": "8"}, 400, "Bad request"),
    (WEBSOCKET, {"Sec-WebSocket-Version": ""}, 400, "Bad request"),
    (WEBSOCKET, {"Sec-WebSocket-Key": ""}, 400, "Bad request"),
    (WEBSOCKET, {"Sec-WebSocket-Key": "short"}, 400, "Bad request"),
    (WEBSOCKET, {"Sec-WebSocket-Key": "€€€"}, 400, "Bad request"),
    (WEBSOCKET, {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAAA"}, 400, "Bad request"),
    ("/elsewhere/?EIO=4&transport=websocket", {}, 404, "There is no WebSocket at this path."),
    ("/?EIO=4&transport=websocket", {}, 404, "There is no WebSocket at this path."),
    ("?EIO=4&transport=websocket", {}, 400, None),
    ("*", {}, 404, "There is no WebSocket at this path."),
    ("//", {}, 404, "There is no WebSocket at this path."),
    ("http://[::1/socket.io/", {}, 400, None),
]


@pytest.mark.parametrize(("target", "headers", "status", "message"), REFUSED)
async def test_refused_upgrades(
    crowd: Running, target: str, headers: dict[str, str], status: int, message: str | None
) -> None:
    async with Wire.open(crowd) as wire:
        encoded = {name: value.encode().decode("latin-1") for name, value in headers.items()}
        answer = await wire.upgrade(target, encoded)
        assert answer.status == status
        if message is not None:
            assert answer.body.decode() == message
            assert answer.headers["content-type"] == "text/html"
            assert answer.headers["connection"] == "close"
        assert await wire.read_rest() == b""


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "CONNECT", "OPTIONS"])
async def test_only_a_get_upgrades(crowd: Running, method: str) -> None:
    async with Wire.open(crowd) as wire:
        target = "localhost:80" if method == "CONNECT" else WEBSOCKET
        wire.send(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )
        assert (await wire.read_answer(bodiless=True)).status == 400


async def test_a_refused_upgrade_whose_client_has_gone(crowd: Running) -> None:
    # CVE-2022-41940.
    for _ in range(20):
        async with Wire.open(crowd) as wire:
            wire.send_upgrade(f"{WEBSOCKET}&sid=nobody")
            await wire.writer.drain()
            wire.abort()


@pytest.mark.parametrize("connection", ["Upgrade", "upgrade", "keep-alive, Upgrade", "keep-alive,upgrade"])
async def test_the_connection_header_as_browsers_write_it(crowd: Running, connection: str) -> None:
    async with SocketWire.connect(crowd, headers={"Connection": connection, "Upgrade": "WebSocket"}) as wire:
        await wire.expect_echo()


async def test_the_answer_to_an_upgrade(crowd: Running) -> None:
    async with Wire.open(crowd) as wire:
        answer = await wire.upgrade()
        assert answer.status == 101
        assert answer.headers["upgrade"] == "websocket"
        assert answer.headers["connection"].lower() == "upgrade"
        # The example of RFC 6455 section 1.3.
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert "sec-websocket-extensions" not in answer.headers
        opened = await wire.read_frame()
        assert b'"upgrades":[]' in opened.payload


async def test_bytes_that_come_with_the_request_are_not_lost(crowd: Running) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_upgrade()
        wire.send(encode_frame(TEXT, b"40") + encode_frame(PING, b"with the request"))
        assert (await wire.read_answer()).status == 101
        opened, pong, entered = [await wire.read_frame() for _ in range(3)]
        assert (opened.payload[:2], pong.payload, entered.payload[:3]) == (b"0{", b"with the request", b"40{")


async def test_more_bytes_with_the_request_than_the_first_buffer_holds(crowd: Running) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_upgrade()
        filling = b"45" + b"1" * 5_000
        wire.send(b"".join(encode_frame(PING, b"%d" % number) for number in range(500)) + encode_frame(TEXT, filling))
        assert (await wire.read_answer()).status == 101
        await wire.read_frame()
        for number in range(500):
            assert (await wire.read_frame()).payload == b"%d" % number
        await wire.expect_close(1002)


async def test_requests_before_the_upgrade(crowd: Running) -> None:
    async with SocketWire.open(crowd) as wire:
        for _ in range(3):
            assert (await wire.request("GET", f"{POLLING}&sid=nobody")).status == 400
        await wire.open_session()
        await wire.enter()
        await wire.expect_echo()


async def test_an_upgrade_after_a_request_that_waits(crowd: Running) -> None:
    # Its answer must not end up between the WebSocket's frames.
    client = await PollingWire.connect(crowd)
    async with SocketWire.open(crowd) as wire:
        wire.send_request("GET", client.target)
        wire.send_upgrade()
        await open_requests(crowd, polls=1)
        await crowd.publish("hello", to=client.id)
        assert (await wire.read_answer()).body == b'42["hello"]'
        assert (await wire.read_answer()).status == 101
        await wire.read_frame()
        await wire.enter()
        await wire.expect_echo()
    await client.leave()


async def test_an_upgrade_to_something_else_is_an_ordinary_request(crowd: Running) -> None:
    async with Wire.open(crowd) as wire:
        answer = await wire.request(
            "GET", f"{POLLING}&sid=nobody", headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
        )
        assert answer.error == (400, 1)


async def test_many_values_in_headers_and_query(crowd: Running) -> None:
    # CVE-2021-32640, CVE-2024-37890: slow or fatal on headers made for it.
    headers = {f"X-{number}": "x" for number in range(500)}
    headers["Sec-WebSocket-Protocol"] = "x" + " " * 4_000 + "y"
    headers["Sec-WebSocket-Extensions"] = "permessage-deflate;" * 200
    async with SocketWire.open(crowd) as wire:
        answer = await wire.upgrade(f"{WEBSOCKET}&" + "&".join(f"t={number}" for number in range(500)), headers)
        assert answer.status == 101


async def test_what_is_kept_of_the_request(crowd: Running) -> None:
    headers = {"User-Agent": "tests", "Cookie": "access_token=1", "Authorization": "Bearer 2", "X-Other": "dropped"}
    async with SocketWire.open(crowd) as wire:
        assert (await wire.upgrade(f"{WEBSOCKET}&token=a%20b&empty=", headers)).status == 101
        await wire.read_frame()
        wire.id = await wire.enter()
        handshake = crowd.market.socket(wire.id).handshake
        assert handshake.headers == {"user-agent": "tests", "cookie": "access_token=1", "authorization": "Bearer 2"}
        assert handshake.query == {"EIO": "4", "transport": "websocket", "token": "a b", "empty": ""}
        assert (handshake.address, handshake.secure) == ("127.0.0.1", False)


async def test_a_full_server_says_so() -> None:
    limits = {"max_connections": 1}
    async with serve(limits=limits) as running, SocketWire.connect(running), Wire.open(running) as wire:
        answer = await wire.upgrade()
        assert (answer.status, answer.body) == (503, b"Too many connections")


@pytest.mark.parametrize(
    ("extensions", "accepted"),
    [
        ("", False),
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; client_max_window_bits=8", True),
        ("permessage-deflate; client_max_window_bits=7", False),
        ("permessage-deflate; client_max_window_bits=16", False),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
        ("permessage-deflate; server_no_context_takeover=1", False),
        ("permessage-deflate; server_max_window_bits=15", True),
        ('permessage-deflate; server_max_window_bits="15"', True),
        ("permessage-deflate; server_max_window_bits=12", False),
        ("permessage-deflate; server_max_window_bits", False),
        ("permessage-deflate; server_max_window_bits=12, permessage-deflate", True),
        ("permessage-deflate; unknown", False),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", False),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", False),
        ("permessage-bzip2", False),
        ("x-webkit-deflate-frame, permessage-deflate", True),
        (";;;,,,===", False),
    ],
)
def test_offers_of_compression(extensions: str, accepted: bool) -> None:
    assert (negotiate_deflate(extensions) is not None) is accepted
