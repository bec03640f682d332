"""When monitors were last told statistics, by whichever process."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "bookings_told",
        sa.Column("what", sa.String(32), primary_key=True),
        sa.Column("told_at", sa.BigInteger, nullable=False),
    )
