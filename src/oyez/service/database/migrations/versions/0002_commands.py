"""What commands with an id have done."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "oyez_commands",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("step", sa.String(64), primary_key=True),
        sa.Column("result", sa.LargeBinary, nullable=True),
        sa.Column("created", sa.Float(53), nullable=False),
    )
    op.create_index("oyez_commands_created", "oyez_commands", ["created"])
