"""Names of classes for what a contract names otherwise: `thing:offered` is `ThingOffered` in the types."""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+", re.ASCII)


def make_title(name: str) -> str:
    """The name of a class for the name of an event or a command."""
    title = "".join(f"{word[0].upper()}{word[1:]}" for word in _WORD.findall(name))
    return f"N{title}" if title[:1].isdigit() or not title else title


def prefix_of(namespace: str) -> str:
    """The beginning of the names of a namespace: `Customer` for `/customer`, nothing for `/`."""
    return make_title(namespace) if namespace != "/" else ""


class Names:
    """The names in one file: each is given once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def claim(self, name: str) -> str:
        """`name`, or with a number if it is taken."""
        number = 1
        while (unique := name if number == 1 else f"{name}{number}") in self._taken:
            number += 1
        self._taken.add(unique)
        return unique
