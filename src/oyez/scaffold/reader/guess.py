"""Types that names of fields suggest, for documents that give only names."""

import re

from oyez.scaffold.reader.model import Array, Scalar, Shape
from oyez.scaffold.reader.words import snake

PEOPLE = (
    "user|sender|recipient|receiver|owner|author|member|customer|buyer|seller|bidder|driver|rider|courier|winner|leader"
    "|player|host|creator|agent|supplier|vendor|partner|admin|operator|participant|caller|assignee"
)
FLAGS = (
    "open|active|enabled|read|online|typing|success|ok|done|visible|available|verified|paid|completed|closed|locked"
    "|muted|pinned|recurring|urgent|accepted|blocked|deleted|archived|public|private"
)
AMOUNTS = "price|amount|total|subtotal|cost|fee|balance|tip|tax|bid|budget|payout|refund|salary|earnings|revenue"
COUNTS = (
    "count|quantity|qty|position|age|seconds|minutes|hours|days|size|length|index|rank|points|score|level|steps?|piece"
    "|unread|page|progress|duration|attempts?|stock|watchers|viewers|members|limit|offset|version|round|turns?|capacity"
    "|value|waiting|retries|priority_level|year"
)
MEASURES = (
    "x|y|z|heading|speed|accuracy|distance|bearing|radius|rating|percent|percentage|ratio|temperature|discount|altitude"
)
TEXTS = (
    "name|title|text|content|message|reason|description|status|state|type|kind|code|category|email|phone|address|url"
    "|image|avatar|icon|photo|currency|carrier|note|notes|comment|subject|priority|role|part|action|label|version"
    "|token|share|reference|locale|language|country|city|color|colour|make|model|resolution|body"
)
RULES: tuple[tuple[str, Shape], ...] = (
    (r"(?:.*_)?ids", Array(Scalar("Id"))),
    (r"(?:.*_)?(?:id|uuid|guid)", Scalar("Id")),
    (
        r"(?:.*_)?(?:at|timestamp|datetime|date)|ts|time|(?:start|end|last|pickup|event)_(?:time|seen)|expires|since|until",
        Scalar("Time"),
    ),
    (rf"(?:is|has|can|should|was)_.*|{FLAGS}", Scalar("bool")),
    (r"(?:.*_)?(?:lat|latitude)", Scalar("Latitude")),
    (r"(?:.*_)?(?:lng|lon|long|longitude)", Scalar("Longitude")),
    (rf"(?:.*_)?(?:{AMOUNTS})", Scalar("Money")),
    (rf"(?:.*_)?(?:{COUNTS})|(?:num|number_of|max|min|total)_.*", Scalar("int")),
    (rf"(?:.*_)?(?:{MEASURES})", Scalar("float")),
    (r"from|to|by", Scalar("Id", certain=False)),
    (rf"(?:{PEOPLE})|.*_by", Scalar("Id")),
    (rf"(?:.*_)?(?:{TEXTS})", Scalar("str")),
    (r".*_number", Scalar("str")),
)


def guess(name: str, people: frozenset[str] = frozenset(), ids: str = "Id") -> Shape:
    """The type that the name suggests; `str`, uncertain, if it suggests none.

    `people` are further words for users, such as the names of roles. `ids` is the type of ids.
    """
    word = snake(name)
    if word in people:
        return Scalar(ids, certain=True)
    for pattern, shape in RULES:
        if re.fullmatch(pattern, word):
            if shape == Scalar("Id"):
                return Scalar(ids, certain=True)
            return shape
    return Scalar("str", certain=False)


def is_id(name: str, people: frozenset[str]) -> bool:
    """True if the name is that of an id."""
    return guess(name, people) == Scalar("Id")
