"""A day in `rez`: Tea buys a kettle, with a group and with help; at night sessions are renewed, slowed, and end."""

import time

from oyez.errors import FORBIDDEN, RATE_LIMITED
from oyez.testing.scenario import Demo, Person, Scenario

CONNECTED = ("connected",)
SOON = 1.0
"""Seconds until something that is kept for somebody is given back."""
DAY = 86_400.0


async def play(day: Scenario) -> None:
    await day.at("08:00")
    tea = await day.connect("Tea", "user", receives=CONNECTED)
    cafe = await day.connect("Cafe", "user", receives=CONNECTED)
    sugars = await day.connect("Sugars", "user", receives=CONNECTED)
    await _offers(day, tea, cafe)
    await _cart(day, tea)
    await _group(day, tea, cafe, sugars)
    await _order(day, tea, sugars)
    await _store(day, tea)
    await _support(day, tea, sugars)
    await _feed(day, tea, cafe)
    await _system(day, [*day.people])
    await _sessions(day)


async def _offers(day: Scenario, tea: Person, cafe: Person) -> None:
    await day.at("08:10")
    await day.call("Tea would like to hear of kitchens", tea, "subscribe", {"channel": "offers:kitchen"})
    await day.call("Cafe hears of all offers", cafe, "subscribe", {"channel": "offers"})
    offer, both = day.id("offer"), [tea, cafe]
    for text, event in (("A week of kettles", "new_offer"), ("Now with teapots", "offer_updated")):
        await day.publish(text, event, day.example(event, id=offer), received_by=both)
    rooms = ["offers", "offers:kitchen"]
    deal = day.example("deal_notification", id=day.id("deal"))
    await day.publish("An hour of gooseneck kettles", "deal_notification", deal, to=rooms, received_by=both)
    over = day.example("offer_expired", offerId=offer)
    await day.publish("The week is over", "offer_expired", over, to=rooms, received_by=both)


async def _cart(day: Scenario, tea: Person) -> None:
    await day.at("09:40")
    await day.call("Tea's cart is on this device too", tea, "subscribe", {"channel": "cart"})
    kettle, filters = day.id("kettle"), day.id("filters")
    cart = day.example("cart_sync", id=day.id("cart"), updatedAt=day.moment())
    for item, product in zip(cart["items"], (kettle, filters), strict=True):
        item["productId"] = product
    body = {name: value for name, value in cart.items() if name not in ("userId", "timestamp")}
    await day.request("A kettle and filters", "PUT", f"/carts/{tea.id}", body, {"cart_sync": [tea]})
    await day.request(
        "The kettle is cheaper now",
        "POST",
        f"/products/{kettle}/price",
        {"oldPrice": 60, "newPrice": 48, "discount": 20},
        {"price_update": [tea]},
    )
    await day.request(
        "There are three",
        "POST",
        f"/products/{kettle}/stock",
        {"stock": 3, "isAvailable": True},
        {"stock_update": [tea]},
    )
    kept = f"/carts/{tea.id}/reservations"
    for product, text, seconds in ((kettle, "One is kept for Tea", 600.0), (filters, "Filters too, not long", SOON)):
        body = {"quantity": 1, "expiresAt": day.moment(seconds)}
        await day.request(text, "PUT", f"{kept}/{product}", body, {"cart_item_reserved": [tea]})
    bought = {"reason": "purchased"}
    released = {"cart_item_released": [tea]}
    await day.request("Tea has bought the kettle", "POST", f"{kept}/{kettle}/release", bought, released)
    await day.wait_for("The filters go back", f"job, due {SOON:g} s later", released)


async def _group(day: Scenario, tea: Person, cafe: Person, sugars: Person) -> None:
    await day.at("11:00")
    group = f"/groups/{day.id('group')}"

    def person(who: Person) -> dict[str, str]:
        return {"userId": who.id, "name": who.name}

    async def join(text: str, who: Person, *hear: Person, **more: list[Person]) -> None:
        causes = {"group_member_joined": [*hear, who], **more}
        await day.request(text, "PUT", f"{group}/members/{who.id}", {"name": who.name}, causes)

    start = {"groupCode": "KETTLE-3", "size": 3, "creator": person(tea)}
    await day.request("Tea starts a group of three", "PUT", group, start, {"group_member_joined": [tea]})
    await join("Sugars joins", sugars, tea)
    await day.request("Sugars leaves", "DELETE", f"{group}/members/{sugars.id}", causes={"group_member_left": [tea]})
    await day.call("Tea opens the group", tea, "subscribe", {"channel": f"group:{day.id('group')}"})
    await join("Cafe joins", cafe, tea)
    await day.request(
        "One more and we have the price",
        "PUT",
        f"{group}/messages/{day.id('group-message')}",
        {"userId": cafe.id, "message": "One more and we have the price."},
        {"group_message": [tea, cafe]},
    )
    await join("Sugars thinks better of it", sugars, tea, cafe, group_complete=[tea, cafe, sugars])
    other = f"/groups/{day.id('group-2')}"
    start = {"groupCode": "GRINDER-9", "size": 9, "creator": person(cafe)}
    await day.request("Cafe would like a grinder", "PUT", other, start, {"group_member_joined": [cafe]})
    await day.request(
        "There is none left",
        "POST",
        f"{other}/cancel",
        {"userId": cafe.id, "reason": "The store has sold its last grinder."},
        {"group_cancelled": [cafe]},
    )


async def _order(day: Scenario, tea: Person, sugars: Person) -> None:
    await day.at("12:00")
    await day.call("Tea follows her orders", tea, "subscribe", {"channel": "orders"})
    order, moved = f"/orders/{day.id('order')}", {"order_status_update": [tea]}
    placed = {"orderNumber": "RZ-1", "customerId": tea.id}
    await day.request("Tea orders", "PUT", order, placed, moved)
    await day.expect_refusal(
        "Sugars would like to know, too",
        sugars,
        "subscribe",
        {"channel": f"order:{day.id('order')}"},
        code=FORBIDDEN.code,
    )
    for status in ("confirmed", "preparing", "ready", "dispatched", "out_for_delivery"):
        text = f"The order is {status.replace('_', ' ')}"
        await day.request(text, "POST", f"{order}/status", {"status": status}, moved)
    where = day.example("order_location_update")
    place = {name: where[name] for name in ("location", "driverName", "driverPhone")}
    await day.request("The van is in Deansgate", "POST", f"{order}/location", place, {"order_location_update": [tea]})
    eta = {"eta": day.moment(27 * 60)}
    await day.request("27 minutes", "POST", f"{order}/eta", eta, {"order_eta_update": [tea]})
    done = {"status": "delivered"}
    await day.request("The kettle is here", "POST", f"{order}/status", done, {**moved, "order_delivered": [tea]})
    teapot = f"/orders/{day.id('order-2')}"
    await day.request("Tea orders a teapot", "PUT", teapot, {"orderNumber": "RZ-2", "customerId": tea.id}, moved)
    broken = day.example("order_cancelled")
    why = {name: broken[name] for name in ("reason", "cancelledBy", "refundAmount", "refundStatus")}
    await day.request("It broke", "POST", f"{teapot}/cancel", why, {"order_cancelled": [tea]})


async def _store(day: Scenario, tea: Person) -> None:
    await day.at("14:30")
    store, talk = f"/stores/{day.id('store')}", day.id("talk")

    async def turn(text: str, online: bool, *events: str) -> None:
        shop = {"name": "Copper Pot Kitchenware", "isOnline": online}
        await day.request(text, "PUT", store, shop, {event: [tea] for event in events})

    await turn("Copper Pot is closed", False)
    between = {"storeId": day.id("store"), "userId": tea.id}
    await day.request("Tea would like to speak to it", "PUT", f"/conversations/{talk}", between)
    await day.call("She opens the chat", tea, "subscribe", {"channel": f"store_conversation:{talk}"})
    await turn("Copper Pot opens", True, "store_online")
    await day.request("It writes", "POST", f"/conversations/{talk}/typing", causes={"store_typing": [tea]})
    await day.request(
        "The filters are a gift",
        "PUT",
        f"/conversations/{talk}/messages/{day.id('store-message')}",
        {"content": "Your kettle is packed, the filters are a gift.", "type": "order_update"},
        {"store_message": [tea]},
    )
    await turn("Copper Pot closes", False, "store_offline")


async def _support(day: Scenario, tea: Person, sugars: Person) -> None:
    await day.at("16:00")
    desk = await day.connect("Delivery desk", "agent", receives=CONNECTED)
    body = {"name": desk.name, "department": "Orders and delivery", "status": "online"}
    await day.request("The delivery desk is staffed", "PUT", f"/agents/{desk.id}", body)
    id = day.id("ticket")
    ticket, both = f"/tickets/{id}", [tea, desk]
    await day.request(
        "Tea asks for her refund",
        "PUT",
        ticket,
        {"customerId": tea.id, "customerName": tea.name, "subject": "The teapot"},
        {"support_ticket_status_changed": [tea], "support_queue_position_updated": [tea]},
    )
    await day.call("Tea opens the chat", tea, "join_ticket", {"ticketId": id})
    await day.expect_refusal("Sugars may not", sugars, "join_ticket", {"ticketId": id}, code=FORBIDDEN.code)
    await day.request(
        "The desk takes it",
        "POST",
        f"{ticket}/agent",
        {"agentId": desk.id},
        {"support_agent_assigned": both, "support_ticket_status_changed": [tea]},
    )
    await day.call("The desk opens the chat", desk, "join_ticket", {"ticketId": id})
    for who, hears, prefix in ((tea, desk, "user"), (desk, tea, "support_agent")):
        for word, command in (("begins", "start"), ("stops", "stop")):
            causes = {f"{prefix}_typing_{command}": [hears]}
            text = f"{who.name} {word} to write"
            await day.call(text, who, f"user_typing_{command}", {"ticketId": id}, causes=causes)
    message = day.id("ticket-message")
    await day.request(
        "It is on its way",
        "PUT",
        f"{ticket}/messages/{message}",
        {"senderId": desk.id, "type": "text", "content": "Your refund is on its way."},
        {"support_message_received": both},
    )
    delivered = {"support_message_delivered": both}
    await day.request("It has come", "POST", f"{ticket}/messages/{message}/delivered", causes=delivered)
    read = {"ticketId": id, "messageId": message}
    await day.call("Tea has read it", tea, "message_read", read, causes={"support_message_read": both})
    busy = {"support_agent_status_changed": both}
    await day.request("Others need the desk", "POST", f"/agents/{desk.id}/status", {"status": "busy"}, busy)
    resolved = {"support_ticket_status_changed": both}
    await day.request("That is all", "POST", f"{ticket}/status", {"status": "resolved"}, resolved)
    await day.call("Tea closes the chat", tea, "leave_ticket", {"ticketId": id})


async def _feed(day: Scenario, tea: Person, cafe: Person) -> None:
    await day.at("19:00")
    post = day.id("post")
    for text, event, who, changes in (
        ("Cafe writes about the kettle", "feed_new_post", tea, {"id": post, "userId": cafe.id}),
        ("Tea likes it", "feed_post_liked", cafe, {"postId": post, "likedBy__userId": tea.id}),
        ("Tea asks", "feed_post_commented", cafe, {"id": day.id("c"), "postId": post, "userId": tea.id}),
        ("Tea follows Cafe", "feed_user_followed", cafe, {"followerId": tea.id}),
        ("Better together", "leaderboard_achievement", tea, {"id": day.id("achievement")}),
    ):
        await day.publish(text, event, day.example(event, **changes), to=f"user:{who.id}", received_by=[who])
    await day.call("Cafe watches the week's best", cafe, "subscribe", {"channel": "leaderboard:weekly"})
    update = day.example("leaderboard_update")
    for ranking, who in zip(update["rankings"], (cafe, tea), strict=False):
        ranking["userId"] = who.id
    await day.publish("The week's best", "leaderboard_update", update, received_by=[cafe])
    change = day.example("leaderboard_rank_change", userId=tea.id)
    await day.publish("Tea is second", "leaderboard_rank_change", change, received_by=[tea])


async def _system(day: Scenario, everybody: list[Person]) -> None:
    await day.at("22:00")
    for text, event in (
        ("Paying will rest at night", "system_maintenance"),
        ("The old app has had it", "force_update"),
    ):
        await day.publish(text, event, day.example(event), received_by=everybody)


async def _sessions(day: Scenario) -> None:
    await day.at("23:00")
    phone = await day.connect("A phone", "user", receives=CONNECTED)
    heart = {"timestamp": time.time() * 1000}
    await day.call("A phone's heart beats", phone, "heartbeat", heart, causes={"heartbeat_ack": [phone]})
    await day.flood(
        "It beats far too fast",
        phone,
        "heartbeat",
        heart,
        times=100,
        code=RATE_LIMITED.code,
        causes={"connection_error": [phone]},
    )
    await day.connect(
        "A laptop",
        "user",
        receives=(*CONNECTED, "token_refresh"),
        way="a token in its last 2 s",
        lifetime=60.0,
        age=58.0 + day.leeway,
    )
    lodger = await day.connect(
        "A lodger",
        "user",
        receives=CONNECTED,
        # Whoever has signed in so long ago gets no new token.
        auth_time=int(time.time() - 2 * DAY),
        lifetime=2.0,
        age=day.leeway,
    )
    ended: dict[str, list[Person]] = {"session_expired": [lodger], "disconnected": [lodger]}
    await day.wait_for("Somebody has been signed in for too long", "a token of 2 s, not renewed", ended)


DEMO = Demo(play=play, conflated=frozenset({"heartbeat_ack"}))
