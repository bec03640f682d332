"""Clients written by hand, byte for byte: what no library would send can be sent, and what comes is seen as it is."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

from tests.support.clock import PATIENCE
from tests.support.serving import PATH, Running

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
# In an order that no official client has: such a client is sent no event with a position after each durable event.
POLLING = f"{PATH}?transport=polling&EIO=4"
WEBSOCKET = f"{PATH}?transport=websocket&EIO=4"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, Any]:
        """Status and Engine.IO code."""
        return self.status, json.loads(self.body)["code"]


class Frame(NamedTuple):
    """A WebSocket frame from the server."""

    opcode: int
    payload: bytes
    fin: bool
    rsv1: bool

    @property
    def close_code(self) -> int | None:
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


def encode_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x01\x02\x03\x04"
) -> bytes:
    """A client's frame; without `mask` an unmasked one."""
    flag = 0x80 if mask is not None else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if len(payload) < 126:
        head = bytes((first, flag | len(payload)))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, flag | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, flag | 127, len(payload))
    if mask is None:
        return head + payload
    repeated = mask * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + mask + masked.to_bytes(len(payload), "big")


class Wire:
    """One TCP (or TLS) connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def open(
        cls, running: Running, *, trust: ssl.SSLContext | None = None, receive_buffer: int | None = None
    ) -> AsyncIterator[Self]:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", running.port))
        name = "localhost" if trust is not None else None
        # A limit that no answer reaches: reading is paused only where a test does not read at all.
        limit = receive_buffer or 2**24
        reader, writer = await asyncio.open_connection(sock=plain, ssl=trust, server_hostname=name, limit=limit)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)

    def abort(self) -> None:
        """Go without a goodbye of any layer: a TCP reset."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def read_until(self, separator: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(separator)

    async def read_rest(self) -> bytes:
        """Everything up to the end of the connection, which also may be a reset."""
        rest = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while chunk := await self.reader.read(65_536):
                    rest += chunk
            except ConnectionError:
                pass
        return rest

    # HTTP.

    def send_request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        lines = {"Host": "localhost", **(headers or {})}
        if body is not None:
            lines.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n")
        self.send(body or b"")

    async def read_answer(self, *, bodiless: bool = False) -> Answer:
        head = (await self.read_until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        status = int(first.split()[1])
        empty = bodiless or status in (101, 204) or "content-length" not in headers
        body = b"" if empty else await self.read(int(headers["content-length"]))
        return Answer(status, headers, body)

    async def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        self.send_request(method, target, body, headers)
        return await self.read_answer(bodiless=method == "HEAD")

    # WebSocket.

    def send_upgrade(self, target: str = WEBSOCKET, headers: Mapping[str, str] | None = None) -> None:
        asked = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
            **(headers or {}),
        }
        self.send_request("GET", target, headers={name: value for name, value in asked.items() if value})

    async def upgrade(self, target: str = WEBSOCKET, headers: Mapping[str, str] | None = None) -> Answer:
        self.send_upgrade(target, headers)
        return await self.read_answer()

    def send_frame(self, opcode: int, payload: bytes = b"", **details: Any) -> None:
        self.send(encode_frame(opcode, payload, **details))

    def send_text(self, text: str | bytes) -> None:
        self.send_frame(TEXT, text.encode() if isinstance(text, str) else text)

    async def read_frame(self) -> Frame:
        first, second = await self.read(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self.read(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.read(8), "big")
        assert not second & 0x80, "a server's frame must not be masked"
        assert not first & 0x30, "reserved bits"
        return Frame(first & 0xF, await self.read(length), bool(first & 0x80), bool(first & 0x40))

    async def expect_text(self, text: str) -> None:
        frame = await self.read_frame()
        assert (frame.opcode, frame.payload.decode()) == (TEXT, text), frame

    async def expect_close(self, code: int | None) -> None:
        """The next frame but for texts is a CLOSE with that code, and then the connection ends."""
        frame = await self.read_frame()
        while frame.opcode != CLOSE:
            frame = await self.read_frame()
        assert frame.close_code == code, frame
        self.send_frame(CLOSE, frame.payload)
        await self.read_rest()

    async def expect_pong(self, payload: bytes = b"still here") -> None:
        """The connection is alive, and nothing else was sent before."""
        self.send_frame(PING, payload)
        frame = await self.read_frame()
        assert (frame.opcode, frame.payload) == (PONG, payload), frame


class SocketWire(Wire):
    """A WebSocket that is connected to a namespace."""

    sid = ""
    """The Engine.IO session's id."""
    id = ""
    """The Socket.IO socket's id."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        running: Running,
        auth: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        trust: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> AsyncIterator[Self]:
        async with cls.begin(running, headers=headers, trust=trust, receive_buffer=receive_buffer) as wire:
            wire.id = await wire.enter(auth)
            yield wire

    @classmethod
    @asynccontextmanager
    async def begin(
        cls, running: Running, *, headers: Mapping[str, str] | None = None, **details: Any
    ) -> AsyncIterator[Self]:
        """A client with an Engine.IO session, in no namespace yet."""
        async with cls.open(running, **details) as wire:
            await wire.open_session(headers)
            yield wire

    async def open_session(self, headers: Mapping[str, str] | None = None) -> None:
        answer = await self.upgrade(headers=headers)
        assert answer.status == 101, answer
        opened = await self.read_frame()
        assert opened.payload[:1] == b"0"
        self.sid = json.loads(opened.payload[1:])["sid"]

    async def enter(self, auth: Mapping[str, Any] | None = None, namespace: str = "/") -> str:
        """CONNECT to a namespace; the socket's id there."""
        prefix = "" if namespace == "/" else f"{namespace},"
        self.send_text(f"40{prefix}{json.dumps(auth) if auth else ''}")
        answer = (await self.read_frame()).payload.decode()
        assert answer.startswith(f"40{prefix}{{"), answer
        entered: str = json.loads(answer.removeprefix(f"40{prefix}"))["sid"]
        return entered

    async def expect_event(self, name: str, *args: Any) -> None:
        await self.expect_text("42" + json.dumps([name, *args], separators=(",", ":")))

    async def expect_echo(self, text: str = "still here") -> None:
        """The connection is served, and nothing else was sent before."""
        self.send_text(f'4277["echo","{text}"]')
        await self.expect_text(f'4377["{text}"]')


class PollingWire:
    """A polling client: each request over a connection of its own."""

    def __init__(self, running: Running, headers: Mapping[str, str] | None = None) -> None:
        self._running = running
        self._headers = headers or {}
        self.sid = ""
        self.id = ""

    @property
    def target(self) -> str:
        return f"{POLLING}&sid={self.sid}"

    @classmethod
    async def connect(cls, running: Running, auth: Mapping[str, Any] | None = None, **headers: str) -> Self:
        """A client whose session is open and whose socket is connected."""
        client = await cls.begin(running, **headers)
        await client.post(f"40{json.dumps(auth) if auth else ''}")
        answer = await client.get()
        assert answer.startswith("40{"), answer
        client.id = json.loads(answer[2:])["sid"]
        return client

    @classmethod
    async def begin(cls, running: Running, **headers: str) -> Self:
        """A client with an Engine.IO session, in no namespace yet."""
        client = cls(running, headers)
        await client.open_session()
        return client

    async def open_session(self) -> dict[str, Any]:
        answer = await self.request("GET", POLLING)
        assert answer.status == 200, answer
        opened: dict[str, Any] = json.loads(answer.body[1:])
        self.sid = opened["sid"]
        return opened

    async def request(
        self,
        method: str,
        target: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        async with Wire.open(self._running) as wire:
            return await wire.request(method, target or self.target, body, {**self._headers, **(headers or {})})

    async def get(self) -> str:
        """The next payload."""
        answer = await self.request("GET")
        assert answer.status == 200, answer
        return answer.body.decode()

    async def post(self, body: str | bytes) -> None:
        answer = await self.request("POST", body=body.encode() if isinstance(body, str) else body)
        assert (answer.status, answer.body) == (200, b"ok"), answer

    async def leave(self) -> None:
        await self.post("1")

    async def expect_echo(self, text: str = "still here") -> None:
        """The session is served, and nothing else was sent before."""
        await self.post(f'4277["echo","{text}"]')
        assert await self.get() == f'4377["{text}"]'
