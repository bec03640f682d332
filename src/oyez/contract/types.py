"""The types of events and commands: ids, times, money, places, and the two bases `Payload` and `Command`.

msgspec decodes each of them, and mypy checks them. Nothing here knows events, rooms or users.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar, dataclass_transform

import msgspec
from msgspec import UNSET, Meta, UnsetType

T = TypeVar("T")

Maybe: TypeAlias = T | UnsetType | None
"""A field that may be null or omitted. An omitted field stays omitted. Write `notes: Maybe[str] = UNSET`."""

MAX_ID_LENGTH = 128
"""Characters of an id: a UUID, a prefixed id or an e-mail address is shorter, and names of rooms stay short."""

# `(?!\n)`: in Python `$` also matches before a last line feed; the pattern has to mean the same in JavaScript.
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)")]
"""The id of one user, order, room, …: opaque, never empty, without control characters."""

Number: TypeAlias = int | float
"""A number in the form in which it was written: 5 stays `5`, and 4.5 stays `4.5`. A `float` 5 is `5.0` on the wire.

JavaScript reads both alike, but some languages read `5.0` as another type than `5`."""

Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]


MAX_MILLIS = 2**53 - 1
"""The largest whole number that JavaScript holds exactly: some 285,000 years."""

Millis = Annotated[int, Meta(ge=0, le=MAX_MILLIS)]
"""A moment as JavaScript's `Date.now()` has it: whole milliseconds since 1970, a JSON number on the wire."""


_fits_time = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z", re.ASCII).fullmatch
# Extended and basic format, with or without seconds, and each offset that Python's `isoformat()` writes.
_read_time = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)[Tt ]([01]\d|2[0-3])(:?)([0-5]\d)(?:\6([0-5]\d)(?:[.,](\d{1,9}))?)?"
    r"([Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d)?)?)",
    re.ASCII,
).fullmatch
_fits_amount = re.compile(r"\d+(?:\.\d+)?", re.ASCII).fullmatch


class Time(str):
    """A moment in UTC, in its form on the wire: ISO 8601 with `Z` and up to nine digits of a second's fraction.

    `Time("2026-01-31T13:00:00+01:00")` is `2026-01-31T12:00:00Z`. Raises ValueError for other text and for a time
    without a zone. See also `Time.of`, `Time.at`, `Time.now`.
    """

    __slots__ = ()

    expected: ClassVar[str] = "an ISO 8601 time with its zone, such as 2026-01-31T12:00:00Z"

    def __new__(cls, text: str) -> Self:
        return cls.from_wire(text)

    @classmethod
    def from_exact(cls, value: Any) -> Self:
        """The time in a JSON value of the form that clients receive. Raises ValueError."""
        if not isinstance(value, str) or _fits_time(value) is None:
            raise ValueError(f"{value!r} is not {cls.expected}")
        datetime.fromisoformat(value)  # Refuses February 30th.
        return str.__new__(cls, value)

    @classmethod
    def from_wire(cls, value: Any) -> Self:
        """The time in a JSON value of any ISO 8601 format with an offset, such as `+05:30`. Raises ValueError."""
        if not isinstance(value, str) or _fits_time(value) or (read := _read_time(value)) is None:
            return cls.from_exact(value)
        year, _, month, day, hour, _, minute, second, digits, offset = read.groups(default="")
        fraction = digits and f".{digits}"
        try:
            text = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset.upper()}"
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except OverflowError:
            raise ValueError(f"{value!r} is not {cls.expected}") from None
        # The fraction stays text, because a datetime holds only six of its digits.
        return str.__new__(cls, f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + "Z")

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """`moment` to the millisecond. Raises ValueError if it has no time zone."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone: give one, such as datetime.UTC")
        text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
        return str.__new__(cls, text.removesuffix("+00:00") + "Z")

    @classmethod
    def at(cls, seconds: float) -> Self:
        """The moment `seconds` after 1970, to the millisecond."""
        return cls.of(datetime.fromtimestamp(seconds, UTC))

    @classmethod
    def now(cls) -> Self:
        """The current moment, to the millisecond."""
        return cls.of(datetime.now(UTC))

    @property
    def seconds(self) -> float:
        """Seconds since 1970."""
        return datetime.fromisoformat(self).timestamp()

    @property
    def millis(self) -> int:
        """Whole milliseconds since 1970, for a field of type `Millis`."""
        return int(self.seconds * 1_000)


class Money(Decimal):
    """An amount in the marketplace's currency, 0 or more, with at most two decimals: a JSON number on the wire.

    The event says who pays whom. An amount is below 10^13, where JavaScript still represents each cent.
    """

    __slots__ = ()

    expected: ClassVar[str] = "an amount: a number from 0 with at most two decimals"
    _limit: ClassVar = Decimal(10) ** 13
    _cent: ClassVar = Decimal("0.01")

    def __new__(cls, value: Decimal | int | str) -> Self:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{value!r} is not {cls.expected}") from None
        if not (amount.is_finite() and 0 <= amount < cls._limit and amount == (cents := amount.quantize(cls._cent))):
            raise ValueError(f"{value!r} is not {cls.expected}")
        return super().__new__(cls, abs(cents if not -2 <= int(amount.as_tuple().exponent) <= 0 else amount))

    @classmethod
    def from_wire(cls, value: Any) -> Self:
        """The amount in a JSON value, which may be a string such as "130.00". Raises ValueError."""
        if isinstance(value, str) and _fits_amount(value):
            return cls(value)
        return cls.from_exact(value)

    @classmethod
    def from_exact(cls, value: Any) -> Self:
        """The amount in a JSON number. Raises ValueError."""
        if type(value) is float:
            # `repr` is the shortest text that reads back as this number, so it is what the sender wrote.
            return cls(repr(value))
        if type(value) is not int:
            raise ValueError(f"{value!r} is not {cls.expected}")
        return cls(value)


class Total(Money):
    """A sum of amounts, which may be larger than one amount can be: below 10^24, which no real sum reaches.

    JavaScript rounds the cents from 9 * 10^13 on.
    """

    __slots__ = ()

    _limit: ClassVar = Decimal(10) ** 24

    @classmethod
    def of_cents(cls, cents: int) -> Self:
        """The sum of `cents`."""
        return cls(f"{cents // 100}.{cents % 100:02}")


SCALARS: tuple[type[Time] | type[Money], ...] = (Time, Money, Total)
"""Types with their own form on the wire: `from_exact` reads it, `from_wire` also reads other forms that have only one
meaning, and `expected` describes it."""


def read_scalar(kind: type[Any], value: Any) -> Any:
    """msgspec's hook for the types above. msgspec adds the path of the value to each ValueError."""
    return kind.from_wire(value)


class _KeywordsOnly(msgspec.StructMeta):
    """Applies `kw_only` to subclasses too, so that fields can have the document's order, optional or not."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **config})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Payload(msgspec.Struct, metaclass=_KeywordsOnly, forbid_unknown_fields=True, frozen=True):
    """The data of an event, or an object in it."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Command(msgspec.Struct, metaclass=_KeywordsOnly, forbid_unknown_fields=True, frozen=True):
    """The arguments of a command."""


class CamelPayload(Payload, rename="camel"):
    """A payload whose fields are camelCase on the wire: `offer_id` is `offerId`."""


class CamelCommand(Command, rename="camel"):
    """A command whose fields are camelCase on the wire."""


class Stamped(Payload):
    """A payload with a time that the server fills in if the publisher omits it."""

    timestamp: Time | UnsetType = UNSET


class CamelStamped(Stamped, rename="camel"):
    """`Stamped`, with camelCase fields on the wire."""


class Joined(Payload):
    """The acknowledgement of joining or leaving a room."""

    room: str
