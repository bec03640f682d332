"""The session of a plain client: frames that wait, frames that are not understood, and what is sent to it."""

import pytest

from oyez.protocol import engineio, socketio
from oyez.protocol.json_session import MAX_PENDING_FRAMES, JsonSession
from oyez.protocol.session import Signal, State
from oyez.protocol.socketio import Packet, PacketType
from oyez.settings import Limits
from tests.support.clock import Clock

LIMITS = Limits()
FRAME, EVENT = b'{"event":"e"}', Packet(PacketType.EVENT, "/news", b'["e"]', name="e")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> JsonSession:
    return JsonSession(LIMITS, clock)


def enter(session: JsonSession) -> list[socketio.Packet | Signal | None]:
    return list(session.enter("/news"))


def test_frames_wait_until_the_client_is_accepted(session: JsonSession) -> None:
    assert [session.receive_text(FRAME), session.receive_text(b"?")] == [None, None]
    assert enter(session) == [EVENT, Signal.EXPLAIN_FAULT]
    assert session.receive_text(FRAME) == EVENT


def test_too_many_frames_that_wait_close_the_session(session: JsonSession) -> None:
    assert [session.receive_text(FRAME) for _ in range(MAX_PENDING_FRAMES)] == [None] * MAX_PENDING_FRAMES
    assert session.receive_text(FRAME) is Signal.CLOSED
    assert (session.state, session.reason) == (State.CLOSED, engineio.FORCED_CLOSE)
    assert enter(session) == []


def test_a_frame_that_is_not_understood_is_explained(session: JsonSession) -> None:
    enter(session)
    assert session.receive_text(b"{" + b"x" * 1_000) is Signal.EXPLAIN_FAULT
    assert session.detail.startswith("The frame is not understood: ")
    assert session.receive_binary(b"") is Signal.EXPLAIN_FAULT
    assert session.detail.startswith("The frame is not understood: the frame is binary. Send text frames")
    assert len(session.detail) < 500
    assert session.state is State.WEBSOCKET


def test_a_client_that_is_never_understood_is_closed(session: JsonSession, clock: Clock) -> None:
    enter(session)
    for _ in range(2):
        assert {session.receive_text(b"?") for _ in range(LIMITS.max_malformed_frames)} == {Signal.EXPLAIN_FAULT}
        clock.now += 60
    for _ in range(LIMITS.max_malformed_frames):
        session.receive_text(b"?")
    assert session.receive_text(b"?") is Signal.CLOSED
    assert session.detail.startswith("too many frames that are not understood: ")


def test_packets_are_frames_without_attachments(session: JsonSession) -> None:
    data = b'["e",{"_placeholder":true,"num":0}]'
    assert session.encode(Packet(PacketType.BINARY_EVENT, "/news", data, attachments=(b"a",))) == (
        b'{"event":"e","data":"YQ=="}',
        (),
    )
    assert session.encode(Packet(PacketType.DISCONNECT, "/news")) == (b"", ())
    enter(session)
    packet = session.receive_text(b'{"event":"e","id":"mine"}')
    assert isinstance(packet, Packet)
    assert session.encode(Packet(PacketType.ACK, "/news", b"[1]", packet.ack_id)) == (b'{"id":"mine","data":1}', ())
