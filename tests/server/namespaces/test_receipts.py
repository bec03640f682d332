"""Acknowledgement ids: they follow from positions, are the same for all, and leave the positions of clients alone."""

import msgspec
import pytest

from oyez.log.log import Entry
from oyez.server.namespaces.event_frames import (
    FIRST_RECEIPT,
    JSON,
    NO_POSITION,
    POSITION_ARGUMENT,
    POSITION_EVENT,
    RECEIPTS,
    EventFrames,
)
from oyez.server.namespaces.receipts import find_position

MAX_INT = 2**31 - 1
"""The largest id that clients read that hold it in 32 bits, as the Java client does."""


def make(data: bytes, number: int = 7, prefix: bytes = b"42") -> EventFrames:
    entry = Entry(namespace="/", rooms=(), data=data, position=f"e.{number}", name="x")
    return EventFrames(prefix, entry, receipts={"x"})


@pytest.mark.parametrize(
    ("form", "text", "follower"),
    [
        (NO_POSITION, b'421073741831["x","end"]', b""),
        (POSITION_EVENT, b'421073741831["x","end"]', b'42["oyez:position","e.7"]'),
        # The function after it hides the position from official clients, so it follows once more.
        (POSITION_ARGUMENT, b'421073741831["x","end","e.7"]', b'42["oyez:position","e.7"]'),
        (JSON, b'{"event":"x","data":"end","id":1073741831}', b""),
        (JSON | POSITION_ARGUMENT, b'{"event":"x","data":"end","offset":"e.7","id":1073741831}', b""),
    ],
)
def test_the_event_asks_for_an_acknowledgement_in_each_form(form: int, text: bytes, follower: bytes) -> None:
    frames = make(b'["x","end"]')
    (packet,) = frames.packets(form)
    assert (packet.text, packet.follower) == (text, follower)
    # Made once for all recipients.
    assert frames.packets(form)[0] is packet


def test_an_event_of_another_name_and_a_volatile_one_ask_for_nothing() -> None:
    other = EventFrames(b"42", Entry(namespace="/", rooms=(), data=b'["y"]', position="e.7", name="y"), receipts={"x"})
    volatile = EventFrames(
        b"42", Entry(namespace="/", rooms=(), data=b'["x"]', volatile=True, name="x"), receipts={"x"}
    )
    assert other.ack_id is None and volatile.ack_id is None


def test_attachments_and_a_namespace_stand_before_the_id() -> None:
    data = b'["x","aGVsbG8="]'
    entry = Entry(namespace="/a", rooms=(), data=data, position="e.1", name="x", binary=((6, 14),))
    (packet,) = EventFrames(b"42/a,", entry, receipts={"x"}).packets(NO_POSITION)
    assert packet.text == b'451-/a,1073741825["x",{"_placeholder":true,"num":0}]'
    assert msgspec.json.decode(packet.text[packet.text.index(b"[") :])[0] == "x"


@pytest.mark.parametrize("number", [1, 7, RECEIPTS - 1, RECEIPTS, RECEIPTS + 3, 10**17])
def test_the_position_is_found_by_the_id(number: int) -> None:
    ack_id = make(b'["x"]', number).ack_id
    assert ack_id is not None and FIRST_RECEIPT <= ack_id <= MAX_INT
    assert find_position(ack_id, f"e.{number}") == find_position(ack_id, f"e.{number + 1_000}") == f"e.{number}"


@pytest.mark.parametrize("ack_id", [0, FIRST_RECEIPT - 1, FIRST_RECEIPT + 8, FIRST_RECEIPT + RECEIPTS, 2**53 - 1])
def test_an_id_that_was_never_sent_has_no_position(ack_id: int) -> None:
    assert find_position(ack_id, "e.7") is None
