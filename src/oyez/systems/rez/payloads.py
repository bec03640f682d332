"""The payloads of the events and the replies of the commands of `rez`. contract.py has the rooms of each event.

Amounts are in the marketplace's currency. Events without a time field of their own have the server's `timestamp`; the
publisher may leave any `timestamp` to the server.
"""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import UNSET, CamelPayload, CamelStamped, Id, Latitude, Longitude, Maybe, Money, Time, UnsetType

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A name, a title or a number, for display."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""Text that a person wrote. The limit makes it fit into one event in any script."""
Url = Annotated[str, Meta(min_length=1, max_length=500)]
Phone = Annotated[str, Meta(min_length=3, max_length=32)]
Channel = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=160,
        description=(
            "`orders` (all open orders of the user), `order:{orderId}` or `order_{orderId}`, `cart`, `offers`,"
            " `offers:{category}`, `leaderboard:{period}`, `support_ticket:{ticketId}` or `support_ticket_{ticketId}`,"
            " `group:{groupId}`, `store_conversation:{conversationId}`."
        ),
        examples=["orders", "cart", "order:ord-90155", "offers:kitchen", "leaderboard:weekly"],
    ),
]
"""The name of a channel. `CHANNELS` in contract.py has the rooms of each."""

Count = Annotated[int, Meta(ge=0)]
Rank = Annotated[int, Meta(ge=1)]
"""A rank; 1 is the best."""
Percent = Annotated[float, Meta(ge=0, le=100, description="percent")]
Minutes = Annotated[int, Meta(ge=0, description="minutes")]
Seconds = Annotated[int, Meta(ge=0, description="seconds")]
Milliseconds = Annotated[int, Meta(ge=0, description="milliseconds")]
ByteCount = Annotated[int, Meta(ge=0, description="bytes")]
_LATEST = 2**53
ClientTime = Annotated[int, Meta(ge=0, le=_LATEST)] | Annotated[float, Meta(ge=0, le=_LATEST)]
"""The client's own clock in any unit; JavaScript's `Date.now()` is milliseconds since 1970."""

OrderStatus = Literal["placed", "confirmed", "preparing", "ready", "dispatched", "out_for_delivery", "delivered"]
TicketStatus = Literal["open", "pending", "in_progress", "resolved", "closed"]
AgentStatus = Literal["online", "busy", "away", "offline"]
Period = Literal["daily", "weekly", "monthly", "all_time"]
"""The periods of leaderboards."""
RankedPeriod = Literal["daily", "weekly", "monthly"]
"""The periods that have `leaderboard_rank_change`."""


class Person(CamelPayload):
    """A user, with the fields that other users may see."""

    user_id: Id
    name: Line
    avatar: Maybe[Url] = UNSET


# Connection management.


class Connected(CamelStamped):
    """The client is connected and in the user's own room; its subscriptions are restored."""

    user_id: Id
    socket_id: Id


class Disconnected(CamelStamped):
    """The server is about to close the connection, for the given reason."""

    reason: Line


class HeartbeatAck(CamelPayload):
    """The answer to `heartbeat`."""

    timestamp: ClientTime
    """The client's own value, unchanged."""
    server_time: Time | UnsetType = UNSET


class Subscription(CamelPayload):
    """A channel and its rooms for the caller at the moment."""

    channel: Channel
    rooms: list[Annotated[str, Meta(examples=["order:ord-90155"])]]


# Offers and deals.


class Offer(CamelStamped):
    """An offer."""

    id: Id
    title: Line
    description: Text
    discount: Percent
    expires_at: Time
    image: Url
    category: Id


class NewOffer(Offer):
    """An offer was created."""


class OfferUpdated(Offer):
    """An offer changed. The event has the complete offer."""


class OfferExpired(CamelStamped):
    """An offer expired."""

    offer_id: Id


class DealNotification(CamelStamped):
    """A product is on sale for a limited time or while stock lasts."""

    id: Id
    title: Line
    original_price: Money
    sale_price: Money
    discount: Percent
    time_remaining: Seconds
    stock: Count


# Orders and tracking.


class OrderStatusUpdate(CamelStamped):
    """The status of an order changed. `message` is a sentence for the customer."""

    order_id: Id
    order_number: Line
    status: OrderStatus
    message: Text
    estimated_delivery: Maybe[Time] = UNSET


class DeliveryLocation(CamelPayload):
    """The location of a delivery: in degrees, and as an address."""

    latitude: Latitude
    longitude: Longitude
    address: Line


class OrderLocationUpdate(CamelStamped):
    """An order on its way moved. Volatile, because only the newest location is useful."""

    order_id: Id
    location: DeliveryLocation
    driver_name: Line
    driver_phone: Phone


class OrderEtaUpdate(CamelStamped):
    """The expected time of an order changed."""

    order_id: Id
    eta: Time
    minutes: Minutes
    """Counted from now."""


class OrderDelivered(CamelPayload):
    """An order was delivered."""

    order_id: Id
    delivered_at: Time
    signature: Maybe[Url] = UNSET
    """The URL of a picture of the recipient's signature, if there is one."""


class OrderCancelled(CamelStamped):
    """An order was cancelled. The customer gets `refundAmount` back."""

    order_id: Id
    reason: Text
    cancelled_by: Literal["user", "store", "admin"]
    refund_amount: Money
    refund_status: Literal["pending", "processing", "completed"]


# Cart and shopping.


class CartItem(CamelPayload):
    """One line of a cart."""

    product_id: Id
    name: Line
    image: Maybe[Url] = UNSET
    variant: Maybe[Line] = UNSET
    """The variant of the product, such as its size or colour, if there are several."""
    store_id: Id
    store_name: Line
    quantity: Annotated[int, Meta(ge=1)]
    price: Money
    """Price of one piece."""
    original_price: Maybe[Money] = UNSET
    """Price of one piece before the discount."""
    total: Money
    is_available: bool


class CartSync(CamelStamped):
    """The complete cart of the user. All devices of the user receive it."""

    id: Id
    user_id: Id
    items: Annotated[list[CartItem], Meta(max_length=30)]
    """At most as many as fit into one event."""
    item_count: Count
    """The number of pieces, not of lines."""
    subtotal: Money
    discount: Money
    """An amount that is not yet subtracted from `subtotal`."""
    delivery_fee: Money
    tax: Money
    total: Money
    coupon_code: Maybe[Line] = UNSET
    updated_at: Time


class PriceUpdate(CamelStamped):
    """The price of a product in the user's cart changed."""

    product_id: Id
    old_price: Money
    new_price: Money
    discount: Maybe[Percent] = UNSET


class StockUpdate(CamelStamped):
    """The stock of a product in the user's cart changed."""

    product_id: Id
    stock: Count
    is_available: bool


class CartItemReserved(CamelStamped):
    """A product is reserved for the user until `expiresAt`."""

    product_id: Id
    quantity: Annotated[int, Meta(ge=1)]
    expires_at: Time


class CartItemReleased(CamelStamped):
    """A reservation of a product for the user ended."""

    product_id: Id
    reason: Literal["expired", "cancelled", "purchased"]


# Support chat.


class UserTyping(CamelPayload):
    """The user who types, and the ticket."""

    ticket_id: Id
    user_id: Id


class UserTypingStart(UserTyping):
    """A member of the ticket started typing."""


class UserTypingStop(UserTyping):
    """A member of the ticket stopped typing."""


class Attachment(CamelPayload):
    """A file that belongs to a message."""

    url: Url
    type: Line
    """Its media type, such as `image/jpeg`."""
    size: ByteCount


class SupportMessageReceived(CamelPayload):
    """A message was written in a ticket."""

    id: Id
    ticket_id: Id
    sender_id: Id
    sender_name: Line
    sender_avatar: Maybe[Url] = UNSET
    type: Literal["text", "image", "file"]
    content: Text
    attachments: Maybe[Annotated[list[Attachment], Meta(max_length=5)]] = UNSET
    created_at: Time


class SupportMessageDelivered(CamelPayload):
    """A message reached the other side."""

    message_id: Id
    delivered_at: Time


class SupportMessageRead(CamelPayload):
    """A member of the ticket read a message. `readAt` is the first time."""

    message_id: Id
    read_by: Id
    read_at: Time


class Agent(CamelPayload):
    """An agent, who answers tickets."""

    id: Id
    name: Line
    avatar: Maybe[Url] = UNSET
    department: Line


class SupportAgentAssigned(CamelPayload):
    """An agent was assigned to a ticket."""

    ticket_id: Id
    agent: Agent
    assigned_at: Time


class SupportAgentTypingStart(CamelPayload):
    """The agent of the ticket started typing."""

    ticket_id: Id
    agent_id: Id
    agent_name: Line


class SupportAgentTypingStop(CamelPayload):
    """The agent of the ticket stopped typing."""

    ticket_id: Id
    agent_id: Id


class SupportAgentStatusChanged(CamelStamped):
    """The status of an agent changed. The customers of the agent's tickets receive it."""

    agent_id: Id
    status: AgentStatus


class SupportTicketStatusChanged(CamelStamped):
    """The status of a ticket changed."""

    ticket_id: Id
    status: TicketStatus


class SupportQueuePositionUpdated(CamelStamped):
    """The position of a waiting ticket in the queue changed."""

    ticket_id: Id
    position: Rank
    estimated_wait_time: Minutes


# Group buying.


class GroupMemberJoined(CamelPayload):
    """A user joined the group."""

    group_id: Id
    group_code: Line
    member: Person
    current_members: Count
    spots_remaining: Count
    joined_at: Time


class GroupMemberLeft(CamelStamped):
    """A user left the group."""

    group_id: Id
    user_id: Id
    current_members: Count
    spots_remaining: Count


class GroupComplete(CamelPayload):
    """The group has as many members as it needs."""

    group_id: Id
    group_code: Line
    status: Literal["complete"]
    members: Annotated[list[Person], Meta(min_length=1, max_length=50)]
    completed_at: Time


class GroupMessage(CamelPayload):
    """A member wrote to the group."""

    id: Id
    group_id: Id
    user_id: Id
    user_name: Line
    user_avatar: Maybe[Url] = UNSET
    message: Text
    created_at: Time


class GroupCancelled(CamelPayload):
    """The creator cancelled the group before it was complete."""

    group_id: Id
    reason: Text
    cancelled_at: Time


# Store messaging.


class StoreMessage(CamelPayload):
    """A store wrote to the user."""

    id: Id
    conversation_id: Id
    store_id: Id
    store_name: Line
    content: Text
    type: Literal["text", "image", "order_update"]
    created_at: Time


class StoreTyping(CamelPayload):
    """A store is typing a message."""

    conversation_id: Id
    store_id: Id
    store_name: Line


class StoreOnline(CamelStamped):
    """A store came online: it can answer."""

    store_id: Id


class StoreOffline(CamelStamped):
    """A store went offline: it cannot answer at the moment."""

    store_id: Id


# Social features.


class PostProduct(CamelPayload):
    """The product that a post is about."""

    id: Id
    name: Line
    image: Url


class FeedNewPost(CamelPayload):
    """A user whom the recipient follows published a post."""

    id: Id
    user_id: Id
    """The author."""
    user_name: Line
    user_avatar: Maybe[Url] = UNSET
    type: Literal["product_review", "store_visit", "purchase"]
    content: Text
    images: Maybe[Annotated[list[Url], Meta(max_length=5)]] = UNSET
    product: Maybe[PostProduct] = UNSET
    created_at: Time


class Liker(CamelPayload):
    """The user who likes a post."""

    user_id: Id
    user_name: Line
    user_avatar: Maybe[Url] = UNSET


class FeedPostLiked(CamelPayload):
    """A user liked a post of the recipient."""

    post_id: Id
    liked_by: Liker
    total_likes: Count
    liked_at: Time


class FeedPostCommented(CamelPayload):
    """A user commented on a post of the recipient."""

    id: Id
    post_id: Id
    user_id: Id
    """The user who commented."""
    user_name: Line
    comment: Text
    created_at: Time


class FeedUserFollowed(CamelPayload):
    """A user started to follow the recipient."""

    follower_id: Id
    follower_name: Line
    follower_avatar: Maybe[Url] = UNSET
    followed_at: Time


# Leaderboard and gamification.


class Ranking(CamelPayload):
    """One line of a leaderboard."""

    rank: Rank
    user_id: Id
    user_name: Line
    avatar: Maybe[Url] = UNSET
    points: Count
    change: int
    """Number of places gained; negative if lost."""


class LeaderboardUpdate(CamelPayload):
    """A leaderboard was updated."""

    period: Period
    rankings: Annotated[list[Ranking], Meta(max_length=50)]
    """Sorted by rank, the best first."""
    updated_at: Time


class LeaderboardRankChange(CamelStamped):
    """The rank of the user on a leaderboard changed."""

    user_id: Id
    old_rank: Rank
    new_rank: Rank
    points: Count
    change: int
    """Number of places gained; negative if lost."""
    period: RankedPeriod


class LeaderboardAchievement(CamelPayload):
    """The user earned an achievement."""

    id: Id
    title: Line
    description: Text
    icon: Url
    points: Count
    earned_at: Time


# System events.


class SystemMaintenance(CamelStamped):
    """Maintenance is planned: some services will be unavailable."""

    scheduled_at: Time
    duration: Minutes
    message: Text
    affected_services: Annotated[list[Line], Meta(max_length=20)]


class ForceUpdate(CamelStamped):
    """A new version of the app is available. If `isForced` is true, older versions stop working."""

    version: Line
    update_url: Url
    message: Text
    is_forced: bool


class SessionExpired(CamelPayload):
    """The client's token expired. The server closes the connection."""

    message: Text
    expired_at: Time


class TokenRefresh(CamelPayload):
    """A new token, sent a minute before the old one expires, if Oyez signs the tokens."""

    new_token: Annotated[str, Meta(min_length=1, max_length=8_192)]
    """For the next connection: this one continues by itself. Tokens are renewed for one day after signing in. The new
    token of one that lives for less than two minutes is sent at half of that time."""
    expires_in: Seconds
    """From now until the new token expires: the lifetime of the old one."""


# Error events. `error` is an event of the server, the same in every system.


class ConnectRefused(CamelPayload):
    """What the data of `connect_error` has besides the code, if trying again at once does not help."""

    reason: Annotated[str, Meta(description="The same as `code`.", examples=["token_missing"])]
    attempts: Count
    """Number of refused attempts from this network address."""
    next_retry: Annotated[int, Meta(ge=0, description="Milliseconds to wait before the next try.", examples=[1000])]


class ConnectionProblem(CamelPayload):
    """The client exceeded a limit. `nextRetry` is the time to wait before the next try."""

    reason: Annotated[str, Meta(min_length=1, max_length=200, examples=["rate_limited"])]
    attempts: Count
    """Number of failed attempts."""
    next_retry: Milliseconds
    """Counted from now."""
