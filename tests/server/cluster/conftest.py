"""Two nodes, by each way in which nodes reach each other."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oyez.server.cluster.node import Node
from tests.support.nodes import MakeNode, Two, two_nodes


@pytest.fixture(params=["unix", "tcp"])
def make_node(request: pytest.FixtureRequest, tmp_path: Path) -> MakeNode:
    """Nodes that reach each other by sockets in a folder, or by TCP."""
    if request.param == "unix":
        return lambda secret: Node(secret, folder=tmp_path / "nodes")
    return lambda secret: Node(secret, host="127.0.0.1")


@pytest.fixture
def by_tcp() -> MakeNode:
    """For what is passed on piece by piece."""
    return lambda secret: Node(secret, host="127.0.0.1")


@pytest.fixture
async def two(make_node: MakeNode) -> AsyncIterator[Two]:
    async with two_nodes(make_node) as nodes:
        yield nodes
