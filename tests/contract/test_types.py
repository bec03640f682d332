"""Times and amounts, from Python and from the wire."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.contract import UNSET, CamelPayload, Maybe, Money, Payload, Stamped, Time
from oyez.contract.event_codec import EventCodec


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.1Z",
        "2026-01-31T12:00:00.123456789Z",
        "2024-02-29T23:59:59Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_times(text: str) -> None:
    assert Time(text) == text
    assert Time(Time(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.123456+00:00", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-01T00:30:00.123456789+05:30", "2025-12-31T19:00:00.123456789Z"),
        ("2026-01-31T12:00:00-0330", "2026-01-31T15:30:00Z"),
        ("2026-01-31 12:00:00+00", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
        ("0001-01-02T00:00:00+01:00", "0001-01-01T23:00:00Z"),
        ("2026-01-31T12:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00,5+0530", "2026-01-31T06:30:00.5Z"),
        ("20260131T120000Z", "2026-01-31T12:00:00Z"),
        ("20260131T1200-08", "2026-01-31T20:00:00Z"),
        ("2026-01-31T12:00:00+01:02:03", "2026-01-31T10:57:57Z"),
    ],
)
def test_a_time_in_another_form_is_in_utc(text: str, expected: str) -> None:
    assert Time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-02-29T12:00:00+00:00",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00 00:00",
        "2026-01-31",
        "2026-01-31T12:00",
        "2026-01-3112:00Z",
        "2026-0131T12:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00,5Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2026-01-31T12:00:00Z\n",
        "٢٠٢٦-01-31T12:00:00Z",
        "",
    ],
)
def test_texts_that_are_not_times(text: str) -> None:
    with pytest.raises(ValueError):
        Time(text)


def test_a_time_of_a_moment_is_utc_to_the_millisecond() -> None:
    moment = datetime(2026, 1, 31, 13, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert Time.of(moment) == "2026-01-31T12:00:00.123Z"
    assert Time.of(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00.000Z"
    assert Time(Time.now()).endswith("Z")


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Time.of(datetime(2026, 1, 31))


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_has_a_time(moment: datetime) -> None:
    assert datetime.fromisoformat(Time.of(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize("value", [0, 12, "19.9", "19.90", "19.900", Decimal("0.01"), 9_999_999_999_999, "1e3", "-0.0"])
def test_amounts(value: Decimal | int | str) -> None:
    assert Money(value) == Decimal(value)


@pytest.mark.parametrize("value", [-1, "0.001", "-0.01", 10**13, "NaN", "Infinity", "1e999999", "ten"])
def test_values_that_are_not_amounts(value: Decimal | int | str) -> None:
    with pytest.raises(ValueError, match="an amount: a number from 0 with at most two decimals"):
        Money(value)


class Price(Payload):
    """One amount."""

    price: Money


codec = EventCodec("price", Price)


@given(st.integers(0, 10**15 - 1))
def test_amounts_survive_javascript(cents: int) -> None:
    """Every amount survives the conversion to a double and back, as in a browser."""
    amount = Money(Decimal(cents).scaleb(-2))
    encoded = codec.encode_payload(Price(price=amount))
    through_a_double = msgspec.json.encode(msgspec.json.decode(encoded))
    assert codec.decode_payload(encoded).price == amount
    assert codec.decode_payload(through_a_double).price == amount


@given(st.floats(0, 1e12).filter(lambda number: Decimal(repr(number)) != round(Decimal(repr(number)), 2)))
def test_more_than_two_decimals_are_refused(number: float) -> None:
    with pytest.raises(ValueError):
        Money.from_wire(number)


class Note(CamelPayload):
    """Optional fields before required ones, as documents have them."""

    some_text: Maybe[str] = UNSET
    note_id: str


def test_omitted_and_null_fields_stay_as_they_are() -> None:
    notes = EventCodec("note", Note)
    for data in (b'{"noteId":"1"}', b'{"someText":null,"noteId":"1"}', b'{"someText":"x","noteId":"1"}'):
        assert notes.encode_payload(notes.decode_payload(data)) == data


def test_payloads_are_made_by_keyword_and_do_not_change() -> None:
    note = Note(note_id="1")
    with pytest.raises(TypeError):
        Note("1")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        note.note_id = "2"  # type: ignore[misc]


def test_a_stamped_payload_needs_no_time_to_be_made() -> None:
    assert Stamped().timestamp is UNSET


def test_what_python_writes_is_a_time() -> None:
    for hours in (-11.5, -1, 0, 5.75, 14):
        moment = datetime(2026, 1, 31, 12, 0, 0, 120_000, tzinfo=timezone(timedelta(hours=hours)))
        assert Time(moment.isoformat()).seconds == moment.timestamp()
        assert Time(moment.isoformat()).millis == moment.timestamp() * 1_000
