"""Reads HTTP connections in small pieces: what a client sends ahead stays in the kernel until it is needed.

An event loop reads as much as there is, up to 256 KB, before the protocol can pause reading. Thousands of
connections that each send that much, and wait for nothing, would fill the memory.
"""

import asyncio
from typing import Any

READ_SIZE = 16_384
"""Bytes that are read of one connection at a time: as much as a request's head may have."""

_piece = memoryview(bytearray(READ_SIZE))
"""For all connections: what is read is copied out before the next read, in the same call of the loop."""


class PieceReader(asyncio.BufferedProtocol):
    """Hands what is read to `protocol` in pieces of READ_SIZE."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def get_buffer(self, sizehint: int) -> Any:
        return _piece

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_piece[:nbytes]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
