"""SparseLog: each kind of line once in a while, with the number of omitted lines."""

from typing import Any

from oyez.concurrency.sparse_log import INTERVAL, MAX_KINDS, SparseLog


def test_a_line_gives_the_number_of_omitted_lines() -> None:
    now, lines = 100.0, list[Any]()

    class Logger:
        def warning(self, message: str, **fields: Any) -> None:
            lines.append((message, fields))

    log = SparseLog(Logger(), lambda: now)
    for _ in range(3):
        log.warning("it happened", kind="a", n=1)
    log.warning("another")
    now += INTERVAL
    log.warning("it happened", kind="a", n=2)
    assert lines == [
        ("it happened", {"n": 1, "left_out": 0}),
        ("another", {"left_out": 0}),
        ("it happened", {"n": 2, "left_out": 2}),
    ]
    for number in range(2 * MAX_KINDS):
        log.warning("many kinds", kind=str(number))
    assert len(lines) == MAX_KINDS + 2
