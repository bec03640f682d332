"""Answers in the form that a contract states, as the encoders make them and as official clients receive them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket

from oyez.contract import (
    UNSET,
    Acknowledgements,
    Command,
    Contract,
    Errors,
    Money,
    Payload,
    UnsetType,
    anyone,
    auth,
    query,
    role,
)
from oyez.errors import FORBIDDEN, RATE_LIMITED, UNAVAILABLE, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.bind import bind
from oyez.runtime.client import Client
from oyez.runtime.hooks import Hooks
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.replies import Failure, FailureEncoder, ReplyCodec
from oyez.settings import Settings
from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.market import Token
from tests.support.serving import PLAIN_PATH, Running, serve
from tests.support.tasks import Spawn


class Item(Payload):
    """A thing with a price."""

    name: str
    price: Money


ITEM = Item(name="drill", price=Money("4.50"))


@pytest.mark.parametrize(
    ("form", "kind", "reply", "expected"),
    [
        (Acknowledgements(), None, None, [{"ok": True}]),
        (Acknowledgements(), Item, ITEM, [{"ok": True, "name": "drill", "price": 4.5}]),
        (Acknowledgements(flag="success"), Item, ITEM, [{"success": True, "name": "drill", "price": 4.5}]),
        (Acknowledgements(flag="status", values=("ok", "error")), None, None, [{"status": "ok"}]),
        (Acknowledgements(data="data"), Item, ITEM, [{"ok": True, "data": {"name": "drill", "price": 4.5}}]),
        (Acknowledgements(data="data"), None, None, [{"ok": True}]),
        (Acknowledgements(data="data"), int, 7, [{"ok": True, "data": 7}]),
        (Acknowledgements(data="data"), list[Item], [ITEM], [{"ok": True, "data": [{"name": "drill", "price": 4.5}]}]),
        (Acknowledgements(flag=None, data="data"), str, "x", [{"data": "x"}]),
        (Acknowledgements(flag=None), list[int], [1], [[1]]),
        (Acknowledgements(flag=None), None, None, [{}]),
        (Acknowledgements(flag=None), Item, ITEM, [{"name": "drill", "price": 4.5}]),
        (Acknowledgements(node_style=True), None, None, [None]),
        (Acknowledgements(node_style=True), Item, ITEM, [None, {"name": "drill", "price": 4.5}]),
        (Acknowledgements(node_style=True), bool, False, [None, False]),
        (Acknowledgements(node_style=True, empty=True), None, None, []),
        (Acknowledgements(flag=None, empty=True, failure="message"), None, None, []),
        (Acknowledgements(flag=None, failure=Literal[False]), bool, True, [True]),
    ],
)
def test_replies(form: Acknowledgements, kind: Any, reply: Any, expected: list[Any]) -> None:
    assert json.loads(ReplyCodec("buy", kind, form).encode(reply)) == expected


class Page(Payload):
    """A page of names."""

    names: list[str]
    after: str | UnsetType = UNSET


class Maybe1(Payload):
    """Perhaps a token."""

    token: str | UnsetType = UNSET


@pytest.mark.parametrize(
    ("form", "kind", "reply", "expected"),
    [
        (Acknowledgements(node_style=True), Page, Page(names=["a"], after="a"), [None, ["a"], "a"]),
        (Acknowledgements(node_style=True), Page, {"names": []}, [None, []]),
        (Acknowledgements(flag=None), Page, {"names": [], "after": "b"}, [[], "b"]),
        (Acknowledgements(node_style=True), Maybe1, {}, [None]),
        (Acknowledgements(flag=None), Maybe1, {}, []),
    ],
)
def test_replies_of_several_arguments(form: Acknowledgements, kind: Any, reply: Any, expected: list[Any]) -> None:
    assert json.loads(ReplyCodec("list", kind, form, "positional").encode(reply)) == expected


def test_a_reply_without_fields_that_are_set_is_the_bare_success() -> None:
    class Nothing(Payload):
        """Nothing."""

    assert ReplyCodec("buy", Nothing).encode({}) == b'[{"ok":true}]'


@pytest.mark.parametrize(("kind", "reply"), [(int, "seven"), (list[Item], [{"name": 1}]), (Item, {"name": "x"})])
def test_a_reply_that_is_not_the_declared_one_is_the_handlers_mistake(kind: Any, reply: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r".*"):
        ReplyCodec("buy", kind, Acknowledgements(data="data")).encode(reply)


FAILURE = Failure(FORBIDDEN, "Not yours.", {"field": "id"})
COMMAND = b'["buy",{},{"idempotencyKey":"k-1"}]'


@pytest.mark.parametrize(
    ("form", "errors", "expected"),
    [
        (Acknowledgements(flag="success", error_as="message"), Errors(), [{"success": False, "error": "Not yours."}]),
        (
            Acknowledgements(flag="status", values=("ok", "error"), error="message", error_as="message"),
            Errors(),
            [{"status": "error", "message": "Not yours."}],
        ),
        (Acknowledgements(error_as="code"), Errors(codes={"*": "NO"}), [{"ok": False, "error": "NO"}]),
        (
            Acknowledgements(error=None),
            Errors(shape={"code": "code", "message": "message"}, codes={"forbidden": 403}),
            [{"ok": False, "code": 403, "message": "Not yours."}],
        ),
        (
            Acknowledgements(flag=None),
            Errors(shape={"code": "code", "of": {"command": "event", "id": "id"}, "field": "details.field"}),
            [{"error": {"code": "forbidden", "of": {"command": "buy", "id": "k-1"}, "field": "id"}}],
        ),
        (Acknowledgements(node_style=True), Errors(shape="message", messages={"forbidden": "Nein."}), ["Nein."]),
        (Acknowledgements(node_style=True, error_as="code"), Errors(), ["forbidden"]),
        (Acknowledgements(flag=None, failure="message"), Errors(messages={"forbidden": "Nein."}), ["Nein."]),
        (Acknowledgements(failure="code"), Errors(codes={"forbidden": 403}), [403]),
        (Acknowledgements(flag=None, failure=Literal[False]), Errors(), [False]),
        (Acknowledgements(flag=None, failure=Literal[None]), Errors(), [None]),
        (Acknowledgements(), Errors(shape={"status": "status"}), [{"ok": False, "error": {"status": 403}}]),
        (
            Acknowledgements(error_as={"why": "message", "for": "event", "key": "id"}),
            Errors(event="socket_error", shape={"event": "event"}),
            [{"ok": False, "error": {"why": "Not yours.", "for": "buy", "key": "k-1"}}],
        ),
        (Acknowledgements(error_as=["code", "id"]), Errors(), [{"ok": False, "error": ["forbidden", "k-1"]}]),
        (Acknowledgements(error_as={"c": "status"}), Errors(statuses={"*": 400}), [{"ok": False, "error": {"c": 400}}]),
        (Acknowledgements(error=None, error_as={"why": "code"}), Errors(), [{"ok": False, "why": "forbidden"}]),
        (Acknowledgements(node_style=True, error_as={"why": "code"}), Errors(), [{"why": "forbidden"}]),
        (Acknowledgements(flag=None, failure=(Literal[False], "message")), Errors(), [False, "Not yours."]),
        (Acknowledgements(node_style=True, failure=("code", {"n": "status"})), Errors(), ["forbidden", {"n": 403}]),
    ],
)
def test_failures(form: Acknowledgements, errors: Errors, expected: list[Any]) -> None:
    assert json.loads(FailureEncoder(errors, form).encode_acknowledgement(FAILURE, "buy", COMMAND)) == expected


def test_the_default_error_event_names_the_command_and_its_key_and_the_acknowledgement_does_not() -> None:
    encoder = FailureEncoder()
    name, error = json.loads(encoder.encode_event(FAILURE, "buy", COMMAND))
    assert (name, error["details"]) == ("error", {"field": "id", "event": "buy", "id": "k-1"})
    [answer] = json.loads(encoder.encode_acknowledgement(FAILURE, "buy", COMMAND))
    assert answer["error"]["details"] == {"field": "id"}
    assert json.loads(encoder.encode_event(FAILURE))[1]["details"] == {"field": "id"}
    assert error.keys() == answer["error"].keys() == {"code", "message", "details", "timestamp"}


def test_what_oyez_knows_of_a_refusal_has_the_names_of_the_document() -> None:
    shape = {"code": "code", "retryAfterMs": "retry_after_ms", "secs": "details.retry_after", "cmd": "event"}
    encoder = FailureEncoder(Errors(shape=shape))
    limited = Failure(RATE_LIMITED, "Slowly.", {"retry_after": 1.5})
    [answer] = json.loads(encoder.encode_acknowledgement(limited, "buy", COMMAND))
    assert answer["error"] == {"code": "rate_limited", "retryAfterMs": 1500, "secs": 1.5, "cmd": "buy"}
    assert json.loads(encoder.encode_event(FAILURE, "buy", COMMAND)) == ["error", {"code": "forbidden", "cmd": "buy"}]


def test_an_error_event_of_another_shape() -> None:
    shape = {"type": Literal["ERROR"], "code": "code", "details": "details", "at": "timestamp_ms", "for": "event"}
    encoder = FailureEncoder(Errors(event="exception", shape=shape))
    name, error = json.loads(encoder.encode_event(FAILURE, "buy", COMMAND))
    at = error.pop("at")
    assert isinstance(at, int)
    assert at > 10**12
    assert (name, error) == (
        "exception",
        {"type": "ERROR", "code": "forbidden", "details": {"field": "id"}, "for": "buy"},
    )
    assert json.loads(FailureEncoder(Errors(shape="message")).encode_event(FAILURE)) == ["error", "Not yours."]


# With official clients.


FORMS: dict[str, tuple[Acknowledgements, Errors]] = {
    "success": (
        Acknowledgements(flag="success", error="error", error_as="message", room=None),
        Errors(
            event="exception",
            shape={"code": "code", "message": "message", "command": "event", "id": "id"},
            codes={"forbidden": "NOT_ALLOWED", "rate_limited": "SLOW_DOWN", "unknown_event": "NO_SUCH_ACTION"},
            messages={"forbidden": "Not allowed."},
            connect={"token_missing": "Authentication error", "*": "Refused"},
        ),
    ),
    "data": (Acknowledgements(data="data", room="roomId"), Errors(shape="message", connect_shape={"why": "code"})),
    "node": (Acknowledgements(node_style=True, error_as="code"), Errors(codes={"*": "FAILED"})),
    "bare": (Acknowledgements(flag=None, empty=True, failure="message"), Errors()),
}


def build_contract(form: str) -> tuple[Contract, dict[type[Command], Any]]:
    acknowledgements, errors = FORMS[form]
    contract = Contract(
        "shop", roles=("user", "admin"), tokens=(auth("token"), query("token")), acknowledgements=acknowledgements,
        errors=errors,
    )  # fmt: skip
    root = contract.namespace("/")
    root.room("auction:{id}", members=anyone(), join="watch", leave="unwatch")
    root.room("office", members=role("admin"), join="office")

    @root.command("find", reply=Item)
    class Find(Command):
        """Find a thing."""

    several = form in ("node", "bare")

    @root.command("list", reply=Page, reply_arguments="positional" if several else "object")
    class List(Command):
        """List things."""

    @root.command("buy", limit="5/m")
    class Buy(Command):
        """Buy a thing."""

        failing: str = ""

    @root.command("bid", error=Errors(event="bid:rejected", shape={"reason": "code"}, codes={"forbidden": "TOO_LOW"}))
    class Bid(Command):
        """Bid."""

    @root.command("place", volatile=True, limit="1/m")
    class Place(Command):
        """Send a place."""

    def find(command: Find, client: Client) -> Item:
        return ITEM

    async def buy(command: Buy, client: Client) -> None:
        if command.failing == "refused":
            raise RefusedError(FORBIDDEN, "Not yours.", id="x")
        if command.failing == "unavailable":
            raise RefusedError(UNAVAILABLE)
        if command.failing:
            raise ZeroDivisionError

    def bid(command: Bid, client: Client) -> None:
        raise RefusedError(FORBIDDEN)

    def list_things(command: List, client: Client) -> Page:
        return Page(names=["drill"], after="drill")

    return contract, {Find: find, List: list_things, Buy: buy, Bid: bid, Place: lambda command, client: None}


@asynccontextmanager
async def open_shop(form: str, hooks: Hooks = Hooks(), **limits: int) -> AsyncIterator[Running]:  # noqa: B008
    contract, handlers = build_contract(form)
    log = MemoryLog()

    async def authenticate(token: str) -> Token:
        return Token(token, {"role": "user"})

    applications = bind(
        contract,
        handlers=handlers,
        verify=authenticate,
        settings=Settings(),
        idempotency=Idempotency(log, 60.0),
        hooks=hooks,
    )
    async with serve(namespaces=applications, log=log, limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
async def js() -> AsyncIterator[JsDriver]:
    async with JsDriver.start() as driver:
        yield driver


KEY = {"idempotencyKey": "k-1"}
CALLS: list[tuple[tuple[Any, ...], dict[str, list[Any]]]] = [
    (
        ("list", {}),
        {
            "success": [{"success": True, "names": ["drill"], "after": "drill"}],
            "data": [{"ok": True, "data": {"names": ["drill"], "after": "drill"}}],
            "node": [None, ["drill"], "drill"],
            "bare": [["drill"], "drill"],
        },
    ),
    (
        ("find", {}),
        {
            "success": [{"success": True, "name": "drill", "price": 4.5}],
            "data": [{"ok": True, "data": {"name": "drill", "price": 4.5}}],
            "node": [None, {"name": "drill", "price": 4.5}],
        },
    ),
    (("buy", {}, KEY), {"success": [{"success": True}], "data": [{"ok": True}], "node": [None]}),
    (("buy", {}, KEY), {"success": [{"success": True}], "data": [{"ok": True}], "node": [None]}),
    (
        ("buy", {"failing": "refused"}, KEY),
        {
            "success": [{"success": False, "error": "The same id was used for something else."}],
            "data": [{"ok": False, "error": "The same id was used for something else."}],
            "node": ["FAILED"],
        },
    ),
    (
        ("buy", {"failing": "refused"}),
        {
            "success": [{"success": False, "error": "Not allowed."}],
            "data": [{"ok": False, "error": "Not yours."}],
            "node": ["FAILED"],
        },
    ),
    (
        ("buy", {"failing": "yes"}),
        {
            "success": [{"success": False, "error": "Something went wrong on the server. Error ID."}],
            "data": [{"ok": False, "error": "Something went wrong on the server. Error ID."}],
            "node": ["FAILED"],
        },
    ),
    (
        ("buy", {}),
        {
            "success": [{"success": False, "error": "Too many requests; slow down."}],
            "data": [{"ok": False, "error": "Too many requests; slow down."}],
            "node": ["FAILED"],
        },
    ),
    (
        ("find", {"what": 1}),
        {
            "success": [{"success": False, "error": "what: is not a field of find; it has none"}],
            "data": [{"ok": False, "error": "what: is not a field of find; it has none"}],
            "node": ["FAILED"],
        },
    ),
    (
        ("nothing",),
        {
            "success": [{"success": False, "error": "There is no event 'nothing' that clients may send."}],
            "data": [{"ok": False, "error": "There is no event 'nothing' that clients may send."}],
            "node": ["FAILED"],
        },
    ),
    (("bid", {}), {"success": [{"success": False, "error": "Not allowed."}], "node": ["TOO_LOW"]}),
    (
        ("watch", "a-1"),
        {
            "success": [{"success": True}],
            "data": [{"ok": True, "data": {"roomId": "auction:a-1"}}],
            "node": [None, {"room": "auction:a-1"}],
        },
    ),
    (
        ("office",),
        {
            "success": [{"success": False, "error": "Not allowed."}],
            "data": [{"ok": False, "error": "You have no right to be in room 'office'."}],
            "node": ["FAILED"],
        },
    ),
    (
        ("unwatch", "a-1"),
        {
            "success": [{"success": True}],
            "data": [{"ok": True, "data": {"roomId": "auction:a-1"}}],
            "node": [None, {"room": "auction:a-1"}],
        },
    ),
]
"""Commands, one after the other, and for each form the arguments of their acknowledgements."""


ERROR_ID = re.compile(r"Error [0-9a-f]{10}")


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("form", FORMS)
async def test_acknowledgements_for_the_official_client(form: str, transport: str, js: JsDriver) -> None:
    async with open_shop(form) as shop:
        client = await js.connect(shop.url, auth={"token": "u1"}, transports=[transport])
        for command, expected in CALLS:
            answer = ERROR_ID.sub("Error ID", json.dumps(await client.callback(*command)))
            assert form not in expected or json.loads(answer) == expected[form], command
        await client.disconnect()


@pytest.mark.parametrize("form", FORMS)
async def test_acknowledgements_for_python_socketio(form: str) -> None:
    async with open_shop(form) as shop, py_client.connect(shop.url, auth={"token": "u1"}) as client:
        for (name, *arguments), expected in CALLS:
            answer = json.loads(ERROR_ID.sub("Error ID", json.dumps(await client.call(name, tuple(arguments)))))
            wanted = expected.get(form)
            # python-socketio gives several arguments as a tuple, and one as itself.
            assert wanted is None or answer == (wanted[0] if len(wanted) == 1 else wanted), name


async def test_a_success_without_an_argument_and_a_failure_of_one_value(js: JsDriver) -> None:
    async with open_shop("bare") as shop:
        client = await js.connect(shop.url, auth={"token": "u1"})
        for _repeat in range(2):
            assert await client.callback("buy", {}, KEY) == []
        assert await client.callback("buy", {"failing": "refused"}) == ["Not yours."]
        assert await client.callback("find", {}) == [{"name": "drill", "price": 4.5}]
        await client.disconnect()


async def test_error_events_have_the_contracts_name_and_shape_and_a_commands_own(js: JsDriver) -> None:
    async with open_shop("success") as shop:
        client = await js.connect(shop.url, auth={"token": "u1"}, transports=["websocket"])
        await client.emit("buy", {"failing": "refused"}, KEY)
        refused = {"code": "NOT_ALLOWED", "message": "Not allowed.", "command": "buy", "id": "k-1"}
        assert await client.expect_event("exception") == [refused]
        await client.emit("nothing")
        [unknown] = await client.expect_event("exception")
        assert (unknown["code"], unknown["command"]) == ("NO_SUCH_ACTION", "nothing")
        await client.emit("bid", {})
        assert await client.expect_event("bid:rejected") == [{"reason": "TOO_LOW"}]
        await client.disconnect()
    async with open_shop("data") as shop, py_client.connect(shop.url, auth={"token": "u1"}) as python:
        await python.emit("buy", {"failing": "refused"})
        assert await python.expect_event("error") == ["Not yours."]


async def test_a_volatile_command_that_is_replaced_is_acknowledged_in_the_contracts_form(
    js: JsDriver, spawn: Spawn
) -> None:
    async with open_shop("success") as shop:
        client = await js.connect(shop.url, auth={"token": "u1"}, transports=["websocket"])
        answers = await client.volley("place", {}, count=1)
        assert answers == [{"success": True}]
        held = spawn(client.callback("place", {}))
        await asyncio.sleep(0)
        await client.emit("place", {})
        assert await held == [{"success": False, "error": "Too many requests; slow down."}]
        await client.disconnect()


async def test_connect_error_has_the_contracts_message(js: JsDriver) -> None:
    async with open_shop("success") as shop:
        with pytest.raises(JsConnectError) as missing:
            await js.connect(shop.url, transports=["websocket"])
        assert (missing.value.message, missing.value.data) == ("Authentication error", {"code": "token_missing"})
        # The server itself refuses a namespace that no application has.
        with pytest.raises(JsConnectError) as unknown:
            await js.connect(f"{shop.url}/nowhere", auth={"token": "u1"}, transports=["websocket"])
        assert (unknown.value.message, unknown.value.data) == ("Refused", {"code": "unknown_namespace"})


async def test_fields_of_the_hook_refused_are_beside_the_contracts_own_data(js: JsDriver) -> None:
    hooks = Hooks(refused=lambda handshake, refused: {"attempts": 1})
    for form, data in (
        ("data", {"why": "token_missing", "attempts": 1}),
        ("success", {"code": "token_missing", "attempts": 1}),
    ):
        async with open_shop(form, hooks) as shop:
            with pytest.raises(JsConnectError) as refused:
                await js.connect(shop.url, transports=["websocket"])
            assert refused.value.data == data


async def test_errors_of_the_server_itself_have_the_contracts_form(js: JsDriver) -> None:
    async with open_shop("success", max_payload=100_000) as shop:
        client = await js.connect(shop.url, auth={"token": "u1"}, transports=["polling"], options={"upgrade": False})
        sid = next(iter(shop.server.registry.connections))
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            url = f"{shop.url}/socket.io/?EIO=4&transport=polling&sid={sid}"
            assert (await http.post(url, content=b"4" * 200_000)).status_code == 413
        [error] = await client.expect_event("exception")
        assert (error["code"], error.keys()) == ("too_large", {"code", "message"})
        await client.disconnect()


async def test_a_plain_websocket_receives_the_contracts_forms() -> None:
    for form, answer, error in (
        ("success", {"success": True, "name": "drill", "price": 4.5}, "exception"),
        ("node", [None, {"name": "drill", "price": 4.5}], "error"),
    ):
        async with open_shop(form) as shop:
            url = f"ws://localhost:{shop.port}{PLAIN_PATH}?token=u1"
            async with connect_websocket(url) as websocket:
                assert json.loads(await websocket.recv())["event"] == "connect"
                await websocket.send('{"event":"find","data":{},"id":"a"}')
                assert json.loads(await websocket.recv()) == {"id": "a", "data": answer}
                await websocket.send("nonsense")
                frame = json.loads(await websocket.recv())
                assert (frame["event"], frame["data"]["code"]) == (
                    error,
                    "malformed" if form == "success" else "FAILED",
                )
