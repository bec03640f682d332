"""What Oyez logs while a test looks: `with capture_logs() as logged:` gives a list of events with their fields."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.testing import LogCapture

from oyez.logger import PROCESSORS


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """All log lines of the block, of every level; `event`, `log_level`, and the fields."""
    capture, before = LogCapture(), [*PROCESSORS]
    PROCESSORS[:] = [capture]
    try:
        yield capture.entries  # type: ignore[misc]
    finally:
        PROCESSORS[:] = before
