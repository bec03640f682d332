"""Logs: one line an event on standard error, in colour for people and as JSON for machines."""

import logging
import sys

import structlog
from structlog.typing import Processor

from oyez.errors import SettingsError

LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}


def configure_logging(level: str) -> None:
    """Send Oyez' and the libraries' logs to standard error. Raises SettingsError for an unknown level.

    Libraries are heard from warnings on: what they do when all is well is their own affair.
    """
    if level.lower() not in LEVELS:
        raise SettingsError(f"LOG_LEVEL is {level!r}. Set it to one of {', '.join(LEVELS)}.")
    number = LEVELS[level.lower()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering = _render_for_people() if sys.stderr.isatty() else _render_for_machines()
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _render_for_people() -> list[Processor]:
    # The plain traceback: the default one shows local variables, and tokens among them.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _render_for_machines() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
