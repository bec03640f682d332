"""The HTTP API of `rez`: what is answered, what is listed, what is refused."""

from typing import Any

from tests.systems.rez.market import AGENT, EMPTY_CART, OPENING, Market

PLACING = {"orderNumber": "RZ-1", "customerId": "ada"}


async def problem(market: Market, method: str, path: str, body: Any = None) -> tuple[int, str]:
    response = await market.ask(method, path, body)
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]


async def test_what_is_new_is_created_and_may_be_asked_for(market: Market) -> None:
    for status in (201, 200):
        response = await market.ask("PUT", "/orders/h1", PLACING)
        assert response.status_code == status
    order = response.json()
    assert order == await market.do("GET", "/orders/h1")
    assert (order["orderId"], order["status"], order["estimatedDelivery"]) == ("h1", "placed", None)
    assert order["placedAt"].endswith("Z")


async def test_everything_that_is_written_may_be_read(market: Market) -> None:
    person = {"userId": "ada", "name": "Ada"}
    await market.do("PUT", "/agents/h2", AGENT)
    await market.do("PUT", "/tickets/h2", OPENING)
    assert (await market.do("GET", "/tickets/h2"))["position"] == 1
    assert (await market.do("POST", "/agents/h2/next"))["ticketId"] == "h2"
    assert (await market.ask("POST", "/agents/h2/next")).status_code == 204
    assert (await market.do("GET", "/tickets/h2"))["agentId"] == "h2"
    assert (await market.do("POST", "/agents/h2/status", {"status": "away"}))["status"] == "away"
    assert (await market.do("GET", "/agents/h2"))["status"] == "away"
    await market.do("PUT", "/groups/h2", {"groupCode": "K", "size": 2, "creator": person})
    await market.do("PUT", "/groups/h2/members/auth0|a/b", {"name": "Bob"})
    group = await market.do("GET", "/groups/h2")
    assert [member["userId"] for member in group["members"]] == ["ada", "auth0|a/b"]
    assert group["status"] == "complete"
    for number in (1, 2, 3):
        body = {"senderId": "ada", "type": "text", "content": f"{number}"}
        await market.do("PUT", f"/tickets/h2/messages/h2-{number}", body)
        await market.do("PUT", f"/groups/h2/messages/h2-{number}", {"userId": "ada", "message": f"{number}"})
    await market.do("POST", "/tickets/h2/messages/h2-1/delivered")
    for path in ("/tickets/h2/messages", "/groups/h2/messages"):
        first = await market.do("GET", f"{path}?limit=2")
        assert [item["id"] for item in first["items"]] == ["h2-1", "h2-2"]
        rest = await market.do("GET", f"{path}?limit=2&after={first['next']}")
        assert ([item["id"] for item in rest["items"]], rest["next"]) == (["h2-3"], None)
    await market.do("PUT", "/stores/h2", {"name": "Pot", "isOnline": True})
    await market.do("PUT", "/conversations/h2", {"storeId": "h2", "userId": "ada"})
    await market.do("PUT", "/conversations/h2/messages/h2", {"content": "Hi", "type": "text"})
    assert len((await market.do("GET", "/conversations/h2/messages"))["items"]) == 1


async def test_a_cart_and_what_is_kept(market: Market) -> None:
    await market.do("PUT", "/carts/a/b", EMPTY_CART)
    assert (await market.do("GET", "/carts/a/b"))["userId"] == "a/b"
    reservation = {"quantity": 1, "expiresAt": "2126-01-31T12:00:00Z"}
    await market.do("PUT", "/carts/a/b/reservations/p1", reservation)
    released = await market.do("POST", "/carts/a/b/reservations/p1/release", {"reason": "cancelled"})
    assert released["reason"] == "cancelled"
    past = {**reservation, "expiresAt": "2020-01-31T12:00:00Z"}
    assert await problem(market, "PUT", "/carts/a/b/reservations/p1", past) == (422, "invalid_data")
    assert await problem(market, "GET", "/carts/nobody") == (404, "not_found")


async def test_lists_are_filtered(market: Market) -> None:
    for number, customer in ((1, "h3"), (2, "h3"), (3, "h3b")):
        await market.place_order(f"h3-{number}", customer)
        await market.do("PUT", f"/tickets/h3-{number}", {**OPENING, "customerId": customer})
    await market.do("POST", "/tickets/h3-2/status", {"status": "closed"})
    listed = await market.do("GET", "/orders?customerId=h3")
    assert [order["orderId"] for order in listed["items"]] == ["h3-1", "h3-2"]
    listed = await market.do("GET", "/tickets?customerId=h3&status=closed")
    assert [ticket["ticketId"] for ticket in listed["items"]] == ["h3-2"]


BAD_QUERIES = [
    "after=x",
    "after=-1",
    "status=lost",
    "customerId=%01",
    "agentId=",
]


async def test_pages_that_cannot_be(market: Market) -> None:
    for query in BAD_QUERIES:
        assert await problem(market, "GET", f"/tickets?{query}") == (422, "invalid_data")


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/orders/none", None, 404, "not_found"),
    ("POST", "/orders/none/status", {"status": "ready"}, 404, "not_found"),
    ("POST", "/orders/h1/status", {"status": "cancelled"}, 422, "invalid_data"),
    ("PUT", "/orders/h9", {}, 422, "invalid_data"),
    ("PUT", "/orders/h9%01", PLACING, 422, "invalid_data"),
    ("PUT", f"/orders/{'x' * 129}", PLACING, 422, "invalid_data"),
    ("POST", "/conversations/none/typing", None, 404, "not_found"),
    ("PUT", "/tickets/none/messages/m", {"senderId": "a", "type": "text", "content": "x"}, 404, "not_found"),
    ("GET", "/groups/none/messages", None, 404, "not_found"),
]


async def test_what_is_refused(market: Market) -> None:
    for method, path, body, status, code in REFUSED:
        assert await problem(market, method, path, body) == (status, code)


async def test_moves_that_are_not_allowed_name_both_states(market: Market) -> None:
    await market.place_order("h4", "ada")
    response = await market.ask("POST", "/orders/h4/status", {"status": "delivered"})
    assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
    assert response.json()["detail"] == (
        "Order 'h4' is placed and cannot become delivered; from there it can become confirmed, cancelled."
    )
