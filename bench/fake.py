"""A WebSocket server that sends exactly the bytes a test wants, to test the load generator."""

import base64
import hashlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from tests.support import wire

OPEN_PACKET = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
CONNECTED_PACKET = '40{"sid":"s"}'


def encode_frame(payload: str | bytes, opcode: int = 1, first: int | None = None) -> bytes:
    """An unmasked frame; `first` replaces its first byte."""
    data = payload.encode() if isinstance(payload, str) else payload
    frame = wire.encode_frame(opcode, data, mask=None)
    return frame if first is None else bytes([first]) + frame[1:]


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(10)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kept = b""

    def send(self, data: bytes, piece: int = 0) -> None:
        """Send it, in pieces of so many bytes where `piece` is given."""
        for start in range(0, len(data), piece or len(data)):
            self._connection.sendall(data[start : start + (piece or len(data))])

    def read(self, size: int) -> bytes:
        while len(self._kept) < size:
            received = self._connection.recv(65_536)
            if not received:
                raise EOFError
            self._kept += received
        data, self._kept = self._kept[:size], self._kept[size:]
        return data

    def read_request(self) -> str:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += self.read(1)
        return request.decode()

    def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of a client's frame, which has to be masked."""
        first, second = self.read(2)
        assert second & 0x80, "a client's frame must be masked"
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self.read(2 if length == 126 else 8), "big")
        key, data = self.read(4), self.read(length)
        return first & 0x0F, bytes(byte ^ key[index & 3] for index, byte in enumerate(data))

    def accept_upgrade(self) -> bytes:
        """The answer to the upgrade request, not yet sent."""
        request = self.read_request()
        key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        accept = base64.b64encode(digest).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        return f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()

    def let_in(self) -> str:
        """Everything up to the CONNECT answer; returns the CONNECT packet."""
        self.send(self.accept_upgrade() + encode_frame(OPEN_PACKET))
        _, packet = self.read_frame()
        self.send(encode_frame(CONNECTED_PACKET))
        return packet.decode()

    def wait_for_end(self) -> None:
        try:
            while True:
                self.read(1)
        except (EOFError, OSError):
            pass


class FakeServer:
    """Runs `script` for each connection, one after the other, until the `with` block ends."""

    def __init__(self, script: Callable[[Peer], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Closing alone would leave a thread in accept() waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._script(Peer(connection))
                except (EOFError, OSError):
                    # The client went: what it thought of the script is in its exit code.
                    continue
