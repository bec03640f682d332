"""What checks find, and how it is shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from oyez.cli import console
from oyez.errors import OyezError

C = TypeVar("C")
T = TypeVar("T")

OK, PROBLEM, UNKNOWN = "ok", "problem", "unknown"
STYLES: Mapping[str, str] = {OK: "green", PROBLEM: "bold red", UNKNOWN: "yellow"}


class ProblemError(OyezError):
    """A check has found a fault. The message says what is wrong, and what to do."""


class UnknownError(OyezError):
    """A check could not be made. The message says why, and what would make it possible."""


class Result(msgspec.Struct, frozen=True):
    """What one check has found."""

    check: str
    result: str
    """OK, PROBLEM or UNKNOWN."""
    text: str


@dataclass(frozen=True, slots=True)
class Check(Generic[C]):
    """One question about a case. `look` describes what it finds; it raises for a fault."""

    subject: str
    look: Callable[[C], str]
    after: tuple[str, ...] = field(default=())
    """Checks that must be ok before: otherwise this one would only repeat their faults."""


class Checks:
    """Runs checks, keeps the results, and shows a line for each unless they are `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.results: list[Result] = []
        self._quiet = quiet

    @property
    def problems(self) -> int:
        """Number of faults."""
        return sum(result.result == PROBLEM for result in self.results)

    def run(self, subject: str, look: Callable[[], tuple[T, str]]) -> T | None:
        """What `look` found, with a line that describes it; None if it raised, with a line for each problem."""
        try:
            found, text = look()
        except UnknownError as error:
            self._add(subject, UNKNOWN, str(error))
            return None
        except (OyezError, DBAPIError, OSError) as error:
            for line in (str(error.orig) if isinstance(error, DBAPIError) else str(error)).splitlines():
                self._add(subject, PROBLEM, line)
            return None
        self._add(subject, OK, text)
        return found

    def describe(self, subject: str, look: Callable[[], str]) -> None:
        """As `run`, for a check that finds nothing but how things are."""
        self.run(subject, lambda: (None, look()))

    def run_table(self, table: tuple[Check[C], ...], case: C) -> None:
        """Run all checks of a table, in its order."""
        for check in table:
            missing = [subject for subject in check.after if not self._is_ok(subject)]
            if missing:
                self._add(check.subject, UNKNOWN, f"is not checked, because of {missing[0]}")
            else:
                self.describe(check.subject, lambda check=check: check.look(case))  # type: ignore[misc]

    def _is_ok(self, subject: str) -> bool:
        return any(result.check == subject and result.result == OK for result in self.results)

    def _add(self, subject: str, result: str, text: str) -> None:
        words = console.printable(" ".join(text.split()))
        self.results.append(Result(subject, result, words))
        if not self._quiet:
            console.out.print(Text.assemble((f"{result:<9}", STYLES[result]), f"{subject:<18}  ", words))
