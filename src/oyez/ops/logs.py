"""Logs of `oyez serve`: one line an event on standard error, in colour for people and as JSON for machines."""

import logging
import sys

from oyez.levels import ALL, read_levels
from oyez.logger import build_formatter, set_level


def configure_logging(level: str) -> None:
    """Send Oyez' and the libraries' logs to standard error. Raises SettingsError for an unknown level or part.

    Libraries log warnings and errors only.
    """
    number = read_levels(level)[ALL]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(build_formatter(for_people=sys.stderr.isatty()))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    set_level(level)
