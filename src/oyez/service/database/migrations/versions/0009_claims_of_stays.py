"""Stays keep the claims that events about them show."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("oyez_stays", sa.Column("claims", sa.JSON, nullable=True))
