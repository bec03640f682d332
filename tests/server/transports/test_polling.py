"""Long-polling: the statuses and bodies of the official server, and what clients may not do."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
import socketio

from oyez.log.log import Entry
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from tests.support.clock import PATIENCE, Clock
from tests.support.js_client import JsDriver
from tests.support.serving import PATH, Running, serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import POLLING, WEBSOCKET, PollingWire, SocketWire, Wire

UNKNOWN_TRANSPORT, UNKNOWN_SESSION, BAD_METHOD, BAD_REQUEST, UNSUPPORTED_VERSION = 0, 1, 2, 3, 5

REFUSED_BODY = (
    '42["error",{"code":"too_large","message":"The request was refused: a body over 1000000 bytes.","details":{}}]'
)

REFUSED = [
    ("GET", f"{PATH}?EIO=4", UNKNOWN_TRANSPORT),
    ("GET", f"{PATH}?EIO=4&transport=tcp", UNKNOWN_TRANSPORT),
    ("GET", f"{PATH}?EIO=4&transport=", UNKNOWN_TRANSPORT),
    # CVE-2023-31125: names of what every object has.
    ("GET", f"{PATH}?EIO=4&transport=constructor", UNKNOWN_TRANSPORT),
    ("GET", f"{PATH}?EIO=4&transport=__proto__", UNKNOWN_TRANSPORT),
    ("GET", f"{PATH}?EIO=4&transport=webtransport", UNKNOWN_TRANSPORT),
    ("GET", f"{POLLING}&sid=nobody", UNKNOWN_SESSION),
    ("POST", f"{POLLING}&sid=nobody", UNKNOWN_SESSION),
    ("POST", POLLING, BAD_METHOD),
    ("POST", f"{POLLING}&sid=", BAD_METHOD),
    ("PUT", POLLING, BAD_METHOD),
    ("PATCH", POLLING, BAD_METHOD),
    ("DELETE", POLLING, BAD_METHOD),
    ("OPTIONS", POLLING, BAD_METHOD),
    ("GET", f"{PATH}?EIO=4&transport=websocket", BAD_REQUEST),
    ("GET", f"{PATH}?EIO=4&transport=websocket&sid=nobody", UNKNOWN_SESSION),
    # JSONP.
    ("GET", f"{POLLING}&j=0", BAD_REQUEST),
    ("GET", f"{PATH}?EIO=3&transport=polling", UNSUPPORTED_VERSION),
    ("GET", f"{PATH}?transport=polling", UNSUPPORTED_VERSION),
    ("GET", f"{PATH}?EIO=4.0&transport=polling", UNSUPPORTED_VERSION),
]


@pytest.mark.parametrize(("method", "target", "code"), REFUSED)
async def test_refused_requests(crowd_http: Wire, method: str, target: str, code: int) -> None:
    answer = await crowd_http.request(method, target)
    assert answer.headers["content-type"] == "application/json"
    assert answer.error == (400, code)
    assert set(json.loads(answer.body)) == {"code", "message"}


async def test_a_head_is_no_handshake(crowd_http: Wire) -> None:
    answer = await crowd_http.request("HEAD", POLLING)
    assert (answer.status, answer.body) == (400, b"")


async def test_an_empty_session_id_counts_as_none(running: Running) -> None:
    # What clients in Go send.
    client = PollingWire(running)
    answer = await client.request("GET", f"{POLLING}&sid=")
    assert json.loads(answer.body[1:])["upgrades"] == ["websocket"]
    async with SocketWire.open(running) as wire:
        assert (await wire.upgrade(f"{WEBSOCKET}&sid=")).status == 101
        assert (await wire.read_frame()).payload.startswith(b"0{")
        await wire.enter()
        await wire.expect_echo()


@pytest.mark.parametrize("text", ["AAEC\nAwQF\r\n", "AAECAwQF", "AA EC\tAwQF"])
async def test_line_breaks_in_base64(polling: PollingWire, text: str) -> None:
    # socket.io-client-java breaks lines after 76 characters and after the last one.
    await polling.post(f'451-5["echo",{{"_placeholder":true,"num":0}}]\x1eb{text}')
    assert await polling.get() == '461-5[{"_placeholder":true,"num":0}]\x1ebAAECAwQF'


async def test_the_open_packet(running: Running) -> None:
    client = PollingWire(running)
    opened = await client.open_session()
    assert len(opened.pop("sid")) == 26
    assert opened == {"upgrades": ["websocket"], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000_000}


async def test_a_session_id_is_not_a_socket_id(polling: PollingWire) -> None:
    assert len(polling.id) == 20
    assert polling.id != polling.sid


async def test_bodies_and_headers(polling: PollingWire) -> None:
    posted = await polling.request("POST", body=b'421["echo",1]')
    assert (posted.status, posted.body) == (200, b"ok")
    assert posted.headers["content-type"].startswith("text/html")
    assert posted.headers["cache-control"] == "no-store"
    fetched = await polling.request("GET")
    assert (fetched.status, fetched.body) == (200, b"431[1]")
    assert fetched.headers["content-type"] == "text/plain; charset=UTF-8"
    assert fetched.headers["cache-control"] == "no-store"


async def test_packets_share_a_body_in_both_directions(polling: PollingWire) -> None:
    await polling.post('421["echo","€"]\x1e422["echo"]\x1e3\x1e423["echo",3]'.encode())
    assert await polling.get() == '431["€"]\x1e432[]\x1e433[3]'


async def test_a_body_in_chunks(running: Running, polling: PollingWire) -> None:
    async with Wire.open(running) as wire:
        wire.send_request("POST", polling.target, headers={"Transfer-Encoding": "chunked"})
        for chunk in ('421["ec', 'ho",1]'):
            wire.send(f"{len(chunk):x}\r\n{chunk}\r\n")
        wire.send("0\r\n\r\n")
        assert (await wire.read_answer()).body == b"ok"
    assert await polling.get() == "431[1]"


async def test_a_get_waits_for_something_to_say(running: Running) -> None:
    client = await PollingWire.connect(running, {"rooms": ["a"]})
    async with Wire.open(running) as wire:
        wire.send_request("GET", client.target)
        await client.post('42["first"]')
        await running.publish("hello", to="a")
        assert (await wire.read_answer()).body == b'42["hello"]'


async def test_one_connection_serves_one_request_after_the_other(running: Running, polling: PollingWire) -> None:
    async with Wire.open(running) as wire:
        for number in range(20):
            assert (await wire.request("POST", polling.target, b'421["echo",%d]' % number)).body == b"ok"
            assert (await wire.request("GET", polling.target)).body == b"431[%d]" % number


# What ends a session.


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_second_get_ends_the_session(crowd: Running, crowd_polling: PollingWire, at_once: bool) -> None:
    async with Wire.open(crowd) as one, Wire.open(crowd) as other:
        one.send_request("GET", crowd_polling.target)
        if not at_once:
            # The POST is answered after it.
            await crowd_polling.post("3")
        other.send_request("GET", crowd_polling.target)
        answers = sorted([await one.read_answer(), await other.read_answer()])
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"1"), (400, b"")]
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport error"
    assert (await crowd_polling.request("GET")).error == (400, UNKNOWN_SESSION)


async def test_a_second_post_ends_the_session(crowd: Running, crowd_polling: PollingWire) -> None:
    async with Wire.open(crowd) as one, Wire.open(crowd) as other:
        one.send_request("POST", crowd_polling.target, headers={"Content-Length": "10"})
        one.send('42["')
        await one.writer.drain()
        # A request of its own: by its answer the first one has been read.
        await crowd_polling.request("PUT")
        answer = await other.request("POST", crowd_polling.target, b'42["b"]')
        assert (answer.status, answer.body) == (400, b"")
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport error"


async def test_an_aborted_get_ends_the_session_at_once(
    crowd: Running, crowd_http: Wire, crowd_polling: PollingWire
) -> None:
    crowd_http.send_request("GET", crowd_polling.target)
    await crowd_polling.post("3")
    crowd_http.abort()
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport close"


async def test_an_aborted_post_ends_the_session(crowd: Running, crowd_http: Wire, crowd_polling: PollingWire) -> None:
    crowd_http.send_request("POST", crowd_polling.target, headers={"Content-Length": "100"})
    crowd_http.send("42")
    await crowd_http.writer.drain()
    await crowd_polling.request("PUT")
    crowd_http.abort()
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport error"


async def test_a_body_of_any_type_is_text(crowd: Running, crowd_polling: PollingWire) -> None:
    # python-engineio before 4.3 calls its payloads binary.
    octets = {"Content-Type": "application/octet-stream"}
    assert (await crowd_polling.request("POST", body=b'421["echo",1]', headers=octets)).body == b"ok"
    assert await crowd_polling.get() == "431[1]"
    assert (await crowd_polling.request("POST", body=b"4\xff", headers=octets)).status == 400
    assert await crowd.market.expect_gone(crowd_polling.id) == "parse error"


async def test_more_packets_in_a_body_than_are_allowed_end_the_session(
    crowd: Running, crowd_polling: PollingWire, caplog: pytest.LogCaptureFixture
) -> None:
    # CVE-2020-36049.
    await crowd_polling.post("\x1e".join(["3"] * 10_000))
    await crowd_polling.expect_echo()
    await crowd_polling.post("\x1e".join(["3"] * 10_001))
    message = "The connection was closed: payload: more than 10000 packets."
    assert json.loads((await crowd_polling.get())[2:])[1]["message"] == message
    assert await crowd.market.expect_gone(crowd_polling.id) == "forced close"
    assert (await crowd_polling.request("GET")).error == (400, UNKNOWN_SESSION)
    assert "payload: more than 10000 packets" in caplog.text


@pytest.mark.parametrize(
    "body",
    [b"abc", b"\x1e" * 1_000, b'42["\xff"]', b"\x04\x00"],
    ids=["unknown type", "separators", "no UTF-8", "binary"],
)
async def test_a_body_that_is_no_payload_is_answered_400_and_ends_the_session(
    crowd: Running, crowd_polling: PollingWire, body: bytes
) -> None:
    assert (await crowd_polling.request("POST", body=body)).error == (400, engineio.BAD_REQUEST.code)
    assert await crowd.market.expect_gone(crowd_polling.id) == "parse error"
    assert (await crowd_polling.request("GET")).error == (400, UNKNOWN_SESSION)


async def test_a_close_packet_ends_the_session(crowd: Running, crowd_polling: PollingWire) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_request("GET", crowd_polling.target)
        await crowd_polling.post("1")
        assert (await wire.read_answer()).body == b"6"
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport close"
    assert (await crowd_polling.request("GET")).error == (400, UNKNOWN_SESSION)


async def test_a_close_by_the_server_waits_for_the_next_get(running: Running, polling: PollingWire) -> None:
    await polling.post('42["before"]')
    running.market.socket(polling.id).send(b'["last words"]')
    running.market.socket(polling.id).disconnect(close=True)
    assert (await polling.request("POST", body=b"3")).error == (400, UNKNOWN_SESSION)
    assert await polling.get() == '42["last words"]\x1e41'
    assert await polling.get() == "1"
    assert (await polling.request("GET")).error == (400, UNKNOWN_SESSION)


ENDS_AT_ONCE = [engineio.PING_TIMEOUT, engineio.PARSE_ERROR, engineio.TRANSPORT_CLOSE]
ENDS_WITH_LAST_WORDS = [engineio.SERVER_SHUTDOWN, engineio.TOKEN_EXPIRED, engineio.RATE_LIMIT, engineio.FORCED_CLOSE]


@pytest.mark.parametrize("reason", [*ENDS_AT_ONCE, *ENDS_WITH_LAST_WORDS], ids=lambda reason: reason.text)
async def test_after_the_end_a_session_is_unknown(
    crowd: Running, crowd_polling: PollingWire, reason: CloseReason
) -> None:
    socket = crowd.market.socket(crowd_polling.id)
    socket.send(b'["last words"]')
    socket.connection.close(reason)
    if reason in ENDS_WITH_LAST_WORDS:
        assert await crowd_polling.get() == '42["last words"]'
    # A close packet would be final for python-socketio, which reconnects after an error status, like all clients.
    assert (await crowd_polling.request("GET")).error == (400, UNKNOWN_SESSION)
    assert crowd.server.registry.find(crowd_polling.sid) is None


@pytest.mark.parametrize("reason", [engineio.SERVER_SHUTDOWN, engineio.PING_TIMEOUT, engineio.TOKEN_EXPIRED])
async def test_clients_come_back_over_polling(own: Running, js: JsDriver, reason: CloseReason) -> None:
    python = socketio.AsyncClient(reconnection_delay=0.01, randomization_factor=0)
    await python.connect(own.url, transports=["polling"])
    javascript = await js.connect(own.url, transports=["polling"], reconnection=True, reconnectionDelay=10)
    for socket in tuple(own.market.sockets):
        socket.connection.close(reason)
    await own.market.until(lambda: len(own.market.sockets) == 2)
    assert await javascript.call("echo", "back") == "back"
    await turn_until(lambda: python.connected)
    assert await python.call("echo", "back") == "back"
    await python.disconnect()
    await javascript.disconnect()


async def test_a_closed_session_is_kept_for_half_a_minute() -> None:
    async with serve(clock=Clock(), limits={"max_connections_per_address": 2}) as running:
        early, late = [await PollingWire.connect(running) for _ in range(2)]
        for client in (early, late):
            running.market.socket(client.id).disconnect(close=True)
        assert (await PollingWire(running).request("GET", POLLING)).status == 503
        running.pass_time(28.0)
        assert [await early.get() for _ in range(2)] == ["41", "1"]
        running.pass_time(3.0)
        assert (await late.request("GET")).error == (400, UNKNOWN_SESSION)
        for _ in range(2):
            await PollingWire.connect(running)


# What does not.


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH"])
async def test_other_methods_leave_the_session_alone(polling: PollingWire, method: str) -> None:
    assert (await polling.request(method)).status == 400
    await polling.expect_echo()


@pytest.mark.parametrize("query", ["&EIO=3", "&j=1", "&transport=websocket"])
async def test_bad_requests_leave_the_session_alone(polling: PollingWire, query: str) -> None:
    assert (await polling.request("GET", polling.target + query)).error == (400, BAD_REQUEST)
    await polling.expect_echo()


async def test_a_body_as_long_as_is_allowed(polling: PollingWire) -> None:
    filling = "x" * (1_000_000 - len('421["echo",""]'))
    await polling.post(f'421["echo","{filling}"]')
    assert await polling.get() == f'431["{filling}"]'


@pytest.mark.parametrize("length", [1_000_001, 3_000_000])
async def test_a_body_that_is_too_long_is_refused(
    polling: PollingWire, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    # CVE-2020-36048.
    assert (await polling.request("POST", body=b"4" * length)).status == 413
    assert await polling.get() == REFUSED_BODY
    await polling.expect_echo()
    assert caplog.text.count("a request is refused because of what the client sent") == 1


async def test_the_explanation_of_a_refused_body_comes_before_its_status(running: Running, spawn: Spawn) -> None:
    client = await PollingWire.connect(running)
    async with Wire.open(running) as polling, Wire.open(running) as posting:
        polling.send_request("GET", client.target)
        await client.post("3")
        posting.send_request("POST", client.target, headers={"Content-Length": "1000001"})
        posting.send(b"4" * 1_000_001)
        assert (await polling.read_answer()).body.decode() == REFUSED_BODY
        answer = spawn(posting.read_answer())
        # A client that polls again has received the event: the answer waits for that.
        await client.request("PUT")
        assert not answer.done()
        polling.send_request("GET", client.target)
        assert (await answer).status == 413
        await client.post('421["echo",1]')
        assert (await polling.read_answer()).body == b"431[1]"


async def test_a_javascript_client_that_sends_too_much_is_notified_and_comes_back(own: Running, js: JsDriver) -> None:
    client = await js.connect(own.url, transports=["polling"], reconnection=True, reconnectionDelay=10)
    await client.emit("long", "x" * 1_100_000)
    assert (await client.expect_event("error"))[0]["code"] == "too_large"
    assert (await client.expect("disconnect"))["reason"] == "transport error"
    await client.expect("connect")
    assert await client.call("echo", "back") == "back"
    await client.disconnect()


async def test_a_javascript_client_receives_a_message_of_any_length_over_polling(own: Running, js: JsDriver) -> None:
    client = await js.connect(own.url, transports=["polling"])
    for length in (1_500_000, 9_000_000, 1):
        next(iter(own.market.sockets)).send(b'["long","%b"]' % (b"x" * length))
        assert len((await client.expect_event("long"))[0]) == length
    assert await client.call("echo", "still here") == "still here"
    await client.disconnect()


async def test_a_body_in_chunks_that_is_too_long_is_refused(running: Running, polling: PollingWire) -> None:
    async with Wire.open(running) as wire:
        wire.send_request("POST", polling.target, headers={"Transfer-Encoding": "chunked"})
        for _ in range(11):
            wire.send(b"186a0\r\n" + b"4" * 100_000 + b"\r\n")
        wire.send("0\r\n\r\n")
        assert (await wire.read_answer()).status == 413
    assert await polling.get() == REFUSED_BODY
    await polling.expect_echo()


# Clients that are slow.


async def test_a_body_that_never_ends() -> None:
    async with serve(limits={"body_timeout": 0.1}) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running) as wire:
            wire.send_request("POST", client.target, headers={"Content-Length": "100"})
            wire.send("42")
            assert (await wire.read_answer()).status == 408
        assert await running.market.expect_gone(client.id) == "transport error"


@pytest.mark.parametrize("name", ["small", "too long"])
async def test_a_body_that_continues_after_its_answer(name: str) -> None:
    async with serve(limits={"body_timeout": 0.1, "header_timeout": 0.1}) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running) as wire:
            # The second POST at a time is answered at once.
            async with Wire.open(running) as first:
                first.send_request("POST", client.target, headers={"Content-Length": "10"})
                await turn_until(lambda: any(each.post_open for each in running.polling))
                wire.send_request("POST", client.target, headers={"Content-Length": "9000000"})
                assert (await wire.read_answer()).status == 400
            if name == "too long":
                wire.send(b"x" * 2_000_000)
            assert await wire.read_rest() == b""


@pytest.fixture
async def narrow(kind: str) -> AsyncIterator[Running]:
    async with serve(kind, limits={"max_polling_buffer": 100_000}) as running:
        yield running


async def test_a_client_that_does_not_fetch_is_closed(narrow: Running) -> None:
    client = await PollingWire.connect(narrow)
    for _ in range(28):
        await narrow.publish("filling", "x" * 30_000, to=client.id)
    assert await narrow.market.expect_gone(client.id) == "slow consumer"
    assert (await client.request("GET")).error == (400, UNKNOWN_SESSION)


async def test_a_client_that_has_not_fetched_for_a_while_is_closed_earlier(kind: str) -> None:
    async with serve(kind, clock=Clock(), limits={"max_polling_buffer": 100_000}) as running:
        client = await PollingWire.connect(running)
        socket = running.market.socket(client.id)
        for _ in range(4):
            socket.send(b'["filling","%b"]' % (b"x" * 30_000))
        running.pass_time(1.0)
        socket.send(b'["too much"]')
        assert await running.market.expect_gone(client.id) == "slow consumer"


async def test_one_message_may_be_longer_than_all_that_may_wait(narrow: Running) -> None:
    client = await PollingWire.connect(narrow, {"rooms": ["a"]})
    socket = narrow.market.socket(client.id)
    for _ in range(3):
        socket.send(b'["first"]')
        socket.send(b'["long","%b"]' % (b"x" * 1_500_000))
        assert await client.get() == f'42["first"]\x1e42["long","{"x" * 1_500_000}"]'
    await client.expect_echo()


@pytest.mark.parametrize("event", ["echo", "echo later"])
async def test_a_burst_of_commands_is_answered(own: Running, js: JsDriver, event: str) -> None:
    client = await js.connect(own.url, transports=["polling"])
    assert await client.burst(event, count=700, size=3_000) == 700
    await client.disconnect()


async def test_a_burst_of_events_is_received(own: Running, js: JsDriver) -> None:
    client = await js.connect(own.url, transports=["polling"], auth={"rooms": ["a"]})
    entries = [Entry(namespace="/", rooms=("a",), data=b'["new",%d,"%b"]' % (n, b"x" * 3_000)) for n in range(700)]
    await own.log.append(entries)
    for number in range(700):
        assert (await client.expect_event("new"))[0] == number
    await client.disconnect()


async def test_a_client_that_sends_much_before_it_fetches(narrow: Running) -> None:
    client = await PollingWire.connect(narrow)
    async with Wire.open(narrow) as wire:
        body = "\x1e".join(f'42{number}["echo","{"x" * 3_000}"]' for number in range(30))
        answers = [f'43{number}["{"x" * 3_000}"]' for number in range(30)]
        # 90 KB of answers: the request is delayed for a while, and answered although the client does not poll.
        assert (await wire.request("POST", client.target, body.encode())).body == b"ok"
        assert await client.get() == "\x1e".join(answers)


async def test_volatile_events_are_dropped_for_a_client_that_does_not_fetch(narrow: Running) -> None:
    client = await PollingWire.connect(narrow)
    for number in range(10):
        await narrow.publish("volatile", number, "x" * 30_000, to=client.id, volatile=True)
    await narrow.publish("last", to=client.id)
    assert await client.get() == f'42["volatile",0,"{"x" * 30_000}"]\x1e42["last"]'


# Compression.


@pytest.mark.parametrize("accepted", ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8"])
async def test_long_answers_are_compressed(polling: PollingWire, accepted: str) -> None:
    await polling.post(f'421["echo","{"x" * 2_000}"]')
    answer = await polling.request("GET", headers={"Accept-Encoding": accepted})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 200
    assert gzip.decompress(answer.body).decode() == f'431["{"x" * 2_000}"]'


@pytest.mark.parametrize(
    ("accepted", "length"), [("gzip", 1_000), ("identity", 2_000), ("", 2_000), ("gzip;q=0", 2_000)]
)
async def test_answers_that_are_not_compressed(polling: PollingWire, accepted: str, length: int) -> None:
    await polling.post(f'421["echo","{"x" * length}"]')
    answer = await polling.request("GET", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.body.decode() == f'431["{"x" * length}"]'


async def test_compression_can_be_turned_off(kind: str) -> None:
    async with serve(kind, compression_threshold=0) as running:
        client = await PollingWire.connect(running)
        await client.post(f'421["echo","{"x" * 2_000}"]')
        answer = await client.request("GET", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers


async def test_polls_that_wait_when_the_server_stops() -> None:
    async with serve() as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running) as wire:
            wire.send_request("GET", client.target)
            await client.post("3")
            stopping = running.stop()
            # Not a close packet, which is final for python-socketio.
            assert (await wire.read_answer()).error == (400, UNKNOWN_SESSION)
            async with asyncio.timeout(PATIENCE):
                await stopping
