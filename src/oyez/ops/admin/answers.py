"""What the admin API is asked and what it answers, as types. The routes, the OpenAPI document and the admin contract
are made from them.

A list that all nodes contribute to has `missing`: the nodes that have not answered in time. Times are ISO 8601, sizes
are bytes, durations are seconds.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from oyez.contract.types import CamelPayload, Time

MAX_LISTED = 200
"""Items of one page."""
MAX_TEXT = 500
"""Characters of a reason or of an announcement."""

Limit = Annotated[int, Meta(ge=1, le=MAX_LISTED)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Word = Annotated[str, Meta(max_length=300)]

# Sign-in.


class SignIn(CamelPayload):
    """An operator's key."""

    key: Annotated[str, Meta(min_length=1, max_length=200)]


class Session(CamelPayload):
    """A token for the admin API and the admin events."""

    token: str
    """Sent as `Authorization: Bearer …`, and as `auth.token` of the admin events' connection."""
    name: str
    """The name of the operator's key."""
    expires_at: Time
    """Renew the token before this time."""
    ends_at: Time
    """From this time on the token cannot be renewed, and the operator signs in again."""


class MissingNode(CamelPayload):
    """A node that has not answered in time."""

    id: str
    host: str | None
    """Its machine; null if it has never been heard of here."""
    pid: int | None


# What is connected.


class ConnectionsQuery(CamelPayload):
    """Which sockets are listed. Every filter that is given has to fit."""

    system: Word | None = None
    namespace: Word | None = None
    room: Word | None = None
    user: Word | None = None
    """The whole id of a user."""
    node: Word | None = None
    """The id of a node."""
    search: Word = ""
    """A part of the user's id, the socket's id or the address; letters of either case."""
    after: Annotated[str, Meta(max_length=2_000)] | None = None
    """`next` of the page before."""
    limit: Limit = 50


class ShownSocket(CamelPayload):
    """A connected socket: one client in one namespace."""

    system: str
    namespace: str
    id: str
    user: str
    role: str
    guest: bool
    address: str
    node: str
    transport: str
    """`websocket`, `polling` or `json`."""
    connected_at: Time | None
    """Null if it is older than the history of its node."""
    rooms: int
    """Number of its rooms."""
    unsent: int
    """Bytes that wait until the client reads them."""


class SocketPage(CamelPayload):
    """Sockets, sorted by user, system, namespace and socket."""

    sockets: list[ShownSocket]
    count: int
    """Number of all sockets that fit, on the nodes that have answered."""
    next: str | None
    missing: list[MissingNode]


class RoomsQuery(CamelPayload):
    """Which rooms are listed."""

    system: Word | None = None
    namespace: Word | None = None
    search: Word = ""
    """A part of the room's name; letters of either case."""
    after: Annotated[str, Meta(max_length=2_000)] | None = None
    limit: Limit = 50


class ShownRoom(CamelPayload):
    """A room in which at least one socket is."""

    system: str
    namespace: str
    room: str
    sockets: int
    """Number of sockets in it, on all nodes."""


class RoomPage(CamelPayload):
    """Rooms, sorted by system, namespace and name."""

    rooms: list[ShownRoom]
    next: str | None
    missing: list[MissingNode]


class UsersQuery(CamelPayload):
    """Which users are listed."""

    system: Word | None = None
    search: Word = ""
    """A part of the user's id; letters of either case."""
    after: Annotated[str, Meta(max_length=2_000)] | None = None
    limit: Limit = 50


class ShownUser(CamelPayload):
    """A connected user."""

    system: str
    user: str
    sockets: int
    """Number of sockets, on all nodes."""


class UserPage(CamelPayload):
    """Connected users, sorted by system and id."""

    users: list[ShownUser]
    next: str | None
    missing: list[MissingNode]


# One user, one room.


class HeldRoom(CamelPayload):
    """A room in which a socket is, and the right to be there."""

    room: str
    rule: str
    """The rule of the room, in words."""
    verdict: str
    """What the rule says about this client now: `yes`, `no`, or `if a member` (only the membership table knows)."""


class SocketDetail(ShownSocket):
    """A socket with its rights."""

    roles: list[str]
    token_id: str | None
    """The claim `jti` of its token."""
    token_ends: Time | None
    position: str
    """The client has been sent everything up to this position."""
    held: list[HeldRoom]
    """The first 100 of its rooms."""
    commands: list[str]
    """Commands that its roles may send."""


HistoryKind = Literal["connect", "disconnect", "join", "leave", "recovery", "refusal", "slow"]


class Happened(CamelPayload):
    """Something that a node remembers about a client."""

    at: Time
    kind: HistoryKind
    node: str
    namespace: str
    socket: str
    user: str
    address: str = ""
    position: str = ""
    """The node had delivered everything up to this position."""
    room: str = ""
    """For `join`, `leave`, and a `recovery` of one room."""
    reason: str = ""
    """For `disconnect`, and for a `recovery` that failed."""
    code: str = ""
    """For `refusal`."""
    name: str = ""
    """For `refusal`: the command."""
    recovered: bool | None = None
    replayed: int | None = None


class ShownEvent(CamelPayload):
    """An event as the log has it. The values of fields that the contract marks as private are `[private]`."""

    position: str
    namespace: str
    name: str
    rooms: list[str]
    """Empty: all clients in the namespace."""
    excluded: list[str]
    data: Any
    """`[private]` as a whole if the contract does not know the event any more."""
    size: int


class Restriction(CamelPayload):
    """A user who is blocked, or tokens that are refused."""

    system: str
    kind: Literal["block", "user", "role", "token"]
    """`block`: the user may not connect. The others: tokens of the user, with the role or with the id are refused."""
    subject: str
    since: Time
    """Tokens that were issued before this time are refused."""
    until: Time
    by: str
    reason: str


class RestrictionList(CamelPayload):
    """The blocks and revocations that hold, the newest first."""

    restrictions: list[Restriction]


class UserDetail(CamelPayload):
    """All that the nodes know of a user."""

    system: str
    user: str
    sockets: list[SocketDetail]
    """The first 100."""
    restrictions: list[Restriction]
    history: list[Happened]
    """The newest first, at most 200."""
    events: list[ShownEvent]
    """The newest events in the log for the user's present rooms, the newest first, at most 50."""
    missing: list[MissingNode]


class RoomQuery(CamelPayload):
    """Which room is shown."""

    namespace: Word | None = None
    """The namespace, if several have the room."""


class RoomDetail(CamelPayload):
    """All that the nodes know of a room."""

    system: str
    namespace: str
    room: str
    rule: str
    """Who may be in it, in words."""
    sockets: list[ShownSocket]
    """The first 100; `connections?room=` lists all of them."""
    count: int
    members: list[str] | None
    """The first 100 of the membership table; null if the rule of the room does not ask it."""
    history: list[Happened]
    """Clients that have joined and left, the newest first, at most 200."""
    events: list[ShownEvent]
    missing: list[MissingNode]


class HistoryQuery(CamelPayload):
    """Which part of the history is shown. The history of a node is bounded, and ends with its process."""

    system: Word | None = None
    user: Word | None = None
    room: Word | None = None
    socket: Word | None = None
    kind: HistoryKind | None = None
    limit: Limit = 100


class HistoryPage(CamelPayload):
    """What the nodes remember, the newest first."""

    history: list[Happened]
    missing: list[MissingNode]


# Events, and whom they reached.


class EventsQuery(CamelPayload):
    """Which events of the log are shown."""

    namespace: Word | None = None
    name: Word | None = None
    room: Word | None = None
    after: Annotated[str, Meta(max_length=64)] | None = None
    """A position: the events after it, the oldest first. Without it: the newest events, the newest first."""
    limit: Limit = 50


class EventPage(CamelPayload):
    """Events of the log."""

    events: list[ShownEvent]
    next: str
    """`after` of the next request, also if there are no events now."""


class EventQuery(CamelPayload):
    """About whom an event is examined."""

    user: Word | None = None


StepKind = Literal[
    "published",
    "stored",
    "not_stored",
    "delivered",
    "replayed",
    "not_recovered",
    "not_entitled",
    "excluded",
    "away",
    "not_replayed_yet",
    "unknown",
]


class Step(CamelPayload):
    """What became of an event, for all clients or for one."""

    step: StepKind
    text: str
    """In words, with the cause."""
    at: Time | None = None
    node: str = ""
    namespace: str = ""
    socket: str = ""
    user: str = ""


class NodeDelivery(CamelPayload):
    """An event was written to the clients of one node."""

    node: str
    at: Time
    recipients: int


class EventTrace(CamelPayload):
    """The way of one event."""

    event: ShownEvent | None
    """Null if the log does not keep it any more."""
    steps: list[Step]
    """In this order: published, stored, and then what became of it for each client: the 200 first, or, with `user`,
    all sockets that the user has had."""
    deliveries: list[NodeDelivery]
    missing: list[MissingNode]


# Nodes, work, rates.


class SlowSocket(CamelPayload):
    """A client that does not read what it is sent."""

    system: str
    user: str
    address: str
    unsent: int


class NodeSystem(CamelPayload):
    """One system at one node."""

    system: str
    position: str
    """The node has delivered everything up to this position."""
    behind: int | None
    """Number of entries that the log has after it; null if that is unknown."""
    log: bool
    """True if the node reaches the log."""
    database: bool
    connections: int
    sockets: dict[str, int]
    """By namespace."""
    handlers: int
    unsent: int
    slow: list[SlowSocket]
    """The ten clients with the most unsent bytes."""


class ShownNode(CamelPayload):
    """A process."""

    id: str
    host: str
    pid: int
    address: str
    """Where other nodes reach it."""
    version: str
    started_at: Time
    stopping: bool
    loop_lag: float
    """The longest delay of a timer in the event loop within the last ten seconds, in seconds."""
    memory: int | None
    """Resident bytes of the process; null if the system does not say."""
    systems: list[NodeSystem]


class NodeList(CamelPayload):
    """All nodes."""

    nodes: list[ShownNode]
    missing: list[MissingNode]


class SetAside(CamelPayload):
    """A committed event that cannot be published."""

    id: int
    created: Time
    namespace: str
    rooms: list[str]
    error: str


class ShownJob(CamelPayload):
    """A job that is due, or has failed."""

    kind: str
    key: str
    due: Time
    failures: int
    error: str | None


class ShownHook(CamelPayload):
    """A receiver of webhooks."""

    id: str
    host: str
    enabled: bool
    disabled_reason: str | None
    failures: int
    failing_since: Time | None
    waiting: int
    dead: int
    gaps: int


class Work(CamelPayload):
    """What a system has left to do."""

    system: str
    outbox_waiting: int
    outbox_lag: float
    """The age of the oldest event that waits for the log."""
    outbox_set_aside: list[SetAside]
    """The first 100."""
    jobs_due: int
    jobs_lag: float
    jobs_failing: int
    jobs: list[ShownJob]
    """The first 100 that are due or have failed."""
    webhooks: list[ShownHook]
    log_bytes: int


class DeadQuery(CamelPayload):
    """A page of dead letters."""

    after: Annotated[int, Meta(ge=0)] = 0
    limit: Limit = 50


class ShownDead(CamelPayload):
    """A webhook that was given up. Its body is not shown, because it may have private fields."""

    id: str
    event: str
    created: Time
    attempts: int
    error: str


class DeadPage(CamelPayload):
    """Dead letters of a receiver, the oldest first."""

    dead: list[ShownDead]
    next: int | None


class SendDead(CamelPayload):
    """Which dead letters are sent again; by default, all."""

    ids: Annotated[list[str], Meta(max_length=MAX_LISTED)] | UnsetType = UNSET


class Sent(CamelPayload):
    """How many are sent again."""

    count: int


class RatesQuery(CamelPayload):
    """For how long the rates are shown."""

    seconds: Annotated[int, Meta(ge=1, le=600)] = 300


class Quantiles(CamelPayload):
    """Durations in seconds, from histograms: half of the values, and 99 of 100, are not longer. Null: no values."""

    p50: float | None
    p99: float | None


class SystemRates(CamelPayload):
    """What happened in one system in one second, on all nodes."""

    system: str
    connections: int
    sockets: int
    published: float
    delivered: float
    """Events written to clients, once for each client."""
    bytes: float
    """Bytes of these events."""
    commands: float
    refusals: float
    connects: float
    disconnects: float
    recoveries: float
    slow: float
    append: Quantiles
    delivery: Quantiles
    command: Quantiles


class Tick(CamelPayload):
    """One second."""

    at: Time
    systems: list[SystemRates]
    loop_lag: float
    """The longest of all nodes."""


class Rates(CamelPayload):
    """The last seconds, the oldest first; the present second is not complete, and left out."""

    ticks: list[Tick]
    missing: list[MissingNode]


class Summary(CamelPayload):
    """The state of all nodes, pushed once a second while somebody watches."""

    at: Time
    tick: Tick
    nodes: list[ShownNode]
    missing: list[MissingNode]
    restrictions: int
    """Number of blocks and revocations that hold."""


class SystemInfo(CamelPayload):
    """A system that is served."""

    name: str
    description: str
    roles: list[str]
    namespaces: list[str]
    events: list[str]
    receipts: list[str]
    """The events with receipts."""


class Overview(CamelPayload):
    """Who is signed in, and what is served."""

    name: str
    version: str
    systems: list[SystemInfo]
    log_retention: float
    history: int
    """Records about clients that each node keeps."""
