"""`rez` with official clients: what each command of a ticket's chat does, and who receives it."""

from tests.support.js_client import JsClient, JsDriver
from tests.systems.rez.market import PATH, Market


async def arrive(market: Market, js: JsDriver, subject: str, role: str | None = None) -> JsClient:
    client = await js.connect(market.url, path=PATH, query={"token": market.token(subject, role)})
    await client.expect_event("connected")
    return client


# Commands.


async def test_the_other_side_receives_typing(market: Market, js: JsDriver) -> None:
    await market.open_ticket("d2", "ada", "agt")
    ada, phone, agent, stranger = [
        await arrive(market, js, *who) for who in (("ada",), ("ada",), ("agt", "agent"), ("bob",))
    ]
    for client in (ada, phone, agent):
        await client.call("join_ticket", {"ticketId": "d2"})
    assert await ada.call("user_typing_start", {"ticketId": "d2", "userId": "ada"}) == {"ok": True}
    assert await agent.expect_event("user_typing_start") == [{"ticketId": "d2", "userId": "ada"}]
    await ada.emit("user_typing_stop", {"ticketId": "d2"})
    assert await agent.expect_event("user_typing_stop") == [{"ticketId": "d2", "userId": "ada"}]
    await agent.emit("user_typing_start", {"ticketId": "d2"})
    await agent.emit("user_typing_stop", {"ticketId": "d2"})
    for client in (ada, phone):
        told = await client.expect_event("support_agent_typing_start")
        assert told == [{"ticketId": "d2", "agentId": "agt", "agentName": "Delivery desk"}]
        assert await client.expect_event("support_agent_typing_stop") == [{"ticketId": "d2", "agentId": "agt"}]
    for command in ("user_typing_start", "user_typing_stop"):
        refused = await stranger.call(command, {"ticketId": "d2"})
        assert refused["error"]["code"] == "forbidden"
    for client in (ada, phone, agent, stranger):
        await client.expect_nothing()


async def test_a_message_is_written_delivered_and_read(market: Market, js: JsDriver) -> None:
    await market.open_ticket("d3", "ada", "agt")
    ada, agent = await arrive(market, js, "ada"), await arrive(market, js, "agt", "agent")
    stranger = await arrive(market, js, "bob")
    await agent.call("join_ticket", {"ticketId": "d3"})
    body = {"senderId": "agt", "type": "text", "content": "Hello"}
    await market.do("PUT", "/tickets/d3/messages/m-d3", body)
    # The customer has not opened the chat, and receives the message nevertheless.
    for client in (ada, agent):
        assert (await client.expect_event("support_message_received"))[0]["content"] == "Hello"
    await ada.call("join_ticket", {"ticketId": "d3"})
    reading = {"ticketId": "d3", "messageId": "m-d3", "userId": "ada"}
    read = await ada.call("message_read", reading)
    assert (read["ok"], read["messageId"], read["readBy"]) == (True, "m-d3", "ada")
    assert await ada.call("message_read", reading) == read
    for client in (ada, agent):
        await client.expect_event("support_message_delivered")
        assert (await client.expect_event("support_message_read"))[0]["readAt"] == read["readAt"]
        await client.expect_nothing()
    for client, data, code in (
        (stranger, {"ticketId": "d3", "messageId": "m-d3"}, "forbidden"),
        (agent, {"ticketId": "d3", "messageId": "m-d3"}, "forbidden"),
        (ada, {"ticketId": "d3", "messageId": "m-none"}, "not_found"),
        (ada, {"ticketId": "d3"}, "invalid_data"),
        (ada, {**reading, "userId": "bob"}, "forbidden"),
    ):
        assert (await client.call("message_read", data))["error"]["code"] == code


async def test_an_agent_who_was_replaced_leaves_the_ticket_at_once(market: Market, js: JsDriver) -> None:
    await market.open_ticket("d4", "ada", "agt")
    await market.do("PUT", "/agents/agt-9", {"name": "Other", "department": "Orders", "status": "online"})
    agent = await arrive(market, js, "agt", "agent")
    await agent.call("join_ticket", {"ticketId": "d4"})
    await market.do("POST", "/tickets/d4/agent", {"agentId": "agt-9"})
    await market.do("PUT", "/tickets/d4/messages/m-d4", {"senderId": "ada", "type": "text", "content": "Hi"})
    await agent.expect_nothing()
    for command in ("join_ticket", "user_typing_start"):
        assert (await agent.call(command, {"ticketId": "d4"}))["error"]["code"] == "forbidden"


async def test_the_way_of_an_order_and_its_driver(market: Market, js: JsDriver) -> None:
    await market.place_order("d5", "ada")
    ada, stranger = await arrive(market, js, "ada"), await arrive(market, js, "bob")
    await ada.call("subscribe", {"channel": "orders"})
    for status in ("confirmed", "preparing", "ready", "dispatched"):
        await market.do("POST", "/orders/d5/status", {"status": status})
        assert (await ada.expect_event("order_status_update"))[0]["status"] == status
    place = {"latitude": 53.4, "longitude": -2.2, "address": "Deansgate"}
    body = {"location": place, "driverName": "Van 7", "driverPhone": "+44 20 7946 0650"}
    await market.do("POST", "/orders/d5/location", body)
    assert (await ada.expect_event("order_location_update"))[0]["location"] == place
    await market.do("POST", "/orders/d5/eta", {"eta": "2030-01-01T00:00:00Z"})
    await ada.expect_event("order_eta_update")
    for status in ("out_for_delivery", "delivered"):
        await market.do("POST", "/orders/d5/status", {"status": status})
        await ada.expect_event("order_status_update")
    await ada.expect_event("order_delivered")
    for client in (ada, stranger):
        await client.expect_nothing()


async def test_what_clients_may_not_send(market: Market, js: JsDriver) -> None:
    ada = await arrive(market, js, "ada")
    assert (await ada.call("support_message_read", {}))["error"]["code"] == "unknown_event"
    await ada.emit("subscribe", {"channel": "nothing"})
    (error,) = await ada.expect_event("error")
    assert error["code"] == "unknown_channel"
    assert error.keys() == {"code", "message", "details", "timestamp"}
