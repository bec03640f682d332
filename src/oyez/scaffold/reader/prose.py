"""Sentences about fields: "`at` may be left out", "`leader` is null if nobody has bid", "`at` is milliseconds"."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from oyez.scaffold.reader.model import Choice, Field, Scalar
from oyez.scaffold.reader.words import SPAN

NAMES = r"((?:`[\w.]+`(?:\s*,\s*|\s+and\s+|\s+or\s+)?)+)"
"""Names of fields in backticks, one or several."""
ABOUT = re.compile(rf"^{NAMES}(?:\s*of\s+`([^`]+)`)?(.*)$", re.DOTALL)
OPTIONAL_NULL = re.compile(r"\boptional\b[^.]{0,200}\bmay be (?:omitted|left out|missing) or `?null`?", re.IGNORECASE)
"""A sentence about all optional fields."""
WORD = re.compile(r"^(?:the|its|a|an)\s+(\w+)\s+((?:may|can)\b.*)$", re.IGNORECASE | re.DOTALL)

LIST = r"(`[\w-]+`(?:(?:,\s*|,?\s+or\s+|,?\s+and\s+|\s*\|\s*)`[\w-]+`)+)"
"""Several words in backticks."""
VALUES = re.compile(rf"\s*(?:is|are|can be|may be|(?:is|are) one of:?)\s+(?:also\s+|either\s+)?{LIST}")
PLURAL = re.compile(rf"\bthe (\w+?)(?:es|s)\s+{LIST}")

Change = Callable[[Field], Field]


@dataclass(frozen=True, slots=True)
class Fact:
    """What a sentence says of fields."""

    names: tuple[str, ...]
    """The names of the fields; empty: all that may be omitted."""
    change: Change
    message: str = ""
    """The message whose fields they are; empty: any."""


def make_optional(found: Field) -> Field:
    return replace(found, optional=True)


def make_nullable(found: Field) -> Field:
    return replace(found, nullable=True)


def make_scalar(name: str) -> Change:
    def change(found: Field) -> Field:
        return replace(found, shape=Scalar(name)) if isinstance(found.shape, Scalar) else found

    return change


def make_choice(values: tuple[str, ...]) -> Change:
    def change(found: Field) -> Field:
        known = found.shape.values if isinstance(found.shape, Choice) else ()
        if isinstance(found.shape, Scalar | Choice):
            return replace(found, shape=Choice((*known, *(value for value in values if value not in known))))
        return found

    return change


SAYS: tuple[tuple[str, Change], ...] = (
    (
        r"\b(?:may|can|might)\s+(?:also\s+)?be\s+(?:left out|omitted|missing|absent)|\b(?:is|are)\s+optional\b",
        make_optional,
    ),
    (
        r"\b(?:may|can|might)\s+(?:also\s+)?be\s+`?null`?|\b(?:is|are)\s+`?null`?(?:\s+(?:if|when|until|for|unless|or)\b|\.?$)",
        make_nullable,
    ),
    (r"\bmilliseconds\b|\bDate\.now\b|\bepoch\b", make_scalar("Millis")),
    (r"\bISO ?-?8601\b", make_scalar("Time")),
    (r"\b(?:is|are)\s+(?:a\s+)?(?:whole numbers?|integers?)\b", make_scalar("int")),
)


def find_facts(text: str) -> Iterator[Fact]:
    """The facts in a text."""
    for part in split(text):
        if OPTIONAL_NULL.search(part):
            yield Fact((), make_nullable)
        elif (named := ABOUT.match(part)) is not None:
            names = tuple(name.rpartition(".")[2] for name in SPAN.findall(named[1]))
            yield from (replace(fact, message=named[2] or "") for fact in _read_fact(names, named[3]))
        elif (word := WORD.match(part)) is not None:
            yield from _read_fact((word[1],), word[2])
        yield from _find_values(part)


def split(text: str) -> list[str]:
    """Sentences, and the parts of sentences that say something of their own."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s*[;,]\s+(?:and\s+)?(?=`\w+` (?:is|are|may|can|in)\b)|[;.]\s+|\n\n", "\x00", text)
    return [part.strip() for part in text.split("\x00") if part.strip()]


def _read_fact(names: tuple[str, ...], rest: str) -> Iterator[Fact]:
    for pattern, change in SAYS:
        if re.search(pattern, rest, re.IGNORECASE):
            yield Fact(names, change)
    values = VALUES.match(rest)
    if values is not None:
        words = tuple(SPAN.findall(values[1]))
        if "null" in words:
            yield Fact(names, make_nullable)
        rest_words = tuple(word for word in words if word != "null")
        if len(rest_words) > 1 or "null" not in words:
            yield Fact(names, make_choice(rest_words))


def _find_values(part: str) -> Iterator[Fact]:
    """ "the statuses `arrived`, `started` and `ended`"."""
    for found in PLURAL.finditer(part):
        yield Fact((found[1],), make_choice(tuple(SPAN.findall(found[2]))))


def integer_ids(text: str) -> bool:
    """True if the document says that ids are whole numbers."""
    return (
        re.search(r"\bids?\b[^.]{0,200}\b(?:is|are)\s+(?:whole numbers?|integers?|numbers)\b", text, re.IGNORECASE)
        is not None
    )


def apply_facts(found: Field, facts: list[Fact]) -> Field:
    """A field with what sentences say of it."""
    for fact in facts:
        if found.name in fact.names or (not fact.names and found.optional):
            found = fact.change(found)
    return found


def without_last(fields: tuple[Field, ...], text: str) -> tuple[Field, ...]:
    """The last argument may be missing, if the text says so."""
    if fields and re.search(r"\bwithout the last argument|\blast argument (?:may|can) be (?:left out|omitted)", text):
        return (*fields[:-1], replace(fields[-1], optional=True))
    return fields
