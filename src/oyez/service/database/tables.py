"""The service layer's own tables: members of rooms, events on their way to the log, jobs with the time at which they
are due, the steps of commands with an id, who is in the rooms whose entering and leaving is reported, webhooks, what
operators do (the audit, restrictions of users and tokens, service keys), and receipts.

All systems share them; each row names its system.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

members = Table(
    "oyez_members",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("namespace", String(128), primary_key=True),
    Column("room", String(300), primary_key=True),
    Column("subject", String(160), primary_key=True),
    # Such as `host`; empty for a member without a part.
    Column("part", String(64), nullable=True),
)

outbox = Table(
    "oyez_outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("system", String(64), nullable=False),
    Column("namespace", String(128), nullable=False),
    Column("rooms", JSON, nullable=False),
    Column("excluded", JSON, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("control", String(64), nullable=False),
    Column("created", Float(53), nullable=False),
    # Why the row was set aside; null if it waits for the log.
    Column("error", Text, nullable=True),
    # The trace context in which it was published; null if it is not recorded.
    Column("trace", Text, nullable=True),
    Index("oyez_outbox_order", "system", "id"),
    # Ids of deleted rows are not used again, because an event's key in the log contains the id.
    sqlite_autoincrement=True,
)

jobs = Table(
    "oyez_jobs",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("key", String(160), primary_key=True),
    Column("due", Float(53), nullable=False),
    Column("data", JSON, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("error", Text, nullable=True),
    Index("oyez_jobs_due", "system", "due"),
)

commands = Table(
    "oyez_commands",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("result", LargeBinary, nullable=True),
    Column("created", Float(53), nullable=False),
    Index("oyez_commands_created", "created"),
)

stays = Table(
    "oyez_stays",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("namespace", String(128), nullable=False),
    Column("room", Text, nullable=False),
    Column("socket", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    # The process that ends the stay: it has the socket, or has claimed the stay of a process that was killed.
    Column("node", String(24), nullable=False),
    Column("since", Float(53), nullable=False),
    # The claims of the user that events show, by their fields.
    Column("claims", JSON, nullable=True),
    # When and why the stay has ended, until the hook `left` has been called.
    Column("ended", Float(53), nullable=True),
    Column("reason", Text, nullable=True),
    Index("oyez_stays_room", "system", "namespace", "room"),
    Index("oyez_stays_socket", "system", "namespace", "socket"),
    Index("oyez_stays_node", "system", "node"),
)

nodes = Table(
    "oyez_nodes",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("node", String(24), primary_key=True),
    # Grows while the process lives; -1 after another process has found it dead.
    Column("beat", BigInteger, nullable=False),
    # The time of the last beat, by the clock of the process.
    Column("seen", Float(53), nullable=False),
)

webhook_receivers = Table(
    "oyez_webhook_receivers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("url", Text, nullable=False),
    # Names of events; empty for all events that may go out.
    Column("events", JSON, nullable=False),
    # The version of the forms that it receives; null for the newest ones.
    Column("version", String(64), nullable=True),
    # The newest first: pairs of a secret and the time at which it ends, null for the newest.
    Column("secrets", JSON, nullable=False),
    # It receives the events after this position of the log.
    Column("since", String(64), nullable=False),
    Column("created", Float(53), nullable=False),
    # Why it receives nothing any more; null if it is enabled.
    Column("disabled", Text, nullable=True),
    # Failed attempts in a row, the time of the first of them, and the time before which no other is made.
    Column("failures", Integer, nullable=False),
    Column("failing_since", Float(53), nullable=True),
    Column("resting_until", Float(53), nullable=False),
    # How often the log had deleted events that it had not received.
    Column("gaps", Integer, nullable=False),
    Index("oyez_webhook_receivers_system", "system"),
)

webhook_deliveries = Table(
    "oyez_webhook_deliveries",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("receiver", String(32), nullable=False),
    # The `webhook-id`, the same in all attempts.
    Column("message", String(64), nullable=False),
    Column("event", String(128), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("due", Float(53), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=True),
    # When the last attempt was given up; null while it waits.
    Column("dead", Float(53), nullable=True),
    # The trace context in which the event was published; null if it is not recorded.
    Column("trace", Text, nullable=True),
    Index("oyez_webhook_deliveries_order", "receiver", "dead", "id"),
    sqlite_autoincrement=True,
)

webhook_readers = Table(
    "oyez_webhook_readers",
    metadata,
    Column("system", String(64), primary_key=True),
    # Events up to this position of the log are in the deliveries; null if no receiver is enabled.
    Column("position", String(64), nullable=True),
    # The event at this position and the namespaces in which it was read: its other namespaces may follow.
    Column("last", JSON, nullable=True),
    # The process that reads the log and sends the deliveries. Its beat grows while it lives; 0 if it has stopped.
    Column("leader", String(32), nullable=False),
    Column("beat", BigInteger, nullable=False),
)

audit = Table(
    "oyez_audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Float(53), nullable=False),
    # `operator` or `service`, and the name of the key.
    Column("kind", String(16), nullable=False),
    Column("by", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    # Empty for what concerns no system.
    Column("system", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("outcome", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Index("oyez_audit_at", "at"),
    sqlite_autoincrement=True,
)

restrictions = Table(
    "oyez_restrictions",
    metadata,
    Column("system", String(64), primary_key=True),
    # `block`, `user`, `role` or `token`.
    Column("kind", String(16), primary_key=True),
    Column("subject", String(300), primary_key=True),
    # Tokens that were issued before this time are refused, until the other.
    Column("since", Float(53), nullable=False),
    Column("until", Float(53), nullable=False),
    Column("by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
)

service_keys = Table(
    "oyez_service_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    # SHA-256 of the key, in hexadecimal digits.
    Column("hash", String(64), nullable=False),
    Column("systems", JSON, nullable=False),
    # Names of events, and beginnings of names that end with `*`; empty for all.
    Column("events", JSON, nullable=False),
    Column("webhooks", Boolean, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("by", String(128), nullable=False),
    Column("until", Float(53), nullable=True),
    Column("revoked", Float(53), nullable=True),
    Column("last_used", Float(53), nullable=True),
)

receipt_events = Table(
    "oyez_receipt_events",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("position", String(64), primary_key=True),
    Column("namespace", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    # Lists in JSON.
    Column("rooms", Text, nullable=False),
    Column("excluded", Text, nullable=False),
    # When a process first delivered it.
    Column("at", Float(53), nullable=False),
    # Recipients over the limit `max_receipts`, which have no rows of their own.
    Column("more_live", Integer, nullable=False),
    Column("more_replayed", Integer, nullable=False),
    Column("more_acknowledged", Integer, nullable=False),
    Index("oyez_receipt_events_at", "system", "at", "position"),
)

receipts = Table(
    "oyez_receipts",
    metadata,
    Column("system", String(64), primary_key=True),
    Column("position", String(64), primary_key=True),
    # The user; for a client without a user, the room of its socket.
    Column("recipient", Text, primary_key=True),
    # When it was first delivered while the user was connected, first replayed, and acknowledged.
    Column("live", Float(53), nullable=True),
    Column("replayed", Float(53), nullable=True),
    Column("acknowledged", Float(53), nullable=True),
    sqlite_with_rowid=False,
)
