"""Entries that no log takes are set aside in the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("oyez_outbox", sa.Column("error", sa.Text, nullable=True))
