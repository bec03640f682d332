"""Records of restrictions that cannot be read: nobody who was refused may connect because of it."""

import pytest

from oyez.errors import RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.revoked_tokens import RevokedTokens

NOW = 1_000_000.0
BEFORE, AFTER = {"iat": NOW - 10}, {"iat": NOW + 10}


async def find_code(revoked: RevokedTokens, claims: dict[str, float]) -> str:
    try:
        await revoked.check("ada", ("buyer",), claims)
    except RefusedError as refused:
        return refused.refusal.code
    return "accepted"


async def flip(log: MemoryLog, key: str, bit: int) -> None:
    record = bytearray(await log.get(key) or b"")
    record[bit // 8 % len(record)] ^= 1 << bit % 8
    await log.put(key, bytes(record), 600.0)


@pytest.mark.parametrize("bit", [0, 9, 61, 75, 90, 100, 107, 123, 150])
async def test_a_flipped_bit_opens_no_door_and_closes_none(bit: int) -> None:
    log = MemoryLog()
    await RevokedTokens(log, lambda: NOW).revoke("ada", None, 600.0)
    await flip(log, "revoked:ada", bit)
    # Another process, which does not remember the record.
    other = RevokedTokens(log, lambda: NOW)
    assert [await find_code(other, claims) for claims in (BEFORE, AFTER)] == ["token_revoked", "accepted"]
    # The record was written again.
    assert await find_code(RevokedTokens(log, lambda: NOW + 5), AFTER) == "accepted"
    assert await find_code(RevokedTokens(log, lambda: NOW + 5), BEFORE) == "token_revoked"


async def test_a_block_holds() -> None:
    log = MemoryLog()
    await RevokedTokens(log, lambda: NOW).restrict("block", "ada", NOW, NOW + 600)
    await flip(log, "blocked:ada", 100)
    other = RevokedTokens(log, lambda: NOW)
    assert await find_code(other, AFTER) == "blocked"
    assert await other.release("block", "ada")
    assert await find_code(other, AFTER) == "accepted"
