"""Events in the outbox and deliveries of webhooks have the context of their trace."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("oyez_outbox", sa.Column("trace", sa.Text, nullable=True))
    op.add_column("oyez_webhook_deliveries", sa.Column("trace", sa.Text, nullable=True))
