"""Clients that are cut off for what they sent are notified of it, and the log reports it at a limited rate."""

import json
from typing import Any

import pytest

from oyez.protocol.socketio import PacketType, encode_msgpack
from tests.support.clock import Clock
from tests.support.js_client import JsDriver
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import BINARY, POLLING, TEXT, WEBSOCKET, PollingWire, SocketWire, Wire

PLACEHOLDER = '{"_placeholder":true,"num":0}'
FAULTS = {
    "arguments": ("42" + json.dumps(["e", *range(17)]), "malformed", "payload: more than 16 arguments"),
    "depth": ('42["e",' + "[" * 40 + "]" * 40 + "]", "malformed", "payload: nested deeper than 32"),
    "name": (f'42["{"x" * 129}"]', "malformed", "event: name longer than 128 characters"),
    "reserved": ('42["disconnect"]', "malformed", "event: 'disconnect' is reserved"),
    "attachments": (f'4511-["e",{PLACEHOLDER}]', "malformed", "binary packet: 11 attachments, expected 1 to 10"),
    "namespace": ("41/" + "x" * 129 + ",", "malformed", "namespace: longer than 128 characters"),
}


def error(code: str, fault: str) -> str:
    message = f"The connection was closed: {fault}."
    return "42" + json.dumps(["error", {"code": code, "message": message, "details": {}}], separators=(",", ":"))


@pytest.mark.parametrize(("packet", "code", "fault"), FAULTS.values(), ids=list(FAULTS))
async def test_a_limit_that_cuts_the_connection_is_named(
    crowd: Running, packet: str, code: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with SocketWire.connect(crowd) as wire:
        wire.send_text(packet)
        await wire.expect_text(error(code, fault))
        await wire.expect_close(1002)
    client = await PollingWire.connect(crowd)
    await client.post(packet)
    assert await client.get() == error(code, fault)
    assert (await client.request("GET")).error == (400, 1)


CONNECTS = {
    "depth": ('{"token":' + "[" * 40 + "]" * 40 + "}", "payload: nested deeper than 32"),
    "no object": ("[]", "CONNECT: payload is not a JSON object"),
    "no JSON": ("{", "CONNECT: payload is not a JSON object"),
}


@pytest.mark.parametrize("namespace", ["", "/none,"])
@pytest.mark.parametrize(("auth", "fault"), CONNECTS.values(), ids=list(CONNECTS))
async def test_a_connect_that_cannot_be_read_is_refused(crowd: Running, namespace: str, auth: str, fault: str) -> None:
    data = {"message": f"The CONNECT cannot be read: {fault}.", "data": {"code": "malformed"}}
    refusal = f"44{namespace}" + json.dumps(data, separators=(",", ":"))
    async with SocketWire.begin(crowd) as wire:
        wire.send_text(f"40{namespace}{auth}")
        await wire.expect_text(refusal)
        await wire.expect_close(1002)
    client = await PollingWire.begin(crowd)
    await client.post(f"40{namespace}{auth}")
    assert await client.get() == refusal
    assert (await client.request("GET")).error == (400, 1)


async def test_javascript_with_too_deep_auth_receives_an_error_and_does_not_reconnect(
    own: Running, js: JsDriver
) -> None:
    auth: Any = {}
    for _ in range(40):
        auth = {"deeper": auth}
    client = await js.begin(own.url, auth=auth, transports=["polling", "websocket"], reconnection=True)
    refused = await client.expect("connect_error")
    assert refused["data"] == {"code": "malformed"}
    await turn_until(lambda: not own.server.registry.connections)
    assert [report["what"] for report in client.reports if report["what"] != "upgrade"] == []


async def test_a_message_that_is_too_long_is_named(wire: SocketWire) -> None:
    wire.send_text("4" * 1_000_001)
    frame = await wire.read_frame()
    if frame.opcode == TEXT:
        assert b"message over 1000000 bytes" in frame.payload
    else:
        # An ASGI server, or the parser of frames, refuses it first, with this code.
        assert frame.close_code == 1009


async def test_attachments_that_are_too_long_together_are_named(wire: SocketWire) -> None:
    wire.send_text(f'453-["e",{PLACEHOLDER}]')
    for _ in range(3):
        wire.send_frame(BINARY, b"x" * 900_000)
    await wire.expect_text(error("too_large", "attachments over 2000000 bytes together"))
    await wire.expect_close(1009)


async def test_what_the_client_sent_is_not_repeated_at_length(wire: SocketWire) -> None:
    wire.send_text('451-["e",{"_placeholder":true,"num":"' + "x" * 100_000 + '"}]')
    wire.send_frame(BINARY, b"x")
    frame = await wire.read_frame()
    assert b"placeholder: str is not the number of an attachment" in frame.payload
    assert len(frame.payload) < 400


async def test_faults_are_logged_once_a_minute(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(kind) as running:
        for _ in range(3):
            async with SocketWire.connect(running, {"user": "ada"}) as wire:
                wire.send_text(FAULTS["depth"][0])
                await wire.expect_close(1002)
        # Another limit has a line of its own, although it is one of the same packet's data.
        async with SocketWire.connect(running, {"user": "ada"}) as wire:
            wire.send_text(FAULTS["arguments"][0])
            await wire.expect_close(1002)
    assert caplog.text.count("a connection is closed because of what the client sent") == 2
    assert "nested deeper than 32" in caplog.text
    assert "more than 16 arguments" in caplog.text
    assert "ada" in caplog.text


async def test_a_client_of_socket_io_2_is_noted_in_the_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(kind) as running, Wire.open(running) as wire, Wire.open(running) as other:
        assert (await wire.request("GET", POLLING.replace("EIO=4", "EIO=3"))).error == (400, 5)
        assert (await other.upgrade(WEBSOCKET.replace("EIO=4", "EIO=3"))).status == 400
    assert caplog.text.count("use a client of Socket.IO 3 or 4, not 2.x") == 1


# The msgpack parser of official clients.


async def test_a_client_with_the_msgpack_parser_is_refused_in_msgpack(kind: str) -> None:
    connect = encode_msgpack(PacketType.CONNECT, "/", {"token": "x" * 200})
    data = {
        "message": "This server speaks JSON: create the client without the option `parser`.",
        "data": {"code": "unsupported_parser"},
    }
    refusal = encode_msgpack(PacketType.CONNECT_ERROR, "/", data)
    async with serve(kind, clock=Clock()) as running, SocketWire.begin(running) as wire:
        wire.send_frame(BINARY, connect)
        assert (await wire.read_frame())[:2] == (BINARY, refusal)
        running.pass_time(3.0)
        assert (await wire.read_frame())[:2] == (BINARY, encode_msgpack(PacketType.DISCONNECT, "/"))
        await wire.expect_close(1000)


async def test_binary_data_that_is_no_connect_still_ends_the_connection(running: Running) -> None:
    for data in (encode_msgpack(PacketType.EVENT, "/", ["e"]), b"\x80", b"\xff", b""):
        async with SocketWire.begin(running) as wire:
            wire.send_frame(BINARY, data)
            await wire.expect_close(1002)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_javascript_with_the_msgpack_parser_receives_one_error(
    own: Running, js: JsDriver, transports: list[str]
) -> None:
    client = await js.begin(own.url, transports=transports, reconnection=True, parser="msgpack")
    refused = await client.expect("connect_error")
    assert refused["data"] == {"code": "unsupported_parser"}
    assert "without the option `parser`" in refused["message"]
    await turn_until(lambda: not own.server.registry.connections)
    assert [report["what"] for report in client.reports if report["what"] != "upgrade"] == []
