"""`quotes`, whole: everything it must refuse, as the one who asked sees it, and that nobody heard of it."""

import time
from functools import partial
from typing import Any

import pytest

from oyez.contract.types import Time
from oyez.settings import Settings
from tests.support.js_client import JsClient, JsConnectError, JsDriver
from tests.support.served import Served
from tests.systems import contracts

PATH = "/quotes/socket.io/"
USER = "user-1"
example = partial(contracts.example, "quotes")
OFFER = "quote:offer:received"


@pytest.fixture
async def user(served: Served, js: JsDriver) -> JsClient:
    """A connected user, who must hear nothing of what is refused."""
    return await js.connect(served.url, path=PATH, auth={"token": served.token(USER)}, transports=["websocket"])


async def refused(served: Served, js: JsDriver, **options: Any) -> JsConnectError:
    with pytest.raises(JsConnectError) as error:
        await js.connect(served.url, path=PATH, **options)
    return error.value


# Connecting.


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_no_token(served: Served, js: JsDriver, transports: list[str]) -> None:
    error = await refused(served, js, transports=transports)
    assert error.data["code"] == "token_missing"


async def test_a_bad_token(served: Served, js: JsDriver) -> None:
    good = served.token(USER)
    for bad in ("nonsense", good[:-4] + "AAAA", served.service_key()):
        assert (await refused(served, js, auth={"token": bad})).data["code"] == "token_invalid"


async def test_a_bad_token_in_the_first_place_is_not_skipped(served: Served, js: JsDriver) -> None:
    error = await refused(
        served,
        js,
        auth={"token": served.token(USER)},
        transports=["websocket"],
        extraHeaders={"cookie": "access_token=nonsense"},
    )
    assert error.data["code"] == "token_invalid"


async def test_tokens_are_found_in_the_documents_order(served: Served, js: JsDriver) -> None:
    tokens = {place: served.token(place) for place in ("cookie", "header", "query", "auth")}
    places: dict[str, dict[str, Any]] = {
        "cookie": {"cookie": f"a=b; access_token={tokens['cookie']}"},
        "header": {"authorization": f"Bearer {tokens['header']}"},
    }
    query, auth = {"token": tokens["query"]}, {"token": tokens["auth"]}
    rounds: list[tuple[str, dict[str, Any]]] = [
        ("cookie", {"extraHeaders": {**places["cookie"], **places["header"]}, "query": query, "auth": auth}),
        ("header", {"extraHeaders": places["header"], "query": query, "auth": auth}),
        ("query", {"query": query, "auth": auth}),
        ("auth", {"auth": auth}),
    ]
    for expected, options in rounds:
        client = await js.connect(served.url, path=PATH, transports=["websocket"], **options)
        data = example("quote:offer:updated", userId=expected)
        await served.publish("quote:offer:updated", data)
        assert await client.expect_event("quote:offer:updated") == [data]


async def test_an_expired_token(served: Served, js: JsDriver) -> None:
    old = served.token(USER, lifetime=60.0, signed_at=time.time() - 3600)
    assert (await refused(served, js, auth={"token": old})).data["code"] == "token_expired"


async def test_the_end_of_a_token_ends_its_connection(served: Served, js: JsDriver) -> None:
    # It lives for one second more, the leeway included.
    dying = served.token(USER, lifetime=1.0, signed_at=time.time() - Settings().jwt_leeway)
    client = await js.connect(served.url, path=PATH, auth={"token": dying}, transports=["websocket"])
    await client.expect("disconnect", reason="transport close")
    assert (await refused(served, js, auth={"token": dying})).data["code"] == "token_expired"


async def test_an_unknown_role(served: Served, js: JsDriver) -> None:
    assert (await refused(served, js, auth={"token": served.token(USER, "emperor")})).data["code"] == "forbidden_role"


@pytest.mark.parametrize(
    ("role", "gateways", "code"),
    [
        ("user", "quote-requests", "forbidden_role"),
        ("admin", ["chat", "quote-requests"], "forbidden_role"),
        ("supplier", "chat,quote-offers", "forbidden_role"),
        ("user", "quote-bids", "unknown_gateway"),
    ],
)
async def test_a_gateway_of_another_role(
    served: Served, js: JsDriver, role: str, gateways: str | list[str], code: str
) -> None:
    auth = {"token": served.token("someone", role), "gateways": gateways}
    assert (await refused(served, js, auth=auth)).data["code"] == code


async def test_a_gateway_that_needs_a_supplier_record(served: Served, js: JsDriver) -> None:
    auth = {"token": served.token("person-s5", "supplier"), "gateways": "quote-requests"}
    error = await refused(served, js, auth=auth)
    assert "supplier record" in error.message


async def test_a_supplier_id_in_the_token_is_not_believed(served: Served, js: JsDriver) -> None:
    put = await served.request("PUT", "/quotes/api/suppliers/person-s1", {"supplierId": "sup-1"})
    assert put.status_code in (200, 201)
    thief = await js.connect(
        served.url,
        path=PATH,
        auth={"token": served.token("thief", "supplier", supplierId="sup-1", supplier_id="sup-1")},
    )
    await served.publish("quote:request:created", example("quote:request:created"), "quote-request:supplier:sup-1")
    await thief.expect_nothing()


async def test_gateways_narrow_what_is_heard(served: Served, js: JsDriver) -> None:
    for options in ({"auth": {"gateways": ["chat"]}}, {"query": {"gateways": "chat"}, "auth": {}}):
        auth = {"token": served.token(USER), **options.pop("auth")}
        client = await js.connect(served.url, path=PATH, auth=auth, **options)
        await served.publish(OFFER, example(OFFER, userId=USER))
        message = example("chat:message", recipientId=USER)
        await served.publish("chat:message", message)
        assert await client.expect_event("chat:message") == [message]
        await client.expect_nothing()


async def test_a_client_cannot_send_events_or_join(user: JsClient) -> None:
    for event in ("chat:message", "join", OFFER):
        answer = await user.call(event, {"room": "chat:user:user-2"})
        assert answer["ok"] is False
        assert answer["error"]["code"] == "unknown_event"
        assert answer["error"]["timestamp"].endswith("Z")


async def test_without_an_acknowledgement_the_error_comes_as_an_event(user: JsClient) -> None:
    await user.emit("chat:message", {})
    (error,) = await user.expect_event("error")
    assert error["code"] == "unknown_event"
    assert set(error) >= {"code", "message", "timestamp"}


# Publishing.


def offer(**changes: Any) -> dict[str, Any]:
    return {"event": OFFER, "data": example(OFFER, userId=USER, **changes)}


async def problem(served: Served, body: Any, key: str | None = None) -> tuple[int, dict[str, Any]]:
    """The status and the problem of a publish request that is refused."""
    response = await served.post(body, key)
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()


async def test_without_a_service_key(served: Served, user: JsClient) -> None:
    for key in ("nonsense", served.token(USER), served.service_key("qscrap")):
        status, answer = await problem(served, offer(), key)
        assert (status, answer["code"]) == (401, "token_invalid")
    await user.expect_nothing()


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"price": "cheap"}, "price", "number"),
        ({"price": 10.999}, "price", "two decimals"),
        ({"createdAt": "yesterday"}, "createdAt", "UTC ISO-8601"),
        ({"createdAt": "2026-02-30T10:00:00Z"}, "createdAt", "UTC ISO-8601"),
        ({"offerId": ""}, "offerId", "character"),
        ({"surprise": 1}, "surprise", "not a field"),
    ],
)
async def test_a_bad_field_is_named(
    served: Served, user: JsClient, changes: dict[str, Any], field: str, expected: str
) -> None:
    status, answer = await problem(served, offer(**changes))
    assert (status, answer["code"]) == (422, "invalid_data")
    assert answer["errors"][0]["field"] == field
    assert expected in answer["errors"][0]["expected"]
    await user.expect_nothing()


async def test_a_missing_field_is_named(served: Served, user: JsClient) -> None:
    body = offer()
    del body["data"]["supplierName"]
    status, answer = await problem(served, body)
    assert (status, answer["errors"][0]["field"]) == (422, "supplierName")
    await user.expect_nothing()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**offer(), "event": "quote:offer:exploded"}, 404, "unknown_event"),
        ({**offer(), "to": "living-room"}, 422, "unknown_room"),
        ({**offer(), "to": f"chat:user:{USER}"}, 422, "foreign_room"),
        ({**offer(), "to": "quote-offer:user:user-2"}, 422, "foreign_room"),
        ({"event": "quote:request:created", "data": example("quote:request:created")}, 422, "room_required"),
        (offer(notes="x" * 11_000), 413, "too_large"),
    ],
)
async def test_what_the_contract_does_not_provide_for(
    served: Served, user: JsClient, body: dict[str, Any], status: int, code: str
) -> None:
    got, answer = await problem(served, body)
    assert (got, answer["code"]) == (status, code)
    await user.expect_nothing()


async def test_a_list_is_refused_whole(served: Served, user: JsClient) -> None:
    status, answer = await problem(served, [offer(), offer(price="cheap"), {**offer(), "event": "x"}])
    assert status == 422
    assert [(error["index"], error["field"]) for error in answer["errors"]] == [(1, "price"), (2, "event")]
    await user.expect_nothing()


async def test_a_list_is_accepted_whole_and_in_order(served: Served, user: JsClient) -> None:
    response = await served.post([offer(price=price) for price in range(1, 6)])
    assert response.status_code == 200
    assert len(set(response.json()["positions"])) == 5
    assert [(await user.expect_event(OFFER))[0]["price"] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_examples_have_times_as_the_contract_wants_them() -> None:
    assert Time(example(OFFER)["createdAt"])
