"""Events and commands whose arguments are not one object, objects of several shapes, and what old clients write."""

import re
from datetime import date, datetime
from types import new_class
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta

from oyez.contract import (
    UNSET,
    Command,
    Contract,
    Id,
    Maybe,
    Millis,
    Number,
    Payload,
    Stamped,
    Time,
    UnsetType,
    anyone,
    member,
    own,
)
from oyez.contract.command_codec import CommandCodec
from oyez.contract.declare import Namespace
from oyez.contract.event_codec import EventCodec
from oyez.contract.routing import Destination, EventRouter
from oyez.errors import ContractError, InvalidDataError


class Nothing(Payload):
    """No field."""


class Text(Payload):
    """One field."""

    text: str


class Optional(Payload):
    """One field that may be missing."""

    count: int | UnsetType = UNSET


class Several(Payload, rename="camel"):
    """Several fields, of which the last two may be missing."""

    user_id: Id
    items: list[Text]
    remark: Maybe[str] = UNSET
    times: int | UnsetType = UNSET


class Up(Payload, tag_field="kind", tag="up"):
    """Goes up."""

    floors: int


class Down(Payload, tag_field="kind", tag="down"):
    """Goes down."""

    floors: int
    why: str


CODECS: dict[type, EventCodec[Any]] = {
    kind: EventCodec("e", kind, "positional") for kind in (Nothing, Text, Optional, Several)
}
LIFT: EventCodec[Any] = EventCodec("lift", Up | Down)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "data", "event"),
    [
        (Nothing, b"", b'["e"]'),
        (Nothing, b"null", b'["e"]'),
        (Nothing, b"{}", b'["e"]'),
        (Text, b'"a"', b'["e","a"]'),
        (Optional, b"", b'["e"]'),
        (Optional, b"null", b'["e"]'),
        (Optional, b"0", b'["e",0]'),
        (Optional, b'"7"', b'["e",7]'),
        (Several, b'["u",[]]', b'["e","u",[]]'),
        (Several, b'[7,[{"text":"a"}]]', b'["e","7",[{"text":"a"}]]'),
        (Several, b'["u",[],null]', b'["e","u",[],null]'),
        (Several, b'["u",[],"r",2.0]', b'["e","u",[],"r",2]'),
        (Several, b'["u",[],"r",null]', b'["e","u",[],"r"]'),
    ],
)
def test_positional_arguments(kind: type, data: bytes, event: bytes) -> None:
    codec = CODECS[kind]
    payload = codec.decode_payload(data)
    assert isinstance(payload, kind)
    assert codec.encode_event(payload) == codec.wrap(codec.encode_decoded(payload)) == event
    arguments = msgspec.json.decode(event, type=list[msgspec.Raw])[1:]
    assert codec.decode_payload(codec.join([bytes(argument) for argument in arguments])) == payload


@pytest.mark.parametrize(
    ("kind", "data", "field", "expected"),
    [
        (Nothing, b"1", "", "no data"),
        (Text, b"1", "text", "a string"),
        (Text, b"", "text", "is required"),
        (Text, b'"a","b"', "", "an array of 1 argument: text"),
        (Text, b'"', "", "valid JSON in UTF-8"),
        (Text, b'"\\u0000"', "", "text without NUL"),
        (Several, b"", "", "an array of 2 to 4 arguments: userId, items, remark, times"),
        (Several, b'["u"]', "", "an array of 2 to 4 arguments"),
        (Several, b'["u",[{"text":1}]]', "items[0].text", "a string"),
        (Several, b'["u",[],"r",9007199254740993]', "times", "a whole number from"),
        (Several, b'["u",[],"r",1,1]', "", "an array of 2 to 4 arguments"),
    ],
)
def test_arguments_that_do_not_fit(kind: type, data: bytes, field: str, expected: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        CODECS[kind].decode_payload(data)
    assert error.value.field == field
    assert error.value.expected.startswith(expected)


def test_all_arguments_that_do_not_fit_are_found() -> None:
    errors = CODECS[Several].find_errors(b'["",[1],2]')
    assert [error.field for error in errors] == ["userId", "items[0]", "remark"]


def test_an_argument_cannot_be_left_out_before_another() -> None:
    with pytest.raises(InvalidDataError) as error:
        CODECS[Several].encode_event(Several(user_id="u", items=[], times=1))
    assert error.value.field == "remark"


@pytest.mark.parametrize("arguments", [[], [b"1", b"2"]])
def test_an_object_is_one_argument(arguments: list[bytes]) -> None:
    with pytest.raises(InvalidDataError, match="one argument, the payload"):
        LIFT.join(arguments)


# Several shapes.


def test_a_tag_decides_about_the_shape() -> None:
    up = LIFT.decode_payload(b'{"kind":"up","floors":2}')
    assert up == Up(floors=2)
    assert LIFT.encode_event(up) == b'["lift",{"kind":"up","floors":2}]'
    assert LIFT.decode_payload(b'{"why":"x","floors":"3","kind":"down"}') == Down(floors=3, why="x")


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        (b'{"floors":1}', "kind", "is required"),
        (b'{"kind":"left"}', "kind", "one of 'up', 'down'"),
        (b'{"kind":1}', "kind", "one of 'up', 'down'"),
        (b'{"kind":"down","floors":1}', "why", "is required"),
        (b'{"kind":"up","floors":1,"why":"x"}', "why", "is not a field of lift; known fields are kind, floors"),
        (b"[]", "", "an object"),
    ],
)
def test_a_shape_that_does_not_fit(data: bytes, field: str, expected: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        LIFT.decode_payload(data)
    assert (error.value.field, error.value.expected) == (field, expected)


def test_all_errors_of_a_shape_are_found() -> None:
    errors = LIFT.find_errors(b'{"kind":"down","floors":"x","other":1}')
    assert [error.field for error in errors] == ["floors", "why", "other"]
    assert LIFT.find_errors(b'{"kind":"left"}') == []


# Fields that a contract does not know.


class Address(Payload):
    """A nested object."""

    street: str


class Order(Payload):
    """An order."""

    id: Id
    address: Address
    lift: Up | Down | None = None


def test_unknown_fields_are_left_out_at_every_depth() -> None:
    codec: EventCodec[Order] = EventCodec("order", Order, unknown_fields="ignore")
    data = b'{"id":"1","x":1,"address":{"street":"s","city":"c"},"lift":{"kind":"up","floors":1,"why":"z"}}'
    assert codec.decode_payload(data) == Order(id="1", address=Address(street="s"), lift=Up(floors=1))
    with pytest.raises(InvalidDataError, match="address"):
        codec.decode_payload(b'{"id":"1","x":1}')
    with pytest.raises(InvalidDataError, match="x"):
        EventCodec("order", Order).decode_payload(data)


# Commands.


class Say(Command):
    """Say something."""

    text: str
    times: int = 1
    extra: dict[str, str] | UnsetType = UNSET


class Go(Command, tag_field="kind", tag="go"):
    """Go."""

    far: int


class Stop(Command, tag_field="kind", tag="stop"):
    """Stop."""


def make_command(declared: Any, **options: Any) -> CommandCodec:
    made = Contract("c", roles=("user",))
    root = made.namespace("/")
    root.command("do", **options)(declared)
    made.build()
    return CommandCodec(root.commands[0])


@pytest.mark.parametrize(
    ("array", "command", "id"),
    [
        (["do", "a"], Say(text="a"), ""),
        (["do", "a", 2], Say(text="a", times=2), ""),
        (["do", "a", 2, {"b": "c"}], Say(text="a", times=2, extra={"b": "c"}), ""),
        (["do", "a", {"idempotencyKey": "k"}], Say(text="a"), "k"),
        (["do", "a", 2, {"idempotencyKey": "k"}], Say(text="a", times=2), "k"),
        (["do", "a", None], Say(text="a"), ""),
    ],
)
def test_optional_last_arguments(array: list[Any], command: Say, id: str) -> None:
    codec = make_command(Say, arguments="positional")
    assert codec.decode(msgspec.json.encode(array)) == (command, id)


@pytest.mark.parametrize("array", [["do"], ["do", 1], ["do", "a", 1, {}, 5], ["do", "a", "b"]])
def test_optional_arguments_that_do_not_fit(array: list[Any]) -> None:
    with pytest.raises(InvalidDataError):
        make_command(Say, arguments="positional").decode(msgspec.json.encode(array))


def test_commands_of_several_shapes() -> None:
    codec = make_command(Go | Stop)
    assert codec.decode(b'["do",{"kind":"go","far":2.0}]') == (Go(far=2), "")
    assert codec.decode(b'["do",{"kind":"stop"},{"idempotencyKey":"k"}]') == (Stop(), "k")
    for data, field, expected in (
        (b'["do",{"kind":"fly"}]', "kind", "one of 'go', 'stop'"),
        (b'["do",{"kind":"go"}]', "far", "is required"),
        (b'["do",{"kind":"stop","far":1}]', "far", "is not a field of do; known fields are kind"),
        (b'["do"]', "", "one argument, an object whose kind is one of go, stop"),
    ):
        with pytest.raises(InvalidDataError) as error:
            codec.decode(data)
        assert (error.value.field, error.value.expected) == (field, expected)


def test_old_clients_may_send_more_than_a_command_has() -> None:
    codec = make_command(Go | Stop, unknown_fields="ignore")
    assert codec.decode(b'["do",{"kind":"stop","why":1}]') == (Stop(), "")
    positional = make_command(Say, arguments="positional", unknown_fields="ignore")
    assert positional.decode(b'["do","a",2,{},"more"]') == (Say(text="a", times=2, extra={}), "")


# Declarations.


class Timed(Payload):
    """With a time in milliseconds."""

    at: Millis | UnsetType = UNSET


class Timeless(Payload):
    """Without a time."""

    name: str


class Wide(Payload):
    """An optional argument before one that is required."""

    first: int = 1
    second: str


class Same(Payload, tag_field="kind", tag="up"):
    """The tag of another."""


class Other(Payload, tag_field="type", tag="other"):
    """A tag in another field."""


class Untagged(Payload):
    """No tag."""


def build(**events: Any) -> Contract:
    made = Contract("c", roles=("user",))
    root = made.namespace("/")
    for name, (payload, options) in events.items():
        root.event(name, to=[root.everyone], **options)(payload)
    return made.build()


def test_a_stored_event_needs_no_time() -> None:
    made = build(e=(Timeless, {}))
    assert made.events["e"].durable and made.events["e"].example == {"name": "Name"}
    assert made.events["e"].stamp(Timeless(name="a"), 1.0) == Timeless(name="a")


def test_a_timestamp_may_be_milliseconds() -> None:
    event = build(e=(Timed, {"timestamp": "at"})).events["e"]
    assert event.stamp(Timed(), 1769860800.5) == Timed(at=1769860800500)
    assert event.stamp(Timed(at=5), 1.0) == Timed(at=5)


def test_a_timestamp_of_each_shape() -> None:
    class First(Stamped, tag="first"):
        """The first."""

    class Second(Payload, tag="second"):
        """The second."""

        timestamp: Millis | UnsetType = UNSET

    made = build(e=(First | Second, {}))
    assert made.event_of(First()) is made.event_of(Second()) is made.events["e"]
    assert made.events["e"].stamp(First(), 0.0) == First(timestamp=Time("1970-01-01T00:00:00.000Z"))
    assert made.events["e"].stamp(Second(), 2.0) == Second(timestamp=2000)
    assert made.events["e"].description == "`first`: The first. `second`: The second."


def test_a_signal_is_an_event_without_arguments() -> None:
    made = Contract("c", roles=("user",))
    root = made.namespace("/")
    signal: type[Payload] = root.signal("timer:expired", to=[root.everyone], description="Time is over.")
    event = made.build().events["timer:expired"]
    assert (event.description, event.example, signal.__name__) == ("Time is over.", None, "TimerExpired")
    assert made.event_of(signal()).make_codec().encode_event(signal()) == b'["timer:expired"]'


@pytest.mark.parametrize(
    ("payload", "options", "error"),
    [
        (Wide, {"arguments": "positional"}, "event e: first may be omitted, and the argument second after it may not"),
        (Up | Same, {}, "event e: Up and Same have the same tag; give each class its own"),
        (Up | Other, {}, "event e: Up and Other have their tags in different fields, kind, type; use one tag_field"),
        (Up | Untagged, {}, "event e: nothing distinguishes Up and Untagged: give each class a tag"),
        (Up | Down, {"arguments": "positional"}, "event e: has the shapes Up and Down, and only an object can"),
        (int, {}, "event e: int is not a Payload; declare a class that is derived from Payload"),
        (list[int], {}, "event e: list[int] has type parameters; declare a class that is derived from Payload"),
        (Up | int, {}, "event e: int is not a Payload; declare a class that is derived from Payload"),
        (Text, {"max_bytes": 0}, "event e: max_bytes is 0: expected a whole number of bytes from 1 to 500,000"),
        (Text, {"max_bytes": 500_001}, "event e: max_bytes is 500001"),
        (Text, {"max_bytes": 80_001, "volatile": True}, "a whole number of bytes from 1 to 80,000"),
        (Timeless, {"timestamp": "name"}, "or `Millis | UnsetType = UNSET` of Timeless, to be filled in"),
    ],
)
def test_declarations_that_cannot_be(payload: Any, options: dict[str, Any], error: str) -> None:
    with pytest.raises(ContractError) as raised:
        build(e=(payload, options))
    assert error in str(raised.value)


K = TypeVar("K")


def make_payload(kind: Any) -> type[Payload]:
    body = {"__doc__": "A payload.", "__annotations__": {"field": kind}, "__module__": __name__}
    return new_class("Made", (Payload,), exec_body=lambda members: members.update(body))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Text | Address, "event e: field is one of several objects: give each class a tag"),
        (Text | dict[str, int], "event e: field is a map or an object, and nothing distinguishes them"),
        (list[int] | tuple[int, ...], "event e: field is one of several arrays; use one array"),
        (str | Time, "event e: field is a Time, Money or Total or another type; nothing but None"),
        (dict[tuple[int, int], str], "event e: field is a map whose keys are not strings or whole numbers"),
        (dict[bool, str], "event e: field is a map whose keys are not strings or whole numbers"),
        (K, "event e: field has a type parameter; write the type itself"),
        (list[K], "event e: field has a type parameter; write the type itself"),  # type: ignore[valid-type]
        ("Nowhere", "event e: a type of Made is not known (name 'Nowhere' is not defined); define it"),
        (
            Annotated[tuple[int, int], Meta(min_length=3)],
            "event e: field has limits that do not fit its type; length is",
        ),
        (complex, "event e: field: complex is not a type that an event can carry; Any is any JSON"),
        (list[object], "event e: field: object is not a type that an event can carry; Any is any JSON"),
        (
            Annotated[Number | None, Meta(ge=0)],
            "event e: field has limits that do not fit its type; write them at each part",
        ),
    ],
)
def test_types_that_no_event_has(kind: Any, error: str) -> None:
    with pytest.raises(ContractError) as raised:
        build(e=(make_payload(kind), {}), other=(make_payload(bytearray), {}))
    assert error in str(raised.value)
    assert "event other: field: binary data is declared as bytes" in str(raised.value), "all errors at once"


def test_an_error_in_an_object_is_reported_once_with_its_path() -> None:
    inner = make_payload(Annotated[Number, Meta(ge=0)])
    with pytest.raises(ContractError) as raised:
        build(e=(make_payload(list[inner]), {}))  # type: ignore[valid-type]
    [said] = str(raised.value).splitlines()
    assert said.startswith("contract c: event e: field.field has limits that do not fit its type"), said


@pytest.mark.parametrize("kind", [list, dict, dict[int, str], tuple[int, str], datetime, UUID, frozenset[int], Any])
def test_types_that_an_event_may_have(kind: Any) -> None:
    event = build(e=(make_payload(kind), {})).events["e"]
    event.make_codec().check_exact(msgspec.json.encode(event.example))


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (b"5", b"5"),
        (b"4.5", b"4.5"),
        (b"5.0", b"5.0"),
        (b'"7"', b"7"),
        (b'"7.5"', b"7.5"),
    ],
)
def test_a_number_keeps_its_form(data: bytes, wire: bytes) -> None:
    codec = EventCodec("e", make_payload(Number), "positional")
    assert codec.encode_event(codec.decode_payload(data)) == b'["e",' + wire + b"]"


def test_what_is_not_a_number_is_refused_in_words() -> None:
    codec = EventCodec("e", make_payload(Number), "positional")
    with pytest.raises(InvalidDataError) as raised:
        codec.decode_payload(b"true")
    assert str(raised.value) == "field: expected a number, got true"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("invoke:*", "the name has a *; name what varies, as in order:{orderId}:moved"),
        ("move:{id}", "its name has {id}, which is not a required string or integer field of Text"),
        ("move:{", "its name: placeholders are written {name}"),
        ("{text}", "the name begins with a placeholder"),
        ("o{text}", "the name could be one of the server's own"),
        ("connec{text}", "the name could be one of the server's own, or reserved"),
    ],
)
def test_names_that_are_no_patterns(name: str, error: str) -> None:
    with pytest.raises(ContractError, match=re.escape(error)):
        build(**{name: (Text, {})})


class Addressed(Payload):
    """An event that says to which shop it goes."""

    shopId: Id


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["/room-*"], "namespace '/room-*' has a *; name what varies, as in /shop-{shopId}"),
        (["/room-{}"], "namespace '/room-{}': placeholders are written {name}"),
        (["/{a}{b}"], "namespace '/{a}{b}': put some text between two placeholders"),
        (["/room {id}"], "namespace '/room {id}': expected / and a short name"),
        (["room-{id}"], "namespace 'room-{id}': expected / and a short name"),
        (["/room-{id}", "/{name}"], "namespace /{name}: a name could also be /room-{id}; begin them differently"),
    ],
)
def test_namespaces_with_ids_that_are_no_patterns(names: list[str], error: str) -> None:
    made = Contract("c", roles=("user",))
    for name in names:
        made.namespace(name)
    with pytest.raises(ContractError, match=re.escape(error)):
        made.build()


def test_rules_about_the_ids_of_namespaces() -> None:
    made = Contract("c", roles=("user",))
    shop = made.namespace("/shop-{shopId}", who=[own("shop"), member()])
    shop.room("till:{shopId}", members=own("shopId"))
    with pytest.raises(ContractError) as raised:
        made.build()
    assert str(raised.value).splitlines() == [
        "contract c: room till:{shopId}: {shopId} is a placeholder of its namespace too; give one of them another name",
        "contract c: namespace /shop-{shopId}: its rule names {shop}, which is not a placeholder of its name",
        (
            "contract c: namespace /shop-{shopId}: who=… can name roles, own(…) and resolved(…); for members, declare a"
            " room in it with members=member() and on_connect='required'"
        ),
    ]


def test_a_literal_namespace_is_never_another_one() -> None:
    made = Contract("c", roles=("user",))
    admin, shop = made.namespace("/admin"), made.namespace("/{shopId}")
    shop.event("e", to=[shop.everyone])(Addressed)
    made.build()
    assert made.find_namespace("/admin") == (admin, {})
    assert made.find_namespace("/17") == (shop, {"shopId": "17"})
    assert made.find_namespace("/") is None
    router = EventRouter(made.events["e"], made)
    assert router.route(Addressed(shopId="17"), None) == [Destination("/17", ())]
    with pytest.raises(InvalidDataError, match="shopId"):
        router.route(Addressed(shopId="admin"), None)


def test_targets_that_are_none() -> None:
    made = Contract("c", roles=("user",))
    root: Any = made.namespace("/")
    root.event("e", to=["*"])(Text)
    root.event("f", to=root.everyone)(Address)
    with pytest.raises(ContractError) as raised:
        made.build()
    assert str(raised.value) == (
        "contract c: event e: to=… has '*': list rooms, as to=[room], or everyone of the namespace"
    )


@pytest.mark.parametrize("option", [{"arguments": "position"}, {"unknown_fields": "drop"}])
def test_options_that_are_none(option: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="expected one of"):
        build(e=(Text, option))


def test_one_class_has_one_name() -> None:
    with pytest.raises(ContractError, match="Up is the payload of a and b: give each event its own"):
        build(a=(Up | Down, {}), b=(Up, {}))


def test_a_command_with_several_shapes_joins_no_room() -> None:
    made = Contract("c", roles=("user",))
    root: Namespace = made.namespace("/")
    room = root.room("r", members=anyone())
    root.command("do", joins=room)(Go | Stop)
    with pytest.raises(ContractError, match="command do: has several shapes, and joins or leaves a room"):
        made.build()


class Described(Payload):
    """Fields whose types msgspec describes in other words."""

    code: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    day: date
    key: UUID


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("code", "a string that matches ^[A-Z]{3}$"),
        ("day", "a date such as 2026-01-31"),
        ("key", "a UUID"),
    ],
)
def test_an_error_says_which_form_is_expected(field: str, expected: str) -> None:
    data = {"code": "ABC", "day": "2026-01-31", "key": "0b7e6f3a-4c1d-4e2a-9f55-6a1c2d3e4f50", field: "?"}
    with pytest.raises(InvalidDataError) as raised:
        EventCodec("described", Described).decode_payload(msgspec.json.encode(data))
    assert (raised.value.field, raised.value.expected) == (field, expected)
