"""Customers, partners, bookings, messages, KYC submissions, notifications."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def number() -> "sa.Column[int]":
    return sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "bookings_customers",
        number(),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "bookings_partners",
        number(),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("email", sa.String(200), nullable=False),
        sa.Column("phone", sa.String(32), nullable=False),
        sa.Column("photo", sa.String(500)),
        sa.Column("rating", sa.Float),
        sa.Column("services", sa.JSON, nullable=False),
        sa.Column("service_area", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "bookings_bookings",
        number(),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("customer_id", sa.String(128), sa.ForeignKey("bookings_customers.id"), nullable=False),
        sa.Column("partner_id", sa.String(128), sa.ForeignKey("bookings_partners.id")),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("service", sa.String(200), nullable=False),
        sa.Column("scheduled_at", sa.BigInteger, nullable=False),
        sa.Column("address", sa.String(500), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("bookings_bookings_by_customer", "bookings_bookings", ["customer_id", "partner_id"])
    op.create_index("bookings_bookings_by_partner", "bookings_bookings", ["partner_id", "status"])
    op.create_index("bookings_bookings_by_status", "bookings_bookings", ["status", "changed_at"])
    op.create_index("bookings_bookings_by_day", "bookings_bookings", ["created_at"])
    op.create_table(
        "bookings_messages",
        number(),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("customer_id", sa.String(128), sa.ForeignKey("bookings_customers.id"), nullable=False),
        sa.Column("partner_id", sa.String(128), sa.ForeignKey("bookings_partners.id"), nullable=False),
        sa.Column("sender_role", sa.String(16), nullable=False),
        sa.Column("booking_id", sa.String(128), sa.ForeignKey("bookings_bookings.id")),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("read_at", sa.BigInteger),
    )
    op.create_index("bookings_messages_by_parties", "bookings_messages", ["customer_id", "partner_id"])
    op.create_index("bookings_messages_by_booking", "bookings_messages", ["booking_id"])
    op.create_table(
        "bookings_kyc_submissions",
        number(),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("partner_id", sa.String(128), sa.ForeignKey("bookings_partners.id"), nullable=False),
        sa.Column("documents", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("note", sa.String(500)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("reviewed_at", sa.BigInteger),
    )
    op.create_index("bookings_kyc_by_partner", "bookings_kyc_submissions", ["partner_id"])
    op.create_index("bookings_kyc_by_status", "bookings_kyc_submissions", ["status"])
    op.create_table(
        "bookings_notifications",
        number(),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("recipient_id", sa.String(128), nullable=False),
        sa.Column("recipient_role", sa.String(16), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("message", sa.String(2_000), nullable=False),
        sa.Column("booking_id", sa.String(128), sa.ForeignKey("bookings_bookings.id")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("bookings_notifications_by_recipient", "bookings_notifications", ["recipient_id", "recipient_role"])
