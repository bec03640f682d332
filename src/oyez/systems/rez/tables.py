"""The tables of `rez`. Moments are seconds since 1970; ids are the back end's own, unless Oyez gives them out.

`number` counts rows in the order they came: it is what lists are paged by, and the order of the support queue.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

ID = String(128)
LINE = String(200)
URL = String(500)


def _number() -> Column[int]:
    # SQLite counts up only what is called INTEGER.
    return Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def _id() -> Column[str]:
    return Column("id", ID, nullable=False, unique=True)


subscriptions = Table(
    "rez_subscriptions",
    metadata,
    _number(),
    Column("user_id", ID, nullable=False),
    Column("channel", String(160), nullable=False),
    UniqueConstraint("user_id", "channel"),
)

orders = Table(
    "rez_orders",
    metadata,
    _number(),
    _id(),
    Column("order_number", LINE, nullable=False),
    Column("customer_id", ID, nullable=False),
    Column("status", String(32), nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("placed_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("estimated_delivery", String(40)),
    Index("rez_orders_of_customer", "customer_id", "is_open"),
)

carts = Table(
    "rez_carts",
    metadata,
    Column("user_id", ID, primary_key=True),
    Column("cart", LargeBinary, nullable=False),
)
"""Each user's cart as it was last synchronized: the JSON of `cart_sync`."""

cart_products = Table(
    "rez_cart_products",
    metadata,
    Column("product_id", ID, primary_key=True),
    Column("user_id", ID, primary_key=True),
    Index("rez_cart_products_of_user", "user_id"),
)
"""The users who have a product in their cart, and receive its price and stock."""

reservations = Table(
    "rez_reservations",
    metadata,
    _number(),
    Column("user_id", ID, nullable=False),
    Column("product_id", ID, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("expires_at", Double, nullable=False),
    UniqueConstraint("user_id", "product_id"),
)

agents = Table(
    "rez_agents",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", LINE, nullable=False),
    Column("avatar", URL),
    Column("department", LINE, nullable=False),
    Column("status", String(16), nullable=False),
    # What an agent was who was cut off, and is again when they come back.
    Column("returns_as", String(16)),
)

tickets = Table(
    "rez_tickets",
    metadata,
    _number(),
    _id(),
    Column("customer_id", ID, nullable=False),
    Column("customer_name", LINE, nullable=False),
    Column("customer_avatar", URL),
    Column("subject", LINE, nullable=False),
    Column("status", String(16), nullable=False),
    Column("agent_id", ID, ForeignKey("rez_agents.id")),
    Column("created_at", Double, nullable=False),
    Column("assigned_at", Double),
    Column("resolved_at", Double),
    Column("told_position", Integer),
    Index("rez_tickets_by_status", "status", "number"),
    Index("rez_tickets_of_agent", "agent_id", "status"),
    Index("rez_tickets_of_customer", "customer_id", "number"),
    Index("rez_tickets_resolved", "resolved_at"),
)
"""`told_position` is the place in the queue that was last sent; null while the ticket does not wait."""

ticket_messages = Table(
    "rez_ticket_messages",
    metadata,
    _number(),
    _id(),
    Column("ticket_id", ID, ForeignKey("rez_tickets.id"), nullable=False),
    Column("sender_id", ID, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("delivered_at", Double),
    Index("rez_ticket_messages_of_ticket", "ticket_id", "number"),
)
"""`message` is the JSON of `support_message_received`."""

reads = Table(
    "rez_reads",
    metadata,
    Column("message_id", ID, ForeignKey("rez_ticket_messages.id"), primary_key=True),
    Column("reader_id", ID, primary_key=True),
    Column("read_at", Double, nullable=False),
)

groups = Table(
    "rez_groups",
    metadata,
    _number(),
    _id(),
    Column("code", LINE, nullable=False),
    Column("creator_id", ID, nullable=False),
    Column("size", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
)

group_members = Table(
    "rez_group_members",
    metadata,
    _number(),
    Column("group_id", ID, ForeignKey("rez_groups.id"), nullable=False),
    Column("user_id", ID, nullable=False),
    Column("name", LINE, nullable=False),
    Column("avatar", URL),
    Column("joined_at", Double, nullable=False),
    UniqueConstraint("group_id", "user_id"),
)

group_messages = Table(
    "rez_group_messages",
    metadata,
    _number(),
    _id(),
    Column("group_id", ID, ForeignKey("rez_groups.id"), nullable=False),
    Column("message", LargeBinary, nullable=False),
    Index("rez_group_messages_of_group", "group_id", "number"),
)
"""`message` is the JSON of `group_message`."""

stores = Table(
    "rez_stores",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", LINE, nullable=False),
    Column("is_online", Boolean, nullable=False),
)

conversations = Table(
    "rez_conversations",
    metadata,
    _number(),
    _id(),
    Column("store_id", ID, ForeignKey("rez_stores.id"), nullable=False),
    Column("user_id", ID, nullable=False),
    UniqueConstraint("store_id", "user_id"),
)

store_messages = Table(
    "rez_store_messages",
    metadata,
    _number(),
    _id(),
    Column("conversation_id", ID, ForeignKey("rez_conversations.id"), nullable=False),
    Column("message", LargeBinary, nullable=False),
    Index("rez_store_messages_of_conversation", "conversation_id", "number"),
)
"""`message` is the JSON of `store_message`."""
