"""Engine.IO packets, polling payloads, the handshake and its checks, against the specification and python-engineio."""

import json
from base64 import b64encode, urlsafe_b64encode
from itertools import product
from typing import NamedTuple

import engineio.packet
import engineio.payload
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.protocol import engineio as eio
from oyez.protocol.engineio import HandshakeError, MalformedError, OpenPacket, Packet, PacketType
from tests.protocol.timing import assert_linear

MANY = 1_000

texts = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"])).map(str.encode)
packets = st.one_of(
    st.builds(Packet, st.sampled_from(PacketType), texts, st.just(False)),
    st.builds(Packet, st.just(PacketType.MESSAGE), st.binary(), st.just(True)),
)


@pytest.mark.parametrize(
    ("encoded", "packet"),
    [
        (b'0{"sid":"x"}', Packet(PacketType.OPEN, b'{"sid":"x"}')),
        (b"1", Packet(PacketType.CLOSE)),
        (b"2", Packet(PacketType.PING)),
        (b"2probe", Packet(PacketType.PING, b"probe")),
        (b"3", Packet(PacketType.PONG)),
        (b"3probe", Packet(PacketType.PONG, b"probe")),
        (b"4hello", Packet(PacketType.MESSAGE, b"hello")),
        (b"4", Packet(PacketType.MESSAGE)),
        ("4€".encode(), Packet(PacketType.MESSAGE, "€".encode())),
        (b"5", Packet(PacketType.UPGRADE)),
        (b"6", Packet(PacketType.NOOP)),
        (b"bAQIDBA==", Packet(PacketType.MESSAGE, b"\x01\x02\x03\x04", binary=True)),
        (b"b", Packet(PacketType.MESSAGE, b"", binary=True)),
    ],
)
def test_each_packet_has_one_encoding(encoded: bytes, packet: Packet) -> None:
    assert eio.decode_packet(encoded) == packet
    assert eio.encode_packet(packet) == encoded


def test_the_packets_without_data_are_constants() -> None:
    assert eio.encode_packet(Packet(PacketType.CLOSE)) == eio.CLOSE
    assert eio.encode_packet(Packet(PacketType.PING)) == eio.PING
    assert eio.encode_packet(Packet(PacketType.PONG)) == eio.PONG
    assert eio.encode_packet(Packet(PacketType.UPGRADE)) == eio.UPGRADE
    assert eio.encode_packet(Packet(PacketType.NOOP)) == eio.NOOP
    assert eio.encode_packet(Packet(PacketType.PING, b"probe")) == eio.PROBE_PING
    assert eio.encode_packet(Packet(PacketType.PONG, b"probe")) == eio.PROBE_PONG


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"7",
        b"9x",
        b"a",
        b" 4",
        b"-1",
        b"\x004",
        "４".encode(),  # A full-width digit is no digit.
        b"b!",
        b"bAQ==AQ==",
        b"bA",
        b"b\xff\xfe",
    ],
)
def test_what_is_no_packet_is_malformed(encoded: bytes) -> None:
    with pytest.raises(MalformedError):
        eio.decode_packet(encoded)


@pytest.mark.parametrize("encoded", [b"b+/+A", b"b-_-A", b"b+/+A\n", b"b+/\r\n+A\r\n", b"b +/+ A\n", b"b-_-A\t"])
def test_base64_as_clients_write_it(encoded: bytes) -> None:
    assert eio.decode_packet(encoded) == Packet(PacketType.MESSAGE, b"\xfb\xff\x80", binary=True)


@given(st.binary(), st.integers(1, 80))
def test_base64_in_lines_and_without_padding(data: bytes, width: int) -> None:
    usual = b64encode(data)
    lines = b"\n".join(usual[start : start + width] for start in range(0, len(usual), width))
    for encoded in (lines + b"\n", usual.rstrip(b"="), urlsafe_b64encode(data), urlsafe_b64encode(data).rstrip(b"=")):
        assert eio.decode_packet(b"b" + encoded).data == data


@given(packets)
def test_packets_survive_the_way_there_and_back(packet: Packet) -> None:
    assert eio.decode_packet(eio.encode_packet(packet)) == packet


@given(st.binary())
def test_bytes_are_a_packet_or_malformed(encoded: bytes) -> None:
    try:
        packet = eio.decode_packet(encoded)
    except MalformedError:
        return
    if packet.binary:
        # Base64 can be written in several ways.
        encoded = eio.encode_packet(eio.decode_packet(encoded))
    assert eio.encode_packet(packet) == encoded


@given(packets)
def test_python_engineio_encodes_the_same(packet: Packet) -> None:
    data = packet.data if packet.binary else packet.data.decode()
    assert eio.encode_packet(packet).decode() == engineio.packet.Packet(packet.type, data).encode(b64=True)


@given(packets)
def test_python_engineio_decodes_the_same(packet: Packet) -> None:
    theirs = engineio.packet.Packet(encoded_packet=eio.encode_packet(packet).decode())
    assert theirs.packet_type == packet.type
    assert theirs.binary == packet.binary
    if packet.binary:
        assert theirs.data == packet.data


@pytest.mark.parametrize(
    ("body", "decoded"),
    [
        (b"4a", [Packet(PacketType.MESSAGE, b"a")]),
        (
            b"4a\x1e2\x1e4b",
            [Packet(PacketType.MESSAGE, b"a"), Packet(PacketType.PING), Packet(PacketType.MESSAGE, b"b")],
        ),
        (
            b"4hello\x1ebAQIDBA==",
            [Packet(PacketType.MESSAGE, b"hello"), Packet(PacketType.MESSAGE, b"\x01\x02\x03\x04", binary=True)],
        ),
    ],
)
def test_a_payload_is_packets_with_a_separator(body: bytes, decoded: list[Packet]) -> None:
    assert eio.decode_payload(body, MANY) == decoded
    assert eio.encode_payload(map(eio.encode_packet, decoded)) == body


@pytest.mark.parametrize(
    "body", [b"", b"\x1e", b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b", b"4a\x1e7", b"4\xff", b"4a\x1e4\xed\xa0\x80"]
)
def test_a_payload_with_one_bad_packet_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        eio.decode_payload(body, MANY)


def test_a_payload_holds_no_more_packets_than_allowed() -> None:
    assert len(eio.decode_payload(b"\x1e".join([b"6"] * 5), 5)) == 5
    with pytest.raises(MalformedError, match="more than 5 packets"):
        eio.decode_payload(b"\x1e".join([b"6"] * 6), 5)


@given(st.lists(packets, min_size=1))
def test_payloads_survive_the_way_there_and_back(sent: list[Packet]) -> None:
    assert eio.decode_payload(eio.encode_payload(map(eio.encode_packet, sent)), MANY) == sent


@given(st.lists(packets, min_size=1, max_size=16))
def test_python_engineio_reads_and_writes_the_same_payloads(sent: list[Packet]) -> None:
    theirs = [engineio.packet.Packet(p.type, p.data if p.binary else p.data.decode()) for p in sent]
    body = eio.encode_payload(map(eio.encode_packet, sent))
    assert body.decode() == engineio.payload.Payload(theirs).encode()
    if not body.startswith(b"d="):
        read = engineio.payload.Payload(encoded_payload=body.decode()).packets
        assert [(p.packet_type, p.binary) for p in read] == [(p.type, p.binary) for p in sent]


@given(st.binary())
def test_bodies_are_packets_or_malformed(body: bytes) -> None:
    try:
        decoded = eio.decode_payload(body, MANY)
    except MalformedError:
        return
    assert eio.encode_payload(map(eio.encode_packet, decoded)) == body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda n: b"\x1e" * n, id="separators"),
        pytest.param(lambda n: b"4" + "é".encode() * (n // 2), id="text"),
        pytest.param(lambda n: b"b" + b64encode(b"x" * (n * 3 // 4)), id="base64"),
        pytest.param(lambda n: b"\x1e".join([b"4"] * (n // 2)), id="packets"),
    ],
)
def test_payloads_cost_time_in_proportion_to_their_size(body: object) -> None:
    def decode(encoded: bytes) -> None:
        try:
            eio.decode_payload(encoded, 10**9)
        except MalformedError:
            return

    assert_linear(decode, body)


def test_the_handshake_is_camel_case_and_milliseconds() -> None:
    packet = OpenPacket("sid0", ["websocket"], 25_000, 20_000, 1_000_000)
    encoded = eio.encode_open(packet)
    assert encoded[:1] == b"0"
    assert json.loads(encoded[1:]) == {
        "sid": "sid0",
        "upgrades": ["websocket"],
        "pingInterval": 25_000,
        "pingTimeout": 20_000,
        "maxPayload": 1_000_000,
    }
    assert eio.decode_open(encoded[1:]) == packet


def test_a_handshake_may_hold_more_than_is_known() -> None:
    data = b'{"sid":"a","upgrades":[],"pingInterval":1,"pingTimeout":2,"maxPayload":3,"later":true}'
    assert eio.decode_open(data) == OpenPacket("a", [], 1, 2, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"sid":1,"upgrades":[],"pingInterval":1,"pingTimeout":2,"maxPayload":3}',
        b'{"sid":"\xff","upgrades":[],"pingInterval":1,"pingTimeout":2,"maxPayload":3}',
        b'{"\xff":1}',
        b"[" * 50_000,
    ],
)
def test_what_is_no_handshake_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        eio.decode_open(data)


def test_errors_have_the_official_codes_messages_and_statuses() -> None:
    assert [
        eio.UNKNOWN_TRANSPORT,
        eio.UNKNOWN_SESSION,
        eio.BAD_METHOD,
        eio.BAD_REQUEST,
        eio.FORBIDDEN,
        eio.UNSUPPORTED_VERSION,
    ] == [
        (0, "Transport unknown", 400),
        (1, "Session ID unknown", 400),
        (2, "Bad handshake method", 400),
        (3, "Bad request", 400),
        (4, "Forbidden", 403),
        (5, "Unsupported protocol version", 400),
    ]


class Request(NamedTuple):
    query: str
    method: str = "GET"
    known: bool = False
    upgrade: bool = False

    def check(self) -> HandshakeError | None:
        query = dict(pair.split("=") for pair in self.query.split("&") if pair)
        return eio.check_request(self.method, query, known=self.known, upgrade=self.upgrade)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Request("EIO=4&transport=polling"), None),
        (Request("EIO=4&transport=websocket", upgrade=True), None),
        (Request("EIO=4&transport=polling&sid=a", known=True), None),
        (Request("EIO=4&transport=polling&sid=a", method="POST", known=True), None),
        (Request("EIO=4&transport=websocket&sid=a", known=True, upgrade=True), None),
        (Request("transport=polling&sid=a", known=True), None),
        (Request("EIO=4&transport=polling&sid="), None),
        (Request("EIO=4&transport=websocket&sid=", upgrade=True), None),
        (Request("EIO=4"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport="), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport=carrier-pigeon"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport=POLLING"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport=webtransport"), eio.UNKNOWN_TRANSPORT),
        # CVE-2023-31125: names that every JavaScript object has.
        (Request("EIO=4&transport=constructor"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport=__proto__"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport=handlesUpgrades"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=4&transport=polling&sid=a"), eio.UNKNOWN_SESSION),
        (Request("EIO=4&transport=websocket&sid=a", upgrade=True), eio.UNKNOWN_SESSION),
        (Request("EIO=4&transport=polling", method="POST"), eio.BAD_METHOD),
        (Request("EIO=4&transport=polling", method="HEAD"), eio.BAD_METHOD),
        (Request("EIO=4&transport=polling", method="OPTIONS"), eio.BAD_METHOD),
        (Request("EIO=4&transport=polling", method="PUT"), eio.BAD_METHOD),
        (Request("EIO=4&transport=websocket"), eio.BAD_REQUEST),
        (Request("EIO=4&transport=websocket&sid=a", known=True), eio.BAD_REQUEST),
        (Request("EIO=3&transport=polling&sid=a", known=True), eio.BAD_REQUEST),
        (Request("EIO=4&transport=polling&j=0"), eio.BAD_REQUEST),
        (Request("EIO=3&transport=polling"), eio.UNSUPPORTED_VERSION),
        (Request("EIO=5&transport=polling"), eio.UNSUPPORTED_VERSION),
        (Request("EIO=&transport=polling"), eio.UNSUPPORTED_VERSION),
        (Request("transport=polling"), eio.UNSUPPORTED_VERSION),
        (Request("EIO=3&transport=websocket", upgrade=True), eio.UNSUPPORTED_VERSION),
    ],
)
def test_requests_are_checked(request_: Request, error: HandshakeError | None) -> None:
    assert request_.check() == error


def test_an_upgrade_to_polling_is_refused() -> None:
    assert Request("EIO=4&transport=polling", upgrade=True).check() is not None
    assert Request("EIO=4&transport=polling&sid=a", known=True, upgrade=True).check() is not None


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        # Everything is wrong with each; the earlier check speaks.
        (Request("EIO=3&transport=no&sid=a", method="PUT"), eio.UNKNOWN_TRANSPORT),
        (Request("EIO=3&transport=websocket&sid=a", method="PUT"), eio.UNKNOWN_SESSION),
        (Request("EIO=3&transport=websocket&sid=a", method="PUT", known=True), eio.BAD_REQUEST),
        (Request("EIO=3&transport=websocket", method="PUT"), eio.BAD_METHOD),
        (Request("EIO=3&transport=websocket"), eio.BAD_REQUEST),
        (Request("EIO=3&transport=polling"), eio.UNSUPPORTED_VERSION),
    ],
)
def test_the_checks_have_the_official_order(request_: Request, error: HandshakeError) -> None:
    assert request_.check() == error


def test_every_request_gets_an_answer() -> None:
    """All combinations: a handshake needs GET, a transport and version 4; nothing else opens a session."""
    for method, transport, version, sid, known, upgrade in product(
        ("GET", "POST", "HEAD", "DELETE"),
        ("polling", "websocket", "no", None),
        ("3", "4", None),
        (None, "a"),
        (True, False),
        (True, False),
    ):
        query = {"transport": transport, "EIO": version, "sid": sid}
        given_query = {key: value for key, value in query.items() if value is not None}
        error = eio.check_request(method, given_query, known=known, upgrade=upgrade)
        opens = method == "GET" and version == "4" and transport == ("websocket" if upgrade else "polling")
        if sid is None:
            assert (error is None) == opens
        elif not known:
            assert error is not None


def test_a_session_is_deleted_only_if_it_was_ended_on_purpose() -> None:
    reasons = [value for value in vars(eio).values() if isinstance(value, eio.CloseReason)]
    recoverable = {reason.text for reason in reasons if reason.recoverable}
    final = {reason.text for reason in reasons if not reason.recoverable}
    assert recoverable >= {
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "forced server close",
        # The official server ends the session here; ours verifies every client that reconnects, so it need not.
        "parse error",
        "token expired",
        "rate limited",
        "message too large",
        "slow consumer",
    }
    assert final == {"client namespace disconnect", "server namespace disconnect", "connect timeout", "refused"}
    assert len(recoverable | final) == len(reasons)


def test_close_codes_may_be_sent_and_say_what_was_wrong() -> None:
    for reason in vars(eio).values():
        if isinstance(reason, eio.CloseReason):
            # RFC 6455 section 7.4: 1004 to 1006 and 1015 never go on the wire.
            assert reason.code in {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert eio.INVALID_TEXT.code == 1007
    assert eio.TOO_MANY_FRAGMENTS.code == 1008
    assert eio.TOO_LARGE.code == 1009
    assert eio.PARSE_ERROR.code == 1002
