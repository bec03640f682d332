"""The buffer returns what the log would return, room by room and in order."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.log.log import Entry
from oyez.server.delivery import replay_buffer
from oyez.server.delivery.replay_buffer import ENTRY_OVERHEAD, ReplayBuffer
from oyez.server.namespaces.event_frames import EventFrames

ROOMS = ("a", "b", "c")
rooms = st.lists(st.sampled_from(ROOMS), max_size=3).map(tuple)
entries = st.lists(st.tuples(st.sampled_from(("/", "/admin")), rooms, rooms, st.booleans()), max_size=40)


def fill(buffer: ReplayBuffer, published: list[tuple[str, tuple[str, ...], tuple[str, ...], bool]]) -> list[Entry]:
    """Add events, and take note of what is none; all of them."""
    buffer.start_after("e.0")
    made = []
    for number, (namespace, to, excluded, control) in enumerate(published, 1):
        entry = Entry(
            namespace=namespace,
            rooms=to,
            excluded=excluded,
            data=b'["x"]',
            control="leave" if control else "",
            position=f"e.{number}",
        )
        made.append(entry)
        if control:
            buffer.advance(entry)
        else:
            buffer.add(EventFrames(b"42", entry))
    return made


@given(entries, st.frozensets(st.sampled_from(ROOMS)), st.integers(0, 45))
def test_it_finds_the_later_entries_of_rooms(
    published: list[tuple[str, tuple[str, ...], tuple[str, ...], bool]], own: frozenset[str], after: int
) -> None:
    buffer = ReplayBuffer()
    made = fill(buffer, published)
    assert buffer.position == f"e.{len(made)}"
    assert buffer.covers(f"e.{after}") == (after <= len(made))
    if after <= len(made):
        found = [message.entry for message in buffer.find_after(f"e.{after}", "/", own)]
        assert found == [entry for entry in made[after:] if entry.is_for("/", own)]


@pytest.mark.parametrize("merged", [0, 8], ids=["merged", "room by room"])
@given(entries, st.frozensets(st.sampled_from(ROOMS)), st.integers(0, 40), st.integers(0, 2_000))
def test_a_page_has_the_first_events_and_more_bytes_than_asked_for_if_there_are_more(
    merged: int,
    published: list[tuple[str, tuple[str, ...], tuple[str, ...], bool]],
    own: frozenset[str],
    after: int,
    max_bytes: int,
) -> None:
    buffer = ReplayBuffer()
    made = fill(buffer, published)
    after = min(after, len(made))
    with patch.object(replay_buffer, "MERGED_ROOMS", merged):
        found = buffer.find_after(f"e.{after}", "/", own, max_bytes)
    expected = [entry for entry in made[after:] if entry.is_for("/", own)]
    size = 0
    for number, (message, entry) in enumerate(zip(found, expected, strict=False)):
        assert message.entry is entry, number
        size += message.size
        if size > max_bytes:
            return
    assert len(found) == len(expected)


@given(entries, st.integers(1, 10))
def test_it_holds_no_more_than_its_limit_and_reports_it(
    published: list[tuple[str, tuple[str, ...], tuple[str, ...], bool]], most: int
) -> None:
    buffer = ReplayBuffer(max_bytes=most * (ENTRY_OVERHEAD + 20))
    made = fill(buffer, published)
    covered = next(number for number in range(len(made) + 1) if buffer.covers(f"e.{number}"))
    assert sum(not entry.control for entry in made[covered:]) <= most
    assert buffer.find_after(f"e.{covered}", "/", ROOMS) is not None
    for number in range(covered, len(made) + 1):
        found = [message.entry for message in buffer.find_after(f"e.{number}", "/", frozenset("a"))]
        assert found == [entry for entry in made[number:] if entry.is_for("/", frozenset("a"))]


def test_a_new_epoch_begins_with_nothing() -> None:
    buffer = ReplayBuffer()
    fill(buffer, [("/", (), (), False)] * 3)
    buffer.add(EventFrames(b"42", Entry(namespace="/", rooms=(), data=b'["x"]', position="f.8")))
    assert not buffer.covers("e.3")
    assert not buffer.covers("f.6")
    assert buffer.covers("f.7")
    assert [message.entry.position for message in buffer.find_after("f.7", "/", ())] == ["f.8"]


def test_positions_that_are_none_are_not_covered() -> None:
    buffer = ReplayBuffer()
    buffer.start_after("e.0")
    for made_up in ("", "e", "e.", ".0", "e.-1", "e.0x1", "e." + "1" * 30):
        assert not buffer.covers(made_up)
