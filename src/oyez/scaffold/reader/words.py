"""What the words of a document mean: directions, names of messages and namespaces, patterns of rooms."""

import re
from collections.abc import Container, Iterable

from oyez.scaffold.reader.model import COMMAND, EVENT, EVERY, ROOT, Direction

NAME = re.compile(r"[A-Za-z][\w]*(?:[:.\-/](?:[\w]+|\{\w+\}))*", re.ASCII)
PLACEHOLDER = re.compile(r"\{(\w+)\}", re.ASCII)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
"""A word in backticks."""

COMMAND_WORDS = re.compile(
    r"client\s*(?:→|->|=>|to|⇒|➜)\s*server|clienttoserver|\bto emit\b|\bemitted by (?:the )?clients?"
    r"|\bclients? (?:emits?|sends?)|\bsent by (?:the )?clients?|\bfrom (?:the )?clients?\b|\bincoming\b|\bcommands?\b"
    r"|\bactions?\b|\brequests you (?:can )?send|\bc\s*(?:→|->)\s*s\b|\bpublish\b|\binbound\b",
    re.IGNORECASE,
)
EVENT_WORDS = re.compile(
    r"server\s*(?:→|->|=>|to|⇒|➜)\s*client|servertoclient|\bto listen\b|\bemitted by (?:the )?server"
    r"|\bserver (?:emits?|sends?)|\bsent by (?:the )?server|\bfrom (?:the )?server\b|\boutgoing\b|\bbroadcasts?\b"
    r"|\blisten\b|\bs\s*(?:→|->)\s*c\b|\bsubscribe\b|\boutbound\b",
    re.IGNORECASE,
)
EVENT_TITLE = re.compile(r"\bevents?\b|\bmessages?\b|\bnotifications?\b|\bpayloads?\b", re.IGNORECASE)

_VARIES = re.compile(r"\$?\{\s*(?:\w+\.)*(\w+)\s*\}|<(\w+)>|\[(\w+)\](?!\])", re.ASCII)
"""A part of a name that varies: `{id}`, `${order.id}`, `<id>`, `[id]`."""

OWN = {
    "connect": "The server confirms each connection itself.",
    "connection": "The server confirms each connection itself.",
    "connect_error": "A refused client receives it with the reason of the refusal.",
    "disconnect": "Clients and server end connections themselves.",
    "disconnecting": "Clients and server end connections themselves.",
    "reconnect": "Clients report it themselves.",
    "reconnect_attempt": "Clients report it themselves.",
    "reconnect_error": "Clients report it themselves.",
    "reconnect_failed": "Clients report it themselves.",
    "error": "The server reports errors with it; Errors(…) of the contract gives it another form.",
    "newListener": "Socket.IO reserves this name.",
    "removeListener": "Socket.IO reserves this name.",
}
"""Names that need no declaration, and why."""


def find_direction(texts: Iterable[str]) -> Direction | None:
    """The direction that the innermost of these titles names."""
    for text in reversed(list(texts)):
        command, event = COMMAND_WORDS.search(text), EVENT_WORDS.search(text)
        if command and event:
            continue
        if command:
            return COMMAND
        if event:
            return EVENT
    return None


def find_sender(text: str) -> Direction | None:
    """The direction of what is sent by the one that a cell names, if it names nothing else."""
    found = re.fullmatch(r"\W*(?:the )?(?:(server|back ?end)|(client|app|browser|device))s?\W*", text, re.IGNORECASE)
    return None if found is None else EVENT if found[1] else COMMAND


_PLACE = r"(?:\{\w+\}|:\w+|<\w+>)"
_NAMESPACE = rf"/(?:\w|{_PLACE})(?:[\w/-]|{_PLACE})*"
"""The name of a namespace, with ids in the forms in which documents write them."""


def find_named_namespace(text: str) -> str | None:
    """The namespace of a sentence such as "All messages are in the namespace `/orders`"; None if it names none."""
    found = re.search(rf"\bnamespace\b[^`.]{{0,40}}`({_NAMESPACE})`|`({_NAMESPACE})` namespace\b", text, re.IGNORECASE)
    return None if found is None else read_namespace(found[1] or found[2])


def read_namespace(text: str) -> str | None:
    """The name of a namespace as a contract has it: `/shop-:shopId` and `/shop-<shopId>` are `/shop-{shopId}`.

    None if it can be no name of a namespace.
    """
    if text != ROOT and not re.fullmatch(_NAMESPACE, text, re.ASCII):
        return None
    return re.sub(r":(\w+)|<(\w+)>", lambda found: f"{{{found[1] or found[2]}}}", text)


def find_namespace(texts: Iterable[str], default: str = ROOT) -> str:
    """The namespace that the innermost of these titles names."""
    for text in reversed(list(texts)):
        if re.search(r"\b(?:all|every|each) namespaces?\b|\bshared\b", text, re.IGNORECASE):
            return EVERY
        spans: list[str] = [*SPAN.findall(text), *re.findall(rf"\(({_NAMESPACE})\)", text)]
        for span in spans:
            if (named := read_namespace(span)) is not None:
                return named
    return default


def find_names(text: str) -> list[str]:
    """The names in a cell or at the beginning of an item: words in backticks, or the only word."""
    spans: list[str] = SPAN.findall(text)
    if spans:
        return [name for span in spans if NAME.fullmatch(name := normalize_name(span))]
    word = text.strip().strip("*_\"'")
    return [word] if NAME.fullmatch(word) else []


def find_title_name(title: str) -> str | None:
    """The name of a message, if the title is nothing but the name: `order:placed`, "1. order_placed", "Event: x"."""
    spans: list[str] = SPAN.findall(title)
    rest = SPAN.sub("", title)
    rest = re.sub(r"^[\d.)\s]+|\b(?:event|command|message)\b|\([^)]*\)|[:*_\s—–-]", "", rest, flags=re.IGNORECASE)
    if len(spans) == 1 and NAME.fullmatch(name := normalize_name(spans[0])) and not rest:
        return name
    word: str = re.sub(r"^(?:[\d.)\s]+|event:?\s+|command:?\s+)+", "", title.strip().strip("*"), flags=re.IGNORECASE)
    return word if NAME.fullmatch(word) and re.search(r"[:_.]|[a-z][A-Z]", word) and not spans else None


def find_patterns(text: str) -> list[str]:
    """The patterns of rooms in backticks: `user:{userId}`, `user:<userId>`, `user:${userId}`, `user_:userId`."""
    found = []
    for span in SPAN.findall(text):
        pattern = normalize_pattern(span)
        if pattern is not None:
            found.append(pattern)
    return found


def normalize_name(text: str) -> str:
    """The name of a message, with each part that varies in the form `{orderId}`: `order:<orderId>:moved`."""
    return _VARIES.sub(lambda m: "{%s}" % (m[1] or m[2] or m[3]), text)


def normalize_pattern(text: str) -> str | None:
    """A pattern of rooms in the form `user:{userId}`; None if the text is none."""
    text = text.strip("`'\"")
    text = normalize_name(text)
    if re.fullmatch(r"[A-Za-z][\w-]*(?:[:_./-]?\{\w+\}|[:_./-][\w-]+)*", text, re.ASCII) and "{" in text:
        return text
    return None


def snake(name: str) -> str:
    """A name as Python writes it: `orderId` is `order_id`."""
    name = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", lambda m: f"{m[1] or m[3]}_{m[2] or m[4]}", name)
    return re.sub(r"\W+|_+", "_", name, flags=re.ASCII).strip("_").lower()


def pascal(name: str) -> str:
    """A name as Python's classes have it: `order:placed` is `OrderPlaced`."""
    return "".join(part[:1].upper() + part[1:] for part in snake(PLACEHOLDER.sub("", name)).split("_"))


def find_free(wanted: str, taken: Container[str], between: str = "_") -> str:
    """The name, with a number behind it if it is taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}{between}{number}"
    return name


def singular(name: str) -> str:
    """One of several: `bids` is `bid`."""
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith(("ss", "us")) else name
