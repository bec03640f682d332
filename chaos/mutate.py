"""Inputs made from other inputs: cut, joined, repeated, and with bytes that parsers stumble over."""

import random
from collections.abc import Callable, Sequence

MAX_INPUT = 4_096
"""Bytes of one input: longer ones are cut. What size alone can do is tested by chaos.robustness."""
MAX_MUTATIONS = 5
BYTES = (0, 9, 10, 13, 31, 32, 34, 44, 45, 48, 58, 91, 92, 93, 123, 125, 127, 128, 192, 237, 255)
"""Ends, separators, quotes and beginnings of UTF-8 sequences."""
WORDS = (
    b"null", b"true", b"-0", b"1e999", b"0.1", b"99999999999999999999", b"-9223372036854775809", b"[]", b"{}", b"[[",
    b'"', b"\\", b"\\u0000", b"\\ud800", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xff", b"\x00", b"\x1e", b"\r\n",
    b"\r\n\r\n", b"\n", b",", b"/", b"/x,", b"51-", b"b4", b"4", b"2probe", b'{"_placeholder":true,"num":0}',
    b"__proto__", b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"; ", b"=", b"..", b"%00",
)  # fmt: skip


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A new input from `data`, and sometimes from one of `others`."""
    for _ in range(rng.randint(1, MAX_MUTATIONS)):
        data = rng.choice(_MUTATIONS)(data, others, rng)
    return data[:MAX_INPUT]


def _places(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 16, 64)))


def _flip(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes((data[place] ^ 1 << rng.randrange(8),)) + data[place + 1 :]


def _set(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _places(data, rng)
    return data[:start] + bytes((rng.choice(BYTES),)) + data[end:]


def _insert(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start, _ = _places(data, rng)
    return data[:start] + rng.choice(WORDS) + data[start:]


def _remove(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _places(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _places(data, rng)
    return data[:start] + data[start:end] * rng.choice((2, 2, 3, 50)) + data[end:]


def _swap(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _places(data, rng)
    return data[end:] + data[start:end] + data[:start]


def _join(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _count(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Another digit where one is."""
    digits = [place for place, byte in enumerate(data[:256]) if 48 <= byte <= 57]
    if not digits:
        return _set(data, others, rng)
    place = rng.choice(digits)
    return data[:place] + b"%d" % rng.choice((0, 1, 9, 16, 255, 65_536)) + data[place + 1 :]


_MUTATIONS: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    _flip,
    _set,
    _insert,
    _remove,
    _repeat,
    _swap,
    _join,
    _count,
)
