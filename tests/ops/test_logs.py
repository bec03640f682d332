"""Logs: one line for each event, of Oyez and of libraries, for people and for machines."""

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from oyez.errors import SettingsError
from oyez.logger import get_logger
from oyez.ops.logs import configure_logging


class Stream(io.StringIO):
    """Standard error, at a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stream]]:
    """Configures logs and gives the stream they go to; afterwards they are as before."""

    def configure(level: str, *, terminal: bool = False) -> Stream:
        stream = Stream(terminal=terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging(level)
        return stream

    handlers, level = [*logging.root.handlers], logging.root.level
    yield configure
    logging.getLogger("oyez").setLevel(logging.NOTSET)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_for_machines_a_line_is_a_json_object(configure: Callable[..., Stream]) -> None:
    stream = configure("info")
    get_logger("oyez.test").info("started", port=5001)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "started", "level": "info", "port": 5001}


def test_libraries_log_in_the_same_form(configure: Callable[..., Stream]) -> None:
    stream = configure("info")
    logging.getLogger("somebody").warning("%d requests", 3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("3 requests", "warning")


@pytest.mark.parametrize("library", [False, True])
def test_an_exception_stays_in_its_line(configure: Callable[..., Stream], library: bool) -> None:
    stream = configure("info")
    try:
        raise ValueError("no such order")
    except ValueError:
        (logging.getLogger("somebody") if library else get_logger("oyez.test")).exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: no such order" in json.loads(line)["exception"]


def test_people_get_colours_and_a_traceback_without_variables(configure: Callable[..., Stream]) -> None:
    stream = configure("info", terminal=True)
    try:
        secret = "s3cret"
        raise ValueError(len(secret))
    except ValueError:
        get_logger("oyez.test").exception("failed")
    shown = stream.getvalue()
    assert "\x1b[" in shown
    assert "Traceback" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("level", "own", "libraries"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["info", "warning", "error"], ["warning", "error"]),
        ("WARNING", ["warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_levels(configure: Callable[..., Stream], level: str, own: list[str], libraries: list[str]) -> None:
    stream = configure(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(get_logger("oyez.test"), name)("own")
        getattr(logging.getLogger("uvicorn.error"), name)("library")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines if line["event"] == "own"] == own
    assert [line["level"] for line in lines if line["event"] == "library"] == libraries


@pytest.mark.parametrize("level", ["loud", "info, commands=loud", "info, kitchen=debug"])
def test_an_unknown_level_is_refused(level: str) -> None:
    with pytest.raises(SettingsError, match=r"LOG_LEVEL is .* Set it to one of debug, info, warning, error"):
        configure_logging(level)


HOSTILE = "ada\r\n2026-11-30T21:00:00Z [error    ] forged\x1b[2J\x9b31m\u202e\u2028{}"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("library", [False, True])
def test_no_text_of_a_client_can_pass_for_a_line(
    configure: Callable[..., Stream], terminal: bool, library: bool
) -> None:
    stream = configure("info", terminal=terminal)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        if library:
            logging.getLogger("somebody").exception("failed for %s", HOSTILE)
        else:
            get_logger("oyez.test").exception(f"failed for {HOSTILE}", user=HOSTILE, path=HOSTILE.encode())
    first, *rest = stream.getvalue().split("\n")
    assert rest.pop() == ""
    # Only the lines of a traceback, which are indented, follow the line.
    assert terminal or rest == []
    assert all(line.startswith("  ") for line in rest)
    written = stream.getvalue().replace("\n", "")
    colours = re.compile(r"\x1b\[\d*m") if terminal else re.compile("$^")
    assert colours.sub("", written).isprintable()
    assert "forged" in first
