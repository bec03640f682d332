"""The forms of acknowledgements and errors, and contradictions in them."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from oyez.contract import UNSET, Acknowledgements, Command, Contract, Errors, Payload, Stamped, UnsetType, anyone
from oyez.contract.replies import fill_shape
from oyez.errors import ContractError

VALUES = {"code": "forbidden", "message": "No.", "details": {"retry_after": 2}, "event": "bid"}


def make_contract(acknowledgements: Any = Acknowledgements(), errors: Any = Errors()) -> Contract:  # noqa: B008
    contract = Contract("shop", roles=("user",), acknowledgements=acknowledgements, errors=errors)
    contract.refusal("sold", "It is sold.")
    return contract


def find_errors(contract: Contract) -> list[str]:
    try:
        contract.build()
    except ContractError as error:
        return [line.removeprefix("contract shop: ") for line in str(error).splitlines()]
    return []


class Sum(Payload):
    """A sum."""

    total: int


class Unordered(Payload):
    """Arguments that nobody could tell apart."""

    first: int | UnsetType = UNSET
    then: int


def declare(reply: Any = None, name: str = "add", **options: Any) -> Callable[[Contract], None]:
    def add(contract: Contract) -> None:
        class Add(Command):
            """Add."""

        contract.namespace("/").command(name, reply=reply, **options)(Add)

    return add


@pytest.mark.parametrize(
    ("shape", "filled"),
    [
        ("code", "forbidden"),
        ({"code": "code", "for": "event"}, {"code": "forbidden", "for": "bid"}),
        ({"error": {"text": "message"}, "id": "id"}, {"error": {"text": "No."}}),
        (["code", {"text": "message"}, "id"], ["forbidden", {"text": "No."}, None]),
        ({"type": Literal["ERROR"], "ok": Literal[False]}, {"type": "ERROR", "ok": False}),
        ({"wait": "details.retry_after", "field": "details.field"}, {"wait": 2}),
    ],
)
def test_a_shape_is_filled_and_members_without_a_value_are_omitted(shape: Any, filled: Any) -> None:
    assert fill_shape(shape, VALUES) == filled


@pytest.mark.parametrize(
    ("acknowledgements", "error"),
    [
        (Acknowledgements(error_as="text"), "error_as is 'text'; it can be object, message or code"),
        (Acknowledgements(error_as={"why": "reason"}), "error_as: shape.why: there is no value 'reason'"),
        (Acknowledgements(failure=("status", "code")), "failure is ('status', 'code'): clients know it by its first"),
        (Acknowledgements(failure=("code", "details.field")), "failure[1]: shape 'details.field': some errors have"),
        (Acknowledgements(flag="ok", data="ok"), "member 'ok' is declared twice"),
        (Acknowledgements(flag=""), "'' is not the name of a member"),
        (Acknowledgements(values=("ok", "ok")), "values are ('ok', 'ok'): give two different values"),
        (Acknowledgements(flag=None, error=None), "without flag and error, no client can see whether"),
        (Acknowledgements(error=None, error_as="code"), "an error that is only its code needs a member"),
        (Acknowledgements(node_style=True, data="data"), "with node_style there are no members: leave out data"),
        (Acknowledgements(node_style=True, failure="code"), "with node_style there are no members: leave out failure"),
        (Acknowledgements(failure="text"), "failure is 'text'; it can be 'message', 'code', or a constant such as"),
        (Acknowledgements(failure=False), "failure is False; it can be 'message', 'code', or a constant such as"),
        (Acknowledgements(values=True), "values are True: give two different values"),  # type: ignore[arg-type]
        (Acknowledgements(flag=1), "1 is not the name of a member"),  # type: ignore[arg-type]
        ({"flag": "ok"}, "expected Acknowledgements(…), not {'flag': 'ok'}"),
    ],
)
def test_acknowledgements_that_contradict_themselves(acknowledgements: Any, error: str) -> None:
    contract = make_contract()
    contract.acknowledgements = acknowledgements
    declare()(contract)
    [found] = find_errors(contract)
    assert found.startswith(f"acknowledgements: {error}")


@pytest.mark.parametrize(
    ("errors", "error"),
    [
        (Errors(event="disconnect"), "event disconnect: the name is reserved by Socket.IO"),
        (Errors(event="oyez:error"), "event oyez:error: the name is the server's own"),
        (Errors(shape={"code": "kode"}), "shape.code: there is no value 'kode'; there are code, message, details"),
        (Errors(shape={"error": {"code": 7}}), "shape.error.code is 7: write a value's name"),
        (Errors(shape={}), "shape is empty"),
        (Errors(shape=["code", "kode"]), "shape[1]: there is no value 'kode'"),
        (Errors(statuses={"sold": "gone"}), "statuses: 'sold' becomes 'gone': expected a number"),  # type: ignore[dict-item]
        (Errors(shape="id"), "shape 'id': some errors have no such value"),
        (Errors(shape="details.field"), "shape 'details.field': some errors have no such value"),
        (Errors(connect_shape={"why": "because"}), "connect_shape.why: there is no value 'because'"),
        (Errors(event=7), "event is 7: a name is text"),  # type: ignore[arg-type]
        (Errors(codes=["forbidden"]), "codes is ['forbidden']: write a dict"),  # type: ignore[arg-type]
        ("exception", "expected Errors(…), not 'exception'"),
        (Errors(codes={"forbiden": "NO"}), "codes: 'forbiden' is not a code of Oyez or a refusal of this contract"),
        (Errors(codes={"forbidden": ""}), "codes: 'forbidden' becomes '': expected text or a number"),
        (Errors(messages={"sold": 1}), "messages: 'sold' becomes 1: expected text"),  # type: ignore[dict-item]
        (Errors(connect={"token": "No"}), "connect: 'token' is not a code of Oyez or a refusal of this contract"),
        (
            Errors(codes={"forbidden": "invalid_data"}),
            "codes: 'forbidden' becomes 'invalid_data', which is the code of",
        ),
    ],
)
def test_errors_that_contradict_themselves(errors: Errors, error: str) -> None:
    contract = make_contract(errors=errors)
    declare()(contract)
    [found] = find_errors(contract)
    assert found.startswith(f"errors: {error}"), found


@pytest.mark.parametrize(
    ("form", "success", "failure"),
    [
        (Acknowledgements(), {"ok": True}, {"ok": False, "error": {}}),
        (Acknowledgements(flag="status", values=("ok", "error")), {"status": "ok"}, {"status": "error"}),
        (Acknowledgements(flag=None), {"price": 1}, {"error": "No."}),
        (Acknowledgements(flag=None), [1], {"error": "No."}),
        (Acknowledgements(node_style=True), [None, {"price": 1}], {"code": "x"}),
        (Acknowledgements(node_style=True), None, "No."),
        (Acknowledgements(node_style=True, empty=True), None, "No."),
        (Acknowledgements(empty=True), None, {"ok": False, "error": {}}),
        (Acknowledgements(flag=None, empty=True, failure="message"), None, "No."),
        (Acknowledgements(flag=None, failure=Literal[False]), True, False),
        (Acknowledgements(flag=None, failure=(Literal[False], "message")), 7, [False, "No."]),
        (Acknowledgements(node_style=True, failure=("code", "message")), [None, [], "page 2"], ["x", "No."]),
    ],
)
def test_success_is_known_by_the_form(form: Acknowledgements, success: Any, failure: Any) -> None:
    assert form.succeeded(success)
    assert not form.succeeded(failure)


def test_codes_may_be_merged_and_exchanged() -> None:
    codes: dict[str, str | int] = {"forbidden": "DENIED", "forbidden_role": "DENIED", "sold": 410, "*": "ERROR"}
    contract = make_contract(errors=Errors(codes=codes))
    declare()(contract)
    assert find_errors(contract) == []
    assert [contract.errors.code(code) for code in ("forbidden", "sold", "internal")] == ["DENIED", 410, "ERROR"]
    # A refusal of the contract has a code of the document already.
    assert contract.errors.code("own") == "own"
    exchanged = make_contract(errors=Errors(codes={"forbidden": "invalid_data", "invalid_data": "forbidden"}))
    declare()(exchanged)
    assert find_errors(exchanged) == []


@pytest.mark.parametrize(
    ("acknowledgements", "reply", "error"),
    [
        (Acknowledgements(), int, "its reply has no fields, which would be beside the flag"),
        (Acknowledgements(), Sum | None, "its reply has no fields"),
        (Acknowledgements(flag="total"), Sum, "its reply has a field `total`"),
        (Acknowledgements(flag=None, error="total"), Sum, "its reply has a field `total`"),
        (Acknowledgements(data="data"), object, "its reply: "),
        (Acknowledgements(data="data"), bytearray, "its reply: binary data is declared as bytes"),
    ],
)
def test_replies_that_have_no_place(acknowledgements: Acknowledgements, reply: Any, error: str) -> None:
    contract = make_contract(acknowledgements)
    declare(reply)(contract)
    [found] = find_errors(contract)
    assert found.startswith(f"command add: {error}"), found


@pytest.mark.parametrize(
    ("acknowledgements", "reply", "error"),
    [
        (Acknowledgements(), Sum, "its reply is several arguments, which have no place beside a flag or in data"),
        (Acknowledgements(flag=None, data="data"), Sum, "its reply is several arguments, which have no place"),
        (Acknowledgements(node_style=True), int, "its reply is <class 'int'>, and reply_arguments are the fields of a"),
        (Acknowledgements(node_style=True), None, "reply_arguments are positional, and it has no reply"),
        (Acknowledgements(node_style=True), Unordered, "its reply: first may be omitted, and the argument then after"),
    ],
)
def test_replies_of_several_arguments_that_have_no_place(
    acknowledgements: Acknowledgements, reply: Any, error: str
) -> None:
    contract = make_contract(acknowledgements)
    declare(reply, reply_arguments="positional")(contract)
    [found] = find_errors(contract)
    assert found.startswith(f"command add: {error}"), found


@pytest.mark.parametrize(
    ("acknowledgements", "reply"),
    [
        (Acknowledgements(data="total"), Sum),
        (Acknowledgements(data="data"), int),
        (Acknowledgements(flag=None), list[Sum]),
        (Acknowledgements(node_style=True), dict[str, int]),
    ],
)
def test_replies_of_any_type(acknowledgements: Acknowledgements, reply: Any) -> None:
    contract = make_contract(acknowledgements)
    declare(reply)(contract)
    assert find_errors(contract) == []


def test_the_name_of_the_error_event_is_taken_and_error_is_free() -> None:
    contract = make_contract(errors=Errors(event="exception"))
    root = contract.namespace("/")
    everyone = root.everyone

    @root.event("error", to=[everyone], example={"timestamp": "2026-01-31T12:00:00Z"})
    class Error(Stamped):
        """An event of the document."""

    @root.event("add:failed", to=[everyone], example={"timestamp": "2026-01-31T12:00:00Z"})
    @root.event("exception", to=[everyone], example={"timestamp": "2026-01-31T12:00:00Z"})
    class Exceptional(Stamped):
        """An event with the name that is taken."""

    @root.command("add", error="add:failed")
    class Add(Command):
        """Add."""

    taken = "the name is the server's own: the event that reports errors has it already"
    found = [error for error in find_errors(contract) if "own" in error and "payload" not in error]
    assert found == [f"event add:failed: {taken}", f"event exception: {taken}"] or found == [
        f"event exception: {taken}",
        f"event add:failed: {taken}",
    ]


def test_what_belongs_to_connections_is_the_contracts() -> None:
    contract = make_contract()
    declare(error=Errors(connect={"*": "No"}))(contract)
    assert find_errors(contract) == ["command add: error: connect is about connections: give it to the contract"]


def test_an_error_without_members_cannot_be_beside_the_flag() -> None:
    contract = make_contract(Acknowledgements(error=None))
    declare(error=Errors(shape="message"))(contract)
    [found] = find_errors(contract)
    assert found.startswith("command add: an error that is one value needs a member")


def test_a_room_command_replies_with_the_rooms_name_under_the_contracts_name() -> None:
    for name, fields in (("room", ("room",)), ("roomId", ("roomId",)), (None, None)):
        contract = make_contract(Acknowledgements(room=name))
        contract.namespace("/").room("auction:{id}", members=anyone(), join="watch")
        assert find_errors(contract) == []
        [command] = contract.namespaces[0].commands
        assert (command.reply and command.reply.__struct_encode_fields__) == fields
