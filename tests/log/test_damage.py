"""One flipped bit in one entry: everything else is read, and readers know where something is missing."""

import sqlite3
from pathlib import Path

import pytest

from oyez.log.damage import DAMAGED, Damage, DamagedError
from oyez.log.entry_codec import decode_entry, encode_entry
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog
from tests.log.verbs import MANY, entry, numbers, read_all, tailing
from tests.support.valkey import ValkeyServer


def test_every_flipped_bit_is_found() -> None:
    encoded = encode_entry(entry(1, "room", excluded=("other",), key="k"))
    assert decode_entry(encoded) == entry(1, "room", excluded=("other",), key="k")
    damage = Damage("test")
    for bit in range(8 * len(encoded)):
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        assert damage.decode(bytes(flipped), f"e.{bit}").control == DAMAGED
    assert damage.count == 8 * len(encoded)


def flip_in_sqlite(path: Path, number: int) -> None:
    with sqlite3.connect(path) as db:
        (body,) = db.execute("SELECT entry FROM entries WHERE number = ?", (number,)).fetchone()
        flipped = body[:20] + bytes((body[20] ^ 4,)) + body[21:]
        db.execute("UPDATE entries SET entry = ? WHERE number = ?", (flipped, number))


async def flip_in_redis(log: RedisLog, number: int) -> None:
    """An entry of a stream cannot be changed: it is put in again, in its place."""
    redis, stream = log._redis, log._stream
    rows = await redis.execute_command("XRANGE", stream, f"0-{number}", "+")  # type: ignore[no-untyped-call]
    await redis.delete(stream)
    await redis.xadd(stream, {"e": b""}, id=f"0-{number - 1}", maxlen=0, approximate=False)
    for identity, fields in rows:
        body = fields[3]
        if identity == b"0-%d" % number:
            body = body[:20] + bytes((body[20] ^ 4,)) + body[21:]
        await redis.xadd(stream, {fields[0]: fields[1], fields[2]: body}, id=identity)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_damaged_entry_is_set_aside_and_all_others_are_read(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    def open_log() -> SqliteLog | RedisLog:
        if kind == "sqlite":
            return SqliteLog(tmp_path / "log.sqlite")
        server: ValkeyServer = request.getfixturevalue("valkey")
        return RedisLog(server.url, tmp_path.name)

    writer = open_log()
    await writer.open()
    first, second, third, fourth = await writer.append([entry(n, "room") for n in range(1, 5)])
    number = int(second.partition(".")[2])
    if isinstance(writer, RedisLog):
        await flip_in_redis(writer, number)
    else:
        flip_in_sqlite(tmp_path / "log.sqlite", number)
    log = open_log()
    await log.open()
    try:
        with pytest.raises(DamagedError):
            await log.read(first, "/", frozenset({"room"}), MANY)
        assert await read_all(log, second, "room") == [3, 4]
        async with tailing(log, after=first) as received:
            await log.append([entry(5, "room")])
            found = await received.wait_for(4)
        assert [one.control for one in found] == [DAMAGED, "", "", ""]
        assert [one.position for one in found][:3] == [second, third, fourth]
        assert numbers(found[1:]) == [3, 4, 5]
        assert log.damage.count == 1
        assert caplog.text.count("an entry of the log cannot be read") == 1 and second in caplog.text
    finally:
        await log.close()
        await writer.close()
