"""Connections to `quotes` that are refused, as official clients see it: tokens, roles and gateways."""

import time
from functools import partial
from typing import Any

import pytest

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
    """A connected user, who must not receive anything that is refused."""
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


async def test_a_client_receives_events_of_its_gateways_only(served: Served, js: JsDriver) -> None:
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
