"""Attacks on a server, ten times as large as those that once delayed other clients: named scenarios of `robustness`.

An attack is called with the stage and with a function that returns True until the attack must end. It yields regularly
what it has done so far. All attackers are sockets of one process, which never waits for one of them.
"""

import base64
import socket
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from bench.servers import OYEZ_PATH
from bench.tokens import write_tokens
from tests.support.wire import BINARY, TEXT, encode_frame

if TYPE_CHECKING:
    from chaos.robustness import Stage

Attack: TypeAlias = Callable[["Stage", Callable[[], bool]], Iterator[str]]

STRANGERS = 100
RETURN_SECONDS = 0.2
"""Seconds after which an attacker whose connection was closed connects again."""
COMPRESSED = 4
"""The first reserved bit of a frame: permessage-deflate."""
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


def encode(payload: bytes, opcode: int = TEXT, rsv: int = 0) -> bytes:
    """A client's frame, masked with zeros, so that the payload stays readable."""
    return encode_frame(opcode, payload, rsv=rsv, mask=bytes(4))


def deflate(text: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return encode((compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=COMPRESSED)


class Attacker:
    """One socket that sends `data` `rate` times a second, and connects again when it is closed."""

    def __init__(self, connect: Callable[[], socket.socket], data: bytes, rate: float, *, reads: bool = True) -> None:
        self._connect, self._data, self._interval, self._reads = connect, data, 1 / rate, reads
        self._socket: socket.socket | None = None
        self._next = 0.0
        self._rest = b""
        self.sent = self.opened = self.closed = 0

    def step(self) -> None:
        """Send and read what is possible without waiting."""
        now = time.monotonic()
        try:
            if self._socket is None:
                if now < self._next:
                    return
                self._socket = self._connect()
                self._socket.setblocking(False)
                self.opened += 1
            with suppress(BlockingIOError):
                if self._reads and not self._socket.recv(262_144):
                    raise ConnectionResetError
            if not self._rest and now >= self._next:
                self._rest, self._next = self._data, max(self._next + self._interval, now - 0.1)
            if self._rest:
                with suppress(BlockingIOError):
                    count = self._socket.send(self._rest)
                    self._rest = self._rest[count:]
                    self.sent += count
        except OSError:
            self.close()
            self._next = now + RETURN_SECONDS
            self.closed += 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""


def attack(attackers: list[Attacker], going_on: Callable[[], bool]) -> Iterator[str]:
    """Run all attackers until the end."""
    try:
        while going_on():
            begun = time.monotonic()
            while time.monotonic() - begun < 0.25:
                for attacker in attackers:
                    attacker.step()
                time.sleep(0.001)
            sent, closed = sum(one.sent for one in attackers), sum(one.closed for one in attackers)
            yield f"{len(attackers)} attackers sent {sent / 1_000_000:.1f} MB; closed {closed:,} times"
    finally:
        for attacker in attackers:
            attacker.close()


def wait_until_entered(client: socket.socket) -> None:
    """Return when the namespace has accepted the client. Raises OSError if it is refused."""
    received = b""
    while b"40{" not in received:
        more = client.recv(4_096)
        if not more or b"44{" in more:
            client.close()
            raise ConnectionRefusedError
        received += more


def flood(data: bytes, *, clients: int, rate: float, enter: bool, headers: str = "", one_user: bool = False) -> Attack:
    """`clients` that each send `data` `rate` times a second; with `enter`, after a namespace has accepted them."""

    def run(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
        tokens = stage.guests.read_text().split()

        def connect(number: int) -> Callable[[], socket.socket]:
            token = tokens[0 if one_user else number % len(tokens)]

            def open() -> socket.socket:
                client = stage.open_websocket(enter=enter, headers=headers, token=token)
                if enter:
                    wait_until_entered(client)
                return client

            return open

        return attack([Attacker(connect(number), data, rate) for number in range(clients)], going_on)

    return run


def request(stage: "Stage", data: bytes, clients: int, *, reads: bool, rate: float) -> list[Attacker]:
    def connect() -> socket.socket:
        client = socket.socket()
        if not reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(10)
        client.connect(("127.0.0.1", stage.running.port))
        return client

    return [Attacker(connect, data, rate, reads=reads) for _ in range(clients)]


GET = b"GET /bench/types.ts HTTP/1.1\r\nHost: x\r\n\r\n"


def pipelined(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    return attack(request(stage, GET * (250_000 // len(GET)), 200, reads=True, rate=1), going_on)


def unread(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    return attack(request(stage, GET * (250_000 // len(GET)), 2_000, reads=False, rate=1), going_on)


def unread_replays(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """Reconnect with the oldest position and never read; 5,000 events of about 200 bytes are replayed."""
    position = find_position(stage)

    def connect() -> socket.socket:
        return stage.open_websocket(4_096, auth=f',"offset":"{position}"')

    return attack([Attacker(connect, encode(b"3"), 0.5, reads=False) for _ in range(200)], going_on)


def find_position(stage: "Stage") -> str:
    """A position that is followed by more than a thousand events."""
    client = stage.open_websocket(auth=',"recovery":true')
    client.settimeout(5)
    received = b""
    while b'"to":"' not in received:
        received += client.recv(65_536)
    client.close()
    position = received.partition(b'"to":"')[2].partition(b'"')[0].decode()
    epoch = position.partition(".")[0]
    return f"{epoch}.0"


def reconnecting(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """Send CONNECT with an old position and DISCONNECT, ten times at once, on each of ten connections."""
    auth = f'{{"token":"{stage.token}","offset":"{find_position(stage)}"}}'.encode()
    data = (encode(b"41") + encode(b"40" + auth)) * 10
    return attack([Attacker(stage.open_websocket, data, 5) for _ in range(10)], going_on)


def unfinished(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """Nearly a megabyte of an attachment that never ends from each client."""
    head = encode(b'451-["x",{"_placeholder":true,"num":0}]')
    data = head + encode(bytes(990_000), BINARY)[:-1]
    tokens = stage.guests.read_text().split()

    def connect(number: int) -> Callable[[], socket.socket]:
        return lambda: stage.open_websocket(token=tokens[number % len(tokens)])

    return attack([Attacker(connect(number), data, 0.01) for number in range(1_000)], going_on)


REZ_PATH = "/rez/socket.io/"
CHANNELS = [encode(b'42["%s",{"channel":"offers"}]' % name) for name in (b"subscribe", b"unsubscribe")]
"""Commands that write to the database of `rez`."""


def write_from_one_user(stage: "Stage", count: int) -> list[Attacker]:
    """`count` sockets of one user of another system than the bystanders', which send commands that write."""
    tokens = stage.around.folder / "one-user"
    write_tokens(tokens, stage.around.secret, users=1, role="user")
    token = tokens.read_text().strip()

    def connect() -> socket.socket:
        client = stage.open_websocket(token=token, path=REZ_PATH)
        wait_until_entered(client)
        return client

    return [Attacker(connect, b"".join(CHANNELS) * 10, 10) for _ in range(count)]


def flood_of_one_system(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    return attack(write_from_one_user(stage, 300), going_on)


def locked_postgresql(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """One table of `rez` is locked, as by a migration, while its user continues to write and bystanders connect."""
    with psycopg.connect(stage.database) as connection:
        connection.execute("LOCK TABLE rez_subscriptions IN ACCESS EXCLUSIVE MODE")
        yield from attack_and_connect(stage, going_on)


def attack_and_connect(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    slowest = 0.0
    for note in attack(write_from_one_user(stage, 20), going_on):
        slowest = max(slowest, time_connect(stage))
        yield f"{note}; a bystander connected in {slowest * 1_000:.0f} ms at most"


def locked_table(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """The database of `rez` is locked, as by a migration, while its user continues to write and bystanders connect."""
    file = next(stage.running.data.glob("domain.sqlite"))
    connection = sqlite3.connect(file, timeout=5, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield from attack_and_connect(stage, going_on)
    finally:
        connection.close()


def time_connect(stage: "Stage") -> float:
    """Seconds until a client of the bystanders' system is accepted and its command is acknowledged."""
    begun = time.monotonic()
    client = stage.open_websocket(token=stage.guests.read_text().split()[-1])
    wait_until_entered(client)
    client.sendall(encode(b'421["echo",{"text":"x","n":1}]'))
    received = b""
    while b"431[" not in received:
        more = client.recv(4_096)
        if not more:
            raise ConnectionResetError("a bystander was closed")
        received += more
    client.close()
    return time.monotonic() - begun


def ended_sessions(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """POST a megabyte of Base64 to sessions that do not exist."""
    body = b"b" + base64.b64encode(bytes(740_000))
    head = (
        f"POST {OYEZ_PATH}?EIO=4&transport=polling&sid=ended HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return attack(request(stage, head.encode() + body, 200, reads=True, rate=1), going_on)


def storm(stage: "Stage", going_on: Callable[[], bool]) -> Iterator[str]:
    """Clients that lose their network five times a second and reconnect with the oldest position."""
    tokens = stage.around.tokens.read_text().split()
    position = find_position(stage)

    def connect(number: int) -> Callable[[], socket.socket]:
        auth = f',"offset":"{position}"'
        return lambda: stage.open_websocket(auth=auth, token=tokens[number % len(tokens)])

    return attack([Attacker(connect(number), b"\xff" * 8, 5) for number in range(200)], going_on)


SYSTEMS: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    ("flood-of-one-system", "locked-table", "locked-postgresql"), ("rez",)
)
"""The systems that the server serves besides the bystanders'."""
ON_POSTGRESQL = frozenset({"locked-postgresql"})
"""Attacks on a server whose database is PostgreSQL."""
ESCAPES = encode(b'42["echo",{"text":"' + rb"\u00e9" * 150_000 + b'","n":1}]')
"""A command of 900 KB whose decoding costs far more than reading it."""
NAMES = encode(b'42["' + b"n" * 100_000 + b'",{}]') + encode(b"40/" + b"n" * 100_000 + b",")
ATTACKS: Mapping[str, Attack] = {
    "bombs": flood(deflate(b'42["x"' + b",[]" * 333_000 + b"]"), clients=10, rate=16, enter=True, headers=DEFLATE),
    "noise": flood(encode(b"6") * 500, clients=STRANGERS, rate=20, enter=False),
    "pongs": flood(encode(b"3") * 500, clients=STRANGERS, rate=20, enter=False),
    "acknowledgements": flood(encode(b"431[]") * 500, clients=STRANGERS, rate=20, enter=True),
    "unknown-namespaces": flood(encode(b"40/nowhere,") * 500, clients=STRANGERS, rate=20, enter=False),
    "pipelined-http": pipelined,
    "unread-http": unread,
    "unread-replays": unread_replays,
    "reconnecting": reconnecting,
    "unfinished": unfinished,
    "forty-sockets": flood(encode(b'42["nothing",{}]') * 100, clients=400, rate=20, enter=True, one_user=True),
    "flood": flood(encode(b'42["echo",{"text":"x","n":1}]') * 100, clients=300, rate=20, enter=True),
    "flood-of-one-system": flood_of_one_system,
    "locked-table": locked_table,
    "locked-postgresql": locked_postgresql,
    "escapes": flood(ESCAPES, clients=50, rate=5, enter=True),
    "long-names": flood(NAMES, clients=STRANGERS, rate=20, enter=True),
    "ended-sessions": ended_sessions,
    "storm": storm,
}
"""By name."""
