"""Entries as they are stored: this version and the ones before it read what the other wrote."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from oyez.log.entry_codec import decode_entry, encode_entry
from oyez.log.log import Entry, Log
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog
from oyez.protocol.binary import Spans
from tests.log import versions
from tests.log.verbs import MANY, control, entry, tailing, volatile
from tests.support.valkey import ValkeyServer

EARLIER = {"without a checksum": versions.encode_unchecked, "with a checksum": versions.encode_checked}
ENTRIES = (entry(1), entry(2, "room", excluded=("other",), key="k"), control(3, "room"), volatile(4))
LONG_NAME = Entry(namespace="/", rooms=(), data=b'["%b",1]' % (b"n" * 300), name="n" * 300)


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=1"
SPANS = st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)), max_size=20).map(tuple)


@given(st.text(max_size=300), st.text(max_size=20), st.binary(max_size=300), SPANS, st.text(max_size=600))
def test_what_is_encoded_is_decoded(name: str, room: str, data: bytes, binary: Spans, trace: str) -> None:
    sent = Entry(namespace="/", rooms=(room,), data=data, key=room, name=name, binary=binary, trace=trace)
    assert decode_entry(encode_entry(sent)) == sent


@pytest.mark.parametrize("encode", EARLIER.values(), ids=EARLIER)
def test_this_version_reads_entries_of_earlier_versions_and_finds_their_names(encode: Callable[[Entry], bytes]) -> None:
    assert [decode_entry(encode(sent)) for sent in ENTRIES] == list(ENTRIES)
    assert decode_entry(encode(ENTRIES[0]), "e.1").position == "e.1"


def test_the_version_before_reads_entries_of_this_version() -> None:
    for sent in (*ENTRIES, LONG_NAME, replace(LONG_NAME, trace=TRACE), replace(LONG_NAME, binary=((1, 2),))):
        assert versions.decode(encode_entry(sent)) == versions.without_name(sent)
    assert versions.decode(encode_entry(entry(1)), "e.1").position == "e.1"


def test_the_version_without_traces_reads_the_places_of_binary_values() -> None:
    for binary in ((), ((1, 2), (70_000, 80_000))):
        # That version read the second of more than two elements.
        name, places, *_ = msgspec.msgpack.decode(encode_entry(replace(LONG_NAME, binary=binary, trace=TRACE)))[8]
        assert (name, places) == (LONG_NAME.name, [list(place) for place in binary])


# Rolling upgrades: nodes of both versions share one store.


Store = tuple[Log, Callable[[Sequence[bytes]], None], Callable[[], list[bytes]]]
"""A log of this version, how the version before stores entries beside it, and what it finds there."""


@pytest.fixture(params=["sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    log: Log
    if request.param == "sqlite":
        log = SqliteLog(tmp_path / "log.sqlite")
        await log.open()
        yield log, partial(insert_rows, tmp_path / "log.sqlite"), partial(find_rows, tmp_path / "log.sqlite")
    else:
        server: ValkeyServer = request.getfixturevalue("valkey")
        log = RedisLog(server.url, tmp_path.name)
        await log.open()
        client: Any = server.connect()
        stream = log._stream

        def add(bodies: Sequence[bytes]) -> None:
            for body in bodies:
                client.xadd(stream, {"t": 2**50, "e": body}, id="0-*")

        yield log, add, lambda: [fields[b"e"] for _, fields in client.xrange(stream)]
    await log.close()


def insert_rows(path: Path, bodies: Sequence[bytes]) -> None:
    with sqlite3.connect(path) as db:
        for body in bodies:
            db.execute("INSERT INTO entries (time, entry) VALUES (?, ?)", (2**50, body))
    db.close()


def find_rows(path: Path) -> list[bytes]:
    db = sqlite3.connect(path)
    found = [body for (body,) in db.execute("SELECT entry FROM entries ORDER BY number")]
    db.close()
    return found


@pytest.mark.parametrize("encode", EARLIER.values(), ids=EARLIER)
async def test_nodes_of_both_versions_read_each_other(encode: Callable[[Entry], bytes], store: Store) -> None:
    log, add_earlier, find_earlier = store
    start = await log.position()
    async with tailing(log) as received:
        await log.append([entry(1)])
        add_earlier([encode(entry(2)), encode(control(3))])
        await log.append([entry(4, key="k")])
        names = [(found.name, found.control) for found in await received.wait_for(4)]
    assert names == [("event", ""), ("event", ""), ("", "leave"), ("event", "")]
    assert [found.name for found in await log.read(start, "/", frozenset(), MANY)] == ["event"] * 3
    earlier = [versions.decode(body) for body in find_earlier()]
    assert earlier == [versions.without_name(sent) for sent in (entry(1), entry(2), control(3), entry(4, key="k"))]
