"""What the admin keeps in the database: it outlives a restart and a lost log, and does not grow for ever."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from oyez.client import ConnectRefused
from oyez.ops.admin import audit
from tests.support.clock import PATIENCE
from tests.support.operators import Operator, operated
from tests.support.pharmacy import system

SYSTEM = "/systems/pharmacy"
DAY = 86_400.0


def lose_log(folder: Path) -> None:
    for file in folder.glob("log-pharmacy.sqlite*"):
        file.unlink()


async def test_a_block_outlives_the_log(tmp_path: Path) -> None:
    async with operated(tmp_path, system) as (market, operator):
        await operator.post(f"{SYSTEM}/block", {"user": "ada", "seconds": 600, "reason": "spam"})
    lose_log(tmp_path)
    async with operated(tmp_path, system) as (market, _):
        async with asyncio.timeout(PATIENCE):
            # Until the records have been written again, the user may connect.
            while True:
                try:
                    async with market.connect("pharmacy", "ada"):
                        pass
                except ConnectRefused as refused:
                    assert refused.data["code"] == "blocked"
                    break


async def test_old_records_of_the_audit_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PRUNED", 2)

    async def list_targets(operator: Operator) -> list[str]:
        return [one["target"] for one in (await operator.get("/audit", action="unblock"))["records"]]

    async with operated(tmp_path, system, audit_days=30) as (_, operator):
        for number in range(6):
            await operator.post(f"{SYSTEM}/unblock", {"user": f"u-{number}"})
        assert len(await list_targets(operator)) == 6
    with closing(sqlite3.connect(tmp_path / "domain.sqlite")) as db, db:
        old = "UPDATE oyez_audit SET at = at - ? WHERE action = 'unblock' AND target <> 'user u-5'"
        assert db.execute(old, (31 * DAY,)).rowcount == 5
    async with operated(tmp_path, system, audit_days=30) as (_, operator):
        async with asyncio.timeout(PATIENCE):
            while (found := await list_targets(operator)) != ["user u-5"]:
                assert "user u-5" in found
                await asyncio.sleep(0.02)
