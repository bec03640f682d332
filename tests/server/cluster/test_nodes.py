"""Several nodes: a request to any of them is served, and all of them know all sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oyez.client import connect
from oyez.errors import SettingsError
from oyez.log.memory import MemoryLog
from oyez.protocol import engineio
from oyez.server.cluster import membership
from oyez.server.cluster.node import Node
from oyez.server.cluster.peering import Peering
from oyez.server.cluster.signing import PEER_HEADER, PEER_SECONDS, ClientAddress
from tests.support import py_client
from tests.support.js_client import JsDriver
from tests.support.round_robin import balance
from tests.support.serving import Running, find_polling, serve, turn_until
from tests.support.wire import PollingWire, SocketWire, Wire

SECRET = "s" * 64
MakeNode = Callable[[str], Node]


@dataclass
class Two:
    """Two nodes that share a log, and a balancer before them."""

    one: Running
    other: Running
    url: str


def refuse(connection: socket.socket, received: bytes) -> None:
    raise AssertionError("no connection is handed off")


class SharedLog(MemoryLog):
    """Is still there when one of the nodes has closed it."""

    async def close(self) -> None:
        return


@pytest.fixture(params=["unix", "tcp"])
def make_node(request: pytest.FixtureRequest, tmp_path: Path) -> MakeNode:
    """Nodes that reach each other by sockets in a folder, or by TCP."""
    if request.param == "unix":
        return lambda secret: Node(secret, folder=tmp_path / "nodes")
    return lambda secret: Node(secret, host="127.0.0.1")


@pytest.fixture
def by_tcp() -> MakeNode:
    """For what is passed on piece by piece."""
    return lambda secret: Node(secret, host="127.0.0.1")


@asynccontextmanager
async def two_nodes(
    make_node: MakeNode, *, secrets: tuple[str, str] = (SECRET, SECRET), **options: Any
) -> AsyncIterator[Two]:
    log = SharedLog()
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(serve(log=log, node=make_node(secret), **options)) for secret in secrets
        ]
        yield Two(one, other, await stack.enter_async_context(balance([one.port, other.port])))


@pytest.fixture
async def two(make_node: MakeNode) -> AsyncIterator[Two]:
    async with two_nodes(make_node) as nodes:
        yield nodes


class Elsewhere(PollingWire):
    """A polling client whose session is at one node, and who talks to another."""

    @classmethod
    async def move(cls, client: PollingWire, running: Running) -> "Elsewhere":
        moved = cls(running)
        moved.sid, moved.id = client.sid, client.id
        return moved


# No sticky sessions.


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"], ["websocket"]], ids="-".join)
async def test_official_clients_through_a_round_robin_balancer(two: Two, js: JsDriver, transports: list[str]) -> None:
    clients = [await js.connect(two.url, auth={"rooms": ["room"]}, transports=transports) for _ in range(4)]
    for number, client in enumerate(clients):
        assert await client.call("echo", "x" * 10_000 * number) == "x" * 10_000 * number
    for number in range(3):
        await two.one.publish("news", number, to="room")
        await two.other.publish("news", number, to="room")
    for client in clients:
        assert [(await client.expect_event("news"))[0] for _ in range(6)] == [0, 0, 1, 1, 2, 2]
        assert await client.transport() == transports[-1]
        await client.disconnect()


async def test_python_clients_through_a_round_robin_balancer(two: Two) -> None:
    for transports in (["polling"], ["polling", "websocket"]):
        async with py_client.connect(two.url, auth={"rooms": ["room"]}, transports=transports) as client:
            assert await client.call("echo", "hello") == "hello"
            await two.other.publish("news", 1, to="room")
            assert await client.expect_event("news") == [1]


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


async def test_a_connection_is_given_away_with_the_requests_that_have_come(tmp_path: Path) -> None:
    async with two_nodes(lambda secret: Node(secret, folder=tmp_path / "nodes")) as two:
        client = await PollingWire.connect(two.one)
        async with Wire.open(two.other) as wire:
            send_two_posts(wire, client.target)
            assert [(await wire.read_answer()).body for _ in range(2)] == [b"ok", b"ok"]
        assert two.one.market.names()[-2:] == ["first", "second"]


def send_two_posts(wire: Wire, target: str) -> None:
    posts = [f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}" for body in TWO]
    wire.send("".join(posts))


TWO = ('42["first"]', '42["second"]')


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


# Who may pass something on.


async def test_only_peers_reach_the_listener_of_peers(by_tcp: MakeNode) -> None:
    async with two_nodes(by_tcp, secrets=(SECRET, "another" * 10)) as two:
        client = await Elsewhere.move(await PollingWire.connect(two.one), two.other)
        for request in (client.request("GET"), client.request("POST", body=b'42["forged"]')):
            assert (await request).status == 403
        async with Wire.open(two.other) as wire:
            answer = await wire.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={client.sid}")
            assert answer.status == 403
    assert "forged" not in two.one.market.names()


async def test_what_peers_say_is_not_believed_of_others(two: Two) -> None:
    node = two.one.server.node
    said = node.signer.sign(
        node.id, ClientAddress("https", ("203.0.113.9", 1)), b"GET", b"/socket.io/?EIO=4&transport=polling"
    )
    client = PollingWire(two.one, {PEER_HEADER.decode(): said.decode()})
    await client.open_session()
    (connection,) = two.one.server.registry.connections.values()
    assert (connection.handshake.address, connection.handshake.secure) != ("203.0.113.9", True)


def test_a_proof_is_for_one_request_and_some_seconds() -> None:
    now = 1_000_000.0
    one, other = Node(SECRET, clock=lambda: now), Node(SECRET, clock=lambda: now)
    client = ClientAddress("https", ("2001:db8::1", 4711))
    said = one.signer.sign(other.id, client, b"GET", b"/a")
    assert other.signer.verify(other.id, said, b"GET", b"/a") == client
    assert one.signer.verify(one.id, said, b"GET", b"/a") is None
    assert other.signer.verify(other.id, said, b"POST", b"/a") is None
    assert other.signer.verify(other.id, said, b"GET", b"/b") is None
    assert other.signer.verify(other.id, said.replace(b"https", b"http"), b"GET", b"/a") is None
    assert other.signer.verify(other.id, b"", b"GET", b"/a") is None
    now += PEER_SECONDS + 1
    assert other.signer.verify(other.id, said, b"GET", b"/a") is None
    assert other.signer.verify(
        other.id, one.signer.sign(other.id, ClientAddress("http", None), b"GET", b"/a"), b"GET", b"/a"
    ) == ("http", None)


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


# Messages between nodes.


async def test_who_is_in_a_room_on_all_nodes(two: Two) -> None:
    here = [await PollingWire.connect(two.one, {"user": f"u{number}", "rooms": ["room"]}) for number in range(2)]
    there = await PollingWire.connect(two.other, {"user": "far", "rooms": ["room", "more"]})
    presence = await two.one.server.membership.fetch("/", ["room"])
    assert (presence.count, presence.nodes, presence.answered) == (3, 2, 2)
    assert {(each.id, each.user, each.node) for each in presence.sockets} == {
        (here[0].id, "u0", two.one.server.node.id),
        (here[1].id, "u1", two.one.server.node.id),
        (there.id, "far", two.other.server.node.id),
    }
    assert (await two.other.server.membership.fetch("/", ["more"])).count == 1
    assert (await two.other.server.membership.fetch("/nowhere")).count == 0
    limited = await two.one.server.membership.fetch("/", limit=1)
    assert (limited.count, len(limited.sockets)) == (3, 1)


async def test_a_notification_to_many_sockets_is_sent_in_parts(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "PART", 2)
    clients = [await PollingWire.connect(two.other) for _ in range(5)]
    presence = await two.one.server.membership.fetch("/")
    assert {each.id for each in presence.sockets} == {client.id for client in clients}
    assert presence.answered == 2


async def test_a_node_that_does_not_answer_is_counted(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "FETCH_TIMEOUT", 0.05)
    monkeypatch.setattr(two.other.server.membership, "_actions", {})
    presence = await two.one.server.membership.fetch("/")
    assert (presence.nodes, presence.answered) == (2, 1)


async def test_nodes_that_go_are_forgotten(make_node: MakeNode) -> None:
    async with two_nodes(make_node) as two:
        assert two.one.server.membership.alive() == {two.other.server.node.id}
        await two.other.stop()
        await turn_until(lambda: not two.one.server.membership.alive())
    now = 0.0
    log = SharedLog()
    node = Node(SECRET)
    async with serve(log=log, node=node, clock=lambda: now) as one, serve(log=log):
        await turn_until(lambda: len(one.server.membership.alive()) == 1)
        now += membership.NODE_SECONDS + 1
        assert one.server.membership.alive() == set()


async def test_a_client_that_came_back_to_another_node_is_ended_where_it_was(two: Two) -> None:
    """Not the other way round: the node that took over keeps it."""
    auth = {"user": "anna", "rooms": ["room"]}
    async with SocketWire.connect(two.one, auth) as older:
        (socket,) = two.one.market.sockets
        async with connect(two.other.url, auth={**auth, "pid": socket.session.pid}) as newer:
            assert newer.sid == older.id
            assert await two.one.market.expect_gone(older.id) == "transport error"
            assert [each.id for each in two.other.market.sockets] == [older.id]
            await two.one.publish("news", 1, to="room")
            assert (await newer.expect_event("news")).args == [1]
        # What the older one knew is not written over what the newer one knows.
        assert socket not in two.one.server.sessions._sockets


async def test_volatile_events_reach_other_nodes(two: Two) -> None:
    async with connect(two.other.url, auth={"rooms": ["room"]}) as client:
        await two.one.publish("typing", "anna", to="room", volatile=True)
        assert (await client.expect_event("typing")).args == ["anna"]


# Crowds.


async def test_handshakes_over_the_rate_are_asked_to_retry() -> None:
    async with serve(limits={"max_handshakes_per_second": 2}, clock=lambda: 0.0) as running:
        for _ in range(2):
            await PollingWire(running).open_session()
        answer = await PollingWire(running).request("GET", "/socket.io/?EIO=4&transport=polling")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.body)["code"] == engineio.OVERLOADED.code
        async with Wire.open(running) as wire:
            answer = await wire.upgrade()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_clients_are_sent_away_over_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oyez.server.server.DRAIN_BATCH", 1)
    async with serve(drain_time=0.4) as running:
        clients = [await PollingWire.connect(running) for _ in range(8)]
        begun = asyncio.get_running_loop().time()
        running.stop()
        await turn_until(lambda: running.server.registry.stopping)
        assert 0 < len(running.server.registry.connections) <= 6
        answered = [asyncio.create_task(running.market.expect_gone(client.id)) for client in clients]
        assert set(await asyncio.gather(*answered)) == {"server shutting down"}
        assert 0.25 < asyncio.get_running_loop().time() - begun < 2
