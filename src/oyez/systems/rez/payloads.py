"""What the events of `rez` carry and what its commands answer, section by section; where each goes is in contract.py.

Amounts are in the marketplace's currency. Events for which the document names no time have the server's `timestamp`;
where it names one as `timestamp`, the publisher may leave that to the server too.
"""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import UNSET, CamelPayload, CamelStamped, Id, Latitude, Longitude, Maybe, Money, Time, UnsetType

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A name, a title or a number, as people read it."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""What somebody wrote, short enough to fit into an event in any script."""
Url = Annotated[str, Meta(min_length=1, max_length=500)]
Phone = Annotated[str, Meta(min_length=3, max_length=32)]
Channel = Annotated[str, Meta(min_length=1, max_length=160)]
"""What clients subscribe to: a word, or a word and an id. `CHANNELS` in contract.py has all forms."""

Count = Annotated[int, Meta(ge=0)]
Rank = Annotated[int, Meta(ge=1)]
"""A place, 1 is the best."""
Percent = Annotated[float, Meta(ge=0, le=100, description="percent")]
Minutes = Annotated[int, Meta(ge=0, description="minutes")]
Seconds = Annotated[int, Meta(ge=0, description="seconds")]
Milliseconds = Annotated[int, Meta(ge=0, description="milliseconds")]
ByteCount = Annotated[int, Meta(ge=0, description="bytes")]
_LATEST = 2**53
ClientTime = Annotated[int, Meta(ge=0, le=_LATEST)] | Annotated[float, Meta(ge=0, le=_LATEST)]
"""A client's own clock, as its language counts: JavaScript's `Date.now()` is milliseconds since 1970."""

OrderStatus = Literal["placed", "confirmed", "preparing", "ready", "dispatched", "out_for_delivery", "delivered"]
TicketStatus = Literal["open", "pending", "in_progress", "resolved", "closed"]
AgentStatus = Literal["online", "busy", "away", "offline"]
Period = Literal["daily", "weekly", "monthly", "all_time"]
"""Of a leaderboard."""
RankedPeriod = Literal["daily", "weekly", "monthly"]
"""Those in which changes of a single rank are told."""


class Person(CamelPayload):
    """A user, as other users see them."""

    user_id: Id
    name: Line
    avatar: Maybe[Url] = UNSET


# Connection management.


class Connected(CamelStamped):
    """The caller is signed in and in the room of their own."""

    user_id: Id
    socket_id: Id


class Disconnected(CamelStamped):
    """The server is about to end the connection, and why."""

    reason: Line


class HeartbeatAck(CamelPayload):
    """The server is there."""

    timestamp: ClientTime
    """The client's own, as it came."""
    server_time: Time | UnsetType = UNSET


class Subscription(CamelPayload):
    """A channel, and the rooms it means to the caller at the moment."""

    channel: Channel
    rooms: list[str]


# Offers and deals.


class Offer(CamelStamped):
    """An offer as the app shows it."""

    id: Id
    title: Line
    description: Text
    discount: Percent
    expires_at: Time
    image: Url
    category: Id


class NewOffer(Offer):
    """There is a new offer."""


class OfferUpdated(Offer):
    """An offer has changed; the whole of it, as it is now."""


class OfferExpired(CamelStamped):
    """An offer no longer holds."""

    offer_id: Id


class DealNotification(CamelStamped):
    """Something is cheap for a short time, or while it lasts."""

    id: Id
    title: Line
    original_price: Money
    sale_price: Money
    discount: Percent
    time_remaining: Seconds
    stock: Count


# Orders and tracking.


class OrderStatusUpdate(CamelStamped):
    """An order has moved on; `message` says it in a sentence."""

    order_id: Id
    order_number: Line
    status: OrderStatus
    message: Text
    estimated_delivery: Maybe[Time] = UNSET


class DeliveryLocation(CamelPayload):
    """Where a delivery is: in degrees, and in words."""

    latitude: Latitude
    longitude: Longitude
    address: Line


class OrderLocationUpdate(CamelStamped):
    """An order on its way has got to another place. Never stored: only the newest place is of use."""

    order_id: Id
    location: DeliveryLocation
    driver_name: Line
    driver_phone: Phone


class OrderEtaUpdate(CamelStamped):
    """An order is expected at another time than before."""

    order_id: Id
    eta: Time
    minutes: Minutes
    """From now."""


class OrderDelivered(CamelPayload):
    """An order has arrived."""

    order_id: Id
    delivered_at: Time
    signature: Maybe[Url] = UNSET
    """A picture of it, where somebody signed."""


class OrderCancelled(CamelStamped):
    """An order will not come; what was paid goes back."""

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
    """Size, colour or the like, where the product has several."""
    store_id: Id
    store_name: Line
    quantity: Annotated[int, Meta(ge=1)]
    price: Money
    """Of one."""
    original_price: Maybe[Money] = UNSET
    """Of one, before a discount."""
    total: Money
    is_available: bool


class CartSync(CamelStamped):
    """The user's whole cart, as it is on every device from now on."""

    id: Id
    user_id: Id
    items: Annotated[list[CartItem], Meta(max_length=30)]
    """No more than fit into an event."""
    item_count: Count
    """Pieces, not lines."""
    subtotal: Money
    discount: Money
    """An amount; what `subtotal` does not contain yet."""
    delivery_fee: Money
    tax: Money
    total: Money
    coupon_code: Maybe[Line] = UNSET
    updated_at: Time


class PriceUpdate(CamelStamped):
    """A product in the user's cart costs more or less than before."""

    product_id: Id
    old_price: Money
    new_price: Money
    discount: Maybe[Percent] = UNSET


class StockUpdate(CamelStamped):
    """There is more or less of a product in the user's cart than before."""

    product_id: Id
    stock: Count
    is_available: bool


class CartItemReserved(CamelStamped):
    """A product is kept for the user while they check out."""

    product_id: Id
    quantity: Annotated[int, Meta(ge=1)]
    expires_at: Time


class CartItemReleased(CamelStamped):
    """A product is no longer kept for the user."""

    product_id: Id
    reason: Literal["expired", "cancelled", "purchased"]


# Support chat.


class UserTyping(CamelPayload):
    """Whose typing, in which ticket."""

    ticket_id: Id
    user_id: Id


class UserTypingStart(UserTyping):
    """A member of the ticket has begun to write."""


class UserTypingStop(UserTyping):
    """A member of the ticket has stopped writing."""


class Attachment(CamelPayload):
    """A file that came with a message."""

    url: Url
    type: Line
    """Its media type, such as `image/jpeg`."""
    size: ByteCount


class SupportMessageReceived(CamelPayload):
    """There is a new message in a ticket."""

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
    """A message has reached the other side."""

    message_id: Id
    delivered_at: Time


class SupportMessageRead(CamelPayload):
    """Somebody has read a message, and since when it counts as read."""

    message_id: Id
    read_by: Id
    read_at: Time


class Agent(CamelPayload):
    """Somebody who answers tickets."""

    id: Id
    name: Line
    avatar: Maybe[Url] = UNSET
    department: Line


class SupportAgentAssigned(CamelPayload):
    """A ticket has an agent now."""

    ticket_id: Id
    agent: Agent
    assigned_at: Time


class SupportAgentTypingStart(CamelPayload):
    """The ticket's agent has begun to write."""

    ticket_id: Id
    agent_id: Id
    agent_name: Line


class SupportAgentTypingStop(CamelPayload):
    """The ticket's agent has stopped writing."""

    ticket_id: Id
    agent_id: Id


class SupportAgentStatusChanged(CamelStamped):
    """An agent has come, gone, or has too much to do."""

    agent_id: Id
    status: AgentStatus


class SupportTicketStatusChanged(CamelStamped):
    """A ticket has moved on."""

    ticket_id: Id
    status: TicketStatus


class SupportQueuePositionUpdated(CamelStamped):
    """A ticket that waits for an agent has moved in the queue."""

    ticket_id: Id
    position: Rank
    estimated_wait_time: Minutes


# Group buying.


class GroupMemberJoined(CamelPayload):
    """Somebody buys with the group."""

    group_id: Id
    group_code: Line
    member: Person
    current_members: Count
    spots_remaining: Count
    joined_at: Time


class GroupMemberLeft(CamelStamped):
    """Somebody no longer buys with the group."""

    group_id: Id
    user_id: Id
    current_members: Count
    spots_remaining: Count


class GroupComplete(CamelPayload):
    """As many have joined as the group needs."""

    group_id: Id
    group_code: Line
    status: Literal["complete"]
    members: Annotated[list[Person], Meta(min_length=1, max_length=50)]
    completed_at: Time


class GroupMessage(CamelPayload):
    """A member has written to the group."""

    id: Id
    group_id: Id
    user_id: Id
    user_name: Line
    user_avatar: Maybe[Url] = UNSET
    message: Text
    created_at: Time


class GroupCancelled(CamelPayload):
    """Whoever started the group has ended it before it was complete."""

    group_id: Id
    reason: Text
    cancelled_at: Time


# Store messaging.


class StoreMessage(CamelPayload):
    """A store has written to the user."""

    id: Id
    conversation_id: Id
    store_id: Id
    store_name: Line
    content: Text
    type: Literal["text", "image", "order_update"]
    created_at: Time


class StoreTyping(CamelPayload):
    """A store is writing."""

    conversation_id: Id
    store_id: Id
    store_name: Line


class StoreOnline(CamelStamped):
    """Somebody at the store can answer now."""

    store_id: Id


class StoreOffline(CamelStamped):
    """Nobody at the store can answer at the moment."""

    store_id: Id


# Social features.


class PostProduct(CamelPayload):
    """The product a post is about."""

    id: Id
    name: Line
    image: Url


class FeedNewPost(CamelPayload):
    """Somebody whom the user follows has posted something."""

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
    """Who likes a post."""

    user_id: Id
    user_name: Line
    user_avatar: Maybe[Url] = UNSET


class FeedPostLiked(CamelPayload):
    """Somebody likes a post of the user's."""

    post_id: Id
    liked_by: Liker
    total_likes: Count
    liked_at: Time


class FeedPostCommented(CamelPayload):
    """Somebody has commented on a post of the user's."""

    id: Id
    post_id: Id
    user_id: Id
    """Who commented."""
    user_name: Line
    comment: Text
    created_at: Time


class FeedUserFollowed(CamelPayload):
    """Somebody follows the user now."""

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
    """Places won, negative where lost."""


class LeaderboardUpdate(CamelPayload):
    """A leaderboard has been counted anew."""

    period: Period
    rankings: Annotated[list[Ranking], Meta(max_length=50)]
    """The best first."""
    updated_at: Time


class LeaderboardRankChange(CamelStamped):
    """The user has moved on a leaderboard."""

    user_id: Id
    old_rank: Rank
    new_rank: Rank
    points: Count
    change: int
    """Places won, negative where lost."""
    period: RankedPeriod


class LeaderboardAchievement(CamelPayload):
    """The user has earned something to be proud of."""

    id: Id
    title: Line
    description: Text
    icon: Url
    points: Count
    earned_at: Time


# System events.


class SystemMaintenance(CamelStamped):
    """Some services will be away for a while."""

    scheduled_at: Time
    duration: Minutes
    message: Text
    affected_services: Annotated[list[Line], Meta(max_length=20)]


class ForceUpdate(CamelStamped):
    """There is a newer app; where `is_forced`, the old one stops working."""

    version: Line
    update_url: Url
    message: Text
    is_forced: bool


class SessionExpired(CamelPayload):
    """The caller's token has run out; the connection ends."""

    message: Text
    expired_at: Time


class TokenRefresh(CamelPayload):
    """A token to go on with, shortly before the caller's own runs out."""

    new_token: Annotated[str, Meta(min_length=1, max_length=8_192)]
    expires_in: Seconds


# Error events. `error` itself is the server's, the same in every system.


class ConnectionProblem(CamelPayload):
    """The connection is refused or throttled; when to try again."""

    reason: Line
    attempts: Count
    """How often the client has tried in vain."""
    next_retry: Milliseconds
    """From now."""
