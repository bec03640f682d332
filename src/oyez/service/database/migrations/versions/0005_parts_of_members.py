"""Members have parts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("oyez_members", sa.Column("part", sa.String(64), nullable=True))
