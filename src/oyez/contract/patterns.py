"""Patterns: names with placeholders, such as the room `order:{orderId}`, the event `order:{orderId}:moved` or the
namespace `/shop-{shopId}`.

A value may hold anything except control characters and the character that follows it in the pattern, so a name can be
read in one way only.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache

from oyez.contract.types import MAX_ID_LENGTH
from oyez.errors import ContractError
from oyez.settings import Limits

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
MAX_SUGGESTED = 100
"""Characters of an unknown name that are compared with known ones."""
_CONTROL = r"\x00-\x1f\x7f-\x9f"
MAX_NAMESPACE = Limits().max_namespace_length
"""Bytes of the name of a namespace."""
_NAMESPACE = re.compile(r"/[^\s,?{}]*")
"""A namespace as clients name it: packets have a comma after it, and addresses a question mark."""


@lru_cache(maxsize=256)
def suggest_name(name: str, known: tuple[str, ...]) -> str:
    """The known name that is most like an unknown one, as a sentence that follows another; empty if none is."""
    like = get_close_matches(name[:MAX_SUGGESTED], known, 1)
    return f" Did you mean {like[0]!r}?" if like else ""


class Pattern:
    """A name with placeholders. Raises ContractError if it cannot be read in one way only."""

    def __init__(self, text: str) -> None:
        literals = PLACEHOLDER.split(text)
        if "{" in "".join(literals[::2]) or "}" in "".join(literals[::2]):
            raise ContractError("placeholders are written {name}")
        if len(set(literals[1::2])) < len(literals[1::2]):
            raise ContractError("a placeholder is named twice")
        if "" in literals[2:-1:2]:
            raise ContractError("put some text between two placeholders")
        self.text = text
        self.placeholders = tuple(literals[1::2])
        self.head, self.tail = literals[0], literals[-1]
        """The text before the first placeholder, and after the last one."""
        values = [f"[^{_CONTROL}{re.escape(following[:1])}]{{1,{MAX_ID_LENGTH}}}" for following in literals[2::2]]
        shape = re.escape(literals[0])
        for placeholder, value, following in zip(literals[1::2], values, literals[2::2], strict=True):
            shape += f"(?P<{placeholder}>{value}){re.escape(following)}"
        self._shape = re.compile(shape)
        self._fits = [re.compile(value).fullmatch for value in values]
        self._parts = [(character, "") for character in literals[0]]
        """Single characters; for a placeholder, an empty one, and the character that its value cannot hold."""
        for following in literals[2::2]:
            self._parts += [("", following[:1]), *((character, "") for character in following)]
        self._template = PLACEHOLDER.sub("%s", text.replace("%", "%%"))

    def match(self, name: str) -> dict[str, str] | None:
        """The values of the placeholders in `name`, or None if it has another form."""
        found = self._shape.fullmatch(name)
        return None if found is None else found.groupdict()

    def fill(self, values: Mapping[str, str]) -> str:
        """The name with these values. Raises ValueError if one of them does not fit."""
        filled = tuple([values[placeholder] for placeholder in self.placeholders])
        name = self._template % filled
        if not all(fits(value) for fits, value in zip(self._fits, filled, strict=True)):
            raise ValueError(name)
        return name

    def can_hold(self, placeholder: str, value: str) -> bool:
        """True if a name with that value can be read in one way only."""
        return self._fits[self.placeholders.index(placeholder)](value) is not None

    def overlaps(self, other: "Pattern") -> bool:
        """True if one name could have both forms, judged by the text around their placeholders."""
        if not self.placeholders or not other.placeholders:
            return self.match(other.text) is not None or other.match(self.text) is not None
        return (self.head.startswith(other.head) or other.head.startswith(self.head)) and (
            self.tail.endswith(other.tail) or other.tail.endswith(self.tail)
        )

    def meets(self, other: "Pattern") -> bool:
        """True if there is a name that has both forms. `overlaps` is true for more."""
        characters = {*self.text, *other.text, "\ufffd"}
        states = [((0, False), (0, False))]
        seen = set(states)
        while states:
            one, two = states.pop()
            if self._ends(one) and other._ends(two):
                return True
            following = {
                (ours, theirs)
                for character in characters
                for ours in self._follow(one, character)
                for theirs in other._follow(two, character)
            }
            states += following - seen
            seen |= following
        return False

    def _follow(self, state: "_State", character: str) -> Iterator["_State"]:
        """The states after one more character of a name."""
        index, inside = state
        if inside:
            yield from self._follow((index + 1, False), character)
        if index < len(self._parts):
            literal, excluded = self._parts[index]
            if literal:
                if character == literal:
                    yield index + 1, False
            elif character != excluded:
                yield index, True

    def _ends(self, state: "_State") -> bool:
        """True if a name may end in this state."""
        return state[0] + state[1] == len(self._parts)


_State = tuple[int, bool]
"""A place in a pattern, and whether it is in a value that may end."""


@lru_cache(maxsize=1024)
def find_pattern(name: object) -> Pattern | None:
    """The pattern that `name` is; None if it is literal, or no text. Raises ContractError."""
    return Pattern(name) if isinstance(name, str) and ("{" in name or "}" in name) else None


def is_namespace(name: str) -> bool:
    """True if clients can connect to a namespace of this name."""
    return bool(_NAMESPACE.fullmatch(name)) and name.isprintable() and len(name.encode()) <= MAX_NAMESPACE


class NamespaceName:
    """The name of a namespace as a contract declares it: literal, or with placeholders."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fault = ""
        """What is wrong with its placeholders; `build` reports it."""
        self.pattern: Pattern | None = None
        try:
            self.pattern = find_pattern(text)
        except ContractError as error:
            self.fault = str(error)
        self.placeholders = self.pattern.placeholders if self.pattern is not None else ()

    def match(self, name: str) -> dict[str, str] | None:
        """The values of the placeholders in the name of a namespace, or None if it has another form."""
        if self.pattern is None:
            return {} if name == self.text else None
        return self.pattern.match(name) if is_namespace(name) else None

    def fill(self, values: Mapping[str, str]) -> str:
        """The name with these values. Raises ValueError if it cannot be the name of a namespace."""
        if self.pattern is None:
            return self.text
        name = self.pattern.fill(values)
        if not is_namespace(name):
            raise ValueError(name)
        return name
