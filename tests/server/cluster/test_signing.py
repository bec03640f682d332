"""Signatures of forwarded requests."""

from oyez.server.cluster.node import Node
from oyez.server.cluster.signing import PEER_HEADER, PEER_SECONDS, ClientAddress
from tests.support.nodes import SECRET, Two
from tests.support.wire import PollingWire


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


async def test_what_peers_say_is_not_believed_of_others(two: Two) -> None:
    node = two.one.server.node
    said = node.signer.sign(
        node.id, ClientAddress("https", ("203.0.113.9", 1)), b"GET", b"/socket.io/?EIO=4&transport=polling"
    )
    client = PollingWire(two.one, {PEER_HEADER.decode(): said.decode()})
    await client.open_session()
    (connection,) = two.one.server.registry.connections.values()
    assert (connection.handshake.address, connection.handshake.secure) != ("203.0.113.9", True)
