"""The tables of docs/contract-reference.md: every argument of a declaration, and every type.

Names and defaults are the code's. An argument without a meaning here is an error, as is a meaning without an argument.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, UnsetType

from oyez.contract import (
    Acknowledgements,
    Claims,
    Contract,
    Errors,
    Id,
    Latitude,
    Longitude,
    Millis,
    Money,
    Number,
    Payload,
    Presence,
    Time,
    Total,
    Versions,
    Was,
)
from oyez.contract.check.head import MAX_SIGN_IN
from oyez.contract.command_codec import MAX_ID
from oyez.contract.declare import Namespace
from oyez.contract.lenient import MAX_LENIENT_BYTES, MAX_WHOLE
from oyez.contract.limits import DEFAULT_LIMIT
from oyez.contract.policy import MAX_PART, Anyone, Nobody
from oyez.contract.schema import describe
from oyez.contract.tokens import Auth
from oyez.contract.types import MAX_ID_LENGTH, read_scalar
from oyez.settings import MAX_DECLARED_BYTES, MAX_VOLATILE_BINARY_BYTES, MAX_VOLATILE_BYTES, Limits

ARGUMENTS: Mapping[str, tuple[Callable[..., Any], Mapping[str, str]]] = {
    "contract": (
        Contract,
        {
            "name": "Part of every address: `/tools/socket.io/`, `/tools/events`.",
            "roles": "The roles that a client can have.",
            "default_role": "The role of a client whose token states none. Without it, such a client is refused.",
            "tokens": "The [places of a token](#places-of-a-token), in the order in which they are searched.",
            "subjects": "Kinds of member besides `user` and `role`, each with its claim: see [members](#members).",
            "description": "One sentence about the system. `oyez serve` and `oyez systems` show it.",
            "claims": "The [names of claims](#names-of-claims) in the tokens.",
            "acknowledgements": "The form of all [acknowledgements](#acknowledgements).",
            "errors": "The name, form and codes of all [errors](#errors).",
            "unknown_fields": '`"refuse"` or `"ignore"`: what happens to fields that are not declared. An event or'
            " command can differ.",
            "guests": "The role of [clients without a token](#guests). Without it, they are refused.",
            "sign_in_within": "Seconds after which a guest who has not [signed in](#sign-in-after-connecting) is"
            " disconnected.",
            "handled_by": "The [back end](backends.md) that handles all commands, unless a namespace or a command names"
            " another one, or the system has a handler in Python.",
            "authenticated_by": "The [back end](backends.md#find-the-user) that finds the user of a client that"
            " connects, instead of the verification of a token.",
            "versions": "The [versions](compatibility.md#versions-of-clients) of clients, the oldest first, or"
            " `Versions(…)`.",
        },
    ),
    "refusal": (
        Contract.refusal,
        {
            "code": "The code that clients receive.",
            "message": "One sentence for people. A handler can give another one.",
            "temporary": "True if the client may try again. A hook that raises it cuts the connection.",
            "status": "The HTTP status that fits.",
        },
    ),
    "user attribute": (
        Contract.user_attribute,
        {
            "name": 'The name in rules: `resolved("shopId", "shop_id")`.',
            "description": 'Completes the sentence "The server found no …".',
            "who": "The users who may have it, as a rule of roles.",
        },
    ),
    "namespace": (
        Contract.namespace,
        {
            "name": "`/`, or another one such as `/desk`, or `/booth-{shopId}` with"
            " [an id](#namespaces-whose-names-contain-an-id).",
            "who": "The roles that it admits. Other clients receive a CONNECT_ERROR with the code `forbidden_role`. If"
            " its name contains an id, `who` may name it too.",
            "handled_by": "As for the contract, for the commands of this namespace.",
            "admitted_by": "The [back end](backends.md#decide-about-a-client-that-connects) that decides about each"
            " client that the contract itself admits.",
            "notifies": "The [back end](backends.md#learn-of-disconnects) that is notified when a client disconnects.",
        },
    ),
    "gateway": (
        Namespace.gateway,
        {
            "name": "The name by which a client chooses it.",
            "who": "A rule of roles, which the gateway's rooms require besides their own rule.",
        },
    ),
    "room": (
        Namespace.room,
        {
            "pattern": "The form of the rooms' names: `shop:{shopId}`.",
            "members": "The [rule](#rules) that says who may be in the room.",
            "join": "The name of the command by which clients join it. Its arguments are the placeholders, in order.",
            "leave": "The name of the command by which clients leave it.",
            "on_connect": "Each client joins its own rooms of this kind when it connects. `'required'`: a client that"
            " may not be in one is [refused or disconnected](recipes.md#only-members-in-a-namespace).",
            "values": 'The only values of a placeholder: `{"period": ("week", "month")}`.',
            "gateway": "Set by `gateway.room(…)`; do not write it.",
            "presence": "Events about users who enter and leave: see [presence](#presence).",
            "welcomed_by": "The [back end](backends.md#send-the-state-of-a-room) that has the room's state for clients"
            " that join.",
        },
    ),
    "event": (
        Namespace.event,
        {
            "name": "The name that clients listen to.",
            "to": "The [targets](#targets): the event can go to these, and to nothing else.",
            "example": "Its data in the form on the wire, for documents and `oyez demo`. Without it, an example is made"
            " from the types.",
            "volatile": "The event is not stored: see [volatile events](#volatile-events).",
            "timestamp": "The wire name of the field that the server fills in with the time: see [times](#times).",
            "latest": "For volatile events: seconds for which the newest one of each room is kept.",
            "arguments": '`"object"`, or `"positional"`: the fields are separate arguments, in order. See'
            " [other forms of arguments](#other-forms-of-arguments).",
            "max_bytes": "The size of its data, if it may be more than `max_event_bytes`: at most"
            f" {MAX_DECLARED_BYTES:,} bytes, and {MAX_VOLATILE_BYTES:,} for a volatile event.",
            "unknown_fields": "As for the contract, for this event.",
            "name_only": "The fields that fill [placeholders of the name](#names-that-contain-an-id) are not in the"
            " data.",
            "webhook": "The event may also go to [receivers of webhooks](webhooks.md), which the operator adds.",
            "receipts": "Clients acknowledge the event, and it is recorded whom it reaches ([receipts](receipts.md)).",
            "was": "[Old forms](compatibility.md#versions-of-clients), for clients of older versions: `Was` or a list.",
        },
    ),
    "signal": (
        Namespace.signal,
        {
            "name": "The name that clients listen to.",
            "to": "The [targets](#targets).",
            "description": "One sentence that says what has happened.",
            "volatile": "As for an event.",
            "latest": "As for an event.",
            "webhook": "As for an event.",
            "receipts": "As for an event.",
        },
    ),
    "command": (
        Namespace.command,
        {
            "name": "The name that clients send.",
            "who": "Who may send it: see [rules of commands](#rules-of-commands).",
            "limit": "How often it may be sent: see [limits of commands](#limits-of-commands).",
            "arguments": '`"object"`, or `"positional"`: the fields are separate arguments, in order; those with a'
            " default may be left out at the end.",
            "reply": "What the acknowledgement carries on success: a payload or [another type](#acknowledgements).",
            "reply_arguments": '`"positional"`: the fields of the reply are [separate arguments]'
            "(#replies-of-several-arguments) of the callback.",
            "joins": "The command joins a room of this kind, and needs no handler. Its fields fill the placeholders.",
            "leaves": "The command leaves a room of this kind, and needs no handler.",
            "volatile": "Of the commands over the limit, only the newest is handled.",
            "error": "The name of the event that reports its errors, or `Errors(…)` with what differs from the"
            " contract's.",
            "acknowledgements": "The form of its acknowledgements, if it differs from the contract's.",
            "max_bytes": "The size of its arguments. Without it, only the setting `max_payload` limits them.",
            "unknown_fields": "As for the contract, for this command; if its arguments are positional, also for further"
            " arguments.",
            "signs_in": "The wire name of the field with a token: see [sign in after connecting]"
            "(#sign-in-after-connecting).",
            "handled_by": "The [back end](backends.md) that handles it, instead of a handler in Python.",
            "refusals": "Those of the contract's refusals that its handler raises: documents and types list only these."
            " Without it, any; of a command that only joins or leaves a room, none.",
            "was": "[Old forms](compatibility.md#versions-of-clients), for clients of older versions: `Was` or a list.",
        },
    ),
    "relay": (
        Namespace.relay,
        {
            "name": "The name that clients send and listen to.",
            "to": "Rooms that follow from the fields, and fixed targets. The sender must be in each of these rooms;"
            " otherwise the command is refused with `forbidden`.",
            "who": "As for a command.",
            "limit": "As for a command.",
            "example": "As for an event.",
            "volatile": "The event is not stored. Of commands over the limit, only the newest is handled.",
            "timestamp": "As for an event. Clients cannot send this field.",
            "latest": "As for an event.",
            "sender": "The wire name of the field that the server fills in with the sender's user id, a string or a"
            " whole number. A client may omit it; another user's id is refused with `forbidden`.",
            "claims": 'Fields that the server fills in with claims of the sender\'s token: `{"userName": "name"}`.'
            " Clients cannot send them.",
            "arguments": "As for an event. Clients cannot send the field of `sender` then.",
            "max_bytes": "The size of its data, for the command and the event.",
            "name_only": "As for an event.",
            "was": "The old form of the relay, or a list of them, with `convert` and `convert_back`.",
        },
    ),
    "presence": (
        Presence,
        {
            "joined": "The name of the event that says that a user has entered.",
            "left": "The name of the event that says that a user has left.",
            "user": "The wire name of the field with the user's id.",
            "count": "The wire name of the field with the number of users in the room.",
            "last_seen": "The wire name of the field with the time at which the user was connected last.",
            "claims": 'Further fields, which show claims of the user\'s token: `{"userName": "name"}`.',
        },
    ),
    "versions": (
        Versions,
        {
            "names": "The versions, the oldest first. The last one is the newest.",
            "default": "The version of clients that name none; without it, the oldest.",
            "name": "The member of `auth`, or the parameter of the address, in which clients name their version.",
        },
    ),
    "old forms": (
        Was,
        {
            "version": "The newest version whose clients know this form. Clients of older versions receive it too,"
            " unless there is an older form.",
            "payload": "The class of the old form, or a union of classes with tags.",
            "convert": "For an event: makes the old payload from that of the next newer form; `None` for an event that"
            " these clients should not receive. For a command: makes the next newer form from the old one.",
            "name": "Its name, if it had another one. Without it: that of the next newer form.",
            "arguments": "Its arguments, if they had another form.",
            "example": "For a command: the data with which `convert` is tried. Without it, they are made from the"
            " types.",
            "reply": "For a command: the old type of its reply.",
            "convert_reply": "Makes the old reply from that of the next newer form.",
            "convert_back": (
                "For a relay: makes the payload of the next newer form from the old payload that a client has sent."
                " Fields that the server fills in, and those that the client has omitted, are `UNSET` in it."
            ),
        },
    ),
    "claims": (
        Claims,
        {
            "subject": 'The claim with the user\'s id. A whole number becomes a text: `42` is the user `"42"`. Several'
            " names in a tuple: the first that a token has.",
            "role": "The claim with the role, or with a list of roles.",
            "names": "Further claims: the name in the contract, and the name in the token.",
        },
    ),
    "form of acknowledgements": (
        Acknowledgements,
        {
            "flag": "The member that says whether the command succeeded; `None` for none.",
            "values": "The values of the flag, of success and of failure.",
            "data": "The member that holds the reply; `None`: the fields of the reply are beside the flag.",
            "error": "The member that holds the error; `None`: the members of the error are beside the flag.",
            "error_as": 'What the error is: `"object"`, which is the form of [errors](#errors), only its `"message"` or'
            ' `"code"`, or a form of its own: `{"reason": "code"}`.',
            "room": "The field with the room's name in the reply to a command that joins or leaves a room; `None` for"
            " none.",
            "empty": "True if a success without a reply has no argument: `callback()`.",
            "failure": 'The whole failure, if it has no member for the error: `"message"`, `"code"`, a constant such as'
            ' `Literal[False]`, or several arguments, as `(Literal[False], "message")`.',
            "node_style": "True for two arguments, the error and the reply. There are no members then.",
        },
    ),
    "form of errors": (
        Errors,
        {
            "event": "The name of the event that reports errors; without it, `error`. The name `error` is then free for"
            " an event of the contract.",
            "shape": "The form of the event's data and of the error in an acknowledgement: an object of the values"
            " below, or one value. Without it, `{code, message, details, timestamp}`.",
            "codes": 'For codes of Oyez or of the contract, the codes that clients receive: texts or numbers. `"*"`'
            " stands for all others of Oyez.",
            "statuses": "For codes, the numbers that `status` in a form stands for.",
            "messages": 'For codes, the messages that clients receive, also instead of a handler\'s own. `"*"` stands'
            " for all others of Oyez.",
            "connect": 'For codes, the message of `connect_error`. `"*"` stands for all others of Oyez. Without it,'
            " `messages`.",
            "connect_shape": "The form of `connect_error`'s `data`. Without it, Oyez' own code, and the details beside"
            " it.",
            "connect_fields": "A payload class: the further fields of `connect_error`'s `data`, which the hook"
            " `refused` returns. Documents and types have them.",
        },
    ),
}
"""For each declaration, what makes it, and the meaning of each of its arguments."""


class Node(Payload):
    """A comment with answers; a type may contain itself."""

    text: str
    answers: "list[Node]" = msgspec.field(default_factory=list)


TYPES: Sequence[tuple[str, Any, str, str]] = (
    ("str", str, '"drill"', ""),
    (
        "Annotated[str, Meta(min_length=1, max_length=200)]",
        Annotated[str, Meta(min_length=1, max_length=200)],
        '"x"',
        "Give every text a greatest length, so that a client cannot send a longer one.",
    ),
    ("Id", Id, '"r-1"', "An id of a user, an order, a room."),
    ("int", int, "42", "Up to 2^53 - 1 in amount, because JavaScript rounds larger numbers; declare those as `str`."),
    ("Annotated[int, Meta(ge=1, le=30)]", Annotated[int, Meta(ge=1, le=30)], "7", "Also `gt`, `lt`, `multiple_of`."),
    ("float", float, "4.5", ""),
    (
        "Number",
        Number,
        "5",
        "Keeps the form in which it was written. A `float` 5 is `5.0`, which Dart reads as another type.",
    ),
    ("bool", bool, "true", ""),
    ("Money", Money, "13.5", 'Below 10^13. In Python a `Decimal`: `Money("13.50")`.'),
    ("Total", Total, "13.5", "A sum of amounts, below 10^24."),
    ("Time", Time, '"2026-01-31T12:00:00Z"', "In Python `Time.now()`, `Time.of(a_datetime)`."),
    (
        "Millis",
        Millis,
        "1769860800000",
        "Milliseconds since 1970, as `Date.now()` in JavaScript; in Python `Time.now().millis`.",
    ),
    ("Latitude", Latitude, "53.8", ""),
    ("Longitude", Longitude, "-1.55", ""),
    ("datetime", datetime, '"2026-01-31T12:00:00+00:00"', "`Time` has one form for all times, and is shorter."),
    ("date", date, '"2026-01-31"', ""),
    ("UUID", UUID, '"0b7e6f3a-4c1d-4e2a-9f55-6a1c2d3e4f50"', "In Python `uuid.UUID`."),
    ("Decimal", Decimal, '"1.50"', "A string on the wire. `Money` is a number."),
    ("set[Id]", set[Id], '["t-1"]', "A list in which each item occurs once; also `frozenset`."),
    ('Literal["new", "good"]', Literal["new", "good"], '"new"', "One of these values; numbers are possible too."),
    ("str | None", str | None, "null", "The field is always present."),
    ("str | UnsetType = UNSET", str | UnsetType, '"x"', "The field may be omitted, and is not null."),
    (
        "Maybe[str] = UNSET",
        str | UnsetType | None,
        "null",
        "The field may be omitted or null; if omitted, it stays so.",
    ),
    ("int | str", int | str, '"7"', "One of several types that JSON distinguishes."),
    ("list[Id]", list[Id], '["t-1"]', "`Annotated[list[Id], Meta(max_length=20)]` has at most 20 items."),
    ("tuple[float, float]", tuple[float, float], "[53.8, -1.55]", "Exactly these items."),
    ("tuple[int, ...]", tuple[int, ...], "[1, 2]", "An array of any length."),
    ("dict[Id, int]", dict[Id, int], '{"t-1": 3}', "A map by id. The keys are strings or whole numbers."),
    ("Node", Node, '{"text": "x", "answers": []}', 'Another class. It may contain itself: `list["Node"]`.'),
    ("First | Second", Node, '{"text": "x"}', "One of several classes, each with a [tag](#several-shapes)."),
    (
        "Any",
        Any,
        '{"x": [1]}',
        "Any JSON value, such as a shape on a board. `dict[str, Any]` is an object with any fields.",
    ),
    (
        "bytes",
        bytes,
        "",
        "Binary attachments for Socket.IO clients; base64 over HTTP, in the log and for plain WebSocket clients.",
    ),
)
"""For each type as a contract writes it: the type, JSON that fits it, and a remark."""


def build_types() -> list[tuple[str, ...]]:
    """The types, as errors describe them."""
    rows = []
    for text, kind, example, remark in TYPES:
        if example:
            msgspec.json.decode(example, type=kind, dec_hook=read_scalar)
        rows.append((f"`{text}`", describe(msgspec.inspect.type_info(kind)), f"`{example}`" if example else "", remark))
    return [("type", "on the wire", "example", "remark"), *rows]


def build_arguments(make: Callable[..., Any], meanings: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The arguments in the code's order, with the defaults in the code."""
    arguments = [one for one in inspect.signature(make).parameters.values() if one.name != "self"]
    names = {one.name for one in arguments}
    assert names == meanings.keys(), f"{make}: {names ^ meanings.keys()}"
    rows = [(f"`{one.name}`", show_default(one.default), meanings[one.name]) for one in arguments]
    return [("argument", "default", "meaning"), *rows]


def show_default(default: Any) -> str:
    match default:
        case inspect.Parameter.empty:
            return "required"
        case Anyone():
            return "`anyone()`"
        case Nobody():
            return "nobody"
        case str() if default:
            return f'`"{default}"`'
        case bool() | (bool(), bool()):
            return f"`{default}`"
        case int() | float():
            return f"{default:g}"
        case (Auth(), *_):
            return '`(auth("token"), bearer(), query("token"))`'
    return "none"


def build_limits() -> list[tuple[str, ...]]:
    limits = Limits()
    return [
        ("what", "limit"),
        ("an id, a value of a placeholder, a user's id", f"{MAX_ID_LENGTH} characters"),
        ("the name of a namespace, an event, a command", f"{limits.max_event_name} characters"),
        ("a member's part", f"{MAX_PART} characters"),
        ("an idempotency key", f"{MAX_ID} characters"),
        ("a whole number", f"from -{MAX_WHOLE} to {MAX_WHOLE}"),
        ("data of an event without `max_bytes`", f"{limits.max_event_bytes:,} bytes (`max_event_bytes`)"),
        ("`max_bytes`", f"{MAX_DECLARED_BYTES:,} bytes"),
        ("`max_bytes` of a volatile event", f"{MAX_VOLATILE_BYTES:,} bytes"),
        ("`max_bytes` of a volatile event with binary data", f"{MAX_VOLATILE_BINARY_BYTES:,} bytes"),
        ("data in [another form](#other-forms-that-are-accepted)", f"{MAX_LENIENT_BYTES:,} bytes"),
        ("depth of objects and arrays", f"{limits.max_json_depth} (`max_json_depth`)"),
        ("values in one message", f"{limits.max_json_elements:,} (`max_json_elements`)"),
        ("arguments of an event or command", f"{limits.max_arguments} (`max_arguments`)"),
        ("rooms of one event", f"{limits.max_rooms_per_event:,} (`max_rooms_per_event`)"),
        ("rooms of one client", f"{limits.max_rooms_per_socket} (`max_rooms_per_socket`)"),
        ("commands without `limit`", f"{DEFAULT_LIMIT.text}, each; more wait up to {limits.max_command_wait:g} s"),
        ("`sign_in_within`", f"{MAX_SIGN_IN:,} seconds"),
    ]


TABLES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "types": build_types(),
    "limits": build_limits(),
    **{f"{name} arguments": build_arguments(*declared) for name, declared in ARGUMENTS.items()},
}
