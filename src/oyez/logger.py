"""Loggers: Oyez logs through standard logging, below the logger `oyez`, so that the host application can configure it.

A record's message is complete: the event, its fields, and for an error the traceback, which never shows local
variables. Tokens and passwords are replaced in the whole message, because errors of other libraries may contain them.
The record's attribute `oyez` holds the parts, for a formatter that writes JSON.

Clients choose many values. So that none of them can pass for a line of the log, or change what a terminal shows,
control characters are escaped, and the lines of a traceback are indented.
"""

import logging
import re
import secrets
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import indent
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from oyez.levels import ALL, PARTS, read_levels

ROOT = "oyez"
"""The parent of all of Oyez' loggers."""
INDENT = "  "
"""Before each line of a traceback: a line of the log begins without it."""
MAX_FIELD = 500
"""Characters of one field: enough for any reason, and so few that a client cannot fill the disk."""
ERROR_ID_BYTES = 5
"""Bytes of an error's id: short enough to be read out on the phone, and no two in a log are likely to be the same."""
STACK_LEVEL = 4
"""Stack frames between standard logging and the line of code that logs: those of structlog, and one more."""
SECRETS = (
    # A JSON object in base64url begins like this, and so does every JWT (RFC 7519) and JWE (RFC 7516).
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}"), "[token]"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/-]+=*"), r"\1[token]"),
    (re.compile(r"(?i)([?&;\s](?:access_|id_|auth_)?(?:token|secret|password|key)=)[^&;\s\"'\\]+"), r"\1[secret]"),
    # Keys of operators and services, and secrets of webhooks and back ends.
    (re.compile(r"\b(oyo_|oys_\w+\.|whsec_)[\w+/=-]{16,}"), r"\1[secret]"),
    # Over polling, anyone who has the session's id can act as the client.
    (re.compile(r"([?&]sid=)[^&\s\"'\\]+"), r"\1[secret]"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), r"\1[password]@"),
    # PostgreSQL repeats the row that it refuses.
    (re.compile(r"(DETAIL: +)(?:[^\n\\]|\\(?!n))+"), r"\1[row]"),
)
"""Patterns of secrets and their replacements: messages of other libraries' errors may contain secrets."""

CLIENT_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11")
"""Loggers to which the HTTP client writes the whole address of each request, and the headers of its answer."""
ACCESS_LOGGERS = ("uvicorn.access", "uvicorn.error", "gunicorn.access", "hypercorn.access")
"""Loggers to which ASGI servers write the addresses of requests."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger `name`, such as `oyez.server`: `logger.info("the event", field=value)`.

    The logger ignores the host application's configuration of structlog.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def new_error_id() -> str:
    """An id for a line of the log and for the answer to the client that caused it."""
    return secrets.token_hex(ERROR_ID_BYTES)


def log_failure(logger: Any, message: str, error: BaseException, **fields: Any) -> str:
    """Log an error with its traceback. Returns the id of the line, for the answer to the client that caused it."""
    error_id = new_error_id()
    logger.error(message, error_id=error_id, exc_info=error, **fields)
    return error_id


def redact(text: str) -> str:
    """`text` without tokens, passwords and rows of a database."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


def format_traceback(error: Any) -> str:
    """The traceback of an error or of an `exc_info`, without local variables; empty if there is none."""
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if not isinstance(error, BaseException):
        return ""
    lines = traceback.TracebackException.from_exception(error, capture_locals=False).format()
    return escape(redact("".join(lines).rstrip()), but="\n\t")


def escape(text: str, but: str = "") -> str:
    """`text` with escapes in place of characters that are not printable: line ends, and what terminals obey."""
    if text.isprintable():
        return text
    shown = (each if each.isprintable() or each in but else each.encode("unicode_escape").decode() for each in text)
    return "".join(shown)


def set_level(level: str) -> None:
    """Log lines from `level` on, which may name parts; see `oyez.levels`. It does not change the level of a logger to
    which the host application has given one.

    Raises SettingsError for an unknown level or part.
    """
    levels = read_levels(level)
    for part in (ALL, *PARTS):
        logger = logging.getLogger(f"{ROOT}.{part}" if part else ROOT)
        if logger.level in (logging.NOTSET, _given.get(part)):
            _given[part] = levels.get(part, logging.NOTSET)
            logger.setLevel(_given[part])


def is_debugged(logger: structlog.stdlib.BoundLogger) -> bool:
    """True if debug lines of `logger` are written."""
    return logger.isEnabledFor(logging.DEBUG)


def add_last_resort(formatter: logging.Formatter) -> None:
    """Write Oyez' lines to standard error as long as the host application has no handler for them."""
    logger = logging.getLogger(ROOT)
    if not any(isinstance(handler, LastResort) for handler in logger.handlers):
        handler = LastResort()
        handler.setFormatter(formatter)
        logger.addHandler(handler)


def redact_access_logs() -> None:
    """Remove tokens from the addresses that ASGI servers log: a client may send its token in the query."""
    for name in ACCESS_LOGGERS:
        logger = logging.getLogger(name)
        if _redact_record not in logger.filters:
            logger.addFilter(_redact_record)
    for name in CLIENT_LOGGERS:
        logging.getLogger(name).addFilter(_is_logged)


@contextmanager
def unlogged_requests() -> Iterator[None]:
    """Inside, the HTTP client logs no requests of this task: addresses may hold secrets of those who receive them."""
    token = _unlogged.set(True)
    try:
        yield
    finally:
        _unlogged.reset(token)


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
    """A formatter that writes one line for each event: in colour for people, as a JSON object for machines."""
    rendering: list[Processor] = (
        [_escape_fields, structlog.dev.ConsoleRenderer()]
        if for_people
        else [structlog.processors.JSONRenderer(default=str)]
    )
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[_restore, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering, _redact_line],
    )


_unlogged: ContextVar[bool] = ContextVar("oyez_unlogged", default=False)


def _is_logged(record: logging.LogRecord) -> bool:
    """A filter that drops records about requests of which nothing must be logged."""
    return not _unlogged.get()


def _redact_record(record: logging.LogRecord) -> bool:
    """A filter that drops nothing, but removes tokens and shortens long addresses."""
    record.msg = redact(str(record.msg))
    if isinstance(record.args, tuple):
        record.args = tuple(_show(each) if isinstance(each, str) else each for each in record.args)
    if record.exc_info and type(record.exc_info[1]).__module__.startswith("websockets."):
        # A malformed handshake is the client's mistake: the message is enough, without a traceback.
        record.msg, record.exc_info = f"{record.msg}: {record.exc_info[1]}", None
    return True


_given: dict[str, int] = {}
"""The levels that Oyez has set itself, by part."""


def _to_record(logger: Any, method: str, fields: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments for standard logging. No `exc_info`, because the host's handlers might show local variables."""
    event = escape(redact(str(fields.pop("event", ""))))
    exception = format_traceback(fields.pop("exc_info", None))
    shown = {name: _show(value) for name, value in fields.items()}
    text = escape(redact(" ".join([event, *(f"{name}={value!r}" for name, value in shown.items())])))
    parts = {"event": event, "fields": shown, "exception": exception}
    return (f"{text}\n{indent(exception, INDENT)}" if exception else text,), {
        "extra": {ROOT: parts},
        "exc_info": None,
        "stacklevel": STACK_LEVEL,
    }


def _show(value: Any) -> Any:
    """A field's value without secrets and at most MAX_FIELD long, because many values come from clients."""
    if isinstance(value, (bool, int, float, type(None))):
        return value
    text = value if isinstance(value, str) else repr(value)
    if len(text) > MAX_FIELD:
        return f"{redact(text)[:MAX_FIELD]}… ({len(text)} characters)"
    return redact(value) if isinstance(value, str) else value


def _restore(logger: Any, method: str, fields: EventDict) -> EventDict:
    """Restore the parts of a record that Oyez has logged, and the traceback of another library's record."""
    record: logging.LogRecord = fields["_record"]
    parts: MutableMapping[str, Any] | None = getattr(record, ROOT, None)
    exception = format_traceback(fields.pop("exc_info", None))
    if parts is not None:
        fields.update({"event": parts["event"], **parts["fields"]})
        exception = parts["exception"]
    if exception:
        fields["exception"] = exception
    return fields


def _escape_fields(logger: Any, method: str, fields: EventDict) -> EventDict:
    """What a terminal may show. `ConsoleRenderer` writes the values as they are."""
    exception = fields.pop("exception", None)
    shown: EventDict = {name: escape(str(value)) for name, value in fields.items()}
    if exception is not None:
        shown["exception"] = indent(exception, INDENT)
    return shown


def _redact_line(logger: Any, method: str, line: Any) -> str:
    return redact(str(line))


PROCESSORS: list[Processor] = [structlog.stdlib.filter_by_level, structlog.contextvars.merge_contextvars, _to_record]
"""The structlog processors of all of Oyez' loggers."""
