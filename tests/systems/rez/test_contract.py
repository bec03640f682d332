"""The contract of `rez`, against its document: channels, what clients send, what they hear and where it goes."""

from typing import Any, get_args

import msgspec
import pytest

from oyez.contract import UNSET, Identity
from oyez.contract.codec import CommandCodec, EventCodec
from oyez.contract.declare import DeclaredCommand
from oyez.contract.policy import Verdict
from oyez.errors import InvalidDataError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from oyez.systems.rez import payloads
from oyez.systems.rez.contract import CHANNELS, contract, own_orders, root

CALLER = "the client concerned"
EVERYONE = "everyone in the namespace"
USER = "user:{userId}"
ORDER = ["order:{orderId}", USER]
TICKET = "support_ticket:{ticketId}"
GROUP = ["group:{groupId}", USER]
CONVERSATION = "store_conversation:{conversationId}"
OFFERS = ["offers", "offers:{category}"]

# Event, where it goes, what it carries: ? may be null or left out, + is filled in by the server.
EVENTS: dict[str, tuple[list[str], str]] = {
    # Connection management
    "connected": ([CALLER], "userId socketId timestamp+"),
    "disconnected": ([CALLER], "reason timestamp+"),
    "heartbeat_ack": ([CALLER], "timestamp serverTime+"),
    # Offers & deals
    "new_offer": (OFFERS, "id title description discount expiresAt image category timestamp+"),
    "offer_updated": (OFFERS, "id title description discount expiresAt image category timestamp+"),
    "offer_expired": (OFFERS, "offerId timestamp+"),
    "deal_notification": (OFFERS, "id title originalPrice salePrice discount timeRemaining stock timestamp+"),
    # Orders & tracking
    "order_status_update": (ORDER, "orderId orderNumber status timestamp+ message estimatedDelivery?"),
    "order_location_update": (ORDER, "orderId location driverName driverPhone timestamp+"),
    "order_eta_update": (ORDER, "orderId eta minutes timestamp+"),
    "order_delivered": (ORDER, "orderId deliveredAt signature?"),
    "order_cancelled": (ORDER, "orderId reason cancelledBy refundAmount refundStatus timestamp+"),
    # Cart & shopping
    "cart_sync": (
        [USER, CALLER],
        "id userId items itemCount subtotal discount deliveryFee tax total couponCode? updatedAt timestamp+",
    ),
    "price_update": ([USER], "productId oldPrice newPrice discount? timestamp+"),
    "stock_update": ([USER], "productId stock isAvailable timestamp+"),
    "cart_item_reserved": ([USER], "productId quantity expiresAt timestamp+"),
    "cart_item_released": ([USER], "productId reason timestamp+"),
    # Support chat
    "user_typing_start": ([TICKET], "ticketId userId"),
    "user_typing_stop": ([TICKET], "ticketId userId"),
    "support_message_received": (
        [TICKET, USER],
        "id ticketId senderId senderName senderAvatar? type content attachments? createdAt",
    ),
    "support_message_delivered": ([TICKET, USER], "messageId deliveredAt"),
    "support_message_read": ([TICKET, USER], "messageId readBy readAt"),
    "support_agent_assigned": ([TICKET, USER], "ticketId agent assignedAt"),
    "support_agent_typing_start": ([TICKET], "ticketId agentId agentName"),
    "support_agent_typing_stop": ([TICKET], "ticketId agentId"),
    "support_agent_status_changed": ([TICKET], "agentId status timestamp+"),
    "support_ticket_status_changed": ([TICKET, USER], "ticketId status timestamp+"),
    "support_queue_position_updated": ([TICKET, USER], "ticketId position estimatedWaitTime timestamp+"),
    # Group buying
    "group_member_joined": (GROUP, "groupId groupCode member currentMembers spotsRemaining joinedAt"),
    "group_member_left": (GROUP, "groupId userId currentMembers spotsRemaining timestamp+"),
    "group_complete": (GROUP, "groupId groupCode status members completedAt"),
    "group_message": (GROUP, "id groupId userId userName userAvatar? message createdAt"),
    "group_cancelled": (GROUP, "groupId reason cancelledAt"),
    # Store messaging
    "store_message": ([CONVERSATION, USER], "id conversationId storeId storeName content type createdAt"),
    "store_typing": ([CONVERSATION], "conversationId storeId storeName"),
    "store_online": ([CONVERSATION, USER], "storeId timestamp+"),
    "store_offline": ([CONVERSATION, USER], "storeId timestamp+"),
    # Social features
    "feed_new_post": ([USER], "id userId userName userAvatar? type content images? product? createdAt"),
    "feed_post_liked": ([USER], "postId likedBy totalLikes likedAt"),
    "feed_post_commented": ([USER], "id postId userId userName comment createdAt"),
    "feed_user_followed": ([USER], "followerId followerName followerAvatar? followedAt"),
    # Leaderboard & gamification
    "leaderboard_update": (["leaderboard:{period}"], "period rankings updatedAt"),
    "leaderboard_rank_change": ([USER], "userId oldRank newRank points change period timestamp+"),
    "leaderboard_achievement": ([USER], "id title description icon points earnedAt"),
    # System events
    "system_maintenance": ([EVERYONE], "scheduledAt duration message affectedServices timestamp+"),
    "force_update": ([EVERYONE], "version updateUrl message isForced timestamp+"),
    "session_expired": ([CALLER], "message expiredAt"),
    "token_refresh": ([CALLER], "newToken expiresIn"),
    # Error events
    "connection_error": ([CALLER], "reason attempts nextRetry"),
}
VOLATILE = {
    "heartbeat_ack",
    "order_location_update",
    "user_typing_start",
    "user_typing_stop",
    "support_agent_typing_start",
    "support_agent_typing_stop",
    "store_typing",
}
ANSWERS = {"connected", "disconnected", "heartbeat_ack", "session_expired", "token_refresh", "connection_error"}

COMMANDS = {
    "subscribe": "{channel}",
    "unsubscribe": "{channel}",
    "heartbeat": "{timestamp}",
    "join_ticket": "{ticketId userId?}",
    "leave_ticket": "{ticketId userId?}",
    "user_typing_start": "{ticketId userId?}",
    "user_typing_stop": "{ticketId userId?}",
    "message_read": "{ticketId messageId userId?}",
}
REPLIES = {
    "subscribe": "channel rooms",
    "unsubscribe": "channel rooms",
    "join_ticket": "room",
    "leave_ticket": "room",
    "message_read": "messageId readBy readAt",
}


def test_the_head() -> None:
    assert contract.roles == ("user", "agent", "admin")
    assert contract.default_role == "user"
    assert [source.text for source in contract.tokens] == [
        "query parameter `token`",
        "`auth.token` of the Socket.IO client",
    ]
    assert [namespace.name for namespace in contract.namespaces] == ["/"]
    assert [refusal.code for refusal in contract.refusals] == [
        "unknown_channel",
        "not_found",
        "already_there",
        "illegal_transition",
    ]


# Events.


def test_the_events_are_the_documents_and_go_where_it_says() -> None:
    found = {event.name: [target.text.strip("`") for target in event.targets] for event in root.events}
    assert found == {name: targets for name, (targets, _) in EVENTS.items()}


def test_what_is_volatile_and_what_is_stored() -> None:
    assert {event.name for event in contract.events.values() if event.volatile} == VOLATILE
    assert {event.name for event in contract.events.values() if not event.durable} == VOLATILE | ANSWERS


@pytest.mark.parametrize("event", EVENTS)
def test_the_fields_are_the_documents(event: str) -> None:
    declared = contract.events[event]
    fields = {field.encode_name: field for field in msgspec.structs.fields(declared.payload)}
    wanted = EVENTS[event][1].split()
    assert set(fields) == {name.rstrip("?+") for name in wanted}
    assert {name for name, field in fields.items() if field.required} == {
        name for name in wanted if name[-1] not in "?+"
    }
    assert {field.encode_name for field in fields.values() if field.name == declared.timestamp} == {
        name[:-1] for name in wanted if name[-1] == "+"
    }


def decode(event: str, data: Any) -> Any:
    return EventCodec(event, contract.events[event].payload).decode_payload(msgspec.json.encode(data))


def example(event: str, **changes: Any) -> dict[str, Any]:
    return {**contract.events[event].example, **changes}


@pytest.mark.parametrize("event", EVENTS)
def test_examples_fit_and_show_every_field(event: str) -> None:
    decode(event, example(event))
    wanted = EVENTS[event][1].split()
    required = {name.rstrip("+") for name in wanted if not name.endswith("?")}
    assert required <= set(example(event)) <= {name.rstrip("?+") for name in wanted}


@pytest.mark.parametrize("event", EVENTS)
def test_optional_fields_may_be_null(event: str) -> None:
    for name in EVENTS[event][1].split():
        if name.endswith("?"):
            decode(event, example(event, **{name[:-1]: None}))


def test_the_sums_in_the_examples_are_right() -> None:
    cart = decode("cart_sync", example("cart_sync"))
    assert all(item.price * item.quantity == item.total for item in cart.items)
    assert sum(item.quantity for item in cart.items) == cart.item_count
    assert sum(item.total for item in cart.items) == cart.subtotal
    assert cart.subtotal - cart.discount + cart.delivery_fee + cart.tax == cart.total
    change = example("leaderboard_rank_change")
    assert change["oldRank"] - change["newRank"] == change["change"]
    kettle = example("deal_notification")
    assert kettle["originalPrice"] * (1 - kettle["discount"] / 100) == kettle["salePrice"]


@pytest.mark.parametrize(
    ("event", "field", "values"),
    [
        (
            "order_status_update",
            "status",
            "placed confirmed preparing ready dispatched out_for_delivery delivered",
        ),
        ("order_cancelled", "cancelledBy", "user store admin"),
        ("order_cancelled", "refundStatus", "pending processing completed"),
        ("cart_item_released", "reason", "expired cancelled purchased"),
        ("support_message_received", "type", "text image file"),
        ("support_agent_status_changed", "status", "online busy away offline"),
        ("support_ticket_status_changed", "status", "open pending in_progress resolved closed"),
        ("group_complete", "status", "complete"),
        ("store_message", "type", "text image order_update"),
        ("feed_new_post", "type", "product_review store_visit purchase"),
        ("leaderboard_update", "period", "daily weekly monthly all_time"),
        ("leaderboard_rank_change", "period", "daily weekly monthly"),
    ],
)
def test_what_is_one_of_a_few(event: str, field: str, values: str) -> None:
    type_ = next(
        found for found in msgspec.structs.fields(contract.events[event].payload) if found.encode_name == field
    )
    assert set(get_args(type_.type)) == set(values.split())


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("new_offer", "discount", 100.5),
        ("new_offer", "category", ""),
        ("deal_notification", "salePrice", -1),
        ("deal_notification", "timeRemaining", -1),
        ("order_status_update", "status", "cancelled"),
        ("order_location_update", "location", {"latitude": -91, "longitude": 0, "address": "x"}),
        ("order_location_update", "location", {"latitude": 0, "longitude": 0}),
        ("order_eta_update", "eta", "in half an hour"),
        ("order_cancelled", "refundAmount", 32.905),
        ("cart_sync", "items", [{}]),
        ("cart_item_reserved", "quantity", 0),
        ("support_message_received", "content", ""),
        ("support_message_received", "attachments", [{"url": "x", "type": "image/png", "size": -1}]),
        ("support_queue_position_updated", "position", 0),
        ("group_complete", "members", []),
        ("leaderboard_rank_change", "period", "all_time"),
        ("leaderboard_update", "rankings", [{"rank": 0}]),
        ("force_update", "isForced", "yes"),
    ],
)
def test_what_events_may_not_carry(event: str, field: str, value: Any) -> None:
    with pytest.raises(InvalidDataError) as error:
        decode(event, example(event, **{field: value}))
    assert error.value.field.startswith(field)


def test_the_largest_cart_fits_into_an_event() -> None:
    item = example("cart_sync")["items"][0]
    assert route("cart_sync", items=[item] * 30) == ("user:usr-7718",)
    with pytest.raises(InvalidDataError, match="items: an array of at most 30 items"):
        decode("cart_sync", example("cart_sync", items=[item] * 31))


# Where events go.


def route(event: str, to: Any = None, **changes: Any) -> tuple[str, ...]:
    publisher = Publisher(contract, MemoryLog(), Limits())
    data = msgspec.Raw(msgspec.json.encode(example(event, **changes)))
    [entry] = publisher.prepare_publication(Publication(event, data, to))
    return entry.rooms


def refusal(event: str, to: Any = None, **changes: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        route(event, to, **changes)
    return refused.value.refusal.code


def test_an_offer_goes_to_its_category_and_to_those_who_hear_all() -> None:
    for event in ("new_offer", "offer_updated"):
        assert route(event, category="toys") == ("offers", "offers:toys")
        assert refusal(event, "offers:garden", category="toys") == "foreign_room"
    for event in ("offer_expired", "deal_notification"):
        assert route(event, ("offers", "offers:toys")) == ("offers", "offers:toys")
        assert refusal(event) == "room_required"


@pytest.mark.parametrize(
    ("event", "room"),
    [
        ("order_status_update", "order:ord-90155"),
        ("order_delivered", "order:ord-90155"),
        ("support_message_received", "support_ticket:tkt-2093"),
        ("support_agent_assigned", "support_ticket:tkt-2093"),
        ("group_message", "group:grp-604"),
        ("store_message", "store_conversation:cnv-1266"),
    ],
)
def test_what_is_about_an_object_goes_to_its_room_and_where_asked_to_users_too(event: str, room: str) -> None:
    assert route(event) == (room,)
    assert route(event, (room, "user:usr-7718")) == (room, "user:usr-7718")
    assert refusal(event, f"{room}-b") == "foreign_room"
    assert refusal(event, "*") == "foreign_room"


def test_what_follows_from_the_payload() -> None:
    assert route("cart_sync", userId="u") == ("user:u",)
    assert route("leaderboard_update", period="all_time") == ("leaderboard:all_time",)
    assert route("leaderboard_rank_change", userId="u") == ("user:u",)
    assert refusal("leaderboard_rank_change", "user:somebody-else", userId="u") == "foreign_room"


def test_a_post_goes_to_whom_the_publisher_names_and_not_to_its_author() -> None:
    assert route("feed_new_post", ("user:a", "user:b")) == ("user:a", "user:b")
    assert refusal("feed_new_post") == "room_required"


def test_system_events_go_to_everyone() -> None:
    for event in ("system_maintenance", "force_update"):
        assert route(event) == ()
        assert refusal(event, "user:u") == "foreign_room"


def test_answers_cannot_be_published() -> None:
    for event in ANSWERS:
        assert refusal(event, "user:u") == "foreign_room"


def test_the_server_fills_the_time_in() -> None:
    publisher = Publisher(contract, MemoryLog(), Limits(), clock=lambda: 1769860800.0)
    for event in ("order_status_update", "order_eta_update", "new_offer", "system_maintenance"):
        payload = decode(event, {name: value for name, value in example(event).items() if name != "timestamp"})
        [entry] = publisher.prepare(payload)
        assert msgspec.json.decode(entry.data)[1]["timestamp"] == "2026-01-31T12:00:00.000Z"


# Commands.


def shape(command: DeclaredCommand) -> str:
    fields = msgspec.structs.fields(command.command)
    names = " ".join(field.encode_name + "?" * (field.default is UNSET) for field in fields)
    return f"({names})" if command.arguments == "positional" else f"{{{names}}}"


def test_the_commands_are_the_documents() -> None:
    assert {command.name: shape(command) for command in root.commands} == COMMANDS


def test_everybody_may_send_them_but_only_for_themselves() -> None:
    for command in root.commands:
        for role in contract.roles:
            assert command.who.admits(Identity(subject="u", role=role))
        own_only = "userId?" in COMMANDS[command.name]
        for said, verdict in (("u", Verdict.YES), ("v", Verdict.NO if own_only else Verdict.YES)):
            assert command.who.decide(Identity(subject="u", role="user"), {"userId": said}) is verdict


def test_replies_and_limits() -> None:
    assert {
        command.name: " ".join(command.reply.__struct_encode_fields__)
        for command in root.commands
        if command.reply is not None
    } == REPLIES
    assert all(command.limit.count >= 10 for command in root.commands)


def send(*array: Any) -> Any:
    declared = next(command for command in root.commands if command.name == array[0])
    return CommandCodec(declared).decode_command(msgspec.json.encode(array))


@pytest.mark.parametrize(
    ("array", "field"),
    [
        (["subscribe", "orders"], ""),
        (["subscribe", {"channel": ""}], "channel"),
        (["subscribe", {"channel": "x" * 161}], "channel"),
        (["heartbeat", {"timestamp": "now"}], "timestamp"),
        (["heartbeat", {"timestamp": -1}], "timestamp"),
        (["join_ticket", {"userId": "u"}], "ticketId"),
        (["message_read", {"ticketId": "t", "userId": "u"}], "messageId"),
    ],
)
def test_commands_that_do_not_fit(array: list[Any], field: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        send(*array)
    assert error.value.field == field


@pytest.mark.parametrize("timestamp", [0, 1776358830000, 1776358830000.25])
def test_a_heartbeat_comes_back_as_it_was_sent(timestamp: float) -> None:
    command = send("heartbeat", {"timestamp": timestamp})
    data = EventCodec("heartbeat_ack", payloads.HeartbeatAck).encode_payload(
        payloads.HeartbeatAck(timestamp=command.timestamp)
    )
    assert data == b'{"timestamp":%s}' % str(timestamp).encode()


# Channels and rooms.

MEMBER, ANYONE = Verdict.IF_MEMBER, Verdict.YES

ROOMS = {
    "orders": ("order:{orderId}", MEMBER),
    "order:{orderId}": ("order:{orderId}", MEMBER),
    "order_{orderId}": ("order:{orderId}", MEMBER),
    "cart": ("user:{userId}", Verdict.NO),
    "offers": ("offers", ANYONE),
    "offers:{category}": ("offers:{category}", ANYONE),
    "leaderboard:{period}": ("leaderboard:{period}", ANYONE),
    "support_ticket:{ticketId}": ("support_ticket:{ticketId}", MEMBER),
    "support_ticket_{ticketId}": ("support_ticket:{ticketId}", MEMBER),
    "group:{groupId}": ("group:{groupId}", MEMBER),
    "store_conversation:{conversationId}": ("store_conversation:{conversationId}", MEMBER),
}
"""Channel, room, and what its rule says of somebody whose room it is not."""


def test_the_channels_are_the_documents() -> None:
    stranger = Identity(subject="u", role="user")
    strangers = {placeholder: "x" for room in root.rooms.kinds for placeholder in room.placeholders}
    assert {
        channel: (room.pattern, room.rule.decide(stranger, strangers)) for channel, room in CHANNELS.items()
    } == ROOMS


def test_the_rooms_are_those_of_the_channels_and_one_that_no_event_goes_to() -> None:
    kinds = {room.pattern: room for room in root.rooms.kinds}
    assert kinds.pop("orders:{userId}") is own_orders
    assert kinds.keys() == {room.pattern for room in CHANNELS.values()}
    assert all(own_orders not in event.targets for event in root.events)


def test_a_leaderboard_has_one_of_four_periods() -> None:
    for period in ("daily", "weekly", "monthly", "all_time"):
        assert root.rooms.resolve(f"leaderboard:{period}") is not None
    assert root.rooms.resolve("leaderboard:hourly") is None


def test_admins_follow_any_order_but_no_ticket() -> None:
    rooms = {room.pattern: room for room in root.rooms.kinds}
    for role in contract.roles:
        identity = Identity(subject="u", role=role)
        verdict = Verdict.YES if role == "admin" else Verdict.IF_MEMBER
        assert rooms["order:{orderId}"].rule.decide(identity, {"orderId": "o"}) is verdict
        assert rooms[TICKET].rule.decide(identity, {"ticketId": "t"}) is Verdict.IF_MEMBER


@pytest.mark.parametrize("role", contract.roles)
def test_everybody_is_in_their_own_room_and_no_other_from_the_start(role: str) -> None:
    [own] = [room for room in root.rooms.kinds if room.on_connect]
    identity = Identity(subject="u", role=role, claims={"userId": "somebody-else"})
    assert [own.name(values) for values in own.rule.entitlements(identity)] == ["user:u"]
    assert all(room.join is None for room in root.rooms.kinds)


def test_tickets_are_joined_and_left_by_name() -> None:
    rooms = {command.name: (command.joins, command.leaves) for command in root.commands}
    ticket = CHANNELS["support_ticket_{ticketId}"]
    assert rooms.pop("join_ticket") == (ticket, None)
    assert rooms.pop("leave_ticket") == (None, ticket)
    assert set(rooms.values()) == {(None, None)}
