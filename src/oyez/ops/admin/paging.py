"""Pages of lists that are sorted by a key: the cursor of the next page is the key of the last item."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from typing import TypeVar

import msgspec

from oyez.errors import InvalidDataError

T = TypeVar("T")
Key = tuple[str, ...]


def encode_cursor(key: Key) -> str:
    """The cursor for a key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def decode_cursor(cursor: str | None) -> Key:
    """The key of a cursor; an empty one, which is before all others, for None. Raises InvalidDataError."""
    if cursor is None:
        return ()
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Key)
    except (ValueError, binascii.Error):
        raise InvalidDataError("after", "`next` of the page before") from None


def cut(found: Iterable[T], key: Callable[[T], Key], limit: int) -> tuple[list[T], str | None]:
    """The first `limit` items, sorted, and the cursor of the next page; None if there are no more."""
    first: Sequence[T] = nsmallest(limit + 1, found, key=key)
    page = list(first[:limit])
    return page, encode_cursor(key(page[-1])) if len(first) > limit else None
