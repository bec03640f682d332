"""Socket.IO packets: the specification's examples, every limit, hostile input, and python-socketio as the oracle."""

import json
import re
import time
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import socketio.packet
from hypothesis import assume, given
from hypothesis import strategies as st

from oyez.protocol import socketio as sio
from oyez.protocol.engineio import MalformedError
from oyez.protocol.socketio import Packet, PacketType
from oyez.settings import Limits
from tests.protocol.strategies import BINARY_TYPES, ack_ids, binary_values, names, namespaces, sent_packets
from tests.protocol.timing import assert_linear

LIMITS = Limits()


def decode(text: bytes | str, limits: Limits = LIMITS) -> Packet:
    return sio.decode_packet(text if isinstance(text, bytes) else text.encode(), limits)


# The examples of the specification, revision 5.

EXAMPLES = [
    ("0", Packet(PacketType.CONNECT)),
    ('0{"token":"123"}', Packet(PacketType.CONNECT, data=b'{"token":"123"}')),
    ("0/admin,", Packet(PacketType.CONNECT, "/admin")),
    ('0/admin,{"sid":"oSO"}', Packet(PacketType.CONNECT, "/admin", b'{"sid":"oSO"}')),
    ("1", Packet(PacketType.DISCONNECT)),
    ("1/admin,", Packet(PacketType.DISCONNECT, "/admin")),
    ('2["foo"]', Packet(PacketType.EVENT, data=b'["foo"]', name="foo")),
    ('2/admin,["bar"]', Packet(PacketType.EVENT, "/admin", b'["bar"]', name="bar")),
    ('212["foo"]', Packet(PacketType.EVENT, data=b'["foo"]', ack_id=12, name="foo")),
    ('2/admin,0["foo",1]', Packet(PacketType.EVENT, "/admin", b'["foo",1]', 0, "foo")),
    ('312["bar"]', Packet(PacketType.ACK, data=b'["bar"]', ack_id=12)),
    ("3/admin,13[]", Packet(PacketType.ACK, "/admin", b"[]", 13)),
    ('4{"message":"no"}', Packet(PacketType.CONNECT_ERROR, data=b'{"message":"no"}')),
    ('4/admin,"no"', Packet(PacketType.CONNECT_ERROR, "/admin", b'"no"')),
    (
        '51-["baz",{"_placeholder":true,"num":0}]',
        Packet(PacketType.BINARY_EVENT, data=b'["baz",{"_placeholder":true,"num":0}]', name="baz"),
    ),
    (
        '52-/admin,7["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        Packet(
            PacketType.BINARY_EVENT,
            "/admin",
            b'["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
            7,
            "baz",
        ),
    ),
    (
        '61-15["bar",{"_placeholder":true,"num":0}]',
        Packet(PacketType.BINARY_ACK, data=b'["bar",{"_placeholder":true,"num":0}]', ack_id=15),
    ),
]


@pytest.mark.parametrize(("text", "packet"), EXAMPLES)
def test_each_packet_has_one_encoding(text: str, packet: Packet) -> None:
    decoded = decode(text)
    announced = decoded.missing_attachments
    decoded.missing_attachments = 0
    assert decoded == packet
    decoded.attachments = (b"",) * announced
    assert sio.encode_packet(decoded).decode() == text


@pytest.mark.parametrize(
    ("text", "attachments"), [('51-["a"]', 1), ('510-["a"]', 10), ('53-/b,["a"]', 3), ("62-1[]", 2)]
)
def test_binary_packets_say_how_many_attachments_follow(text: str, attachments: int) -> None:
    assert decode(text).missing_attachments == attachments


def test_a_namespace_needs_no_comma_where_nothing_follows() -> None:
    assert decode("0/admin") == Packet(PacketType.CONNECT, "/admin")
    assert decode("1/admin") == Packet(PacketType.DISCONNECT, "/admin")


def test_an_event_has_an_encoding_of_its_own() -> None:
    assert sio.encode_event("/", b'["a"]') == b'2["a"]'
    assert sio.encode_event("/", b'["a"]', 0) == b'20["a"]'
    assert sio.encode_event("/b", b'["a"]') == b'2/b,["a"]'
    assert sio.encode_event("/b", b'["a"]', 3) == b'2/b,3["a"]'


def test_an_event_may_have_any_json_and_any_name_that_is_not_reserved() -> None:
    assert decode('2["",null,true,1.5,"\\ud83d\\ude00",[],{}]').name == ""
    assert decode('2["€"]').name == "€"
    assert decode('2["n\\u00e4me"]').name == "näme"
    assert decode(' 2["a"]'[1:]).name == "a"


# What is refused.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "9[]",
        "a",
        "-",
        " 0",
        "\x00",
        "２[]",
        # CONNECT
        "0[]",
        "0null",
        '0"a"',
        "0true",
        "0{",
        "0{}x",
        "0{}{}",
        "00{}",
        "0/admin,[]",
        "0{1:2}",
        # DISCONNECT
        "1{}",
        "11",
        "1/admin,{}",
        "1/admin,1",
        # EVENT
        "2",
        "2[]",
        "2{}",
        '2"a"',
        "2null",
        '2["a"',
        '2["a",]',
        '2["a"]]',
        '2["a"] ["b"]',
        "2['a']",
        '2["a",NaN]',
        '2["a",Infinity]',
        '2["a",01]',
        '2["a",undefined]',
        '2["a","\n"]',
        '2["a","\\x"]',
        "2/admin",
        "2/admin,",
        "2/admin,1",
        '2-1["a"]',
        '21-["a"]',
        # ACK
        "3",
        "3[]",
        "31",
        "31{}",
        "31[",
        '3/admin,["a"]',
        # CONNECT_ERROR
        "4",
        "4[]",
        "41",
        "4null",
        "4{",
        '41{"message":"no"}',
        # BINARY_EVENT and BINARY_ACK
        "5",
        '5["a"]',
        '5-["a"]',
        '50-["a"]',
        '5-1-["a"]',
        '5+1-["a"]',
        '5 1-["a"]',
        '51["a"]',
        '51.5-["a"]',
        '51e0-["a"]',
        '5٣-["a"]',
        "51-[]",
        "61-[]",
        "6[]",
        "60-1[]",
    ],
)
def test_what_is_no_packet_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        b'2["\xff"]',
        b'2["a","\xff"]',
        b'2["a",{"\xff":1}]',
        b'2["\xed\xa0\x80"]',
        b'2/\xff,["a"]',
        b"0/\xc3",
        b'0{"\xff":1}',
        b'0{"a":"\xff"}',
        b'31["\xff"]',
        b'4{"message":"\xff"}',
        b'4"\xff"',
        b"\xff",
    ],
)
def test_what_is_not_utf8_is_malformed_wherever_it_stands(text: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(text)


@pytest.mark.parametrize("name", sorted(sio.RESERVED_EVENTS))
def test_reserved_names_are_refused_however_they_are_written(name: str) -> None:
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    for text in (f'2["{name}"]', f'2["{escaped}"]', f'2/chat,1["{name}",1]', f'51-["{name}"]'):
        with pytest.raises(MalformedError, match="reserved"):
            decode(text)


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\r", "\x1e", "\x7f", "\x85", "\u2028"])
def test_names_with_control_characters_are_refused(character: str) -> None:
    for name in (f"a{character}b", character, f"{character}GET / HTTP/1.1"):
        for text in (f"0/{name},", f"2/{name},[]", f"1/{name}", "2" + json.dumps([name]), f'2["{name}"]'):
            with pytest.raises(MalformedError):
                decode(text)
    assert decode('2/größe 😀,["größe 😀 \u200d"]').name == "größe 😀 \u200d"


def test_reserved_are_exactly_the_official_names() -> None:
    expected = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
    assert expected == sio.RESERVED_EVENTS


@pytest.mark.parametrize(
    "name", ["error", "reconnect", "ping", "pong", "message", "connection", "open", "close", "Connect", "connect "]
)
def test_names_that_only_look_reserved_are_ordinary(name: str) -> None:
    assert decode(f'2["{name}"]').name == name


@pytest.mark.parametrize("name", ["1", "0.5", "null", "true", "{}", "[]", '["connect"]', '{"toString":"a"}'])
def test_an_event_name_is_a_string(name: str) -> None:
    # CVE-2023-32695. Official servers let numbers pass; no contract has an event called 1.
    with pytest.raises(MalformedError, match="no name"):
        decode(f"2[{name}]")


# Limits.


def test_the_limit_of_an_event_name() -> None:
    longest = "a" * LIMITS.max_event_name
    assert decode(f'2["{longest}"]').name == longest
    with pytest.raises(MalformedError, match="longer than 128"):
        decode(f'2["{longest}a"]')


def test_the_limit_of_a_namespace() -> None:
    longest = "/" + "a" * (LIMITS.max_namespace_length - 1)
    for text in (f"0{longest}", f"0{longest},", f'2{longest},["a"]'):
        assert decode(text).namespace == longest
    for text in (f"0{longest}a", f"0{longest}a,", f'2{longest}a,["a"]', f"0{longest}" + "a" * 10**6 + ","):
        with pytest.raises(MalformedError, match="longer than 128"):
            decode(text)


@pytest.mark.parametrize("kind", ["5{}-", "6{}-1"])
def test_the_limit_of_attachments(kind: str) -> None:
    # CVE-2026-33151.
    assert decode(kind.format(10) + '["a"]').missing_attachments == 10
    for count in ("11", "1000000", "9999999999", "99999999999999999999"):
        with pytest.raises(MalformedError):
            decode(kind.format(count) + '["a"]')
    with pytest.raises(MalformedError):
        decode(kind.format(1) + '["a"]', Limits(max_attachments=0))


def test_the_limit_of_an_acknowledgement_id() -> None:
    assert decode(f'2{2**53 - 1}["a"]').ack_id == 2**53 - 1
    assert decode('2007["a"]').ack_id == 7
    for too_large in (2**53, 10**16, 10**22, 10**400):
        for text in (f'2{too_large}["a"]', f"3{too_large}[]", f"61-{too_large}[]"):
            with pytest.raises(MalformedError):
                decode(text)


def test_the_limit_of_arguments() -> None:
    most = ",1" * LIMITS.max_arguments
    assert decode(f'2["a"{most}]').name == "a"
    assert decode(f"31[{most[1:]}]").ack_id == 1
    for text in (f'2["a"{most},1]', f"31[{most[1:]},1]", '2["a"' + ",1" * 100_000 + "]", f"31[{'1,' * 100_000}1]"):
        with pytest.raises(MalformedError, match="more than"):
            decode(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('2["a",', "]", id="event"),
        pytest.param("31[", "]", id="ack"),
        pytest.param('0{"a":', "}", id="connect"),
        pytest.param('4{"a":', "}", id="connect error"),
    ],
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"b":', "}")])
def test_the_limit_of_nesting(before: str, after: str, opening: str, closing: str) -> None:
    def nested(levels: int) -> str:
        return before + opening * levels + "1" + closing * levels + after

    assert decode(nested(LIMITS.max_json_depth - 1))
    for levels in (LIMITS.max_json_depth, 500, 50_000):
        with pytest.raises(MalformedError):
            decode(nested(levels))


def test_brackets_in_strings_and_beside_each_other_are_not_nesting() -> None:
    assert decode('2["a","' + "[{" * 1_000 + '"]').name == "a"
    assert decode('2["a","\\"' + "[{" * 1_000 + '\\\\"]').name == "a"
    assert decode('2["a",[' + "[]," * 1_000 + "{}]]").name == "a"


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda n: b'2["a"' + b",1" * (n // 2) + b"]", id="arguments"),
        pytest.param(lambda n: b'2["a",[' + b"[]," * (n // 3) + b"1]]", id="wide"),
        pytest.param(lambda n: b'2["a",' + b"[" * n, id="unclosed"),
        pytest.param(lambda n: b'2["a",' + b"[" * (n // 2) + b"]" * (n // 2) + b"]", id="deep"),
        pytest.param(lambda n: b'2["a",["' + b"[" * n + b'"]]', id="brackets in a string"),
        pytest.param(lambda n: b'2["a",["' + b"[" * 40 + b'\\"' * (n // 2) + b'"]]', id="escapes"),
        pytest.param(lambda n: b'2["' + b"a" * n + b'"]', id="name"),
        pytest.param(lambda n: b'2["' + b"\\u0061" * (n // 6) + b'"]', id="escaped name"),
        pytest.param(lambda n: b"2" + b"1" * n + b'["a"]', id="acknowledgement id"),
        pytest.param(lambda n: b"0/" + b"a" * n, id="namespace"),
        pytest.param(lambda n: b"0/" + b"a" * n + b",", id="namespace and comma"),
        pytest.param(lambda n: b"5" + b"1" * n + b"-[]", id="attachment count"),
        pytest.param(lambda n: b"0{" + b",".join(b'"%d":1' % i for i in range(n // 9)) + b"}", id="keys"),
        pytest.param(lambda n: b"0{" + b",".join([b'"a":1'] * (n // 6)) + b"}", id="the same key"),
        pytest.param(lambda n: b'4{"message":[' + b"[]," * (n // 3) + b"1]}", id="connect error"),
        pytest.param(lambda n: b'2["a",' + b"9" * n + b"]", id="number"),
    ],
)
def test_packets_cost_time_in_proportion_to_their_size(build: Any) -> None:
    def work(text: bytes) -> None:
        try:
            decode(text)
        except MalformedError:
            return

    assert_linear(work, build)


# Placeholders.


def test_placeholders_are_replaced_by_their_attachments() -> None:
    value = ["a", {"_placeholder": True, "num": 1}, {"b": [{"_placeholder": True, "num": 0}, 5]}, "c"]
    assert sio.find_placeholders(value, (b"zero", b"one")) == ["a", b"one", {"b": [b"zero", 5]}, "c"]


def test_what_only_looks_like_a_placeholder_stays() -> None:
    value = [{"_placeholder": False, "num": 7}, {"_placeholder": 1, "num": 7}, {"num": 7}, {"_placeholder": "true"}]
    assert sio.find_placeholders(value, ()) == value


@pytest.mark.parametrize("number", [-1, 1, 2, 10**30, 0.0, 0.5, True, False, None, "0", "splice", "length", [0], {}])
def test_a_placeholder_names_an_attachment_that_is_there(number: object) -> None:
    # CVE-2022-2421.
    with pytest.raises(MalformedError, match="placeholder"):
        sio.find_placeholders([{"_placeholder": True, "num": number}], (b"only",))


def test_a_placeholder_without_number_is_malformed() -> None:
    with pytest.raises(MalformedError):
        sio.find_placeholders({"_placeholder": True}, (b"only",))


# Properties.


@given(sent_packets())
def test_packets_survive_the_way_there_and_back(packet: Packet) -> None:
    decoded = sio.decode_packet(sio.encode_packet(packet), LIMITS)
    assert decoded.missing_attachments == len(packet.attachments)
    decoded.attachments, decoded.missing_attachments = packet.attachments, 0
    assert decoded == packet


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_a_packet_or_malformed(text: bytes) -> None:
    try:
        packet = sio.decode_packet(text, LIMITS)
    except MalformedError:
        return
    assert packet.missing_attachments == 0 or packet.type in BINARY_TYPES


@given(
    st.text("0123456", min_size=1, max_size=1),
    st.text('0123456789-/,[]{}"\\ antf_:.eE\u00e9\u0660', max_size=24),
)
def test_nearly_packets_are_a_packet_or_malformed(kind: str, rest: str) -> None:
    try:
        packet = sio.decode_packet((kind + rest).encode(), LIMITS)
    except MalformedError:
        return
    if packet.data:
        json.loads(packet.data)


@given(sent_packets())
def test_python_socketio_decodes_the_same(packet: Packet) -> None:
    # It cuts off a namespace's query, which revision 5 does not have, and finds a dash after a DISCONNECT's digits.
    assume("?" not in packet.namespace)
    theirs = socketio.packet.Packet()
    theirs.id = None
    count = theirs.decode(sio.encode_packet(packet).decode())
    assert theirs.packet_type == packet.type
    assert (theirs.namespace or "/") == packet.namespace
    assert theirs.id == packet.ack_id
    assert count == len(packet.attachments)
    assert theirs.data == (json.loads(packet.data) if packet.data else None)


@given(st.sampled_from([PacketType.EVENT, PacketType.ACK]), namespaces, ack_ids, names, st.lists(binary_values))
def test_python_socketio_is_understood(
    kind: PacketType, namespace: str, ack_id: int, name: str, arguments: list[Any]
) -> None:
    data = [name, *arguments] if kind is PacketType.EVENT else arguments
    theirs = socketio.packet.Packet(kind, data, namespace, ack_id)
    encoded = theirs.encode()
    text, attachments = (encoded[0], encoded[1:]) if isinstance(encoded, list) else (encoded, [])
    assume(len(attachments) <= LIMITS.max_attachments and len(arguments) <= LIMITS.max_arguments)
    ours = decode(text)
    assert (ours.type, ours.namespace, ours.ack_id) == (theirs.packet_type, namespace, ack_id)
    assert ours.missing_attachments == len(attachments)
    assert sio.find_placeholders(json.loads(ours.data), attachments) == data


def test_half_a_character_is_replaced_as_browsers_do() -> None:
    packet = decode(r'2["say",{"preview":"so \ud83d","whole":"\ud83d\ude00","escaped":"\\ud83d","tail":"\ude00"}]')
    assert msgspec.json.decode(packet.data) == [
        "say",
        {"preview": "so �", "whole": "😀", "escaped": r"\ud83d", "tail": "�"},
    ]
    assert msgspec.json.decode(decode(r'0{"token":"t","name":"so \ud83d"}').data) == {"token": "t", "name": "so �"}


@pytest.mark.parametrize("number", ["1e999", "-" + "9" * 5_000])
def test_a_connect_with_a_number_that_no_float_holds_is_malformed(number: str) -> None:
    with pytest.raises(MalformedError):
        decode('0{"a":' + number + "}")


def test_an_attachment_is_named_once() -> None:
    twice = [{"_placeholder": True, "num": 0}, {"_placeholder": True, "num": 0}]
    with pytest.raises(MalformedError, match="twice"):
        sio.find_placeholders(twice, (b"large", b"other"))


def slow_check_depth(data: bytes, max_depth: int) -> bool:
    """The depth's definition, byte by byte: whether `data` is within it."""
    depth = 0
    in_string = escaped = False
    for byte in data:
        if in_string:
            if escaped:
                escaped = False
            elif byte == ord("\\"):
                escaped = True
            elif byte == ord('"'):
                in_string = False
        elif byte == ord('"'):
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > max_depth:
                return False
        elif byte in b"]}":
            depth -= 1
    return True


JSON = st.recursive(
    st.text('[]{}"\\,aé', max_size=6) | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\,', max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(JSON, st.booleans(), st.integers(0, 60), st.integers(0, 5))
def test_depth_is_what_counting_byte_by_byte_says(value: Any, ascii: bool, end: int, max_depth: int) -> None:
    data = json.dumps(value, ensure_ascii=ascii).encode()[:end]
    try:
        sio.check_shape(data, Limits(max_json_depth=max_depth or 1))
    except MalformedError:
        assert not slow_check_depth(data, max_depth or 1)
    else:
        assert slow_check_depth(data, max_depth or 1)


SLOW_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""Escape after escape; the group is half a character."""

ESCAPES = st.sampled_from(
    ["\\", "\\\\", "\\ud83d", "\\uDE00", "\\ud83d\\ude00", "\\u00e9", "\\n", '\\"', "ud83d", "\\ud8", "é", "x"]
)


@given(st.lists(ESCAPES | st.text(max_size=3), max_size=12).map(lambda parts: "".join(parts)))
def test_halves_are_mended_as_escape_after_escape_says(text: str) -> None:
    data = text.encode("utf-8", "replace")
    assert sio.mend_halves(data) == SLOW_ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


@pytest.mark.parametrize(
    ("items", "fine"),
    [(b"[]," * 10, True), (b'"[,",' * 30_000, False), (b"[]," * 30_000, False), (b"1," * 30_000, False)],
)
def test_json_with_more_elements_than_any_contract_has_is_not_decoded(items: bytes, fine: bool) -> None:
    packet = b'2["e",[' + items + b"0]]"
    if fine:
        assert sio.decode_packet(packet, Limits()).name == "e"
    else:
        with pytest.raises(MalformedError, match="more than 20000 elements"):
            sio.decode_packet(packet, Limits())


def test_brackets_and_commas_in_a_text_are_no_elements() -> None:
    assert sio.decode_packet(b'2["e","' + b'\\"[{,' * 200_000 + b'"]', Limits()).name == "e"


@pytest.mark.parametrize(
    "data",
    [
        b"[]," * 333_000,
        b'"[",' * 250_000,
        b"[" * 30 + b'"' + b"\\\\" * 500_000 + b'"',
        (b"[" * 31 + b"]" * 31) * 16_000,
    ],
    ids=["flat", "strings", "escapes", "nested"],
)
def test_a_megabyte_is_checked_in_a_few_milliseconds(data: bytes) -> None:
    costs = []
    for _ in range(5):
        start = time.thread_time()
        with suppress(MalformedError):
            sio.decode_packet(b'2["e",' + data + b"0]", Limits())
        costs.append(time.thread_time() - start)
    # Some 2 ms on an idle machine; looking at one character after the other takes 18 to 60.
    assert min(costs) < 0.012


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda n: b'["' + b'\\"' * (n // 2) + b'"]', id="escapes"),
        pytest.param(lambda n: b'["' + b"\\\\" * (n // 2) + b'"]', id="backslashes"),
        pytest.param(lambda n: b'["' + b"\\ud83d" * (n // 6) + b'"]', id="halves"),
        pytest.param(lambda n: b"[" + b'"[","]",' * (n // 8) + b"1]", id="strings"),
        pytest.param(lambda n: b"\\" * n, id="not JSON"),
        pytest.param(lambda n: b'"' * n, id="quotes"),
    ],
)
def test_mending_and_counting_cost_time_in_proportion(build: Any) -> None:
    def work(data: bytes) -> None:
        sio.mend_halves(data)
        with suppress(MalformedError):
            sio.check_shape(data + b"[" * 40 + b"]" * 40, Limits(max_json_depth=100))

    assert_linear(work, build)
