"""The server's time in tests: it moves when it is told to."""

from oyez.server.server import Server


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def turn(self, server: Server, seconds: float) -> None:
        """Let time pass, and have everything done that is due by then."""
        self.now += seconds
        server.wheel.advance()
