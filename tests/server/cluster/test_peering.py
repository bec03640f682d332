"""Which nodes reach each other, and at which addresses."""

import asyncio
import socket
from pathlib import Path

import pytest

from oyez.errors import SettingsError
from oyez.server.cluster.node import Node
from oyez.server.cluster.peering import Peering
from tests.support.nodes import SECRET, Elsewhere, MakeNode, two_nodes
from tests.support.wire import PollingWire, Wire


def refuse(connection: socket.socket, received: bytes) -> None:
    raise AssertionError("no connection is handed off")


async def test_only_peers_reach_the_listener_of_peers(by_tcp: MakeNode) -> None:
    async with two_nodes(by_tcp, secrets=(SECRET, "another" * 10)) as two:
        client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
        for request in (client.request("GET"), client.request("POST", body=b'42["forged"]')):
            assert (await request).status == 403
        async with Wire.open(two.other) as wire:
            answer = await wire.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={client.sid}")
            assert answer.status == 403
    assert "forged" not in two.one.market.names()


async def test_sockets_in_the_folder_are_the_owners_and_dead_ones_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / "nodes"
    first = Node(SECRET, folder=folder)
    await first.peering.listen(first.id, asyncio.Protocol, refuse)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {first.id: 0o600, f"{first.id}.handoff": 0o600}
    for path in tuple(folder.iterdir()):
        path.rename(path.with_name(f"dead{path.suffix}"))
    first.peering.close()
    assert {each.name for each in folder.iterdir()} == {"dead", "dead.handoff"}
    second = Node(SECRET, folder=folder)
    await second.peering.listen(second.id, asyncio.Protocol, refuse)
    assert {each.name for each in folder.iterdir()} == {second.id, f"{second.id}.handoff"}
    second.peering.close()
    assert list(folder.iterdir()) == []


async def test_an_address_that_cannot_be_had_says_so() -> None:
    with pytest.raises(SettingsError, match=r"NODE_ADDRESS: 192\.0\.2\.1:5101 cannot be listened at"):
        await Peering(host="192.0.2.1", port=5101).listen("node", asyncio.Protocol, refuse)
