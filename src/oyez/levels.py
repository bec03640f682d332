"""The levels of log lines, and the parts of Oyez that have loggers of their own: what `log_level` may say."""

from oyez.errors import SettingsError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""The numbers that Python's `logging` gives to the levels."""
PARTS = {
    "clients": "clients that connect, are refused, join and leave rooms, recover and disconnect",
    "commands": "commands of clients, with outcome and time",
    "events": "events that are published and delivered",
    "server": "connections, transports, nodes, recovery",
    "runtime": "handlers, publishing, HTTP requests",
    "service": "tokens, database, outbox, jobs, webhooks, back ends",
    "log": "the log's storage",
    "client": "publishers of `oyez.client` in this process",
    "concurrency": "periodic work and timers",
    "observer": "observers that fail",
    "ops": "metrics",
    "cli": "`oyez serve` and its workers",
}
"""The logger `oyez.PART` of each part, and what it logs."""
ALL = ""
"""The part for which a level counts that names none."""


def read_levels(text: str) -> dict[str, int]:
    """The level of each part that `text` names, and of ALL; `info, commands=debug` for example.

    Raises SettingsError for an unknown level or part.
    """
    levels = {ALL: LEVELS["info"]}
    for item in filter(None, (item.strip() for item in text.lower().split(","))):
        part, given, level = (word.strip() for word in item.rpartition("="))
        if level not in LEVELS or (given and part not in PARTS):
            raise SettingsError(
                f"LOG_LEVEL is {text!r}. Set it to one of {', '.join(LEVELS)}; after a comma, PART=LEVEL gives a part"
                f" another level. Parts are {', '.join(PARTS)}."
            )
        levels[part] = LEVELS[level]
    return levels
