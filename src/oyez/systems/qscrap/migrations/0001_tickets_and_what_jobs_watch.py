"""Tickets and their messages; requests, disputes, payouts and subscriptions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "qscrap_tickets",
        sa.Column("ticket_id", sa.String(128), primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=False, index=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("priority", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created_at", sa.String(30), nullable=False),
    )
    op.create_table(
        "qscrap_ticket_messages",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("message_id", sa.String(128), nullable=False, unique=True),
        sa.Column("ticket_id", sa.String(128), sa.ForeignKey("qscrap_tickets.ticket_id"), nullable=False, index=True),
        sa.Column("sender_id", sa.String(128), nullable=False),
        sa.Column("sender_role", sa.String(20), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(30), nullable=False),
    )
    op.create_table(
        "qscrap_requests",
        sa.Column("request_id", sa.String(128), primary_key=True),
        sa.Column("customer_id", sa.String(128), nullable=False, index=True),
        sa.Column("expires_at", sa.String(30), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
    )
    op.create_table(
        "qscrap_disputes",
        sa.Column("dispute_id", sa.String(128), primary_key=True),
        sa.Column("order_id", sa.String(128), nullable=False, index=True),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("garage_id", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("refund_amount", sa.BigInteger, nullable=False),
        sa.Column("respond_by", sa.String(30), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("resolution", sa.String(20)),
    )
    op.create_table(
        "qscrap_payouts",
        sa.Column("payout_id", sa.String(128), primary_key=True),
        sa.Column("order_id", sa.String(128), nullable=False, index=True),
        sa.Column("garage_id", sa.String(128), nullable=False, index=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("schedule_at", sa.String(30), nullable=False),
        sa.Column("scheduled_date", sa.String(30), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("hold_reason", sa.Text),
        sa.Column("release_at", sa.String(30)),
        sa.Column("held_by", sa.String(128)),
    )
    op.create_table(
        "qscrap_subscriptions",
        sa.Column("garage_id", sa.String(128), primary_key=True),
        sa.Column("expires_at", sa.String(30), nullable=False),
    )
