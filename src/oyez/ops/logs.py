"""Logs of `oyez serve`: one line an event on standard error, in colour for people and as JSON for machines."""

import logging
import sys

from oyez.logger import ROOT, build_formatter, read_level


def configure_logging(level: str) -> None:
    """Send Oyez' and the libraries' logs to standard error. Raises SettingsError for an unknown level.

    Libraries log warnings and errors only.
    """
    number = read_level(level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(build_formatter(for_people=sys.stderr.isatty()))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger(ROOT).setLevel(number)
