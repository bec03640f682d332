"""Channels of `rez`: what a subscriber receives, refusals, and subscriptions that last."""

from typing import Any

import pytest

from oyez.systems.rez.contract import contract
from oyez.testing import TestClient
from tests.systems.rez.market import Market


def example(event: str, **changes: Any) -> dict[str, Any]:
    return {**contract.events[event].example, **changes}


async def subscribe(client: TestClient, channel: str) -> list[str]:
    """The rooms that it means; it must be allowed."""
    reply = await client.call("subscribe", {"channel": channel})
    assert reply["ok"], reply
    assert reply["channel"] == channel
    rooms: list[str] = reply["rooms"]
    return rooms


async def unsubscribe(client: TestClient, channel: str) -> list[str]:
    reply = await client.call("unsubscribe", {"channel": channel})
    assert reply["ok"], reply
    rooms: list[str] = reply["rooms"]
    return rooms


async def refusal(client: TestClient, channel: str) -> str:
    reply = await client.call("subscribe", {"channel": channel})
    assert reply["ok"] is False
    code: str = reply["error"]["code"]
    return code


# Orders.


async def test_orders_means_all_open_ones_and_those_to_come(market: Market) -> None:
    await market.place_order("or1-1", "or1")
    async with market.connect("or1") as client, market.connect("or1") as other:
        assert await subscribe(client, "orders") == ["order:or1-1"]
        await market.place_order("or1-2", "or1")
        (told,) = (await client.expect_event("order_status_update")).args
        assert (told["orderId"], told["status"]) == ("or1-2", "placed")
        await market.move_order("or1-1", "confirmed")
        (told,) = (await client.expect_event("order_status_update")).args
        assert (told["orderId"], told["status"]) == ("or1-1", "confirmed")
        # Another device that has not subscribed stays as it is; one that comes is subscribed.
        await other.expect_nothing()
        async with market.connect("or1") as later:
            await market.move_order("or1-2", "confirmed")
            await later.expect_event("order_status_update")


async def test_a_new_follower_of_an_order_receives_its_last_location_at_once(market: Market) -> None:
    await market.place_order("or9-1", "or9")
    for status in ("confirmed", "preparing", "ready", "dispatched"):
        await market.move_order("or9-1", status)
    async with market.connect("or9") as client:
        await subscribe(client, "order:or9-1")
        await client.expect_nothing()
    for street in ("Deansgate", "Quay Street"):
        place = {"latitude": 53.4, "longitude": -2.2, "address": street}
        body = {"location": place, "driverName": "Van 7", "driverPhone": "+44 20 7946 0650"}
        await market.do("POST", "/orders/or9-1/location", body)
    async with market.connect("or9") as client:
        # The server subscribes a client that reconnects.
        (told,) = (await client.expect_event("order_location_update")).args
        assert (told["orderId"], told["location"]) == ("or9-1", place)
        await subscribe(client, "orders")
        (told,) = (await client.expect_event("order_location_update")).args
        assert told["location"]["address"] == "Quay Street"
    for status in ("out_for_delivery", "delivered"):
        await market.move_order("or9-1", status)
    async with market.connect("or9") as client:
        await subscribe(client, "order:or9-1")
        await client.expect_nothing()


async def test_other_customers_receive_nothing(market: Market) -> None:
    async with market.connect("or2") as client, market.connect("or2b") as stranger:
        assert await subscribe(client, "orders") == []
        assert await subscribe(stranger, "orders") == []
        await market.place_order("or2-1", "or2")
        await client.expect_event("order_status_update")
        await stranger.expect_nothing()


async def test_the_channel_of_a_finished_order_ends(market: Market) -> None:
    await market.place_order("or3-1", "or3")
    body = {"reason": "Broken.", "cancelledBy": "store", "refundAmount": 5, "refundStatus": "pending"}
    async with market.connect("or3") as client:
        await subscribe(client, "orders")
        await market.do("POST", "/orders/or3-1/cancel", body)
        await client.expect_event("order_cancelled")
        await market.publish("order_eta_update", example("order_eta_update", orderId="or3-1"))
        await client.expect_nothing()
    async with market.connect("or3") as again:
        assert await subscribe(again, "orders") == []


@pytest.mark.parametrize("form", ["order:{}", "order_{}"])
async def test_one_order_by_either_name(market: Market, form: str) -> None:
    order_id = f"or4-{form[5]}"
    await market.place_order(order_id, "or4")
    async with (
        market.connect("or4") as customer,
        market.connect("somebody") as stranger,
        market.connect("root", "admin") as admin,
    ):
        assert await subscribe(customer, form.format(order_id)) == [f"order:{order_id}"]
        assert await refusal(stranger, form.format(order_id)) == "forbidden"
        await subscribe(admin, form.format(order_id))
        await market.move_order(order_id, "confirmed")
        for client in (customer, admin):
            await client.expect_event("order_status_update")
        await stranger.expect_nothing()


async def test_a_room_is_left_when_no_other_subscription_needs_it(market: Market) -> None:
    await market.place_order("or5-1", "or5")
    await market.place_order("or5-2", "or5")
    async with market.connect("or5") as client:
        await subscribe(client, "orders")
        await subscribe(client, "order:or5-1")
        assert await unsubscribe(client, "order_or5-1") == []
        await subscribe(client, "order:or5-1")
        assert await unsubscribe(client, "orders") == ["order:or5-2"]
        await market.move_order("or5-2", "confirmed")
        await client.expect_nothing()
        await market.move_order("or5-1", "confirmed")
        await client.expect_event("order_status_update")
        assert await unsubscribe(client, "order:or5-1") == ["order:or5-1"]
        await market.move_order("or5-1", "preparing")
        await market.place_order("or5-3", "or5")
        await client.expect_nothing()


# Offers, leaderboards, carts.


async def test_offers_of_all_categories_or_of_one(market: Market) -> None:
    async with market.connect("of1") as all_of_them, market.connect("of2") as kitchen, market.connect("of3") as none:
        assert await subscribe(all_of_them, "offers") == ["offers"]
        assert await subscribe(kitchen, "offers:kitchen") == ["offers:kitchen"]
        for category in ("kitchen", "toys"):
            await market.publish("new_offer", example("new_offer", category=category))
        assert [(await all_of_them.expect_event("new_offer")).args[0]["category"] for _ in range(2)] == [
            "kitchen",
            "toys",
        ]
        await kitchen.expect_event("new_offer")
        for client in (kitchen, none):
            await client.expect_nothing()
        assert await unsubscribe(kitchen, "offers:kitchen") == ["offers:kitchen"]
        await market.publish("deal_notification", example("deal_notification"), ["offers", "offers:kitchen"])
        await all_of_them.expect_event("deal_notification")
        await kitchen.expect_nothing()


async def test_leaderboards_of_four_periods(market: Market) -> None:
    async with market.connect("lb1") as client:
        for period in ("daily", "weekly", "monthly", "all_time"):
            assert await subscribe(client, f"leaderboard:{period}") == [f"leaderboard:{period}"]
            await market.publish("leaderboard_update", example("leaderboard_update", period=period))
            await client.expect_event("leaderboard_update")
        assert await refusal(client, "leaderboard:hourly") == "unknown_channel"
        await unsubscribe(client, "leaderboard:daily")
        await market.publish("leaderboard_update", example("leaderboard_update", period="daily"))
        await client.expect_nothing()


async def test_a_new_subscriber_to_the_cart_receives_it_at_once(market: Market) -> None:
    cart = {name: value for name, value in example("cart_sync").items() if name not in ("userId", "timestamp")}
    async with market.connect("ca1") as client, market.connect("ca2") as stranger:
        assert await subscribe(client, "cart") == ["user:ca1"]
        await client.expect_nothing()
        await market.do("PUT", "/carts/ca1", cart)
        (synced,) = (await client.expect_event("cart_sync")).args
        assert (synced["userId"], synced["total"]) == ("ca1", 66)
        await subscribe(client, "cart")
        assert (await client.expect_event("cart_sync")).args == [synced]
        assert await unsubscribe(client, "cart") == []
        await stranger.expect_nothing()
        # The user's own room is theirs without a subscription.
        await market.do("POST", "/products/prd-3304/stock", {"stock": 1, "isAvailable": True})
        await client.expect_event("stock_update")


async def test_a_cart_that_is_subscribed_to_comes_with_the_next_connection(market: Market) -> None:
    cart = {name: value for name, value in example("cart_sync").items() if name not in ("userId", "timestamp")}
    await market.do("PUT", "/carts/ca3", cart)
    async with market.connect("ca3") as client:
        await client.expect_nothing()
        await subscribe(client, "cart")
    async with market.connect("ca3") as again:
        await again.expect_event("cart_sync")


# Rooms with members.


@pytest.mark.parametrize("form", ["support_ticket:{}", "support_ticket_{}"])
async def test_a_ticket_is_for_its_customer_and_its_agent(market: Market, form: str) -> None:
    ticket_id = f"ti-{form[14]}"
    await market.open_ticket(ticket_id, "ti1", "agt-1")
    async with (
        market.connect("ti1") as customer,
        market.connect("agt-1", "agent") as agent,
        market.connect("agt-2", "agent") as other,
        market.connect("root", "admin") as admin,
    ):
        for member in (customer, agent):
            assert await subscribe(member, form.format(ticket_id)) == [f"support_ticket:{ticket_id}"]
        for stranger in (other, admin):
            assert await refusal(stranger, form.format(ticket_id)) == "forbidden"
        await market.do("POST", "/agents/agt-1/status", {"status": "busy"})
        for member in (customer, agent):
            await member.expect_event("support_agent_status_changed")
        await market.do("POST", "/agents/agt-1/status", {"status": "online"})
        for stranger in (other, admin):
            await stranger.expect_nothing()


async def test_groups_and_conversations_are_for_their_members(market: Market) -> None:
    person = {"userId": "gr1", "name": "Ada"}
    await market.do("PUT", "/groups/gr", {"groupCode": "K", "size": 3, "creator": person})
    await market.do("PUT", "/stores/st", {"name": "Pot", "isOnline": True})
    await market.do("PUT", "/conversations/co", {"storeId": "st", "userId": "gr1"})
    async with market.connect("gr1") as member, market.connect("gr2") as stranger:
        assert await subscribe(member, "group:gr") == ["group:gr"]
        assert await subscribe(member, "store_conversation:co") == ["store_conversation:co"]
        for channel in ("group:gr", "store_conversation:co"):
            assert await refusal(stranger, channel) == "forbidden"
        await market.do("PUT", "/groups/gr/messages/m1", {"userId": "gr1", "message": "Hi"})
        await member.expect_event("group_message")
        await market.do("POST", "/conversations/co/typing")
        await member.expect_event("store_typing")
        await stranger.expect_nothing()
        # A new member can subscribe, and a former member is removed at once.
        await market.do("PUT", "/groups/gr/members/gr2", {"name": "Bob"})
        await stranger.expect_event("group_member_joined")
        await subscribe(stranger, "group:gr")
        await market.do("DELETE", "/groups/gr/members/gr2")
        await member.expect_event("group_member_joined")
        await member.expect_event("group_member_left")
        assert await refusal(stranger, "group:gr") == "forbidden"
        await market.do("PUT", "/groups/gr/messages/m2", {"userId": "gr1", "message": "Bye"})
        await member.expect_event("group_message")
        await stranger.expect_nothing()


NO_CHANNELS = ["chart", "orders:x", "user:un1", "order:", "leaderboard:", "offers:", "*", "order"]


async def test_what_is_no_channel(market: Market) -> None:
    for channel in NO_CHANNELS:
        async with market.connect("un1") as client:
            assert await refusal(client, channel) == "unknown_channel"


# What is stored.


async def test_subscriptions_come_back_with_the_next_connection(market: Market) -> None:
    await market.place_order("re1-1", "re1")
    async with market.connect("re1") as client:
        for channel in ("orders", "offers", "leaderboard:daily"):
            for _ in range(2):
                await subscribe(client, channel)
        await unsubscribe(client, "offers")
    async with market.connect("re1") as again:
        await market.move_order("re1-1", "confirmed")
        await again.expect_event("order_status_update")
        await market.publish("new_offer", example("new_offer"))
        await again.expect_nothing()
        await market.publish("leaderboard_update", example("leaderboard_update", period="daily"))
        await again.expect_event("leaderboard_update")
        # And orders that are placed from now on.
        await market.place_order("re1-2", "re1")
        await again.expect_event("order_status_update")


async def test_a_channel_whose_right_was_lost_is_not_restored(market: Market) -> None:
    await market.open_ticket("re2", "re2", "agt-3")
    await market.do("PUT", "/agents/agt-4", {"name": "D", "department": "O", "status": "online"})
    async with market.connect("agt-3", "agent") as agent:
        await subscribe(agent, "support_ticket:re2")
        await subscribe(agent, "offers")
        await market.do("POST", "/tickets/re2/agent", {"agentId": "agt-4"})
    async with market.connect("agt-3", "agent") as again:
        await market.publish("new_offer", example("new_offer"))
        await again.expect_event("new_offer")
        await market.do("POST", "/tickets/re2/agent", {"agentId": "agt-3"})
        await again.expect_event("support_agent_assigned")
    # It was forgotten, and not only passed over.
    async with market.connect("agt-3", "agent") as third:
        await market.do("POST", "/agents/agt-3/status", {"status": "away"})
        await third.expect_nothing()


async def test_one_device_takes_nothing_from_another(market: Market) -> None:
    async with market.connect("re3") as phone, market.connect("re3") as tablet:
        for client in (phone, tablet):
            await subscribe(client, "offers")
        await unsubscribe(phone, "offers")
        await market.publish("new_offer", example("new_offer"))
        await tablet.expect_event("new_offer")
        await phone.expect_nothing()
