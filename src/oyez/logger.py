"""Loggers: Oyez' own lines go through standard logging, below the logger `oyez`, so that the host application decides.

A record's message is complete in itself: the event, its fields, and for an error the traceback, which never shows local
variables. Tokens and passwords are replaced in all of it, because messages of foreign errors may hold them. The parts
are in the record's attribute `oyez` as well, for a formatter that writes JSON.
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from oyez.errors import SettingsError

ROOT = "oyez"
"""The logger above all of Oyez' own."""
LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
MAX_FIELD = 500
"""Characters of one field: enough for any reason, too few for a client to fill the disk with."""
STACK_LEVEL = 4
"""Frames of structlog, and one more, between standard logging and the line of code that logs."""
SECRETS = (
    # A JSON object in base64url begins like this, and so does every JWT (RFC 7519) and JWE (RFC 7516).
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}"), "[token]"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/-]+=*"), r"\1[token]"),
    (re.compile(r"(?i)([?&;\s](?:access_|id_|auth_)?(?:token|secret|password|key)=)[^&;\s\"'\\]+"), r"\1[secret]"),
    # Over polling, a request that has the session's id acts as the client.
    (re.compile(r"([?&]sid=)[^&\s\"'\\]+"), r"\1[secret]"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), r"\1[password]@"),
    # PostgreSQL repeats the row that it refuses.
    (re.compile(r"(DETAIL: +)(?:[^\n\\]|\\(?!n))+"), r"\1[row]"),
)
"""What is never logged, and what stands in its place: texts of other libraries' errors may hold it."""

ACCESS_LOGGERS = ("uvicorn.access", "uvicorn.error", "gunicorn.access", "hypercorn.access")
"""Loggers to which ASGI servers write the addresses of requests."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger `name`, such as `oyez.server`: `logger.info("the event", field=value)`.

    It ignores how the host application has configured structlog.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def redact(text: str) -> str:
    """`text` without tokens, passwords and rows of a database."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


def format_traceback(error: Any) -> str:
    """The traceback of an error, or of what `exc_info` holds, without local variables; empty if there is none."""
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if not isinstance(error, BaseException):
        return ""
    return redact("".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()).rstrip())


def set_level(level: str) -> None:
    """Have Oyez log from `level` on, unless the host application has set a level for the logger `oyez`.

    Raises SettingsError for an unknown level.
    """
    number = read_level(level)
    logger = logging.getLogger(ROOT)
    if logger.level in (logging.NOTSET, _given.get(ROOT)):
        logger.setLevel(number)
        _given[ROOT] = number


def read_level(level: str) -> int:
    """Raises SettingsError for an unknown level."""
    if level.lower() not in LEVELS:
        raise SettingsError(f"LOG_LEVEL is {level!r}. Set it to one of {', '.join(LEVELS)}.")
    return int(LEVELS[level.lower()])


def add_last_resort(formatter: logging.Formatter) -> None:
    """Write to standard error what Oyez logs as long as no handler of the host application does."""
    logger = logging.getLogger(ROOT)
    if not any(isinstance(handler, LastResort) for handler in logger.handlers):
        handler = LastResort()
        handler.setFormatter(formatter)
        logger.addHandler(handler)


def redact_access_logs() -> None:
    """Have ASGI servers log addresses without the tokens in them: a client may send its token in the query."""
    for name in ACCESS_LOGGERS:
        logger = logging.getLogger(name)
        if _redact_record not in logger.filters:
            logger.addFilter(_redact_record)


class LastResort(logging.StreamHandler[TextIO]):
    """Writes to standard error if the record reaches no other handler."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error as it is now: the host application may replace it."""
        return sys.stderr

    def handle(self, record: logging.LogRecord) -> bool:
        return not self._is_handled(record) and bool(super().handle(record))

    def _is_handled(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


def build_formatter(*, for_people: bool) -> logging.Formatter:
    """One line for each event: in colour for people, as a JSON object for machines."""
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer()] if for_people else [structlog.processors.JSONRenderer(default=str)]
    )
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[_restore, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering, _redact_line],
    )


def _redact_record(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, without tokens, and with addresses that are not too long."""
    record.msg = redact(str(record.msg))
    if isinstance(record.args, tuple):
        record.args = tuple(_show(each) if isinstance(each, str) else each for each in record.args)
    if record.exc_info and type(record.exc_info[1]).__module__.startswith("websockets."):
        # A handshake that is none is the client's mistake: its message is enough.
        record.msg, record.exc_info = f"{record.msg}: {record.exc_info[1]}", None
    return True


_given: dict[str, int] = {}
"""The level that Oyez has set itself."""


def _to_record(logger: Any, method: str, fields: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """What standard logging is called with. No `exc_info`: handlers of the host might show local variables with it."""
    event = redact(str(fields.pop("event", "")))
    exception = format_traceback(fields.pop("exc_info", None))
    shown = {name: _show(value) for name, value in fields.items()}
    text = redact(" ".join([event, *(f"{name}={value!r}" for name, value in shown.items())]))
    parts = {"event": event, "fields": shown, "exception": exception}
    return (f"{text}\n{exception}" if exception else text,), {
        "extra": {ROOT: parts},
        "exc_info": None,
        "stacklevel": STACK_LEVEL,
    }


def _show(value: Any) -> Any:
    """A field's value without secrets, and not longer than MAX_FIELD: much of it comes from clients."""
    if isinstance(value, (bool, int, float, type(None))):
        return value
    text = value if isinstance(value, str) else repr(value)
    if len(text) > MAX_FIELD:
        return f"{redact(text)[:MAX_FIELD]}… ({len(text)} characters)"
    return redact(value) if isinstance(value, str) else value


def _restore(logger: Any, method: str, fields: EventDict) -> EventDict:
    """The parts of a record of Oyez' own, and the traceback of any other library's."""
    record: logging.LogRecord = fields["_record"]
    parts: MutableMapping[str, Any] | None = getattr(record, ROOT, None)
    exception = format_traceback(fields.pop("exc_info", None))
    if parts is not None:
        fields.update({"event": parts["event"], **parts["fields"]})
        exception = parts["exception"]
    if exception:
        fields["exception"] = exception
    return fields


def _redact_line(logger: Any, method: str, line: Any) -> str:
    return redact(str(line))


PROCESSORS: list[Processor] = [structlog.stdlib.filter_by_level, structlog.contextvars.merge_contextvars, _to_record]
"""What all of Oyez' loggers do with an event."""
