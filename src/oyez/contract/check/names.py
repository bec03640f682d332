"""Names and docstrings, which the declarations of every kind have."""

from collections import Counter
from collections.abc import Iterable, Iterator

from oyez.contract.declared import description_of
from oyez.contract.patterns import Pattern, find_pattern
from oyez.errors import ContractError
from oyez.protocol.socketio import RESERVED_EVENTS
from oyez.settings import Limits

OWN_PREFIX = "oyez:"
"""The prefix of the server's own events, such as `oyez:recovery`."""
LIMITS = Limits()
"""The limits as they are if no setting changes them: a contract must fit them."""


def find_duplicates(what: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} {name!r} is declared twice" for name, count in Counter(names).items() if count > 1)


def check_name(name: object) -> Iterator[str]:
    """The errors in the name of an event or command."""
    if not isinstance(name, str):
        yield f"the name is {name!r}: expected a string"
        return
    if "*" in name:
        yield "the name has a *; name what varies, as in order:{orderId}:moved, or give it a field"
    yield from _check_pattern(name)
    if name in RESERVED_EVENTS:
        yield "the name is reserved by Socket.IO: it cannot be emitted"
    if name.startswith(OWN_PREFIX):
        yield "the name is the server's own; every contract has that event already"
    if not name or not name.isprintable() or len(name) > LIMITS.max_event_name:
        yield f"a name has 1 to {LIMITS.max_event_name} printable characters"


def _check_pattern(name: str) -> Iterator[str]:
    try:
        pattern = find_pattern(name)
    except ContractError as error:
        yield f"its name: {error}"
        return
    if pattern is None:
        return
    if not pattern.head:
        yield "the name begins with a placeholder, so any name could be meant; begin it with a text"
    elif OWN_PREFIX.startswith(pattern.head) or any(map(pattern.match, RESERVED_EVENTS)):
        yield "the name could be one of the server's own, or reserved by Socket.IO; begin it differently"


def find_overlaps(what: str, names: Iterable[str]) -> Iterator[str]:
    """Names with placeholders that another declaration could have too."""
    patterns: list[Pattern] = []
    for name in dict.fromkeys(names):
        try:
            pattern = Pattern(name)
        except ContractError:
            # Another error says so.
            continue
        yield from (
            f"{what} {name}: a name could also be {other.text}; begin them differently"
            for other in patterns
            if pattern.meets(other)
        )
        patterns.append(pattern)


def check_switches(declared: object, *names: str) -> Iterator[str]:
    """The errors in arguments that are either True or False."""
    for name in names:
        value = getattr(declared, name)
        if not isinstance(value, bool):
            yield f"{name} is {value!r:.40}: write True or False"


def check_docstring(struct: type) -> Iterator[str]:
    if not description_of(struct):
        yield f"{struct.__name__} has no docstring: say what it means"


def block(errors: Iterable[str]) -> bool:
    """True if the types have errors, so that more checks of them would only add errors that follow from these."""
    return not all(" has no docstring: " in error for error in errors)
