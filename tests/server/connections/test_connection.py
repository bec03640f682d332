"""Connections: every packet that breaks Engine.IO or Socket.IO ends its sender's session, over either transport."""

import json

import pytest

from tests.support.clock import Clock
from tests.support.serving import Running, serve
from tests.support.wire import BINARY, PollingWire, SocketWire, Wire

DEEP = "[" * 50_000 + "]" * 50_000
PLACEHOLDER = '{"_placeholder":true,"num":0}'

ENGINE_IO = {
    "ping from the client": "2",
    "probe on the transport itself": "2probe",
    "unknown type": "7",
    "not a type": "x",
    "nothing": "",
    "bad base64": "b!",
}
"""Packets that end a session with `parse error`."""

SOCKET_IO = {
    "no packet": "4",
    "unknown type": "47",
    "not a type": "4x",
    "no payload": "42",
    "payload that is not JSON": "42nonsense",
    "payload that does not end": '42["a"',
    "payload with a tail": '42["a"]]',
    "payload that is no array": '42{"a":1}',
    "empty array": "42[]",
    "name that is a number": "42[1]",
    "name that is an object (CVE-2023-32695)": '42[{"toString":"foo"}]',
    "name that is null": "42[null]",
    "name that is too long": f'42["{"n" * 129}"]',
    **{
        f"reserved name {name}": f'42["{name}"]'
        for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
    },
    "too many arguments": '42["a"' + ",1" * 17 + "]",
    "100,000 arguments": '42["a"' + ",1" * 100_000 + "]",
    "nested 33 deep": '42["a",' + "[" * 33 + "]" * 33 + "]",
    "nested 50,000 deep": f'42["a",{DEEP}]',
    "nested 50,000 deep and not closed": '42["a",' + "[" * 50_000,
    "nested 50,000 deep objects": '42["a",' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "]",
    "namespace that is too long": "42/" + "n" * 128 + ',["a"]',
    "namespace of 900,000 characters": "42/" + "n" * 900_000 + ',["a"]',
    "namespace that does not end": "42/" + "n" * 900_000,
    "acknowledgement id too large": '429007199254740992["a"]',
    "acknowledgement id of 900,000 digits": "42" + "9" * 900_000 + '["a"]',
    "acknowledgement of nothing": "43[]",
    "acknowledgement that is no array": "431{}",
    "event before CONNECT": '42/unknown,["a"]',
    "acknowledgement before CONNECT": "43/unknown,1[]",
    "DISCONNECT before CONNECT": "41/unknown,",
    "DISCONNECT with a payload": '41["a"]',
    "second CONNECT": "40",
    "second CONNECT with a payload": '40{"a":1}',
    "CONNECT whose payload is an array": "40/other,[]",
    "CONNECT whose payload is a string": '40/other,"a"',
    "CONNECT whose payload is not JSON": "40/other,{",
    "CONNECT whose payload is nested 5,000 deep": '40/other,{"a":' + "[" * 5_000 + "]" * 5_000 + "}",
    "CONNECT whose payload no number holds": '40/other,{"a":1e999}',
    "CONNECT with an acknowledgement id": "40/other,1{}",
    "CONNECT_ERROR from a client": '44{"message":"no"}',
    "no attachment count": '45["a"]',
    "attachment count of nothing": '45-["a"]',
    "attachment count that is no number": '45x-["a"]',
    "negative attachment count": '45-1-["a"]',
    "0 attachments": '450-["a"]',
    "11 attachments (CVE-2026-33151)": f'4511-["a",{PLACEHOLDER}]',
    "100 digits of attachments": f'45{"1" * 100}-["a",{PLACEHOLDER}]',
    "text where an attachment was announced": f'451-["a",{PLACEHOLDER}]\x1e42["b"]',
    "binary that nobody announced": "bAAAA",
    "more binary than announced": f'451-["a",{PLACEHOLDER}]\x1ebAAAA\x1ebAAAA',
    "placeholder of a string (CVE-2022-2421)": '451-["a",{"_placeholder":true,"num":"splice"}]\x1ebAAAA',
    "placeholder of no attachment": '451-["a",{"_placeholder":true,"num":1}]\x1ebAAAA',
    "negative placeholder": '451-["a",{"_placeholder":true,"num":-1}]\x1ebAAAA',
    "fractional placeholder": '451-["a",{"_placeholder":true,"num":0.5}]\x1ebAAAA',
    "placeholder without number": '451-["a",{"_placeholder":true}]\x1ebAAAA',
}
"""Packets (joined as in a polling payload) that end a session with `forced close`."""

OFFENCES = [
    *(pytest.param(packet, "parse error", id=name) for name, packet in ENGINE_IO.items()),
    *(pytest.param(packet, "forced close", id=name) for name, packet in SOCKET_IO.items()),
]


def send_packets(wire: SocketWire, payload: str) -> None:
    """What is a polling payload as WebSocket frames."""
    for packet in payload.split("\x1e"):
        if packet[:1] == "b" and packet != "b!":
            wire.send_frame(BINARY, b"\0\0\0")
        else:
            wire.send_text(packet)


@pytest.mark.parametrize(("packets", "reason"), OFFENCES)
async def test_a_malformed_packet_ends_the_connection(
    crowd: Running, crowd_wire: SocketWire, packets: str, reason: str
) -> None:
    send_packets(crowd_wire, packets)
    await crowd_wire.expect_close(1002)
    assert await crowd.market.expect_gone(crowd_wire.id) == reason


@pytest.mark.parametrize(("packets", "reason"), OFFENCES)
async def test_a_malformed_packet_ends_the_session(
    crowd: Running, crowd_polling: PollingWire, packets: str, reason: str
) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_request("GET", crowd_polling.target)
        answer = await crowd_polling.request("POST", body=packets.encode())
        polled = await wire.read_answer()
        if reason == "parse error":
            assert (answer.error, polled.error) == ((400, 3), (400, 1))
        else:
            assert (answer.status, answer.body) == (200, b"ok")
            assert polled.body.startswith(b'42["error",{"code":"malformed","message":"The connection was closed: ')
            assert len(polled.body) < 500
    assert await crowd.market.expect_gone(crowd_polling.id) == reason
    assert (await crowd_polling.request("GET")).error == (400, 1)


@pytest.mark.parametrize(
    "packets",
    [
        '42["a"]',
        '42/,["a"]',
        '42["error"]',
        '42["message"]',
        '42["ping"]',
        '42["reconnect"]',
        '42["open"]',
        '42["close"]',
    ],
)
async def test_ordinary_names(crowd: Running, crowd_wire: SocketWire, packets: str) -> None:
    # CVE-2024-38355: an event named "error" brought servers down.
    crowd_wire.send_text(packets)
    await crowd_wire.expect_echo()
    assert json.loads(packets[packets.index("[") :])[0] in crowd.market.names()


@pytest.mark.parametrize("noise", ["0", '0{"sid":"x"}', "5", "6", "3", "3probe", "43999[]", "430[1,2,3]"])
async def test_packets_that_mean_nothing_here(crowd_wire: SocketWire, noise: str) -> None:
    crowd_wire.send_text(noise)
    await crowd_wire.expect_echo()


async def test_a_flood_of_pongs(crowd_wire: SocketWire) -> None:
    # CVE-2026-48802: no memory and no timers for each.
    for _ in range(10_000):
        crowd_wire.send_text("3")
    await crowd_wire.expect_echo()


async def test_a_close_packet_ends_the_connection(crowd: Running, crowd_wire: SocketWire) -> None:
    crowd_wire.send_text("1")
    await crowd_wire.expect_close(1000)
    assert await crowd.market.expect_gone(crowd_wire.id) == "transport close"


async def test_nothing_is_handled_after_a_packet_that_ends_the_session(crowd: Running) -> None:
    for ending in ("2", "40", '42["connect"]', "1"):
        client = await PollingWire.connect(crowd)
        body = f'42["before {ending}"]\x1e{ending}\x1e42["behind"]'
        assert (await client.request("POST", body=body.encode())).status in (200, 400)
        await crowd.market.expect_gone(client.id)
    assert "before 1" in crowd.market.names()
    assert "behind" not in crowd.market.names()


# Attachments.


async def test_binary_events_and_answers(wire: SocketWire) -> None:
    wire.send_text('452-5["echo",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]')
    wire.send_frame(BINARY, b"zero")
    wire.send_frame(BINARY, b"one")
    await wire.expect_text('462-5[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    assert [await wire.read_frame(), await wire.read_frame()] == [
        (BINARY, b"one", True, False),
        (BINARY, b"zero", True, False),
    ]


async def test_binary_events_while_polling(polling: PollingWire) -> None:
    await polling.post('451-5["echo",{"_placeholder":true,"num":0}]\x1ebAQID')
    assert await polling.get() == '461-5[{"_placeholder":true,"num":0}]\x1ebAQID'


async def test_attachments_of_a_client_that_is_not_accepted_yet(crowd: Running) -> None:
    async with SocketWire.begin(crowd) as wire:
        wire.send_text('451-["a",{"_placeholder":true,"num":0}]')
        wire.send_frame(BINARY, b"x")
        await wire.expect_close(1002)


async def test_attachments_of_a_client_that_was_just_disconnected(running: Running, wire: SocketWire) -> None:
    running.market.socket(wire.id).disconnect()
    wire.send_text('451-["late",{"_placeholder":true,"num":0}]')
    wire.send_frame(BINARY, b"x")
    await wire.expect_text("41")
    await wire.enter()
    await wire.expect_echo()
    assert "late" not in running.market.names()


async def test_attachments_that_are_too_large_together(crowd_wire: SocketWire) -> None:
    crowd_wire.send_text(
        '453-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]'
    )
    for _ in range(3):
        crowd_wire.send_frame(BINARY, b"x" * 900_000)
    await crowd_wire.expect_close(1009)


# Deadlines.


async def test_a_client_that_enters_no_namespace_is_sent_away() -> None:
    async with serve(clock=Clock(), ping_interval=100.0) as running, SocketWire.begin(running) as wire:
        running.pass_time(44.0)
        await wire.expect_pong()
        running.pass_time(2.0)
        await wire.expect_close(1008)


async def test_a_client_that_left_all_namespaces_is_sent_away() -> None:
    async with serve(clock=Clock(), ping_interval=100.0) as running, SocketWire.connect(running) as wire:
        running.pass_time(46.0)
        await wire.expect_echo()
        wire.send_text("41")
        assert await running.market.expect_gone(wire.id) == "client namespace disconnect"
        running.pass_time(44.0)
        await wire.expect_pong()
        running.pass_time(2.0)
        await wire.expect_close(1008)


async def test_a_client_whose_namespace_takes_too_long_to_decide_is_sent_away() -> None:
    async with serve(clock=Clock(), ping_interval=100.0) as running, SocketWire.begin(running) as wire:
        wire.send_text('40{"hold":true,"rooms":["a"]}')
        await running.market.until(lambda: running.market.held == 1)
        running.pass_time(46.0)
        await wire.expect_close(1008)
        running.market.release()
        await running.settle()
        await running.namespace.tasks.drain()
        assert running.namespace.rooms == {}
        assert running.namespace.sockets == {}
