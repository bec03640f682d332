"""What an agent was who was cut off."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("rez_agents", sa.Column("returns_as", sa.String(16)))
