"""Who is in the rooms whose entering and leaving is reported, and which processes are alive."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "oyez_stays",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("system", sa.String(64), nullable=False),
        sa.Column("namespace", sa.String(128), nullable=False),
        sa.Column("room", sa.Text, nullable=False),
        sa.Column("socket", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("node", sa.String(24), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("ended", sa.Float(53), nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
    )
    op.create_index("oyez_stays_room", "oyez_stays", ["system", "namespace", "room"])
    op.create_index("oyez_stays_socket", "oyez_stays", ["system", "namespace", "socket"])
    op.create_index("oyez_stays_node", "oyez_stays", ["system", "node"])
    op.create_table(
        "oyez_nodes",
        sa.Column("system", sa.String(64), primary_key=True),
        sa.Column("node", sa.String(24), primary_key=True),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.Float(53), nullable=False),
    )
