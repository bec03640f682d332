"""Chat messages between users and vendors."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "fixrx_messages",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("user_id", sa.String(128), nullable=False),
        sa.Column("vendor_id", sa.String(128), nullable=False),
        sa.Column("sender_role", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("sent_at", sa.String(32), nullable=False),
        sa.Column("read_at", sa.String(32), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("fixrx_messages_chat", "fixrx_messages", ["user_id", "vendor_id", "number"])
