"""The session as a state machine: every order of probe and upgrade, every end, and no input that raises."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.session import TRANSITIONS, Input, Session, Signal, State
from oyez.settings import Limits
from tests.protocol.strategies import sent_packets

LIMITS = Limits()
EVENT = b'42["a"]'
OPEN_STATES = (State.POLLING, State.PROBED, State.WEBSOCKET)


def heard_in(session: Session, body: bytes) -> list[socketio.Packet | Signal]:
    """All packets of one polling body."""
    return list(session.receive_payload(body))


def start(state: State = State.WEBSOCKET, limits: Limits = LIMITS) -> Session:
    return Session(limits, state)


def expect_closed(session: Session, reason: CloseReason) -> None:
    assert (session.state, session.reason) == (State.CLOSED, reason)


# Packets.


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_message_is_a_socketio_packet(state: State) -> None:
    session = start(state)
    expected = socketio.Packet(socketio.PacketType.EVENT, data=b'["a"]', name="a")
    assert session.receive_text(EVENT) == expected
    assert session.receive_packet(engineio.decode_packet(EVENT)) == expected
    assert heard_in(session, EVENT) == [expected]
    assert session.state is state


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_pong_is_a_sign_of_life(state: State) -> None:
    session = start(state)
    assert session.receive_text(b"3") is Signal.PONG
    assert heard_in(session, b"3") == [Signal.PONG]
    assert session.state is state


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("noise", [b"0", b'0{"sid":"x"}', b"5", b"6", b"6noise"])
def test_packets_without_meaning_are_ignored(state: State, noise: bytes) -> None:
    session = start(state)
    assert session.receive_text(noise) is None
    assert heard_in(session, noise) == []
    assert (session.state, session.reason) == (state, None)


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize(
    ("packet", "reason"),
    [(b"2", engineio.PARSE_ERROR), (b"2probe", engineio.PARSE_ERROR), (b"1", engineio.TRANSPORT_CLOSE)],
)
def test_a_ping_or_a_close_packet_closes_in_every_state(state: State, packet: bytes, reason: CloseReason) -> None:
    session = start(state)
    assert session.receive_text(packet) is Signal.CLOSED
    expect_closed(session, reason)


ATTACHMENT = b'451-["a",{"_placeholder":true,"num":0}]'
NOT_ENGINE_IO = [b"", b"7", b"x", b"b!", b"\xff"]
NOT_SOCKET_IO = [
    b"4",
    b"49",
    b"42",
    b"42{}",
    b'42["connect"]',
    b"42[1]",
    b"43[]",
    b'4511-["a"]',
    b"40[]",
    b"41{}",
    b"44",
]
NOT_A_PLACEHOLDER = [b"1", b"-1", b"0.5", b"true", b'"0"', b"null", b"1e3"]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        *(([text], engineio.PARSE_ERROR) for text in NOT_ENGINE_IO),
        *(([text], engineio.FORCED_CLOSE) for text in NOT_SOCKET_IO),
        ([bytearray(b"x")], engineio.FORCED_CLOSE),
        ([ATTACHMENT, bytearray(b"x"), bytearray(b"y")], engineio.FORCED_CLOSE),
        ([ATTACHMENT, EVENT], engineio.FORCED_CLOSE),
        *(
            ([b'451-["a",{"_placeholder":true,"num":%b}]' % number, bytearray(b"x")], engineio.FORCED_CLOSE)
            for number in NOT_A_PLACEHOLDER
        ),
    ],
)
def test_a_session_closes_at_the_packet_that_breaks_the_protocol(
    inputs: list[bytes | bytearray], reason: CloseReason
) -> None:
    """Binary packets are bytearrays here."""
    session = start()
    for packet in inputs:
        assert session.state is State.WEBSOCKET
        receive = session.receive_binary if isinstance(packet, bytearray) else session.receive_text
        result = receive(bytes(packet))
    assert result is Signal.CLOSED
    expect_closed(session, reason)
    assert reason.recoverable
    assert session.detail or reason is not engineio.PARSE_ERROR


@pytest.mark.parametrize("text", [b'42["\xff"]', b'42["a","\xff"]', b'40{"\xff":1}', b'44{"a":"\xff"}', b"4\xff"])
def test_text_that_is_not_utf8_closes(text: bytes) -> None:
    session = start()
    assert session.receive_text(text) is Signal.CLOSED
    assert session.state is State.CLOSED


# Polling bodies.


def test_the_packets_of_a_body_are_received_in_order() -> None:
    session = start(State.POLLING)
    heard = heard_in(session, b'40\x1e3\x1e6\x1e42["b"]')
    assert heard == [
        socketio.Packet(socketio.PacketType.CONNECT),
        Signal.PONG,
        socketio.Packet(socketio.PacketType.EVENT, data=b'["b"]', name="b"),
    ]


@pytest.mark.parametrize("end", [b"1", b"2", b"42{}"])
def test_a_body_is_received_up_to_the_packet_that_closes(end: bytes) -> None:
    session = start(State.POLLING)
    heard = heard_in(session, b"\x1e".join([EVENT, end, EVENT]))
    assert [type(result) for result in heard] == [socketio.Packet, Signal]
    assert heard[-1] is Signal.CLOSED
    assert session.state is State.CLOSED


@pytest.mark.parametrize("body", [b"", b"\x1e", EVENT + b"\x1e", EVENT + b"\x1e9", EVENT + b"\x1e4\xff", b"b!"])
def test_a_body_with_a_bad_packet_is_refused_whole(body: bytes) -> None:
    session = start(State.POLLING)
    assert heard_in(session, body) == [Signal.CLOSED]
    expect_closed(session, engineio.PARSE_ERROR)


def test_a_body_of_too_many_packets_closes() -> None:
    session = start(State.POLLING)
    assert heard_in(session, b"\x1e".join([b"6"] * LIMITS.max_packets_per_payload)) == []
    assert heard_in(session, b"\x1e".join([b"6"] * (LIMITS.max_packets_per_payload + 1))) == [Signal.CLOSED]
    expect_closed(session, engineio.FORCED_CLOSE)


# Attachments.


def test_attachments_follow_their_packet() -> None:
    session = start()
    assert session.receive_text(b'452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]') is None
    assert session.receive_binary(b"zero") is None
    packet = session.receive_binary(b"one")
    assert isinstance(packet, socketio.Packet)
    assert (packet.name, packet.attachments, packet.missing_attachments) == ("a", (b"zero", b"one"), 0)
    assert session.receive_text(EVENT) is not None


def test_attachments_of_a_polling_body_are_base64() -> None:
    session = start(State.POLLING)
    (packet,) = heard_in(session, b'461-7[{"_placeholder":true,"num":0}]\x1ebAQID')
    assert isinstance(packet, socketio.Packet)
    assert (packet.ack_id, packet.attachments) == (7, (b"\x01\x02\x03",))


def test_attachments_may_come_over_several_bodies_and_over_an_upgrade() -> None:
    session = start(State.POLLING)
    text = b'453-["a",' + b",".join(b'{"_placeholder":true,"num":%d}' % number for number in range(3)) + b"]"
    assert heard_in(session, text) == []
    assert heard_in(session, b"bAA==") == []
    session.receive_candidate(engineio.PROBE_PING)
    assert heard_in(session, b"bAQ==") == []
    session.receive_candidate(engineio.UPGRADE)
    packet = session.receive_binary(b"\x02")
    assert isinstance(packet, socketio.Packet)
    assert packet.attachments == (b"\x00", b"\x01", b"\x02")


def test_heartbeats_may_come_between_attachments() -> None:
    session = start()
    session.receive_text(ATTACHMENT)
    assert session.receive_text(b"3") is Signal.PONG
    assert isinstance(session.receive_binary(b"x"), socketio.Packet)


def test_attachments_have_a_size_together() -> None:
    session = start(limits=Limits(max_attachment_bytes=10))
    text = b'452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    session.receive_text(text)
    session.receive_binary(b"12345")
    assert isinstance(session.receive_binary(b"67890"), socketio.Packet)
    session.receive_text(text)
    session.receive_binary(b"12345")
    assert session.receive_binary(b"678901") is Signal.CLOSED
    expect_closed(session, engineio.TOO_LARGE)


# Probe and upgrade.


def test_a_probe_and_an_upgrade_switch() -> None:
    session = start(State.POLLING)
    assert session.receive_candidate(b"2probe") is Signal.ANSWER_PROBE
    assert (session.state, session.upgraded) == (State.PROBED, False)
    assert session.receive_candidate(b"5") is Signal.SWITCH
    assert (session.state, session.upgraded) == (State.WEBSOCKET, True)


def test_polling_carries_on_while_a_candidate_probes() -> None:
    session = start(State.POLLING)
    session.receive_candidate(b"2probe")
    assert len(heard_in(session, EVENT)) == 1
    assert heard_in(session, b"3") == [Signal.PONG]
    assert session.state is State.PROBED


@pytest.mark.parametrize("first", [b"2", b"2other", b"3probe", b"6", b"1", b"0", EVENT, b"", b"x", b"\xff"])
def test_a_candidate_that_does_not_probe_is_refused(first: bytes) -> None:
    session = start(State.POLLING)
    assert session.receive_candidate(first) is Signal.REFUSE_CANDIDATE
    assert (session.state, session.reason) == (State.POLLING, None)
    assert len(heard_in(session, EVENT)) == 1


@pytest.mark.parametrize("second", [b"2", b"3", b"6", b"1", EVENT, b"", b"x", b"5 ", b"\xff"])
def test_a_candidate_that_does_not_upgrade_is_refused(second: bytes) -> None:
    session = start(State.POLLING)
    session.receive_candidate(b"2probe")
    assert session.receive_candidate(second) is Signal.REFUSE_CANDIDATE
    assert (session.state, session.reason) == (State.POLLING, None)


def test_a_candidate_may_take_over_without_a_probe() -> None:
    session = start(State.POLLING)
    assert session.receive_candidate(b"5") is Signal.SWITCH
    assert session.state is State.WEBSOCKET


def test_a_lost_candidate_leaves_polling_and_the_next_may_try() -> None:
    session = start(State.POLLING)
    for _ in range(3):
        session.receive_candidate(b"2probe")
        session.lose_candidate()
        assert session.state is State.POLLING
    session.receive_candidate(b"2probe")
    assert session.receive_candidate(b"5") is Signal.SWITCH


@pytest.mark.parametrize("frame", [b"2probe", b"5", EVENT])
def test_an_upgraded_session_takes_no_candidate(frame: bytes) -> None:
    session = start(State.WEBSOCKET)
    assert session.receive_candidate(frame) is Signal.REFUSE_CANDIDATE
    assert (session.state, session.reason) == (State.WEBSOCKET, None)
    assert session.receive_text(EVENT) is not None


def test_an_upgrade_packet_over_polling_upgrades_nothing() -> None:
    session = start(State.POLLING)
    session.receive_candidate(b"2probe")
    assert heard_in(session, b"5") == []
    assert session.state is State.PROBED


# The end.


def test_closed_is_the_end_of_all_inputs() -> None:
    for state in OPEN_STATES:
        session = start(state)
        assert session.close(engineio.PING_TIMEOUT, "slept") is Signal.CLOSED
        assert session.receive_text(EVENT) is Signal.CLOSED
        assert session.receive_text(b"b!") is Signal.CLOSED
        assert session.receive_binary(b"x") is Signal.CLOSED
        assert heard_in(session, EVENT) == [Signal.CLOSED]
        assert session.receive_packet(engineio.Packet(engineio.PacketType.PONG)) is Signal.CLOSED
        assert session.receive_candidate(b"2probe") is Signal.REFUSE_CANDIDATE
        session.lose_candidate()
        assert session.close(engineio.SERVER_SHUTDOWN) is Signal.CLOSED
        expect_closed(session, engineio.PING_TIMEOUT)
        assert session.detail == "slept"
        assert session.probed is (state is State.PROBED)


def test_the_table_covers_every_state_and_leads_nowhere_else() -> None:
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.CLOSED] == {}
    for state in OPEN_STATES:
        assert TRANSITIONS[state][Input.CLOSE] is State.CLOSED
        assert TRANSITIONS[state][Input.MESSAGE] is state
    ways_up = [(state, kind) for state, row in TRANSITIONS.items() for kind in row if row[kind] is State.WEBSOCKET]
    assert ways_up == [(State.POLLING, Input.UPGRADE), (State.PROBED, Input.UPGRADE)] + [
        (State.WEBSOCKET, kind) for kind in TRANSITIONS[State.WEBSOCKET] if kind is not Input.CLOSE
    ]


# Properties.


def damage(text: bytes, place: int, harm: bytes) -> bytes:
    place %= len(text) + 1
    return text[:place] + harm + text[place + len(harm) :]


sent_texts = sent_packets().map(lambda packet: b"4" + socketio.encode_packet(packet))
frames = st.one_of(
    st.binary(),
    st.text().map(str.encode),
    st.sampled_from(
        [b"0", b"1", b"2", b"2probe", b"3", b"3probe", EVENT, b"40", b"41", b"5", b"6", b"b", b"bAA==", b"4", b""]
    ),
    st.sampled_from([b'451-["a"]', b'452-["a"]', b"461-1[]", b'45["a"]', b'4511-["a"]', b'42["connect"]', b"43[]"]),
    sent_texts,
    st.builds(damage, sent_texts, st.integers(0, 64), st.binary(min_size=1, max_size=2)),
)
bodies = frames | st.lists(frames, min_size=1, max_size=6).map(b"\x1e".join)


class SessionMachine(RuleBasedStateMachine):
    """Anything in any order. After each step the state must be one the table allows, and the end must be the end."""

    def __init__(self) -> None:
        super().__init__()
        self.session = start(State.POLLING)
        self.before = State.POLLING
        self.reason: CloseReason | None = None

    def moved(self, *kinds: Input) -> None:
        """The step may have taken any of the table's ways for `kinds`; what the table does not list closes."""
        allowed = {TRANSITIONS[self.before].get(kind, State.CLOSED) for kind in kinds}
        assert self.session.state in allowed | {State.CLOSED}
        self.before = self.session.state

    @rule(text=frames)
    def receive_text(self, text: bytes) -> None:
        result = self.session.receive_text(text)
        assert result is None or isinstance(result, socketio.Packet | Signal)
        assert result not in (Signal.ANSWER_PROBE, Signal.SWITCH, Signal.REFUSE_CANDIDATE)
        self.moved(Input.MESSAGE, Input.PONG, Input.NOISE)

    @rule(body=bodies)
    def receive_payload(self, body: bytes) -> None:
        heard = heard_in(self.session, body)
        assert all(isinstance(result, socketio.Packet | Signal) for result in heard)
        assert Signal.CLOSED not in heard[:-1]
        assert (heard[-1:] == [Signal.CLOSED]) == (self.session.state is State.CLOSED)
        self.moved(Input.MESSAGE, Input.PONG, Input.NOISE)

    @rule(data=st.binary())
    def receive_binary(self, data: bytes) -> None:
        result = self.session.receive_binary(data)
        assert result is None or result is Signal.CLOSED or isinstance(result, socketio.Packet)
        self.moved(Input.MESSAGE)

    @rule(kind=st.sampled_from(engineio.PacketType), data=frames, binary=st.booleans())
    def receive_packet(self, kind: engineio.PacketType, data: bytes, binary: bool) -> None:
        self.session.receive_packet(engineio.Packet(kind, data, binary))
        self.moved(Input.MESSAGE, Input.PONG, Input.NOISE)

    @rule(frame=frames | st.sampled_from([b"2probe", b"5"]))
    def receive_candidate(self, frame: bytes) -> None:
        kind = {b"2probe": Input.PROBE, b"5": Input.UPGRADE}.get(frame, Input.CANDIDATE_LOST)
        allowed = kind in TRANSITIONS[self.before] and kind is not Input.CANDIDATE_LOST
        signal = self.session.receive_candidate(frame)
        if allowed:
            assert signal is (Signal.ANSWER_PROBE if kind is Input.PROBE else Signal.SWITCH)
            assert self.session.state is TRANSITIONS[self.before][kind]
        else:
            assert signal is Signal.REFUSE_CANDIDATE
            assert self.session.state is TRANSITIONS[self.before].get(Input.CANDIDATE_LOST, State.CLOSED)
        self.before = self.session.state

    @rule()
    def lose_candidate(self) -> None:
        self.session.lose_candidate()
        assert self.session.state is TRANSITIONS[self.before].get(Input.CANDIDATE_LOST, State.CLOSED)
        self.before = self.session.state

    @precondition(lambda self: self.session.state is not State.CLOSED)
    @rule(reason=st.sampled_from([engineio.PING_TIMEOUT, engineio.SLOW_CONSUMER]))
    def close(self, reason: CloseReason) -> None:
        assert self.session.close(reason) is Signal.CLOSED
        assert self.session.reason is reason
        self.moved(Input.CLOSE)

    @invariant()
    def a_closed_session_has_one_reason_for_good(self) -> None:
        assert (self.session.reason is None) == (self.session.state is not State.CLOSED)
        if self.reason is not None:
            assert self.session.reason is self.reason
        self.reason = self.session.reason


TestSessionMachine = SessionMachine.TestCase


@given(st.sampled_from(OPEN_STATES), st.lists(sent_packets(), max_size=5))
def test_what_is_sent_is_received(state: State, packets: list[socketio.Packet]) -> None:
    session = start(state)
    for packet in packets:
        result = session.receive_text(b"4" + socketio.encode_packet(packet))
        for attachment in packet.attachments:
            assert result is None
            result = session.receive_binary(attachment)
        assert result == packet


@given(st.lists(sent_packets(), min_size=1, max_size=5))
def test_what_is_sent_in_a_body_is_received(packets: list[socketio.Packet]) -> None:
    encoded = [
        part
        for packet in packets
        for part in (
            engineio.encode_packet(engineio.Packet(engineio.PacketType.MESSAGE, socketio.encode_packet(packet))),
            *(
                engineio.encode_packet(engineio.Packet(engineio.PacketType.MESSAGE, data, binary=True))
                for data in packet.attachments
            ),
        )
    ]
    assert heard_in(start(State.POLLING), engineio.encode_payload(encoded)) == packets
