"""Receipts: events that ask for acknowledgements, and the users whom they have reached."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "oyez_receipt_events",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("position", sa.String(64), primary_key=True),
        sa.Column("namespace", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("rooms", sa.Text, nullable=False),
        sa.Column("excluded", sa.Text, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("more_live", sa.Integer, nullable=False),
        sa.Column("more_replayed", sa.Integer, nullable=False),
        sa.Column("more_acknowledged", sa.Integer, nullable=False),
    )
    op.create_index("oyez_receipt_events_at", "oyez_receipt_events", ["system", "at", "position"])
    op.create_table(
        "oyez_receipts",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("position", sa.String(64), primary_key=True),
        sa.Column("recipient", sa.Text, primary_key=True),
        sa.Column("live", sa.Float(53), nullable=True),
        sa.Column("replayed", sa.Float(53), nullable=True),
        sa.Column("acknowledged", sa.Float(53), nullable=True),
        sqlite_with_rowid=False,
    )
