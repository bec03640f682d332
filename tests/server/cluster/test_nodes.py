"""Several nodes: a request to any of them is served, and all of them know all sockets."""

import asyncio
import json

import pytest

from oyez.client import connect
from oyez.protocol import engineio
from oyez.server.cluster import membership
from oyez.server.cluster.node import Node
from tests.support import py_client
from tests.support.js_client import JsDriver
from tests.support.nodes import SECRET, MakeNode, SharedLog, Two, two_nodes
from tests.support.serving import serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import PollingWire, SocketWire, Wire

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


async def test_clients_are_sent_away_over_a_time(monkeypatch: pytest.MonkeyPatch, spawn: Spawn) -> None:
    monkeypatch.setattr("oyez.server.server.DRAIN_BATCH", 1)
    async with serve(drain_time=0.4) as running:
        clients = [await PollingWire.connect(running) for _ in range(8)]
        begun = asyncio.get_running_loop().time()
        running.stop()
        await turn_until(lambda: running.server.registry.stopping)
        assert 0 < len(running.server.registry.connections) <= 6
        answered = [spawn(running.market.expect_gone(client.id)) for client in clients]
        assert set(await asyncio.gather(*answered)) == {"server shutting down"}
        assert asyncio.get_running_loop().time() - begun > 0.25
