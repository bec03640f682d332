"""The contract of `rez`: its roles, rooms, channels, commands and events.

There is one namespace, `/`. payloads.py has the payloads. The examples follow one user, usr-7718, who orders a kettle;
the other examples are made from the types.
"""

from collections.abc import Mapping
from typing import get_args

from oyez.contract import UNSET, CamelCommand, Contract, Errors, Id, Maybe, anyone, auth, member, own, query, role
from oyez.contract.rooms import Room
from oyez.systems.rez import payloads

contract = Contract(
    "rez",
    description="A shopping app: orders, cart, support chat, group buying, feed.",
    roles=("user", "agent", "admin"),
    default_role="user",
    tokens=(query("token"), auth("token")),
    errors=Errors(connect_fields=payloads.ConnectRefused),
)

UNKNOWN_CHANNEL = contract.refusal("unknown_channel", "There is no such channel.", status=422)
NOT_FOUND = contract.refusal("not_found", "There is nothing of that id.", status=404)
ALREADY_THERE = contract.refusal("already_there", "That id belongs to something else.", status=409)
ILLEGAL_TRANSITION = contract.refusal("illegal_transition", "It cannot become that from what it is.", status=409)

LATEST_SECONDS = 300.0
"""Seconds that the last location of an order is kept for clients that subscribe later; an older one is outdated."""

root = contract.namespace("/")

# Rooms. Clients join their own room on connecting, other rooms by `subscribe` or `join_ticket`. Members of a ticket are
# its customer and its agent. No event goes to `orders:{userId}`: its sockets join the room of every new order.

user = root.room("user:{userId}", members=own("userId"), on_connect=True)
own_orders = root.room("orders:{userId}", members=own("userId"))
order = root.room("order:{orderId}", members=[member(), role("admin")])
ticket = root.room("support_ticket:{ticketId}", members=member())
group = root.room("group:{groupId}", members=member())
conversation = root.room("store_conversation:{conversationId}", members=member())
leaderboard = root.room("leaderboard:{period}", members=anyone(), values={"period": get_args(payloads.Period)})
all_offers = root.room("offers", members=anyone())
offers = root.room("offers:{category}", members=anyone())

CHANNELS: Mapping[str, Room] = {
    "orders": order,
    "order:{orderId}": order,
    "order_{orderId}": order,
    "cart": user,
    "offers": all_offers,
    "offers:{category}": offers,
    "leaderboard:{period}": leaderboard,
    "support_ticket:{ticketId}": ticket,
    "support_ticket_{ticketId}": ticket,
    "group:{groupId}": group,
    "store_conversation:{conversationId}": conversation,
}
"""The channels that a client can subscribe to, and the kind of room of each. `orders` stands for the rooms of all open
orders of the user, `cart` for the user's own room."""


# Connection management.


@root.command("subscribe", reply=payloads.Subscription, limit="120/m", refusals=[UNKNOWN_CHANNEL])
class Subscribe(CamelCommand):
    """Receive the events of a channel, on this connection and on later ones."""

    channel: payloads.Channel


@root.command("unsubscribe", reply=payloads.Subscription, limit="120/m", refusals=[UNKNOWN_CHANNEL])
class Unsubscribe(CamelCommand):
    """Stop receiving the events of a channel."""

    channel: payloads.Channel


@root.command("heartbeat", limit="60/m", refusals=[])
class Heartbeat(CamelCommand):
    """Check that the server answers. Every 30 seconds is enough."""

    timestamp: payloads.ClientTime


root.event("connected", to=[root.caller])(payloads.Connected)
root.event("disconnected", to=[root.caller])(payloads.Disconnected)
root.event("heartbeat_ack", to=[root.caller], volatile=True, timestamp="serverTime")(payloads.HeartbeatAck)


# Offers and deals. An offer goes to the room of its category and to the room of all offers. For events without a
# category, the publisher names the rooms.

OFFER = {
    "id": "off-512",
    "title": "A week of kettles",
    "description": "All electric kettles at Copper Pot Kitchenware.",
    "discount": 20,
    "expiresAt": "2026-04-23T22:00:00.000Z",
    "image": "https://cdn.rez.example/offers/off-512.jpg",
    "category": "kitchen",
    "timestamp": "2026-04-16T08:00:00.000Z",
}

root.event("new_offer", to=[all_offers.of(), offers.of("category")], example=OFFER)(payloads.NewOffer)

root.event(
    "offer_updated",
    to=[all_offers.of(), offers.of("category")],
    example={**OFFER, "title": "A week of kettles and teapots", "discount": 25},
)(payloads.OfferUpdated)

root.event("offer_expired", to=[all_offers, offers])(payloads.OfferExpired)

root.event(
    "deal_notification",
    to=[all_offers, offers],
    example={
        "id": "deal-88",
        "title": "Gooseneck kettle, 1 litre",
        "originalPrice": 60,
        "salePrice": 45,
        "discount": 25,
        "timeRemaining": 5400,
        "stock": 12,
        "timestamp": "2026-04-18T08:00:00.000Z",
    },
)(payloads.DealNotification)


# Orders and tracking: to the room of the order, and to the customer's own room if the publisher names it.

root.event(
    "order_status_update",
    to=[order.of("orderId"), user],
    example={
        "orderId": "ord-90155",
        "orderNumber": "RZ-2026-090155",
        "status": "out_for_delivery",
        "timestamp": "2026-04-18T12:05:00.000Z",
        "message": "Your kettle is on its way.",
        "estimatedDelivery": "2026-04-18T12:40:00.000Z",
    },
)(payloads.OrderStatusUpdate)

root.event(
    "order_location_update",
    to=[order.of("orderId"), user],
    example={
        "orderId": "ord-90155",
        "location": {"latitude": 53.4794, "longitude": -2.2453, "address": "Deansgate, Manchester"},
        "driverName": "Swift Wheels, van 7",
        "driverPhone": "+44 20 7946 0650",
        "timestamp": "2026-04-18T12:20:10.000Z",
    },
    volatile=True,
    latest=LATEST_SECONDS,
)(payloads.OrderLocationUpdate)

root.event("order_eta_update", to=[order.of("orderId"), user])(payloads.OrderEtaUpdate)

root.event(
    "order_delivered",
    to=[order.of("orderId"), user],
    example={
        "orderId": "ord-90155",
        "deliveredAt": "2026-04-18T12:46:12.000Z",
        "signature": "https://cdn.rez.example/signatures/ord-90155.png",
    },
)(payloads.OrderDelivered)

root.event("order_cancelled", to=[order.of("orderId"), user])(payloads.OrderCancelled)


# Cart and shopping: to all devices of the user. Prices and stock go to users who have the product in their cart.

root.event(
    "cart_sync",
    to=[user.of("userId"), root.caller],
    example={
        "id": "cart-7718",
        "userId": "usr-7718",
        "items": [
            {
                "productId": "prd-3304",
                "name": "Gooseneck kettle, 1 litre",
                "image": "https://cdn.rez.example/products/prd-3304.jpg",
                "variant": "matt black",
                "storeId": "sto-41",
                "storeName": "Copper Pot Kitchenware",
                "quantity": 1,
                "price": 48,
                "originalPrice": 60,
                "total": 48,
                "isAvailable": True,
            },
            {
                "productId": "prd-3391",
                "name": "Paper filters, 100",
                "storeId": "sto-41",
                "storeName": "Copper Pot Kitchenware",
                "quantity": 2,
                "price": 4.25,
                "total": 8.5,
                "isAvailable": True,
            },
        ],
        "itemCount": 3,
        "subtotal": 56.5,
        "discount": 5,
        "deliveryFee": 3.5,
        "tax": 11,
        "total": 66,
        "couponCode": "SPRING5",
        "updatedAt": "2026-04-16T17:41:00.000Z",
        "timestamp": "2026-04-16T17:41:00.020Z",
    },
)(payloads.CartSync)

root.event("price_update", to=[user])(payloads.PriceUpdate)
root.event("stock_update", to=[user])(payloads.StockUpdate)
root.event("cart_item_reserved", to=[user])(payloads.CartItemReserved)
root.event("cart_item_released", to=[user])(payloads.CartItemReleased)


# Support chat: commands. A `userId`, if given, must be the caller's own.


@root.command("join_ticket", who=own("userId"), joins=ticket, limit="60/m", refusals=[])
class JoinTicket(CamelCommand):
    """Join the room of a ticket, on this connection only."""

    ticket_id: Id
    user_id: Maybe[Id] = UNSET


@root.command("leave_ticket", who=own("userId"), leaves=ticket, limit="60/m", refusals=[])
class LeaveTicket(CamelCommand):
    """Leave the room of a ticket."""

    ticket_id: Id
    user_id: Maybe[Id] = UNSET


@root.command("user_typing_start", who=own("userId"), limit="10/s", refusals=[])
class StartTyping(CamelCommand):
    """The caller, a member of the ticket, started typing. The others receive the event of an agent if it is one."""

    ticket_id: Id
    user_id: Maybe[Id] = UNSET


@root.command("user_typing_stop", who=own("userId"), limit="10/s", refusals=[])
class StopTyping(CamelCommand):
    """The caller stopped typing in a ticket."""

    ticket_id: Id
    user_id: Maybe[Id] = UNSET


@root.command("message_read", who=own("userId"), reply=payloads.SupportMessageRead, limit="300/m", refusals=[NOT_FOUND])
class ReadMessage(CamelCommand):
    """Mark a message of a ticket as read by the caller. Marking it again changes nothing."""

    ticket_id: Id
    message_id: Id
    user_id: Maybe[Id] = UNSET


# Support chat: events, to the room of the ticket. Events that matter to a customer who has not opened the chat may also
# go to the customer's own room.

root.event("user_typing_start", to=[ticket.of("ticketId")], volatile=True)(payloads.UserTypingStart)
root.event("user_typing_stop", to=[ticket.of("ticketId")], volatile=True)(payloads.UserTypingStop)

root.event(
    "support_message_received",
    to=[ticket.of("ticketId"), user],
    example={
        "id": "msg-61407",
        "ticketId": "tkt-2093",
        "senderId": "agt-15",
        "senderName": "Delivery desk",
        "senderAvatar": "https://cdn.rez.example/agents/agt-15.png",
        "type": "file",
        "content": "Here is the label for the way back.",
        "attachments": [
            {"url": "https://cdn.rez.example/tickets/tkt-2093/label.pdf", "type": "application/pdf", "size": 48213}
        ],
        "createdAt": "2026-04-19T10:03:18.500Z",
    },
)(payloads.SupportMessageReceived)

root.event("support_message_delivered", to=[ticket, user])(payloads.SupportMessageDelivered)
root.event("support_message_read", to=[ticket, user])(payloads.SupportMessageRead)

root.event(
    "support_agent_assigned",
    to=[ticket.of("ticketId"), user],
    example={
        "ticketId": "tkt-2093",
        "agent": {
            "id": "agt-15",
            "name": "Delivery desk",
            "avatar": "https://cdn.rez.example/agents/agt-15.png",
            "department": "Orders and delivery",
        },
        "assignedAt": "2026-04-19T09:58:40.000Z",
    },
)(payloads.SupportAgentAssigned)

root.event("support_agent_typing_start", to=[ticket.of("ticketId")], volatile=True)(payloads.SupportAgentTypingStart)
root.event("support_agent_typing_stop", to=[ticket.of("ticketId")], volatile=True)(payloads.SupportAgentTypingStop)
root.event("support_agent_status_changed", to=[ticket])(payloads.SupportAgentStatusChanged)
root.event("support_ticket_status_changed", to=[ticket.of("ticketId"), user])(payloads.SupportTicketStatusChanged)
root.event("support_queue_position_updated", to=[ticket.of("ticketId"), user])(payloads.SupportQueuePositionUpdated)


# Group buying: to the room of the group, and to the own rooms of members who have not opened it.

root.event("group_member_joined", to=[group.of("groupId"), user])(payloads.GroupMemberJoined)
root.event("group_member_left", to=[group.of("groupId"), user])(payloads.GroupMemberLeft)
root.event("group_complete", to=[group.of("groupId"), user])(payloads.GroupComplete)

root.event(
    "group_message",
    to=[group.of("groupId"), user],
    example={
        "id": "gms-11982",
        "groupId": "grp-604",
        "userId": "usr-5087",
        "userName": "corner-cafe",
        "message": "One more and we have the price.",
        "createdAt": "2026-04-17T19:30:02.000Z",
    },
)(payloads.GroupMessage)

root.event("group_cancelled", to=[group.of("groupId"), user])(payloads.GroupCancelled)


# Store messaging: to the room of the conversation, and to the own rooms of users who have not opened it.


root.event(
    "store_message",
    to=[conversation.of("conversationId"), user],
    example={
        "id": "smg-30571",
        "conversationId": "cnv-1266",
        "storeId": "sto-41",
        "storeName": "Copper Pot Kitchenware",
        "content": "Your kettle is packed, the filters are a gift.",
        "type": "order_update",
        "createdAt": "2026-04-17T15:22:09.000Z",
    },
)(payloads.StoreMessage)

root.event("store_typing", to=[conversation.of("conversationId")], volatile=True)(payloads.StoreTyping)
root.event("store_online", to=[conversation, user])(payloads.StoreOnline)
root.event("store_offline", to=[conversation, user])(payloads.StoreOffline)


# Social features: a post goes to the followers of its author, the other events to the user concerned.

root.event("feed_new_post", to=[user])(payloads.FeedNewPost)
root.event("feed_post_liked", to=[user])(payloads.FeedPostLiked)
root.event("feed_post_commented", to=[user])(payloads.FeedPostCommented)
root.event("feed_user_followed", to=[user])(payloads.FeedUserFollowed)


# Leaderboard and gamification.

root.event(
    "leaderboard_update",
    to=[leaderboard.of("period")],
    example={
        "period": "weekly",
        "rankings": [
            {"rank": 1, "userId": "usr-5087", "userName": "corner-cafe", "points": 1840, "change": 0},
            {
                "rank": 2,
                "userId": "usr-7718",
                "userName": "tea-at-four",
                "avatar": "https://cdn.rez.example/avatars/usr-7718.png",
                "points": 1615,
                "change": 3,
            },
            {"rank": 3, "userId": "usr-7002", "userName": "two-sugars", "points": 1590, "change": -1},
        ],
        "updatedAt": "2026-04-20T09:00:00.000Z",
    },
)(payloads.LeaderboardUpdate)

root.event(
    "leaderboard_rank_change",
    to=[user.of("userId")],
    example={
        "userId": "usr-7718",
        "oldRank": 5,
        "newRank": 2,
        "points": 1615,
        "change": 3,
        "period": "weekly",
        "timestamp": "2026-04-20T09:00:00.000Z",
    },
)(payloads.LeaderboardRankChange)

root.event("leaderboard_achievement", to=[user])(payloads.LeaderboardAchievement)


# System events.

root.event("system_maintenance", to=[root.everyone])(payloads.SystemMaintenance)
root.event("force_update", to=[root.everyone])(payloads.ForceUpdate)
root.event("session_expired", to=[root.caller])(payloads.SessionExpired)
root.event("token_refresh", to=[root.caller])(payloads.TokenRefresh)


# Error events. `error` is an event of the server, the same in every system.

root.event("connection_error", to=[root.caller])(payloads.ConnectionProblem)


contract.build()
