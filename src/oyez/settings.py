"""Every setting and every limit, each with its default and the reason for it.

Only `load_settings` reads the environment, once, when a command starts.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from oyez.errors import SettingsError
from oyez.levels import read_levels

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=10_000_000)]
ORIGIN = re.compile(r"\*|null|[A-Za-z][\w+.-]*://[^/?#\s]+")
"""An origin as browsers send it (RFC 6454, section 6.1), or `*` for any origin."""
ORIGIN_PATTERN = re.compile(r"[A-Za-z][\w+.-]*://\*((\.[\w-]+){2,}|\.localhost)(:\d+)?")
"""An origin with `*.` before a host name of two or more labels: a single one, such as `com`, belongs to no operator."""


HIDDEN = ("jwt_secret", "metrics_token", "admin_keys", "database_url", "log_url", "redis_url")
"""Settings that are secrets, or addresses with a password."""


INVISIBLE = "\ufeff\r\n"
"""Line ends, and the byte order mark that editors for Windows write at the start of a file."""
INVISIBLE_WITHIN = re.compile(r"[\x00-\x1f\x7f\ufeff]")
KINDS = {"`int`": "a whole number", "`float`": "a number", "`bool`": "true or false", "`str`": "text"}
"""msgspec's names of types, in words for people who do not write Python."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Values of `host` with which only programs on the same machine reach the server."""
LISTS = ("admin_keys", "client_origin", "jwt_claims", "trusted_proxies")
"""Settings whose value may contain line breaks."""


BACKEND_URL = re.compile(r"https?://[^/?#\s@]+(/[^\s#]*)?")
SIGNING_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}")
"""A secret of Standard Webhooks: 24 to 64 bytes in base64."""
MAX_WEBHOOK_RETRIES = 50
MAX_WEBHOOK_DELAY = 7 * 86_400.0
"""Seconds between two attempts: a week, because dead letters are kept for a month."""
GROUPS = ("limits", "backends", "webhooks")
"""Settings that are tables in `oyez.toml`: they are no flags."""

MIN_SECRET_BYTES = 32
"""An HS256 key is at least as long as the hash it makes (RFC 7518, section 3.2)."""
MAX_DECLARED_BYTES = 500_000
"""Bytes that a contract may allow for one event or command: half of the defaults of `max_payload`, `max_send_buffer`
and `max_polling_buffer`, so that one message never fills a buffer of a client."""
MAX_VOLATILE_BYTES = 80_000
"""The same for a volatile event. The processes of one machine send it to each other in a datagram of 100,000 bytes."""
MAX_VOLATILE_BINARY_BYTES = MAX_VOLATILE_BYTES // 4 * 3
"""The same for a volatile event with binary values, which are base64 in that datagram."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The limits of one client, one packet or one event. Sizes are bytes, times are seconds."""

    max_payload: Positive = 1_000_000
    """One WebSocket message or polling body. The default is the protocol's own; clients receive it in the handshake."""
    max_packets_per_payload: Positive = 10_000
    """Packets in one polling body: a client that was offline sends its whole queue at once, and a packet costs 2 µs."""
    max_connect_bytes: Positive = 16_384
    """The payload of a CONNECT: enough for a token and a few fields. Until a namespace has accepted the client, one
    message or polling body may have twice as many bytes, because an attacker opens such connections at no cost."""
    max_packets_per_second: Positive = 2_000
    """Packets of one connection per second on average, of any kind: events, acknowledgements, pongs, pings, fragments.
    A polling request and a command over its limit count as ten, a CONNECT as five. The server reads no faster."""
    max_bytes_per_second: Positive = 2_000_000
    """Bytes of one connection per second on average, counted after inflation. The server reads no faster, because
    checking and decoding one megabyte takes a few milliseconds."""
    max_unauthenticated_packets_per_second: Positive = 20
    """`max_packets_per_second` for a client that no namespace has accepted yet. Such a client only needs to send a
    CONNECT; if it sends more packets than this limit, its connection is closed."""
    input_burst: Seconds = 5.0
    """Seconds of these rates that a client may send at once: by default 10,000 packets or 10 MB, enough for the queue
    of a client that was offline."""
    overload_timeout: Seconds = 60.0
    """Time for which a connection may continue to send more than its rates before it is closed."""
    max_inflate_ratio: Positive = 100
    """Ratio of a message's inflated size to its compressed size. If a message has over 64 KB and exceeds this ratio,
    its bytes count in proportion: at twice the ratio they count twice. JSON of honest clients shrinks to a twentieth;
    only a message that was made for an attack shrinks to less than a hundredth."""
    max_unfinished_bytes: Positive = 64_000_000
    """Unfinished input of all clients of one process: frames, messages in fragments, attachments and bodies of all HTTP
    requests whose end has not arrived. Above this limit the server closes the client with the most unfinished bytes;
    a back end receives 503. Less than 16 KB of a client do not count."""
    max_attachments: Annotated[int, Meta(ge=0)] = 10
    """Binary attachments of one packet: the official parser's limit (CVE-2026-33151)."""
    max_attachment_bytes: Positive = 2_000_000
    """All attachments of one packet together: the server keeps them in memory until the last one has arrived."""
    max_fragments: Positive = 256
    """Frames of one WebSocket message: tiny fragments cost far more than their bytes (CVE-2026-48779)."""
    max_malformed_frames: Positive = 20
    """Malformed frames of a plain WebSocket client in a minute. The server answers each with an `error` that describes
    the expected frame; one frame more than this limit ends the connection."""
    max_namespaces_per_connection: Positive = 10
    """Namespaces one connection may be in at a time: far more than a front end needs."""
    max_connects_per_minute: Positive = 100
    """CONNECTs of one connection in a minute: for each the server verifies a token and resolves user attributes."""
    max_rooms_per_socket: Positive = 500
    """Rooms of one socket: a disconnect removes the socket from every room, which must not take long."""
    max_namespace_length: Positive = 128
    """Bytes of a namespace's name, checked before the name is looked up or logged."""
    max_event_name: Positive = 128
    """Characters of an event's name, checked before the name is looked up or logged."""
    max_json_depth: Positive = 32
    """Nesting of a client's JSON: deeper than any contract needs, and too shallow to overflow a stack."""
    max_json_elements: Positive = 20_000
    """Elements of all arrays and objects in one packet's JSON together: far more than any contract needs. They are
    counted before the JSON is decoded, because a decoded element uses more memory than its bytes."""
    max_arguments: Positive = 16
    """Arguments of one event or acknowledgement."""
    max_pending_acks: Positive = 1_000
    """Acknowledgements that the server waits for from one socket."""
    max_receipts: Positive = 10_000
    """Recipients of one event whose receipts one process records; further ones are only counted."""
    max_command_wait: Seconds = 10.0
    """Time for which a command without a limit of its own waits if the client exceeds the default limit: commands that
    a client has queued while it was offline are handled late, and not refused."""
    max_connections_per_user: Positive = 100
    """Connections of one user, to all processes: far more than devices and tabs, even together with broken connections
    that the server has not noticed yet."""
    guests_per_address: Positive = 10
    """Guests who are expected to share a network address. All guests of one address together may send as many commands,
    and have as many connections, as so many users, because a guest costs nothing to make. Set it higher for guests in
    schools and offices, and behind a proxy that is not in `trusted_proxies`. Of IPv6, the first 64 bits count."""
    max_event_bytes: Positive = 10_240
    """One published event's data, encoded. An event is sent to thousands of clients at once, so it must be small."""
    max_events_per_publish: Positive = 1_000
    """Events in one publish request. All events of a list are checked before any is published, so the list must be
    short."""
    max_rooms_per_event: Positive = 1_000
    """Rooms that one published event names: every node looks up each of them for each event."""
    max_publish_bytes: Positive = 2_000_000
    """The body of one publish request. If a request is answered before its body has arrived, the server reads and drops
    at most as many bytes."""
    max_connections: Positive = 100_000
    """Clients of one server process; at 9 KB each this is about 0.9 GB. With several workers, the limit is for each."""
    max_connections_per_address: Positive = 10_000
    """Clients from one network address: thousands of phones share an address of their mobile carrier. Of an IPv6
    address the first 64 bits count, because one household or machine has all addresses that begin with them."""
    max_failed_sign_ins_per_address: Positive = 300
    """Tokens and service keys from one network address that cannot be verified, in a minute, for each system. The nodes
    of a system notify each other of them once a second. Further ones are refused with `rate_limited`. A valid one is
    accepted nevertheless, because thousands of phones share an address; only a system that finds its users itself
    (`authenticate`) is not asked then. Of IPv6, the first 64 bits count."""
    max_handshakes_per_second: Positive = 2_000
    """Handshakes that one process starts within a second: more than a core can complete, but few enough that the
    process stays responsive. Further clients receive 503 with Retry-After; official clients retry later, at random."""
    max_tunnels: Positive = 20_000
    """Requests and WebSockets that one process forwards to other nodes; each uses two open files."""
    max_idle_connections: Positive = 10_000
    """HTTP connections of one process that are kept open without a request. Above this limit the server closes the
    connection that has been idle longest, so that idle connections do not use up the open files that clients need."""
    max_header_bytes: Positive = 16_384
    """The head of an HTTP request, cookies and query tokens included."""
    max_headers: Positive = 150
    """Headers of an HTTP request; also the parameters of its address. Each costs more memory than its bytes. A browser
    and a chain of proxies send about 50 headers."""
    max_send_buffer: Positive = 1_000_000
    """Bytes that wait for a client that does not read; above this limit the connection is closed."""
    max_replay_page: Positive = 262_144
    """Bytes of missed events that are sent to a returning client at a time. The next page follows when the client has
    received this one, so a client that does not read uses no more memory than one page."""
    max_replayed_bytes: Positive = 64_000_000
    """Bytes of missed events that one process sends to one user in a minute, over all connections. Further events are
    delayed, because a few small packets must not fetch gigabytes."""
    max_polling_buffer: Positive = 1_000_000
    """Bytes that wait for a polling client between two requests; above this limit the session is closed. One message
    may be longer, and eight times as much may wait for a client that has polled within `close_timeout`. At half of the
    limit, replies to the client's commands wait until the client polls."""
    max_database_queue: Positive = 5_000
    """Transactions of one system that wait for a thread in one process; reads have a queue of the same size. A longer
    queue would not begin within `database_queue_timeout`. Further transactions are refused with `unavailable`."""
    max_database_queue_per_user: Positive = 100
    """Transactions of one user in that queue: far more than a front end sends at a time."""
    database_queue_timeout: Seconds = 5.0
    """Time for a transaction to begin. After it, the transaction is cancelled and answered with `unavailable`."""
    database_lock_timeout: Seconds = 2.0
    """Time that a statement waits for a lock of another transaction; usually milliseconds are enough. After it, the
    transaction is rolled back and answered with `unavailable`, so one locked table cannot keep all connections busy."""
    database_statement_timeout: Seconds = 10.0
    """Time for one statement, and between two statements of a transaction. After it, the transaction is rolled back and
    answered with `unavailable`. With SQLite, time for a whole transaction, because only one can write at a time."""
    database_timeout: Seconds = 15.0
    """Time after which a running transaction is answered with `unavailable`, because the database does not answer. The
    transaction may still be committed later."""
    header_timeout: Seconds = 10.0
    """Time for a request's head to arrive: a slow-loris attack cannot keep connections open for longer."""
    body_timeout: Seconds = 20.0
    """Time for a request's body to arrive."""
    authenticate_timeout: Seconds = 10.0
    """Time for a system's own `authenticate` to answer; after it, the client reconnects and asks again. An identity
    provider that needs longer does not answer at all."""
    connect_timeout: Seconds = 45.0
    """Time between the Engine.IO handshake and the first namespace. This is the official servers' default."""
    refused_timeout: Seconds = 2.0
    """Time for a refused client to disconnect by itself. Some official clients reconnect for ever if the server
    disconnects them at once, and python-socketio before 5.11 waits for a second."""
    upgrade_timeout: Seconds = 10.0
    """Time for a WebSocket that probes to complete the upgrade."""
    close_timeout: Seconds = 5.0
    """Time for the client of a closing connection to receive what the server has written, before the connection is
    aborted."""

    @property
    def max_unauthenticated_bytes(self) -> int:
        """Bytes of one message or polling body of a client that no namespace has accepted yet."""
        return min(self.max_payload, 2 * self.max_connect_bytes)


class BackendSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one back end is called, which a contract names in `handled_by=` and similar. Sizes are bytes.

    In `oyez.toml` these are the lines below `[backends.NAME]`, in the environment `OYEZ_BACKEND_NAME_URL` and so on.
    """

    url: str
    """The address to which all requests for the back end are sent by POST. Behind `https`, the certificate must be
    valid."""
    secret: str
    """The secret that signs the requests, as Standard Webhooks write it: `whsec_` and 24 to 64 bytes in base64. While a
    secret is replaced, the new one and the old one, separated by a space."""
    timeout: Annotated[float, Meta(gt=0, le=30)] = 5.0
    """Seconds for one request, its repeats included: the client's later commands wait for it."""
    max_concurrent: Annotated[int, Meta(ge=1, le=10_000)] = 64
    """Requests that one process sends at a time; each has a connection. A back end with few threads needs less."""
    max_queue: Annotated[int, Meta(ge=0)] = 1_000
    """Requests of one process that wait for their turn. Further requests are refused with `unavailable`."""
    max_answer_bytes: Positive = 1_000_000
    """The body of one answer: as much as one message to a client may have."""
    circuit_failures: Positive = 5
    """Failures in a row after which no request is sent for a while, because the back end is away."""
    circuit_pause: Seconds = 1.0
    """Seconds until one request tries a back end that is away. The time doubles with each failure, up to a minute."""

    def __repr__(self) -> str:
        """Without the secret, because logs may show it."""
        return f"BackendSettings(url={self.url!r}, …)"


_BACKEND = re.compile(rf"OYEZ_BACKEND_([A-Z][A-Z0-9_]*)_({'|'.join(BackendSettings.__struct_fields__).upper()})")
"""The name of a back end's setting in the environment."""


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A receiver of webhooks that the operator declares, instead of adding it with `oyez webhooks add`.

    In `oyez.toml` these are the lines below `[webhooks.NAME]`, in the environment `OYEZ_WEBHOOK_NAME_URL` and so on.
    """

    system: str
    """The system whose events are sent. A server that does not serve this system leaves the receiver out."""
    url: str
    """The address to which events are sent by POST."""
    secret: str
    """The secret that signs the events, as Standard Webhooks write it: `whsec_` and 24 to 64 bytes in base64. While a
    secret is replaced, the new one and the old one, separated by a space."""
    events: tuple[str, ...] = ()
    """Names of events, in the environment separated by commas; none for all that may go out."""
    version: str | None = None
    """The version of the contract whose forms of events are sent; without it, the newest forms."""

    def __repr__(self) -> str:
        """Without the secret and the address, which may hold one, because logs may show it."""
        return f"WebhookSettings(system={self.system!r}, …)"


_WEBHOOK = re.compile(rf"OYEZ_WEBHOOK_([A-Z][A-Z0-9_]*)_({'|'.join(WebhookSettings.__struct_fields__).upper()})")
"""The name of a receiver's setting in the environment."""
OPERATOR_KEY = re.compile(r"([\w.-]{1,64})=sha256:([0-9a-f]{64})", re.ASCII)
"""An operator's key, as the setting has it."""
WEBHOOK_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")
"""The name of a receiver: a part of its id in the database."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one Oyez process runs. Names are those of `oyez.toml`; the environment has them in upper case.

    The first sentence of each setting is also the help of its flag. If the default is None, a sentence that begins with
    "Unset:" describes what happens then.
    """

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all addresses of this machine."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 5001
    """Port to listen on; 0 for any free port."""
    jwt_secret: str | None = None
    """The HS256 secret that signs and verifies tokens; safer in the environment than as a flag. While it is replaced,
    the new and the old secret, separated by a space: the first signs, and both verify. Unset: a secret that is created
    in `oyez_data`."""
    jwt_key_file: str | None = None
    """A PEM or JWK file with the public key (RS256, ES256, Ed25519) that verifies users' tokens."""
    jwks_url: str | None = None
    """The address of the key set (JWKS) that verifies users' tokens. It is fetched again when an unknown key id
    appears."""
    jwt_issuer: str | None = None
    """The `iss` that every token must have."""
    jwt_audience: str | None = None
    """The `aud` that every token must have."""
    jwt_subject: str = "sub, userId"
    """The claim that holds the user's id; if several are given, separated by commas, the first one that a token has."""
    jwt_role: str = "role"
    """The claim that holds the user's role, or a list of roles. A dot selects a member: `realm_access.roles`."""
    jwt_claims: str = ""
    """Claims whose names in the tokens differ from the contract's: `NAME=CLAIM`, separated by commas. Example:
    `garage_id=https://id.example/garage`."""
    jwt_leeway: Annotated[float, Meta(ge=0)] = 10.0
    """Seconds by which the clock that made a token may differ from the server's clock."""
    client_origin: str = ""
    """Origins whose pages may connect, separated by commas. Unset: same origin only. `https://*.pr.example` names all
    hosts below pr.example. `*` allows all, without cookies."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies whose `X-Forwarded-For` states the client's address, separated by commas. Unset:
    the address from which a connection comes is the client's. Example: `10.0.0.1, 10.1.0.0/16`."""
    ws_path: str | None = None
    """An additional path of Socket.IO, if only one system is served. Unset: `/socket.io/`."""
    serve_client: bool = True
    """Serve the official browser client at `/{system}/socket.io/socket.io.js`, as official servers do."""
    docs: bool | None = None
    """Serve the documents of each contract at `/{system}/contract.json` and beside it. Unset: only in development. That
    means: the server listens on this machine only, no proxy is named, and no key for users' tokens is set."""
    console_tokens: bool | None = None
    """Let the console of the documentation page make tokens; only in development. Unset: only if the server was started
    in a terminal, because a server behind a proxy that names no client looks like one in development."""
    cookie_name: str = "access_token"
    """The cookie that holds a token, for systems that accept one."""
    database_url: str | None = None
    """The database of the systems' own tables: `postgresql://…` or `sqlite:///PATH`. Unset: SQLite in `oyez_data`."""
    database_connections: Annotated[int, Meta(ge=2, le=100)] = 6
    """Connections to PostgreSQL that one process keeps for each system. A third is for reads, the others for
    transactions that write. PostgreSQL itself accepts 100 from all processes together by default."""
    database_sync: Literal["normal", "full"] = "normal"
    """What a commit to SQLite survives: `normal`, a killed process; `full` (slower), also power loss. Commits that come
    at the same time share one wait for the disk."""
    time_zone: str = "UTC"
    """The operator's time zone, by its IANA name such as `Europe/Berlin`: "today" begins at midnight in this zone."""
    oyez_data: str = "./oyez-data"
    """Folder of the secret, the SQLite database and the logs."""
    log_level: str = "info"
    """The least important log lines that are written: `debug`, `info`, `warning` or `error`. After a comma,
    `PART=LEVEL` gives a part another level, for example `info, commands=debug`."""
    metrics_token: Annotated[str, Meta(min_length=16)] | None = None
    """The token that Prometheus sends to read `/metrics` (`Authorization: Bearer …`), 16 characters or more. Unset:
    there is no `/metrics`."""
    tracing: bool = False
    """Record traces with OpenTelemetry, and send them as the variables `OTEL_*` say (OTLP over HTTP). Needs
    `pip install 'oyez[tracing]'`."""
    tracing_users: bool = False
    """Name users in the spans of their commands (`enduser.id`)."""
    admin_keys: str | None = None
    """The keys of operators, as `NAME=sha256:HASH`, separated by commas; `oyez keys operator NAME` makes one. Unset:
    there is no admin page and no admin API."""
    audit_days: Annotated[int, Meta(ge=1, le=3_660)] = 90
    """Days for which the records of the audit are kept."""
    receipt_days: Annotated[int, Meta(ge=1, le=3_660)] = 7
    """Days for which receipts of events are kept: long enough to answer a customer's complaint."""
    ssl_certfile: str | None = None
    """The certificate (PEM), for HTTPS."""
    ssl_keyfile: str | None = None
    """The certificate's key (PEM, without a password)."""
    keep_alive: Seconds = 75.0
    """Seconds for which an HTTP connection is kept open without a request. The time must be longer than a balancer
    keeps its connections (nginx and ALB: 60 s); otherwise a request that meets a closing connection fails with 502."""
    ping_interval: Seconds = 25.0
    """Seconds between a client's last pong and the next ping."""
    ping_timeout: Seconds = 20.0
    """Seconds within which a client must answer a ping."""
    ack_timeout: Seconds = 10.0
    """Seconds within which a client must acknowledge an event."""
    drain_time: Annotated[float, Meta(ge=0, le=10_000_000)] = 5.0
    """Seconds over which a stopping server disconnects its clients, so that they do not all reconnect at once. A few
    hundred clients take less time. 0: all at once."""
    shutdown_timeout: Seconds = 10.0
    """Seconds for which a stopping server then waits for clients to disconnect and for handlers to finish."""
    workers: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """Processes of `oyez serve` that share the port and the data folder: one for each core that clients may use."""
    worker_timeout: Seconds = 10.0
    """Seconds without a report after which one of several workers is killed and replaced. No code may block the event
    loop for this time."""
    node_address: str | None = None
    """HOST:PORT on which a node accepts requests forwarded by other nodes, if the logs are in Redis. Unset: the address
    by which this machine reaches Redis, and any free port. Workers use the ports from this one on."""
    log_url: str | None = None
    """The storage of the logs: `redis://…`, `rediss://…`, `unix://…` (Redis by its UNIX socket), `sqlite:` (files in
    `oyez_data`) or `memory:` (lost with the process). Unset: `redis_url`, or files in `oyez_data`."""
    log_retention: Seconds = 300.0
    """Seconds for which the log keeps events: a client that reconnects within this time receives what it missed."""
    log_max_bytes: Positive = 1_000_000_000
    """Maximum bytes of a system's log in SQLite. Above it the oldest events are deleted early."""
    log_sync: Literal["normal", "full"] = "normal"
    """What a log in SQLite survives: `normal`, a killed process; `full` (slower), also power loss."""
    redis_url: str | None = None
    """The Redis (7 or later) or Valkey that holds the logs, for several machines. Unset: SQLite in `oyez_data`."""
    redis_prefix: str = "oyez"
    """The first part of all names in Redis. Installations that share one Redis need different prefixes."""
    redis_emitter: bool = True
    """Publish the events that `@socket.io/redis-emitter` sends through that Redis, without a service key."""
    redis_emitter_key: Annotated[str, Meta(pattern=r"^[\w.:-]+$")] | None = None
    """The `key` of such emitters, if only one system is served. Unset: the system's name, and `socket.io`. The latter
    is the emitter's own default; other servers that share the Redis may also listen to it."""
    webhook_private_addresses: bool | None = None
    """Allow receivers of webhooks in private networks and without HTTPS. Unset: only in development, as for `docs`."""
    webhook_timeout: Seconds = 15.0
    """Seconds within which a receiver of webhooks must answer."""
    webhook_retries: str = "5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400"
    """Seconds between the attempts to deliver a webhook, separated by commas. After the last one, it is a dead letter.
    The default is that of the Standard Webhooks rules."""
    webhook_disable_after: Seconds = 432_000.0
    """Seconds for which a receiver of webhooks may accept nothing before it is disabled."""
    compression_threshold: Annotated[int, Meta(ge=0)] = 1_024
    """Bytes from which on messages are compressed, if the client agreed; 0 for never."""
    limits: Limits = Limits()
    backends: Mapping[str, BackendSettings] = {}
    """The back ends that contracts name, by their names."""
    webhooks: Mapping[str, WebhookSettings] = {}
    """The receivers of webhooks that the operator declares, by their names."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, str) and value != (cleaned := clean_text(name, value)):
                msgspec.structs.force_setattr(self, name, cleaned)

    def __repr__(self) -> str:
        """Without the secret, and without addresses that may hold passwords, because logs may show it."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown |= {name: "***" for name in HIDDEN if shown[name] is not None}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def log_address(self) -> str:
        """`log_url`, or the address that replaces it if it is unset."""
        return self.log_url or self.redis_url or "sqlite:"

    @property
    def origins(self) -> frozenset[str]:
        """`client_origin` as a set, without trailing slashes."""
        return frozenset(origin.strip().rstrip("/") for origin in self.client_origin.split(",") if origin.strip())

    @property
    def zone(self) -> tzinfo:
        """`time_zone` as a Python object. Raises SettingsError."""
        if self.time_zone == "UTC":
            return UTC
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise SettingsError(
                f"TIME_ZONE is {self.time_zone!r}, which is not a time zone."
                " Set it to an IANA name such as Europe/Berlin."
            ) from None

    @property
    def development(self) -> bool:
        """True if nothing says that others use this server: it listens on this machine only, `trusted_proxies` is
        unset, and tokens are verified by a secret that Oyez has made itself."""
        keys = (self.jwt_secret, self.jwt_key_file, self.jwks_url)
        return self.host in LOOPBACK and not self.trusted_proxies and all(key is None for key in keys)

    @property
    def serves_docs(self) -> bool:
        """True if the documents of contracts are served."""
        return self.development if self.docs is None else self.docs

    def makes_tokens(self, in_terminal: bool) -> bool:
        """True if the console of the documentation page makes tokens. `in_terminal`: the server runs in a terminal."""
        return self.development and (in_terminal if self.console_tokens is None else self.console_tokens)

    @property
    def allows_private_webhooks(self) -> bool:
        """True if receivers of webhooks may be in private networks."""
        return self.development if self.webhook_private_addresses is None else self.webhook_private_addresses

    @property
    def operator_keys(self) -> Mapping[str, str]:
        """`admin_keys`: the hash of each key, by the name of its operator. Raises SettingsError, without a hash."""
        found: dict[str, str] = {}
        parts = (part.strip() for part in re.split(r"[,\n]", self.admin_keys or ""))
        for number, part in enumerate(filter(None, parts), 1):
            match = OPERATOR_KEY.fullmatch(part)
            if match is None:
                raise SettingsError(
                    f"Key {number} of ADMIN_KEYS is not NAME=sha256:HASH. Make one with `oyez keys operator NAME`."
                )
            if match[1] in found:
                raise SettingsError(f"ADMIN_KEYS has two keys of {match[1]!r}. Give each key a name of its own.")
            found[match[1]] = match[2]
        return found

    @property
    def webhook_delays(self) -> tuple[float, ...]:
        """`webhook_retries` in seconds. Raises SettingsError."""
        try:
            delays = tuple(float(part) for part in self.webhook_retries.split(",") if part.strip())
        except ValueError:
            delays = (-1.0,)
        if len(delays) > MAX_WEBHOOK_RETRIES or not all(0 < delay <= MAX_WEBHOOK_DELAY for delay in delays):
            raise SettingsError(
                f"WEBHOOK_RETRIES is {self.webhook_retries!r}. Set it to at most {MAX_WEBHOOK_RETRIES} numbers of"
                f" seconds, each more than 0 and at most {MAX_WEBHOOK_DELAY:.0f}, such as 5, 300, 1800."
            )
        return delays

    @property
    def data_folder(self) -> Path:
        return Path(self.oyez_data)


def load_settings(environ: Mapping[str, str] = os.environ, file: Path | None = None, **overrides: Any) -> Settings:
    """Read settings from `oyez.toml`, then the environment, then `overrides` (a command's flags); the last one wins.

    In the environment, `OYEZ_{NAME}` wins over `{NAME}`, because other programs may use the short name.
    Raises SettingsError with a line for each setting that cannot be read: its name and the expected value.
    """
    path = file or Path("oyez.toml")
    in_file: dict[str, Any] = {}
    try:
        exists = path.exists()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}. Run this command in a folder that this user may enter."
        ) from None
    if exists:
        try:
            in_file.update(tomllib.loads(path.read_text(encoding="utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{path} cannot be read: {reason}. Give the path of a TOML file.") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path} is not valid TOML: {error}. Correct the line, or remove the file.") from None
    elif file is not None:
        raise SettingsError(f"{path} does not exist. Give the path of an existing file, or leave --config out.")
    names = [name for name in Settings.__struct_fields__ if name not in GROUPS]
    in_environment: dict[str, Any] = _read_environment(environ, names)
    for name, pattern in (("backends", _BACKEND), ("webhooks", _WEBHOOK)):
        if group := _read_group(environ, pattern, in_file.get(name)):
            in_environment[name] = group
    sources: dict[str, Mapping[str, Any]] = {
        str(path): in_file,
        "the environment": in_environment,
        "a flag": {name: value for name, value in overrides.items() if value is not None},
    }
    values = {name: value for source in sources.values() for name, value in source.items()}
    faults = [fault for name, value in values.items() if (fault := _find_fault(name, value, sources))]
    if faults:
        raise SettingsError("\n".join(faults))
    # strict=False reads "5001" from the environment as a number.
    return msgspec.convert(values, Settings, strict=False)


def _read_environment(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        for key in (f"OYEZ_{name.upper()}", name.upper()):
            if (text := environ.get(key)) and not _is_kubernetes(key, text):
                found[name] = text.strip(INVISIBLE)
                break
    return found


def _read_group(environ: Mapping[str, str], pattern: re.Pattern[str], in_file: Any) -> dict[str, dict[str, Any]]:
    """All back ends, or receivers, if the environment has settings of some; it wins over the file. Otherwise none."""
    found: dict[str, dict[str, Any]] = {}
    given = ((pattern.fullmatch(key), text) for key, text in environ.items() if text)
    for named, text in given:
        if named is not None:
            value = text.strip(INVISIBLE)
            parts = [part.strip() for part in value.split(",") if part.strip()]
            found.setdefault(named[1].lower(), {})[named[2].lower()] = parts if named[2] == "EVENTS" else value
    if not found or not isinstance(in_file, Mapping | None):
        return {}
    known = {name: values for name, values in (in_file or {}).items() if isinstance(values, Mapping)}
    return {name: {**known.get(name, {}), **found.get(name, {})} for name in (*known, *(found.keys() - known.keys()))}


def _is_kubernetes(key: str, text: str) -> bool:
    """True if `text` is the address that Kubernetes sets as OYEZ_PORT in all containers for a service named `oyez`."""
    return key == "OYEZ_PORT" and "://" in text


def _find_fault(name: str, value: Any, sources: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The error of one setting, regardless of all others; None if the setting can be read."""
    try:
        settings = msgspec.convert({name: value}, Settings, strict=False)
        check_origins(settings.origins)
        _ = settings.zone, settings.webhook_delays, settings.operator_keys
        read_levels(settings.log_level)
        check_backends(settings.backends)
        check_webhooks(settings.webhooks)
    except msgspec.ValidationError as error:
        return _explain(str(error), sources)
    except SettingsError as error:
        return str(error)
    return None


def clean_text(name: str, text: str) -> str:
    """The setting `name` without the line ends and byte order marks that editors and shells add around it.

    Raises SettingsError if `text` contains another invisible character. The value may be a secret, so the message does
    not contain it.
    """
    cleaned = text.strip(INVISIBLE)
    # A key in place of a secret has several lines. The code that reads the secret refuses it with a better message.
    found = None if name in LISTS or "-----BEGIN" in cleaned else INVISIBLE_WITHIN.search(cleaned)
    if found is not None:
        raise SettingsError(
            f"Setting {name} has the invisible character U+{ord(found[0]):04X} at position {found.start() + 1}."
            " Remove it; it may be a line break that was pasted."
        )
    return cleaned


def split_secret(text: str) -> list[str]:
    """The secrets in `jwt_secret`, the one that signs first. A text of short words is one secret."""
    parts = text.split()
    several = len(parts) > 1 and all(len(part.encode()) >= MIN_SECRET_BYTES for part in parts)
    return parts if several else [text]


def check_origins(origins: Iterable[str]) -> None:
    """Raises SettingsError with the first of `origins` that is not valid, and with an example of a valid one."""
    for origin in origins:
        if "*" in origin and origin != "*" and ORIGIN_PATTERN.fullmatch(origin) is None:
            raise SettingsError(
                f"CLIENT_ORIGIN names {origin!r}, which is not a valid pattern."
                " `*.` may stand before a host name of two or more labels, such as https://*.pr.example."
            )
        if ORIGIN.fullmatch(origin) is None:
            raise SettingsError(
                f"CLIENT_ORIGIN names {origin!r}, which is not an origin."
                " Give scheme and host without a path, such as https://shop.example."
            )


def check_backends(backends: Mapping[str, BackendSettings]) -> None:
    """Raises SettingsError with the first address or secret of a back end that is not valid. Shows no secret."""
    for name, backend in backends.items():
        if BACKEND_URL.fullmatch(backend.url) is None:
            raise SettingsError(
                f"Setting backends.{name}.url is {backend.url!r}, which is not the address of a back end."
                " Set it to one without a password, such as https://shop.example/oyez."
            )
        check_secret(f"backends.{name}.secret", backend.secret)


def check_webhooks(webhooks: Mapping[str, WebhookSettings]) -> None:
    """Raises SettingsError with the first name or secret of a receiver that is not valid. Shows no secret.

    Its address and its events are checked when the server is built, with the contract.
    """
    for name, receiver in webhooks.items():
        if WEBHOOK_NAME.fullmatch(name) is None:
            raise SettingsError(
                f"Setting webhooks.{name} has a wrong name: expected a small letter, and then at most 23 small letters,"
                " digits and underscores. Rename it."
            )
        check_secret(f"webhooks.{name}.secret", receiver.secret)


def check_secret(name: str, text: str) -> None:
    """Raises SettingsError if the setting `name` does not hold one or more signing secrets. Shows no secret."""
    secrets = text.split()
    if not secrets or not all(SIGNING_SECRET.fullmatch(secret) for secret in secrets):
        raise SettingsError(
            f"Setting {name} is not a signing secret: expected `whsec_` and 24 to 64 bytes in base64. Make one with:"
            " echo whsec_$(openssl rand -base64 32)"
        )


def _explain(message: str, sources: Mapping[str, Mapping[str, Any]]) -> str:
    """The message for an error of msgspec: the setting, its source, its value, and the expected value."""
    fault, _, place = message.partition(" - at `$.")
    name = place.rstrip("`")
    first = re.split(r"[.\[]", name or fault.split("`")[1])[0]
    source, value = [(source, values[first]) for source, values in sources.items() if first in values][-1]
    setting = f"Setting {name}" if name else "Settings"
    if "unknown field" in fault:
        known = {"limits": Limits, "backends": BackendSettings, "webhooks": WebhookSettings}.get(
            first if name else "", Settings
        )
        close = get_close_matches(fault.split("`")[1].lower(), known.__struct_fields__, 1)
        remedy = f"Did you mean `{close[0]}`?" if close else "Leave it out."
    else:
        if "enum" in fault:
            fault = f"Expected one of {', '.join(get_args(Settings.__annotations__[name]))}"
        for kind, words in KINDS.items():
            fault = fault.replace(kind, words)
        # Show a text only if another type is expected: no setting of another type holds a secret.
        remedy = f"It is {value!r}; correct it there." if isinstance(value, str) else "Correct it there."
    return f"{setting} in {source}: {fault}. {remedy}"
