"""Limits: how often one user may send a command, as a contract declares it (`limit="10/s"`).

`runtime/usage.py` counts what users have sent.
"""

import re
from dataclasses import dataclass
from typing import Self

from oyez.concurrency.token_bucket import Rate
from oyez.errors import ContractError

_PERIODS = {"s": 1.0, "m": 60.0}
LONGEST_PERIOD = max(_PERIODS.values())
"""Seconds after which every limit is full again."""


@dataclass(frozen=True, slots=True)
class Limit(Rate):
    """`count` commands at once, refilled evenly over `period` seconds."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The limit written as `10/s` or `30/m`. Raises ContractError."""
        match = re.fullmatch(r"([1-9]\d{0,5})/([sm])", text, re.ASCII)
        if match is None:
            raise ContractError(
                f"limit {text!r}: expected a number of commands a second or minute, such as 10/s or 30/m"
            )
        return cls(int(match[1]), _PERIODS[match[2]])

    @property
    def text(self) -> str:
        """The limit as documents show it."""
        return f"{self.count} a {'second' if self.period == 1 else 'minute'}"


DEFAULT_LIMIT = Limit(20, 1.0)
"""For commands without a limit: more than a person clicks, and enough for a front end that joins its rooms again after
a reconnection."""
