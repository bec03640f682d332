"""Orders, carts, reservations; support; groups; stores; what users subscribe to."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.String(128)
LINE = sa.String(200)
URL = sa.String(500)


def number() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("number", kind, primary_key=True, autoincrement=True)


def upgrade() -> None:
    op.create_table(
        "rez_agents",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", LINE, nullable=False),
        sa.Column("avatar", URL),
        sa.Column("department", LINE, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "rez_cart_products",
        sa.Column("product_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("product_id", "user_id"),
    )
    op.create_index("rez_cart_products_of_user", "rez_cart_products", ["user_id"])
    op.create_table(
        "rez_carts",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("cart", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "rez_groups",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("code", LINE, nullable=False),
        sa.Column("creator_id", ID, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("id"),
    )
    op.create_table(
        "rez_orders",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("order_number", LINE, nullable=False),
        sa.Column("customer_id", ID, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("placed_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("estimated_delivery", sa.String(40)),
        sa.UniqueConstraint("id"),
    )
    op.create_index("rez_orders_of_customer", "rez_orders", ["customer_id", "is_open"])
    op.create_table(
        "rez_reservations",
        number(),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("product_id", ID, nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("user_id", "product_id"),
    )
    op.create_table(
        "rez_stores",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", LINE, nullable=False),
        sa.Column("is_online", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "rez_subscriptions",
        number(),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("channel", sa.String(160), nullable=False),
        sa.UniqueConstraint("user_id", "channel"),
    )
    op.create_table(
        "rez_conversations",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("store_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["store_id"], ["rez_stores.id"]),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("store_id", "user_id"),
    )
    op.create_table(
        "rez_group_members",
        number(),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", LINE, nullable=False),
        sa.Column("avatar", URL),
        sa.Column("joined_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["rez_groups.id"]),
        sa.UniqueConstraint("group_id", "user_id"),
    )
    op.create_table(
        "rez_group_messages",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["rez_groups.id"]),
        sa.UniqueConstraint("id"),
    )
    op.create_index("rez_group_messages_of_group", "rez_group_messages", ["group_id", "number"])
    op.create_table(
        "rez_tickets",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("customer_id", ID, nullable=False),
        sa.Column("customer_name", LINE, nullable=False),
        sa.Column("customer_avatar", URL),
        sa.Column("subject", LINE, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("agent_id", ID),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("assigned_at", sa.Double()),
        sa.Column("resolved_at", sa.Double()),
        sa.Column("told_position", sa.Integer()),
        sa.ForeignKeyConstraint(["agent_id"], ["rez_agents.id"]),
        sa.UniqueConstraint("id"),
    )
    op.create_index("rez_tickets_by_status", "rez_tickets", ["status", "number"])
    op.create_index("rez_tickets_of_agent", "rez_tickets", ["agent_id", "status"])
    op.create_index("rez_tickets_of_customer", "rez_tickets", ["customer_id", "number"])
    op.create_index("rez_tickets_resolved", "rez_tickets", ["resolved_at"])
    op.create_table(
        "rez_store_messages",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("conversation_id", ID, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["rez_conversations.id"]),
        sa.UniqueConstraint("id"),
    )
    op.create_index("rez_store_messages_of_conversation", "rez_store_messages", ["conversation_id", "number"])
    op.create_table(
        "rez_ticket_messages",
        number(),
        sa.Column("id", ID, nullable=False),
        sa.Column("ticket_id", ID, nullable=False),
        sa.Column("sender_id", ID, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("delivered_at", sa.Double()),
        sa.ForeignKeyConstraint(["ticket_id"], ["rez_tickets.id"]),
        sa.UniqueConstraint("id"),
    )
    op.create_index("rez_ticket_messages_of_ticket", "rez_ticket_messages", ["ticket_id", "number"])
    op.create_table(
        "rez_reads",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("reader_id", ID, nullable=False),
        sa.Column("read_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["rez_ticket_messages.id"]),
        sa.PrimaryKeyConstraint("message_id", "reader_id"),
    )
