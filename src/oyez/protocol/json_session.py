"""The session of a plain WebSocket client, which sends and receives JSON frames (`json_frames.py`).

It takes the place of an Engine.IO session. A frame that is not understood does not close it: the client is sent what is
expected, up to `max_malformed_frames` times a minute.
"""

from collections.abc import Callable, Iterator

from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.protocol import engineio, json_frames, socketio
from oyez.protocol.engineio import MalformedError
from oyez.protocol.json_frames import EXPECTED, TextIds
from oyez.protocol.session import Session, Signal, State
from oyez.settings import Limits

MAX_PENDING_FRAMES = 16
"""Frames that wait until the application has accepted the client: more than a program sends at once."""
MAX_FAULT = 200
"""Characters of the explanation for a malformed frame."""
MINUTE = 60.0


class JsonSession(Session):
    """The state of one session. The client is in one namespace, from the opening of its WebSocket to the end."""

    __slots__ = ("_clock", "_faults", "_ids", "_namespace", "_pending")

    json = True

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        super().__init__(limits, State.WEBSOCKET)
        self._clock = clock
        self._faults = TokenBucket(Rate(limits.max_malformed_frames, MINUTE), clock())
        self._ids = TextIds()
        self._namespace = ""
        self._pending: list[bytes] | None = []
        """Frames that wait for `enter`; None after it."""

    def receive_text(self, encoded: bytes) -> socketio.Packet | Signal | None:
        if self._pending is None:
            return self._receive_frame(encoded)
        self._pending.append(encoded)
        if len(self._pending) > MAX_PENDING_FRAMES:
            return self.close(engineio.FORCED_CLOSE, "too many frames before it was let in")
        return None

    def receive_binary(self, data: bytes) -> Signal:
        return self._refuse_frame("the frame is binary")

    def enter(self, namespace: str) -> Iterator[socketio.Packet | Signal | None]:
        pending, self._pending, self._namespace = self._pending or (), None, namespace
        for encoded in pending:
            if self.state is not State.CLOSED:
                yield self._receive_frame(encoded)

    def encode(self, packet: socketio.Packet) -> tuple[bytes, tuple[bytes, ...]]:
        return json_frames.encode_packet(packet, self._ids), ()

    def _receive_frame(self, encoded: bytes) -> socketio.Packet | Signal:
        try:
            return json_frames.decode_frame(encoded, self._namespace, self._limits, self._ids)
        except MalformedError as error:
            return self._refuse_frame(str(error))

    def _refuse_frame(self, fault: str) -> Signal:
        fault = fault[:MAX_FAULT]
        if not self._faults.take(self._clock()):
            return self.close(engineio.FORCED_CLOSE, f"too many frames that are not understood: {fault}")
        self.detail = f"The frame is not understood: {fault}. {EXPECTED}"
        return Signal.EXPLAIN_FAULT
