"""Codecs: data that is accepted, errors about other data, and encoded data that is exact."""

from collections.abc import Callable
from datetime import UTC
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from oyez.contract import UNSET, CamelPayload, Id, Latitude, Maybe, Money, Payload, Time, UnsetType
from oyez.contract.command_codec import KEY_HINT, CommandCodec
from oyez.contract.declared import DeclaredCommand
from oyez.contract.event_codec import MAX_ERRORS, EventCodec
from oyez.errors import InvalidDataError
from tests.support.market import contract, root


class Sender(CamelPayload):
    """The author."""

    id: Id
    role: Literal["user", "admin"]
    first_name: str | None


class Note(CamelPayload):
    """All kinds of fields."""

    note_id: Id
    text: str
    count: Annotated[int, Meta(ge=0, lt=100)]
    price: Money
    latitude: Latitude
    seen: bool
    sent_at: Time
    read_at: Time | None
    tags: Annotated[list[str], Meta(min_length=1, max_length=3)]
    senders: list[Sender]
    sender: Maybe[Sender] = UNSET
    stamp: Time | UnsetType = UNSET


NOTE: dict[str, Any] = {
    "noteId": "n1",
    "text": "hello",
    "count": 3,
    "price": 19.99,
    "latitude": 51.5,
    "seen": True,
    "sentAt": "2026-01-31T12:00:00Z",
    "readAt": None,
    "tags": ["a"],
    "senders": [{"id": "u1", "role": "user", "firstName": None}],
}
codec = EventCodec("note", Note)


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(InvalidDataError) as error:
        codec.decode_payload(data)
    return error.value.field, error.value.expected


def test_an_event_is_the_array_of_its_name_and_its_payload() -> None:
    payload = codec.decode_payload(msgspec.json.encode(NOTE))
    name, data = msgspec.json.decode(codec.encode_event(payload))
    assert (name, data) == ("note", NOTE)


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"noteId": ""}, "noteId", "a string of 1 to 128 characters, without control characters"),
        ({"noteId": "x" * 129}, "noteId", "a string of 1 to 128 characters, without control characters"),
        ({"noteId": "a\nb"}, "noteId", "a string of 1 to 128 characters, without control characters"),
        ({"noteId": "a\n"}, "noteId", "a string of 1 to 128 characters, without control characters"),
        ({"text": 1}, "text", "a string"),
        ({"text": None}, "text", "a string"),
        ({"count": 1.5}, "count", "a whole number from 0 below 100"),
        ({"count": 100}, "count", "a whole number from 0 below 100"),
        ({"price": "19,99"}, "price", "an amount: a number from 0 with at most two decimals"),
        ({"price": 0.125}, "price", "an amount: a number from 0 with at most two decimals"),
        ({"price": True}, "price", "an amount: a number from 0 with at most two decimals"),
        ({"latitude": 90.1}, "latitude", "a number from -90 to 90"),
        ({"seen": 0}, "seen", "true or false"),
        ({"sentAt": "yesterday"}, "sentAt", "an ISO 8601 time with its zone, such as 2026-01-31T12:00:00Z"),
        ({"sentAt": 1769860800}, "sentAt", "an ISO 8601 time with its zone, such as 2026-01-31T12:00:00Z"),
        ({"readAt": ""}, "readAt", "an ISO 8601 time with its zone, such as 2026-01-31T12:00:00Z or null"),
        ({"stamp": None}, "stamp", "an ISO 8601 time with its zone, such as 2026-01-31T12:00:00Z"),
        ({"tags": []}, "tags", "an array of 1 to 3 items"),
        ({"tags": ["a", 2]}, "tags[1]", "a string"),
        ({"tags": {}}, "tags", "an array of 1 to 3 items"),
        ({"senders": [NOTE["senders"][0], {"id": "u", "role": "x"}]}, "senders[1].role", "one of 'admin', 'user'"),
        ({"senders": [{"id": "u", "role": "user"}]}, "senders[0].firstName", "is required"),
        ({"sender": {"id": "u", "role": 1, "firstName": "x"}}, "sender.role", "one of 'admin', 'user'"),
        ({"sender": []}, "sender", "an object or null"),
        (
            {"sender": {"id": "u", "role": "user", "firstName": "x", "age": 3}},
            "sender.age",
            "is not a field of sender in note; known fields are id, role, firstName",
        ),
    ],
)
def test_a_bad_field_is_described(changes: dict[str, Any], field: str, expected: str) -> None:
    assert refusal(msgspec.json.encode({**NOTE, **changes})) == (field, expected)


@pytest.mark.parametrize("name", list(NOTE))
def test_a_field_that_is_missing(name: str) -> None:
    data = {key: value for key, value in NOTE.items() if key != name}
    assert refusal(msgspec.json.encode(data)) == (name, "is required")


@pytest.mark.parametrize("name", ["other", "note_id", "a.b", "a[0]", "ü", "`", "x" * 500])
def test_a_field_that_is_not_known(name: str) -> None:
    field, expected = refusal(msgspec.json.encode({**NOTE, name: 1}))
    assert field == name[:100]
    assert expected.startswith("is not a field of note; known fields are noteId, text, count,")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b" ", ""),
        (b"{", ""),
        (b"nonsense", ""),
        (b'{"noteId":"\xff"}', ""),
        (b'{"noteId":"\\ud800"}', ""),
        (msgspec.json.encode(NOTE) + b"1", ""),
    ],
)
def test_data_that_is_not_json(data: bytes, field: str) -> None:
    found, expected = refusal(data)
    assert found == field
    assert expected.startswith("valid JSON in UTF-8")


def test_every_bad_field_is_found() -> None:
    bad = {**NOTE, "count": 100, "senders": [{"id": "u", "role": "x"}], "tags": [], "other": 1, "more": 2}
    del bad["text"]
    assert [
        (fault.field, fault.expected.partition(";")[0]) for fault in codec.find_errors(msgspec.json.encode(bad))
    ] == [
        ("text", "is required"),
        ("count", "a whole number from 0 below 100"),
        ("tags", "an array of 1 to 3 items"),
        ("senders[0].role", "one of 'admin', 'user'"),
        ("other", "is not a field of note"),
        ("more", "is not a field of note"),
    ]
    assert codec.find_errors(msgspec.json.encode(NOTE)) == []
    assert codec.find_errors(b"[]") == codec.find_errors(b"{") == []


def test_the_number_of_reported_errors_is_limited() -> None:
    many = {f"field{number}": number for number in range(1_000)}
    assert len(codec.find_errors(msgspec.json.encode({**NOTE, **many}))) == MAX_ERRORS


def test_data_that_is_not_an_object() -> None:
    field, expected = refusal(b"[]")
    assert field == ""
    assert expected.startswith("an object with the fields noteId, text, count, ")


@pytest.mark.parametrize("inside", [b"[" * 100_000, b'{"a":' * 100_000])
def test_deep_nesting_does_not_exhaust_the_stack(inside: bytes) -> None:
    start = msgspec.json.encode(NOTE)
    for name in ("price", "sentAt", "senders", "text", "unknown"):
        data = start[:-1] + b',"' + name.encode() + b'":' + inside
        assert refusal(data)[1]


def test_nul_is_refused_in_every_form() -> None:
    assert refusal(msgspec.json.encode({**NOTE, "text": "a\0b"}))[1].startswith("text without NUL")
    assert refusal(msgspec.json.encode({**NOTE, "text": "\\\0"}))[1].startswith("text without NUL")


def test_text_that_describes_nul_is_accepted() -> None:
    data = msgspec.json.encode({**NOTE, "text": "write \\u0000 for it"})
    assert codec.decode_payload(data).text == "write \\u0000 for it"


def test_a_bad_payload_made_in_python_is_refused() -> None:
    good = codec.decode_payload(msgspec.json.encode(NOTE))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"note_id": ""}, "noteId"),
        ({"count": 1000}, "count"),
        ({"tags": []}, "tags"),
        ({"latitude": float("nan")}, "latitude"),
        ({"sent_at": "soon"}, "sentAt"),
        ({"price": -1}, "price"),
        ({"text": object()}, ""),
        ({"text": "\ud800"}, ""),
        ({"text": "\0"}, ""),
    ]
    for change, field in changes:
        with pytest.raises(InvalidDataError) as error:
            codec.encode_event(msgspec.structs.replace(good, **change))
        assert error.value.field == field


# Commands.


CODECS = {command.name: CommandCodec(command) for command in root.commands}


def command_refusal(name: str, array: Any, attachments: tuple[bytes, ...] = ()) -> tuple[str, str]:
    with pytest.raises(InvalidDataError) as error:
        CODECS[name].decode_command(msgspec.json.encode(array), attachments)
    return error.value.field, error.value.expected


def decode(name: str, array: Any, attachments: tuple[bytes, ...] = ()) -> Any:
    return CODECS[name].decode_command(msgspec.json.encode(array), attachments)


def test_positional_arguments() -> None:
    command = decode("booking:accept", ["booking:accept", "b1"])
    assert command == declared("booking:accept").command(booking_id="b1")
    for array in (["request:stats"], ["request:stats", None], ["request:stats", {}]):
        assert decode("request:stats", array) == declared("request:stats").command()
    assert decode("leave_ticket", ["leave_ticket", "t1"]) == declared("leave_ticket").command(ticketId="t1")


def test_an_object_as_argument() -> None:
    command = decode("message:send", ["message:send", {"recipientId": "u2", "message": "hi"}])
    assert command == declared("message:send").command(recipient_id="u2", message="hi")


def test_other_forms_with_one_meaning_are_accepted() -> None:
    """Other forms of ids and numbers that front ends send."""
    assert decode("booking:accept", ["booking:accept", 7]) == declared("booking:accept").command(booking_id="7")
    command = decode("message:send", ["message:send", {"recipientId": -2, "message": "hi"}])
    assert command == declared("message:send").command(recipient_id="-2", message="hi")
    for array, field in (
        (["booking:accept", 2**53], "bookingId"),
        (["booking:accept", True], "bookingId"),
        (["message:send", {"recipientId": "u2", "message": 7}], "message"),
    ):
        assert command_refusal(str(array[0]), array)[0] == field
    changes = {"noteId": 7, "count": "42", "price": "19.90", "sentAt": "2026-01-31T13:00:00.5+01:00", "latitude": "1.5"}
    note = codec.decode_payload(msgspec.json.encode({**NOTE, **changes}))
    sent = msgspec.json.decode(codec.encode_payload(note))
    expected = {"noteId": "7", "count": 42, "price": 19.9, "sentAt": "2026-01-31T12:00:00.5Z", "latitude": 1.5}
    assert {name: sent[name] for name in changes} == expected
    assert b'"price":19.90' in codec.encode_payload(note), "money is a number, not a string"
    for wrong in ({"count": "42.0"}, {"count": "1e1"}, {"count": " 4"}, {"latitude": "1e1"}, {"latitude": "nan"}):
        assert refusal(msgspec.json.encode({**NOTE, **wrong}))[0] == next(iter(wrong))


class Counted(Payload):
    """Whole numbers in every place that can hold one."""

    views: int
    small: Annotated[int, Meta(ge=0, le=10)] = 0
    lists: list[dict[str, int | None]] | None = None


def test_whole_numbers_that_javascript_would_change() -> None:
    counted: EventCodec[Counted] = EventCodec("counted", Counted)
    most = 2**53 - 1
    for views in (most, -most):
        assert counted.decode_payload(b'{"views":%d}' % views).views == views
    for data, field in (
        (b'{"views":9007199254740992}', "views"),
        (b'{"views":-9007199254740992}', "views"),
        (b'{"views":1,"lists":[{"a":null},{"b":9007199254740993}]}', "lists[1].b"),
    ):
        with pytest.raises(InvalidDataError) as error:
            counted.decode_payload(data)
        assert error.value.field == field
        assert error.value.expected == (f"a whole number from -{most} to {most}; declare larger ones as strings")
    with pytest.raises(InvalidDataError):
        counted.encode_payload(Counted(views=2**53))


GREETING = {"recipientId": "u2", "message": "hi"}


@pytest.mark.parametrize(
    ("array", "field", "expected"),
    [
        (["booking:accept"], "", "1 argument: bookingId"),
        (["booking:accept", "a", "b"], "", f"1 argument: bookingId{KEY_HINT}"),
        (["booking:accept", "a", 7], "", "1 argument: bookingId"),
        (["booking:accept", 7.0], "bookingId", "a string of 1 to 128 characters, without control characters"),
        (["booking:accept", None], "bookingId", "a string of 1 to 128 characters, without control characters"),
        (["request:stats", 1], "", "no arguments"),
        (["request:stats", {"x": 1}], "", "no arguments"),
        (["message:send"], "", "one argument, an object of recipientId, message, bookingId"),
        (
            ["message:send", {"recipientId": "u", "message": "hi"}, {}],
            "",
            "one argument, an object of recipientId, message, bookingId",
        ),
        (["message:send", "hi"], "", "an object with the fields recipientId, message, bookingId"),
        (["message:send", {"message": "hi"}], "recipientId", "is required"),
        (
            ["message:send", {**GREETING, "x": 1}],
            "x",
            "is not a field of message:send; known fields are recipientId, message, bookingId",
        ),
        ([7, {}], "", "one argument, an object of recipientId, message, bookingId"),
        ({}, "", "one argument, an object of recipientId, message, bookingId"),
    ],
)
def test_bad_arguments_are_described(array: Any, field: str, expected: str) -> None:
    name = array[0] if array and isinstance(array, list) and isinstance(array[0], str) else "message:send"
    assert command_refusal(name, array) == (field, expected)


PLACEHOLDER = {"_placeholder": True, "num": 0}


def test_attachments_take_the_place_of_their_placeholders() -> None:
    array = ["upload", {"kind": "png", "data": PLACEHOLDER}]
    assert decode("upload", array, (b"\x00\xff",)) == declared("upload").command(kind="png", data=b"\x00\xff")


def test_clients_without_attachments_may_send_base64() -> None:
    assert decode("upload", ["upload", {"kind": "png", "data": "AP8="}]).data == b"\x00\xff"


@pytest.mark.parametrize(
    ("name", "array", "field"),
    [
        ("upload", ["upload", {"kind": PLACEHOLDER, "data": "AP8="}], "kind"),
        ("upload", ["upload", {"kind": "png", "data": "AP8="}], "data"),
        ("upload", ["upload", {"kind": "png", "data": {"_placeholder": True, "num": 1}}], ""),
        ("upload", ["upload", {"kind": "png", "data": {"_placeholder": True, "num": "length"}}], ""),
        ("upload", ["upload", PLACEHOLDER], ""),
        ("message:send", ["message:send", {"recipientId": "u", "message": PLACEHOLDER}], ""),
    ],
)
def test_attachments_that_do_not_fit(name: str, array: Any, field: str) -> None:
    assert command_refusal(name, array, (b"data",))[0] == field


# Any input.


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text() | st.sampled_from(list(NOTE)), inside),
    max_leaves=20,
)


@given(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(NOTE, JSON)))
def test_any_json_is_decoded_or_refused(value: Any) -> None:
    try:
        payload = codec.decode_payload(msgspec.json.encode(value))
    except InvalidDataError as error:
        assert error.expected
    else:
        assert codec.decode_payload(codec.encode_payload(payload)) == payload


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    decoders: list[Callable[[bytes], object]] = [each.decode_command for each in CODECS.values()]
    for decode_bytes in (codec.decode_payload, *decoders):
        try:
            decode_bytes(data)
        except InvalidDataError as error:
            assert error.expected


@given(st.sampled_from(list(CODECS)), st.lists(JSON), st.lists(st.binary(), max_size=2))
def test_any_arguments_are_decoded_or_refused(name: str, arguments: list[Any], attachments: list[bytes]) -> None:
    try:
        decode(name, [name, *arguments], tuple(attachments))
    except InvalidDataError as error:
        assert error.expected


FIELDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "note_id": st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=128),
        "text": TEXT,
        "count": st.integers(0, 99),
        "price": st.decimals(0, 10**12, places=2).map(Money),
        "latitude": st.floats(-90, 90),
        "seen": st.booleans(),
        "sent_at": st.datetimes(timezones=st.just(UTC)).map(Time.of),
        "read_at": st.none() | st.just(Time("2026-01-31T12:00:00.123456789Z")),
        "tags": st.lists(TEXT, min_size=1, max_size=3),
        "senders": st.lists(st.builds(lambda name: Sender(id="u1", role="user", first_name=name), st.none() | TEXT)),
    },
    optional={"stamp": st.just(Time("2026-01-31T12:00:00Z")), "sender": st.none()},
)


@given(FIELDS)
def test_an_encoded_payload_is_decoded_to_the_same(fields: dict[str, Any]) -> None:
    note = Note(**fields)
    name, data = msgspec.json.decode(codec.encode_event(note), type=tuple[str, msgspec.Raw])
    assert name == "note"
    assert codec.decode_payload(bytes(data)) == note


def test_every_example_is_encoded_as_it_is_written() -> None:
    for event in contract.events.values():
        event_codec: EventCodec[Payload] = EventCodec(event.name, event.payload)
        payload = event_codec.decode_payload(msgspec.json.encode(event.example))
        assert msgspec.json.decode(event_codec.encode_event(payload)) == [event.name, event.example]


def declared(name: str) -> DeclaredCommand:
    return next(command for command in root.commands if command.name == name)
