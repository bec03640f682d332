"""Members of rooms, the outbox, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "oyez_members",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("namespace", sa.String(128), primary_key=True),
        sa.Column("room", sa.String(300), primary_key=True),
        sa.Column("subject", sa.String(160), primary_key=True),
    )
    op.create_table(
        "oyez_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("system", sa.String(64), nullable=False),
        sa.Column("namespace", sa.String(128), nullable=False),
        sa.Column("rooms", sa.JSON, nullable=False),
        sa.Column("excluded", sa.JSON, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("control", sa.String(64), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("oyez_outbox_order", "oyez_outbox", ["system", "id"])
    op.create_table(
        "oyez_jobs",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(160), primary_key=True),
        sa.Column("due", sa.Float(53), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=True),
    )
    op.create_index("oyez_jobs_due", "oyez_jobs", ["system", "due"])
