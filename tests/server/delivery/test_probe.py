"""The log probe reports a log that delivers nothing, and does not take a pause of its own process for an outage."""

import asyncio
import time
from typing import cast

import pytest

from oyez.log.log import Entry, Log
from oyez.server.delivery import probe
from oyez.server.delivery.probe import LogProbe


class PausingLog:
    """A log that accepts entries. The process is paused in `append` for longer than a probe may take."""

    def __init__(self, *, delivers: bool) -> None:
        self.delivers = delivers
        self.reports: list[str | None] = []
        self.probe = LogProbe(cast(Log, self), self.reports.append, self.pause)
        self._probes = 0

    async def append(self, entries: list[Entry]) -> list[str]:
        time.sleep(2 * probe.PROBE_TIMEOUT)  # noqa: ASYNC251 - as SIGSTOP and SIGCONT do
        if self.delivers:
            asyncio.get_running_loop().call_soon(self.probe.handle, entries[0])
        return ["1"]

    async def pause(self, seconds: float) -> None:
        """Called before each probe. The second call ends the run."""
        if self._probes:
            raise EOFError
        self._probes += 1


@pytest.mark.parametrize("delivers", [True, False])
async def test_a_pause_of_the_process_is_not_an_outage_of_the_log(
    monkeypatch: pytest.MonkeyPatch, delivers: bool
) -> None:
    monkeypatch.setattr(probe, "PROBE_TIMEOUT", 0.1)
    log = PausingLog(delivers=delivers)
    with pytest.raises(EOFError):
        await log.probe.run()
    late = "An entry that was appended to the log was not delivered within 0.1 s."
    assert log.reports == ([] if delivers else [late])
