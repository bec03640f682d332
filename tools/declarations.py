"""`python -m tools.declarations`: how many lines of declaration an event or command of the shipped systems takes.

Counted are the statements that declare: the classes of payloads and commands with their decorators, types that they
share, data that examples share, and calls such as `root.event(…)(payloads.Placed)`. Empty lines, comments, imports and
rooms are not counted.
Commands that only join or leave a room need no statement of their own, and do not count as declarations either.
"""

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import NamedTuple

import msgspec

from oyez.contract.contract import Contract
from oyez.contract.schema import iter_types
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system

GOAL = 12.0
"""Lines of one declaration, on average: about as many as one event takes in an event document."""
CEILING = 12.0
"""Lines of one declaration on average, examples included, that no change may exceed."""


class Count(NamedTuple):
    """The declarations of one contract."""

    declarations: int
    lines: int
    example_lines: int
    """Lines of examples among them."""

    @property
    def average(self) -> float:
        """Lines of one declaration."""
        return self.lines / self.declarations if self.declarations else 0.0


def count_lines(contract: Contract) -> Count:
    """Count the lines that declare the events and commands of `contract`."""
    commands = {
        command.command
        for namespace in contract.namespaces
        for command in namespace.commands
        if not _is_room_command(command.command)
    }
    structs = {*commands, *(event.payload for event in contract.events.values())}
    replies = {command.reply for namespace in contract.namespaces for command in namespace.commands}
    shared = {found for root in (*structs, *replies) if root is not None for found in _find_structs(root)}
    modules = {sys.modules[struct.__module__] for struct in shared if struct.__module__.startswith("oyez.systems")}
    modules |= {module for name, module in sys.modules.items() if name.endswith(f"systems.{contract.name}.contract")}
    names = {struct.__name__ for struct in shared}
    statements = [found for module in modules for found in _find_statements(module, names)]
    return Count(
        len(contract.events) + len(commands),
        sum(_count_code(statement, text) for statement, text in statements),
        sum(_count_examples(statement) for statement, _ in statements),
    )


def _is_room_command(command: type) -> bool:
    """True if a room has declared the command, so that no class is written for it."""
    return not command.__module__.startswith("oyez.systems")


def _find_structs(kind: object) -> Iterator[type]:
    for found in iter_types(msgspec.inspect.type_info(kind)):
        if isinstance(found, msgspec.inspect.StructType):
            yield from (base for base in found.cls.__mro__ if base.__module__.startswith("oyez.systems"))


def _find_statements(module: ModuleType, names: Iterable[str]) -> Iterator[tuple[ast.stmt, list[str]]]:
    text = inspect.getsource(module)
    for statement in ast.parse(text).body:
        declares = isinstance(statement, ast.ClassDef) and statement.name in names
        called = (
            statement.value.func if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) else None
        )
        if declares or isinstance(called, ast.Call) or _is_shared_example(statement):
            yield statement, text.splitlines()


def _is_shared_example(statement: ast.stmt) -> bool:
    """True if the statement gives a name to an object that several examples contain."""
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict)


def _count_code(statement: ast.stmt, text: list[str]) -> int:
    decorators = statement.decorator_list if isinstance(statement, ast.ClassDef) else []
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    assert statement.end_lineno is not None
    written = [line.strip() for line in text[first - 1 : statement.end_lineno]]
    return sum(bool(line) and not line.startswith("#") for line in written)


def _count_examples(statement: ast.stmt) -> int:
    if _is_shared_example(statement):
        return (statement.end_lineno or 0) - statement.lineno + 1
    return sum(
        (node.value.end_lineno or 0) - node.value.lineno + 1
        for node in ast.walk(statement)
        if isinstance(node, ast.keyword) and node.arg == "example"
    )


def count_systems() -> dict[str, Count]:
    """The counts of all shipped systems, by their names."""
    return {name: count_lines(load_system(name).contract) for name in list_systems()}


def add(counts: Iterable[Count]) -> Count:
    """All of `counts` together."""
    return Count(*(sum(column) for column in zip(*counts, strict=True)))


def main() -> None:
    counts = count_systems()
    for name, count in counts.items():
        print(f"{name}: {count.declarations} declarations, {count.lines} lines, {count.average:.1f} each")
    total = add(counts.values())
    print(
        f"all: {total.declarations} declarations, {total.lines} lines, {total.average:.1f} each "
        f"({total.example_lines / total.declarations:.1f} of them examples; goal {GOAL:.0f})"
    )


if __name__ == "__main__":
    main()
