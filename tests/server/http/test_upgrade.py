"""The hand-over from uvicorn to picows: which requests become WebSockets, and how the others are refused."""

from itertools import product

import pytest
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.js_client import JsDriver
from tests.support.server_steps import open_requests
from tests.support.serving import PATH, Running, serve
from tests.support.wire import KEY, PING, POLLING, TEXT, WEBSOCKET, PollingWire, SocketWire, Wire, encode_frame

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
    crowd_http: Wire, target: str, headers: dict[str, str], status: int, message: str | None
) -> None:
    encoded = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    answer = await crowd_http.upgrade(target, encoded)
    assert answer.status == status
    if message is not None:
        assert answer.body.decode() == message
        assert answer.headers["content-type"] == "text/html"
        assert answer.headers["connection"] == "close"
    assert await crowd_http.read_rest() == b""


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "CONNECT", "OPTIONS"])
async def test_only_a_get_upgrades(crowd_http: Wire, method: str) -> None:
    target = "localhost:80" if method == "CONNECT" else WEBSOCKET
    crowd_http.send(
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    assert (await crowd_http.read_answer(bodiless=True)).status == 400


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


@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [
        (["keep-alive", "Upgrade"], ["websocket"]),
        (["Upgrade", "keep-alive"], ["websocket"]),
        (["\t Upgrade \t"], ["  websocket "]),
        (["a,, Upgrade ,"], ["h2c", "WebSocket"]),
        (["upgrade"], ["websocket, h2c"]),
    ],
)
async def test_headers_that_come_several_times(crowd: Running, connection: list[str], upgrade: list[str]) -> None:
    # RFC 9110 sections 5.3 and 5.5: they are one list, and white space around a value does not count.
    lines = [f"Connection:{value}" for value in connection] + [f"Upgrade:{value}" for value in upgrade]
    lines += ["Sec-WebSocket-Version:13  ", f"Sec-WebSocket-Key:  {KEY}\t", "Host: x", "User-Agent: python-wire"]
    lines += ["Sec-WebSocket-Extensions: x-unknown", "Sec-WebSocket-Extensions: permessage-deflate"]
    lines += ["Sec-WebSocket-Protocol: one", "Sec-WebSocket-Protocol: two"]
    async with SocketWire.open(crowd) as wire:
        wire.send("\r\n".join([f"GET {WEBSOCKET} HTTP/1.1", *lines, "", ""]))
        answer = await wire.read_answer()
        assert answer.status == 101
        assert answer.headers["sec-websocket-extensions"].startswith("permessage-deflate;")
        assert answer.headers["sec-websocket-protocol"] == "one"
        await wire.read_frame()
        await wire.enter()
        await wire.expect_echo()


async def test_a_wrong_version_is_answered_with_the_right_one(crowd: Running) -> None:
    for version in ("8", "13, 8", ""):
        async with Wire.open(crowd) as wire:
            answer = await wire.upgrade(headers={"Sec-WebSocket-Version": version})
            assert (answer.status, answer.headers["sec-websocket-version"]) == (400, "13")


async def test_subprotocols_of_the_official_client(running: Running, js: JsDriver) -> None:
    # A browser, and ws in Node, close the connection if the answer names none of them.
    client = await js.connect(running.url, transports=["websocket"], protocols=["one", "two"])
    assert await client.call("echo", "hello") == "hello"
    await client.disconnect()


@pytest.mark.parametrize("offered", ["\x22one\x22", "a b", "one\xe9", ""])
async def test_a_subprotocol_that_is_none_is_not_echoed(crowd: Running, offered: str) -> None:
    async with SocketWire.open(crowd) as wire:
        answer = await wire.upgrade(headers={"Sec-WebSocket-Protocol": offered})
        assert answer.status == 101
        assert "sec-websocket-protocol" not in answer.headers


BITS: list[int | None] = [None, 9, 12, 15]


async def test_every_offer_of_compression_that_websockets_makes(crowd: Running) -> None:
    offers = product((False, True), (False, True), BITS, [*BITS[:3], True])
    for server_resets, client_resets, server_bits, client_bits in offers:
        offer = ClientPerMessageDeflateFactory(server_resets, client_resets, server_bits, client_bits)
        url = f"ws://127.0.0.1:{crowd.port}{WEBSOCKET}"
        async with websockets.connect(url, extensions=[offer], compression=None) as client:
            assert str(await client.recv()).startswith("0{")
            await client.send("40")
            assert str(await client.recv()).startswith("40{")
            await client.send('4277["echo","%s"]' % ("x" * 3_000))
            assert await client.recv() == '4377["%s"]' % ("x" * 3_000)


async def test_the_answer_to_an_upgrade(crowd_http: Wire) -> None:
    answer = await crowd_http.upgrade()
    assert answer.status == 101
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"
    # The example of RFC 6455 section 1.3.
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert "sec-websocket-extensions" not in answer.headers
    opened = await crowd_http.read_frame()
    assert b'"upgrades":[]' in opened.payload


async def test_bytes_that_come_with_the_request_are_not_lost(crowd_http: Wire) -> None:
    crowd_http.send_upgrade()
    crowd_http.send(encode_frame(TEXT, b"40") + encode_frame(PING, b"with the request"))
    assert (await crowd_http.read_answer()).status == 101
    opened, pong, entered = [await crowd_http.read_frame() for _ in range(3)]
    assert (opened.payload[:2], pong.payload, entered.payload[:3]) == (b"0{", b"with the request", b"40{")


async def test_more_bytes_with_the_request_than_the_first_buffer_holds() -> None:
    limits = {"max_unauthenticated_packets_per_second": 1_000}
    async with serve(limits=limits) as running, Wire.open(running) as wire:
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


async def test_an_upgrade_after_a_request_that_waits(crowd: Running, crowd_polling: PollingWire) -> None:
    # Its answer must not end up between the WebSocket's frames.
    async with SocketWire.open(crowd) as wire:
        wire.send_request("GET", crowd_polling.target)
        wire.send_upgrade()
        await open_requests(crowd, polls=1)
        await crowd.publish("hello", to=crowd_polling.id)
        assert (await wire.read_answer()).body == b'42["hello"]'
        assert (await wire.read_answer()).status == 101
        await wire.read_frame()
        await wire.enter()
        await wire.expect_echo()
    await crowd_polling.leave()


async def test_an_upgrade_to_something_else_is_an_ordinary_request(crowd_http: Wire) -> None:
    answer = await crowd_http.request(
        "GET", f"{POLLING}&sid=nobody", headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    )
    assert answer.error == (400, 1)


async def test_many_values_in_headers_and_query(crowd: Running) -> None:
    # CVE-2021-32640, CVE-2024-37890: slow or fatal on headers made for it.
    headers = {f"X-{number}": "x" for number in range(100)}
    headers["Sec-WebSocket-Protocol"] = "x" + " " * 4_000 + "y"
    headers["Sec-WebSocket-Extensions"] = "permessage-deflate;" * 200
    async with SocketWire.open(crowd) as wire:
        answer = await wire.upgrade(f"{WEBSOCKET}&" + "&".join(f"t={number}" for number in range(100)), headers)
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
