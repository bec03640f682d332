"""Receivers of webhooks, the deliveries to them, and how far the log was read for them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "oyez_webhook_receivers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("system", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("secrets", sa.JSON, nullable=False),
        sa.Column("since", sa.String(64), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("disabled", sa.Text, nullable=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.Float(53), nullable=True),
        sa.Column("resting_until", sa.Float(53), nullable=False),
        sa.Column("gaps", sa.Integer, nullable=False),
    )
    op.create_index("oyez_webhook_receivers_system", "oyez_webhook_receivers", ["system"])
    op.create_table(
        "oyez_webhook_deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("receiver", sa.String(32), nullable=False),
        sa.Column("message", sa.String(64), nullable=False),
        sa.Column("event", sa.String(128), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("due", sa.Float(53), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=True),
        sa.Column("dead", sa.Float(53), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("oyez_webhook_deliveries_order", "oyez_webhook_deliveries", ["receiver", "dead", "id"])
    op.create_table(
        "oyez_webhook_readers",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("position", sa.String(64), nullable=True),
        sa.Column("last", sa.JSON, nullable=True),
        sa.Column("leader", sa.String(32), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
