"""Requests that arrive at one node for a session of another."""

import json

from tests.support.js_client import JsDriver
from tests.support.nodes import Elsewhere, MakeNode, Two, send_two_posts, two_nodes
from tests.support.serving import find_polling, turn_until
from tests.support.wire import PollingWire, Wire


async def test_the_address_is_the_clients(two: Two) -> None:
    client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
    await client.expect_echo()
    (connection,) = two.one.server.registry.connections.values()
    assert connection.handshake.address in ("127.0.0.1", "::1")
    await client.leave()


async def test_a_large_body_and_a_body_in_chunks_are_passed_on(two: Two) -> None:
    client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
    await client.expect_echo("y" * 500_000)
    async with Wire.open(two.other) as wire:
        packet = b'42["noted",1]'
        wire.send(f"POST {client.target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for part in (packet[:5], packet[5:]):
            wire.send(b"%x\r\n%b\r\n" % (len(part), part))
        wire.send(b"0\r\n\r\n")
        assert (await wire.read_answer()).body == b"ok"
    await two.one.market.expect("noted", 1)


async def test_one_request_goes_through_and_no_more(by_tcp: MakeNode) -> None:
    async with two_nodes(by_tcp) as two:
        client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
        async with Wire.open(two.other) as wire:
            send_two_posts(wire, client.target)
            assert (await wire.read_answer()).body == b"ok"
            assert await wire.read_rest() == b""
        client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
        await client.expect_echo()
        assert "second" not in two.one.market.names()


async def test_a_client_that_hangs_up_is_gone_at_its_node(two: Two) -> None:
    client = await PollingWire.connect(two.one)
    async with Wire.open(two.other) as wire:
        wire.send(f"GET {client.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        (connection,) = two.one.server.registry.connections.values()
        await turn_until(lambda: (polling := find_polling(connection)) is not None and polling.get_open)
    assert await two.one.market.expect_gone(client.id) == "transport close"
    await turn_until(lambda: not two.other.tunnels)


async def test_a_session_of_a_node_that_has_gone_is_unknown(make_node: MakeNode, js: JsDriver) -> None:
    async with two_nodes(make_node) as two:
        client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
        await two.one.stop()
        answer = await client.request("GET", headers={"origin": f"http://localhost:{two.other.port}"})
        assert (answer.status, json.loads(answer.body)) == (400, {"code": 1, "message": "Session ID unknown"})
        assert (await client.request("POST", body=b"2")).status == 400
        async with Wire.open(two.other) as wire:
            answer = await wire.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={client.sid}")
            assert (answer.status, answer.body) == (400, b"Session ID unknown")


async def test_ids_that_are_none_are_not_looked_for(two: Two) -> None:
    for sid in ("x", "x" * 26, "../../etc/passwd"):
        client = PollingWire(two.one)
        client.sid = sid
        assert json.loads((await client.request("GET")).body)["code"] == 1


async def test_tunnels_are_bounded(by_tcp: MakeNode) -> None:
    async with two_nodes(by_tcp, limits={"max_tunnels": 1}) as two:
        client = await PollingWire.connect(two.one)
        async with Wire.open(two.other) as wire:
            wire.send(f"GET {client.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await turn_until(lambda: two.other.tunnels == 1)
            refused = await (await Elsewhere.move(client, two.other)).request("POST", body=b"3")
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")


async def test_a_client_that_does_not_read_is_waited_for(make_node: MakeNode) -> None:
    size, count = 10_000, 400
    async with two_nodes(make_node, limits={"max_send_buffer": 2 * size * count}) as two:
        client = await PollingWire.connect(two.one, auth={"rooms": ["room"]})
        async with Wire.open(two.other, receive_buffer=4_096) as wire:
            answer = await wire.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={client.sid}")
            assert answer.status == 101
            wire.send_text("2probe")
            await wire.expect_text("3probe")
            wire.send_text("5")
            connection = two.one.server.registry.connections[client.sid]
            await turn_until(lambda: find_polling(connection) is None)
            for number in range(count):
                await two.one.publish("news", number, "z" * size, to="room")
            # Neither end of the tunnel takes it all: it waits where the bounds are.
            await turn_until(lambda: connection.transport.write is None)
            for number in range(count):
                frame = await wire.read_frame()
                assert json.loads(frame.payload[2:])[1] == number
