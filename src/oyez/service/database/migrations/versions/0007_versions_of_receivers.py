"""Receivers of webhooks have versions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("oyez_webhook_receivers", sa.Column("version", sa.String(64), nullable=True))
