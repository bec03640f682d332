"""Delivery under random operations: the short version of `python -m chaos.random_operations`."""

import asyncio
from pathlib import Path

import pytest
from chaos.random_operations import LOGS, run_on


@pytest.mark.parametrize(("kind", "operations"), [("memory", 4_000), ("sqlite", 3_000), ("redis", 1_000)])
def test_each_client_receives_its_own_events_once_and_in_order(
    kind: str, operations: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert kind in LOGS
    server = request.getfixturevalue("valkey") if kind == "redis" else None
    counts = asyncio.run(run_on(kind, 7, operations, tmp_path, server))
    assert counts["recovered"] and counts["explicit"] and counts["restarts"]
