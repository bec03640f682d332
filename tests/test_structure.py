"""The structure of the source and the tests: an object's attributes are assigned in its own file, files stay readable,
and tests end the tasks that they start."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src/oyez"
OWNED = {"socket", "connection", "namespace", "recovery", "recoverer", "server", "transport", "sessions", "registry"}
"""Names of variables and attributes that hold one of the server's objects."""
ALLOWED = {
    # The slot that belongs to the application, whichever it is.
    "socket.data",
    # Counted for each packet and each read: a call would cost as much as the rest of the accounting.
    "connection.budget.packets",
}
MAX_LINES = 720
MAX_CHAIN = 3
LOOSE = {"asyncio.create_task", "asyncio.ensure_future"}


def find_assignments(path: Path) -> Iterator[str]:
    """Assignments to attributes of another object, as `object.attribute`."""
    for node in ast.walk(ast.parse(path.read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(part, ast.Attribute) and ast.unparse(part.value) not in ("self", "cls"):
                    yield ast.unparse(part)


def test_no_attribute_of_the_servers_objects_is_assigned_from_another_file() -> None:
    found = [
        f"{path.relative_to(SOURCE)}: {assigned}"
        for path in (*SOURCE.glob("server/**/*.py"), *SOURCE.glob("runtime/**/*.py"))
        for assigned in find_assignments(path)
        if assigned.split(".")[-2] in OWNED and assigned not in ALLOWED
    ]
    assert found == []


def find_chains(path: Path) -> Iterator[str]:
    """Chains of attributes longer than `a.b.c`, without `self` in front; columns of a table have one part more."""
    for node in ast.walk(ast.parse(path.read_text())):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts, node = [node.attr, *parts], node.value
        if isinstance(node, ast.Name) and len(parts) + (node.id not in ("self", "cls")) > MAX_CHAIN and parts[0] != "c":
            yield ".".join([node.id, *parts])


def test_no_object_is_used_through_the_insides_of_another() -> None:
    paths = (path for layer in ("server", "runtime", "service") for path in SOURCE.glob(f"{layer}/**/*.py"))
    assert [f"{path.relative_to(SOURCE)}: {chain}" for path in paths for chain in find_chains(path)] == []


def test_no_file_is_longer_than_one_can_read() -> None:
    long = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if path.read_text().count("\n") > MAX_LINES]
    # The contract of rez is one document with some sixty events.
    assert [path for path in long if not path.startswith("systems/rez/")] == []


def find_loose_tasks(path: Path) -> Iterator[str]:
    """Tests that start tasks without the fixture `spawn`: if such a test fails, its tasks disturb the next ones."""
    for test in ast.walk(ast.parse(path.read_text())):
        if isinstance(test, ast.AsyncFunctionDef) and test.name.startswith("test_"):
            for node in ast.walk(test):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in LOOSE:
                    yield f"{test.name}, line {node.lineno}"


def test_tests_end_their_tasks() -> None:
    paths = TESTS.rglob("test_*.py")
    assert [f"{path.relative_to(TESTS)}: {place}" for path in paths for place in find_loose_tasks(path)] == []
