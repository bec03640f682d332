"""Logs: one line an event on standard error, in colour for people and as JSON for machines."""

import logging
import sys

import structlog
from structlog.typing import Processor

from oyez.errors import SettingsError

LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}


def configure_logging(level: str) -> None:
    """Send Oyez' and the libraries' logs to standard error. Raises SettingsError for an unknown level."""
    if level.lower() not in LEVELS:
        raise SettingsError(f"LOG_LEVEL is {level!r}. Set it to one of {', '.join(LEVELS)}.")
    number = LEVELS[level.lower()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    people = sys.stderr.isatty()
    renderer: Processor = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    exceptions: list[Processor] = [] if people else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *exceptions, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *exceptions,
                renderer,
            ],
        )
    )
    # uvicorn's own start-up lines repeat what `serve` prints.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
