"""Rules of the layers that import-linter cannot express."""

import ast
from pathlib import Path

import oyez

SOURCE = Path(oyez.__file__).parent
UNIX_FOLDER = "oyez.concurrency.unix_folder"
OPEN_UNIX_SOCKETS = {"log/local_bus.py", "server/cluster/peering.py", "server/cluster/handoff.py"}
"""Processes of one machine meet in these places only: entries, forwarded requests, connections that are handed over."""


def find_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def test_only_the_local_bus_and_the_cluster_open_unix_sockets() -> None:
    sources = {str(path.relative_to(SOURCE)): path for path in SOURCE.rglob("*.py")}
    assert {name for name, path in sources.items() if UNIX_FOLDER in find_imports(path)} == OPEN_UNIX_SOCKETS
    binding = {name for name, path in sources.items() if "socket.AF_UNIX" in path.read_text()}
    assert binding == {"concurrency/unix_folder.py"}
