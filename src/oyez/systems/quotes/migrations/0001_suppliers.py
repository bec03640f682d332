"""Suppliers: which supplier a user is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "quotes_suppliers",
        sa.Column("user_id", sa.String(128), primary_key=True),
        sa.Column("supplier_id", sa.String(128), nullable=False, unique=True),
        # Tables were made without migrations once.
        if_not_exists=True,
    )
