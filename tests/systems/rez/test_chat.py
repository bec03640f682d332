"""The chat of a support ticket of `rez`: what each command does, and who receives it."""

from tests.systems.rez.market import Market


async def test_the_other_side_receives_typing(market: Market) -> None:
    await market.open_ticket("d2", "ada", "agt")
    ada, phone, agent, stranger = [await market.enter(*who) for who in (("ada",), ("ada",), ("agt", "agent"), ("bob",))]
    for client in (ada, phone, agent):
        await client.call("join_ticket", {"ticketId": "d2"})
    assert await ada.call("user_typing_start", {"ticketId": "d2", "userId": "ada"}) == {"ok": True}
    assert (await agent.expect_event("user_typing_start")).args == [{"ticketId": "d2", "userId": "ada"}]
    await ada.emit("user_typing_stop", {"ticketId": "d2"}, ack=False)
    assert (await agent.expect_event("user_typing_stop")).args == [{"ticketId": "d2", "userId": "ada"}]
    await agent.emit("user_typing_start", {"ticketId": "d2"}, ack=False)
    await agent.emit("user_typing_stop", {"ticketId": "d2"}, ack=False)
    for client in (ada, phone):
        told = (await client.expect_event("support_agent_typing_start")).args
        assert told == [{"ticketId": "d2", "agentId": "agt", "agentName": "Delivery desk"}]
        assert (await client.expect_event("support_agent_typing_stop")).args == [{"ticketId": "d2", "agentId": "agt"}]
    for command in ("user_typing_start", "user_typing_stop"):
        refused = await stranger.call(command, {"ticketId": "d2"})
        assert refused["error"]["code"] == "forbidden"
    for client in (ada, phone, agent, stranger):
        await client.expect_nothing()


async def test_a_message_is_written_delivered_and_read(market: Market) -> None:
    await market.open_ticket("d3", "ada", "agt")
    ada, agent = await market.enter("ada"), await market.enter("agt", "agent")
    stranger = await market.enter("bob")
    await agent.call("join_ticket", {"ticketId": "d3"})
    body = {"senderId": "agt", "type": "text", "content": "Hello"}
    await market.do("PUT", "/tickets/d3/messages/m-d3", body)
    # The customer has not opened the chat, and receives the message nevertheless.
    for client in (ada, agent):
        assert (await client.expect_event("support_message_received")).data["content"] == "Hello"
    await ada.call("join_ticket", {"ticketId": "d3"})
    reading = {"ticketId": "d3", "messageId": "m-d3", "userId": "ada"}
    read = await ada.call("message_read", reading)
    assert (read["ok"], read["messageId"], read["readBy"]) == (True, "m-d3", "ada")
    assert await ada.call("message_read", reading) == read
    for client in (ada, agent):
        await client.expect_event("support_message_delivered")
        assert (await client.expect_event("support_message_read")).data["readAt"] == read["readAt"]
        await client.expect_nothing()
    for client, data, code in (
        (stranger, {"ticketId": "d3", "messageId": "m-d3"}, "forbidden"),
        (agent, {"ticketId": "d3", "messageId": "m-d3"}, "forbidden"),
        (ada, {"ticketId": "d3", "messageId": "m-none"}, "not_found"),
        (ada, {"ticketId": "d3"}, "invalid_data"),
        (ada, {**reading, "userId": "bob"}, "forbidden"),
    ):
        assert (await client.call("message_read", data))["error"]["code"] == code


async def test_an_agent_who_was_replaced_leaves_the_ticket_at_once(market: Market) -> None:
    await market.open_ticket("d4", "ada", "agt")
    await market.do("PUT", "/agents/agt-9", {"name": "Other", "department": "Orders", "status": "online"})
    agent = await market.enter("agt", "agent")
    await agent.call("join_ticket", {"ticketId": "d4"})
    await market.do("POST", "/tickets/d4/agent", {"agentId": "agt-9"})
    await market.do("PUT", "/tickets/d4/messages/m-d4", {"senderId": "ada", "type": "text", "content": "Hi"})
    await agent.expect_nothing()
    for command in ("join_ticket", "user_typing_start"):
        assert (await agent.call(command, {"ticketId": "d4"}))["error"]["code"] == "forbidden"


async def test_what_clients_may_not_send(market: Market) -> None:
    ada = await market.enter("ada")
    assert (await ada.call("support_message_read", {}))["error"]["code"] == "unknown_event"
    await ada.emit("subscribe", {"channel": "nothing"}, ack=False)
    error = (await ada.expect_event("error")).data
    assert error["code"] == "unknown_channel"
    assert error.keys() == {"code", "message", "details", "timestamp"}
