"""Connections that a process passes to another one of the same machine."""

import json
from pathlib import Path

from oyez.server.cluster.node import Node
from tests.support.nodes import send_two_posts, two_nodes
from tests.support.wire import PollingWire, Wire


async def test_on_one_machine_the_connection_itself_is_handed_off(tmp_path: Path) -> None:
    async with two_nodes(lambda secret: Node(secret, folder=tmp_path / "nodes")) as two:
        one = two.one.server.node
        client = await PollingWire.connect(two.one)
        async with Wire.open(two.other) as wire:
            opened = await wire.request("GET", "/socket.io/?EIO=4&transport=polling")
            assert json.loads(opened.body[1:])["sid"].startswith(two.other.server.node.id)
            for number in range(3):
                assert (await wire.request("POST", client.target, b'42["noted",%d]' % number)).body == b"ok"
                await two.one.market.expect("noted", number)
            # From the first of them on it is the other node's.
            opened = await wire.request("GET", "/socket.io/?EIO=4&transport=polling")
            assert json.loads(opened.body[1:])["sid"].startswith(one.id)
        assert not two.other.tunnels


async def test_a_connection_is_given_away_with_the_requests_that_have_come(tmp_path: Path) -> None:
    async with two_nodes(lambda secret: Node(secret, folder=tmp_path / "nodes")) as two:
        client = await PollingWire.connect(two.one)
        async with Wire.open(two.other) as wire:
            send_two_posts(wire, client.target)
            assert [(await wire.read_answer()).body for _ in range(2)] == [b"ok", b"ok"]
        assert two.one.market.names()[-2:] == ["first", "second"]
