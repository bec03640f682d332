"""How many connections of a PostgreSQL database are busy during a measurement."""

import threading
from statistics import mean
from types import TracebackType

import psycopg

SAMPLE_SECONDS = 0.01
"""Seconds between two looks: a transaction takes about a millisecond, so hundreds of looks give a mean."""
COUNT = """
    SELECT count(*) FILTER (WHERE state <> 'idle'), count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*)
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class BusyConnections:
    """Counts the busy connections while inside, also while the server warms up."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._seen: list[tuple[int, int, int]] = []
        """The connections that were in a transaction, those that waited for a lock, and all."""

    def __enter__(self) -> "BusyConnections":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with psycopg.connect(self._address, autocommit=True) as connection:
            while not self._ended.wait(SAMPLE_SECONDS):
                self._seen += connection.execute(COUNT).fetchall()

    def describe(self) -> str:
        """The means, for a note beside a figure."""
        seen = [each for each in self._seen if each[0]]
        if not seen:
            return "no connection was busy"
        busy, locked, opened = (mean(column) for column in zip(*seen, strict=True))
        return f"{busy:.1f} of {opened:.0f} connections in a transaction, {locked:.1f} of them wait for a lock"
