"""Connections to `quotes` that are refused: tokens, roles and gateways; and what clients cannot send."""

from typing import Any

import pytest

from oyez.client import ConnectRefused
from oyez.settings import Settings
from oyez.testing import Harness
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.served import Served

PATH = "/quotes/socket.io/"
USER = "user-1"
OFFER = "quote:offer:received"
UPDATED = "quote:offer:updated"


# Connecting.


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_official_clients_receive_the_code_of_a_refusal(
    served: Served, js: JsDriver, transports: list[str]
) -> None:
    for auth, code in (({}, "token_missing"), ({"token": "nonsense"}, "token_invalid")):
        with pytest.raises(JsConnectError) as error:
            await js.connect(served.url, path=PATH, auth=auth, transports=transports)
        assert error.value.data["code"] == code


async def test_a_bad_token(oyez: Harness) -> None:
    await oyez.begin()
    good, service = oyez.sign_token(USER), oyez.app.signer.sign_service("quotes", None)
    for bad in ("nonsense", good[:-4] + "AAAA", service):
        assert (await oyez.expect_refused("token_invalid", auth={"token": bad}))["code"] == "token_invalid"


async def test_a_bad_token_in_the_first_place_is_not_skipped(oyez: Harness) -> None:
    await oyez.begin()
    auth, headers = {"token": oyez.sign_token(USER)}, {"cookie": "access_token=nonsense"}
    await oyez.expect_refused("token_invalid", auth=auth, headers=headers)


async def test_tokens_are_found_in_the_documents_order(oyez: Harness) -> None:
    await oyez.begin()
    tokens = {place: oyez.sign_token(place) for place in ("cookie", "header", "query", "auth")}
    cookie = {"cookie": f"a=b; access_token={tokens['cookie']}"}
    header = {"authorization": f"Bearer {tokens['header']}"}
    query, auth = {"token": tokens["query"]}, {"token": tokens["auth"]}
    rounds: list[tuple[str, dict[str, Any]]] = [
        ("cookie", {"headers": {**cookie, **header}, "query": query, "auth": auth}),
        ("header", {"headers": header, "query": query, "auth": auth}),
        ("query", {"query": query, "auth": auth}),
        ("auth", {"auth": auth}),
    ]
    for expected, options in rounds:
        client = await oyez.connect(**options)
        await oyez.publish(UPDATED, user_id=expected)
        await client.expect_event(UPDATED, user_id=expected)


async def test_the_end_of_a_token_ends_its_connection(oyez: Harness) -> None:
    await oyez.begin()
    dying = oyez.sign_token(USER, lifetime=60.0)
    client = await oyez.connect(token=dying)
    await oyez.advance(60.0)
    assert client.connected
    await oyez.advance(Settings().jwt_leeway + 1.0)
    await client.expect_disconnect("transport close")
    await oyez.expect_refused("token_expired", token=dying)


async def test_roles_and_gateways_that_are_not_ones_own(oyez: Harness) -> None:
    await oyez.expect_refused("forbidden_role", USER, "emperor")
    cases: list[tuple[str, str | list[str], str]] = [
        ("user", "quote-requests", "forbidden_role"),
        ("admin", ["chat", "quote-requests"], "forbidden_role"),
        ("supplier", "chat,quote-offers", "forbidden_role"),
        ("user", "quote-bids", "unknown_gateway"),
    ]
    for role, gateways, code in cases:
        await oyez.expect_refused(code, "someone", role, auth={"gateways": gateways})
    with pytest.raises(ConnectRefused, match="supplier record"):
        await oyez.connect("person-s5", "supplier", auth={"gateways": "quote-requests"})


async def test_a_supplier_id_in_the_token_is_not_believed(oyez: Harness) -> None:
    put = await oyez.request("PUT", "/quotes/api/suppliers/person-s1", {"supplierId": "sup-1"})
    assert put.status_code == 201
    thief = await oyez.connect("thief", "supplier", supplierId="sup-1", supplier_id="sup-1")
    await oyez.publish("quote:request:created", to="quote-request:supplier:sup-1")
    await thief.expect_nothing()


async def test_a_client_receives_events_of_its_gateways_only(oyez: Harness) -> None:
    for options in ({"auth": {"gateways": ["chat"]}}, {"query": {"gateways": "chat"}}):
        client = await oyez.connect(USER, **options)
        await oyez.publish(OFFER, user_id=USER)
        await oyez.publish("chat:message", recipient_id=USER)
        await client.expect_event("chat:message", recipient_id=USER)
        await client.expect_nothing()


async def test_a_client_cannot_send_events_or_join(oyez: Harness) -> None:
    client = await oyez.connect(USER)
    for event in ("chat:message", "join", OFFER):
        answer = await client.call(event, {"room": "chat:user:user-2"})
        assert answer["ok"] is False
        assert answer["error"]["code"] == "unknown_event"
        assert answer["error"]["timestamp"].endswith("Z")
    # Without an acknowledgement, the error comes as an event.
    await client.emit("chat:message", {}, ack=False)
    error = await client.expect_error("unknown_event")
    assert set(error) >= {"code", "message", "timestamp"}
    assert error["code"] == "unknown_event"
