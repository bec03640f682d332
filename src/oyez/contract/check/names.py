"""Names and docstrings, which the declarations of every kind have."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from oyez.contract.declare import description_of
from oyez.protocol.socketio import RESERVED_EVENTS
from oyez.settings import Limits

OWN_PREFIX = "oyez:"
"""The prefix of the server's own events, such as `oyez:recovery`."""
PATTERN = re.compile(r"\*|\{\w*\}", re.ASCII)
"""What other frameworks write for a part of a name that varies."""
LIMITS = Limits()
"""The limits as they are if no setting changes them: a contract must fit them."""


def find_duplicates(what: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} {name!r} is declared twice" for name, count in Counter(names).items() if count > 1)


def check_name(name: object) -> Iterator[str]:
    """The errors in the name of an event or command."""
    if not isinstance(name, str):
        yield f"the name is {name!r}: expected a string"
        return
    if PATTERN.search(name):
        yield "the name looks like a pattern, and names are literal: declare one name, and a field for what varies"
    if name in RESERVED_EVENTS:
        yield "the name is reserved by Socket.IO: it cannot be emitted"
    if name.startswith(OWN_PREFIX):
        yield "the name is the server's own; every contract has that event already"
    if not name or not name.isprintable() or len(name) > LIMITS.max_event_name:
        yield f"a name has 1 to {LIMITS.max_event_name} printable characters"


def check_docstring(struct: type) -> Iterator[str]:
    if not description_of(struct):
        yield f"{struct.__name__} has no docstring: say what it means"
