"""Which CONNECT packets reach an application, without a connection around it."""

from oyez.errors import RefusedError
from oyez.protocol.socketio import Packet, PacketType
from oyez.server.connections.admission import MINUTE, ConnectAdmission
from oyez.server.transports.outgoing import OutboundPacket
from oyez.settings import Limits

NAMESPACES = frozenset({"/", "/news", "/trade"})


def check(
    admission: ConnectAdmission, namespace: str = "/", data: bytes = b"", entered: int = 0, now: float = 0.0
) -> RefusedError | None:
    return admission.check(Packet(PacketType.CONNECT, namespace, data), namespace in NAMESPACES, entered, now)


def find_code(refused: RefusedError | None) -> str:
    assert refused is not None
    return refused.refusal.code


def test_connects_are_counted_for_a_minute_and_the_refusal_names_the_rest_of_it() -> None:
    admission = ConnectAdmission(Limits(max_connects_per_minute=2), now=100.0)
    assert check(admission, now=101.0) is None
    assert check(admission, now=102.0) is None
    refused = check(admission, now=130.0)
    assert find_code(refused) == "rate_limited"
    assert refused is not None and refused.details == {"retry_after": 30.0}
    assert check(admission, now=100.0 + MINUTE) is None


def test_an_unknown_namespace_is_refused_and_not_counted() -> None:
    admission = ConnectAdmission(Limits(max_connects_per_minute=1), now=0.0)
    assert find_code(check(admission, "/unknown")) == "unknown_namespace"
    assert check(admission) is None


def test_a_long_auth_is_refused() -> None:
    admission = ConnectAdmission(Limits(max_connect_bytes=10), now=0.0)
    assert find_code(check(admission, data=b"{" + 10 * b" " + b"}")) == "too_large"
    assert check(admission, data=b"{        }") is None


def test_namespaces_that_are_being_entered_count_like_those_that_were_entered() -> None:
    admission = ConnectAdmission(Limits(max_namespaces_per_connection=2), now=0.0)
    admission.begin("/news")
    assert admission.is_entering("/news") and not admission.is_entering("/trade")
    assert find_code(check(admission, "/trade", entered=1)) == "rate_limited"
    admission.finish("/news")
    assert not admission.entering
    assert check(admission, "/trade", entered=1) is None


def test_a_namespace_that_the_client_enters_again_is_not_disconnected_any_more() -> None:
    admission = ConnectAdmission(Limits(), now=0.0)
    admission.disconnect("/news")
    assert admission.was_disconnected("/news") and not admission.was_disconnected("/")
    admission.begin("/news")
    assert not admission.was_disconnected("/news") and not admission.disconnected


def test_a_namespace_that_accepts_the_client_later_has_no_farewell() -> None:
    admission = ConnectAdmission(Limits(), now=0.0)
    first, second = OutboundPacket(b"41/news,"), OutboundPacket(b"41/trade,")
    admission.refuse("/news", first)
    admission.refuse("/trade", second)
    admission.accept("/news")
    assert admission.farewells() == [second]


def test_a_client_that_is_refused_again_and_again_costs_no_more_memory() -> None:
    admission = ConnectAdmission(Limits(max_namespaces_per_connection=2), now=0.0)
    for number in range(5):
        admission.refuse(f"/shop-{number}", OutboundPacket(b"%d" % number))
    assert [farewell.text for farewell in admission.farewells()] == [b"3", b"4"]
