"""From rounds to figures, ratios, verdicts and the page, without any server.

`pytest bench/test_results.py`; see test_load.py for the C programs.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.capacity import (
    MEMORY,
    TWO_NODES,
    VALKEY,
    WORKERS,
    Cost,
    Costs,
    Findings,
    write_arithmetic,
    write_fan_out,
    write_together,
)
from bench.capacity import SQLITE as SQLITE_CASE
from bench.cpu import CpuTime, read_cpu, read_memory
from bench.log import ALONE, REDIS, SQLITE, WAYS, ratios
from bench.log import Subject as LogSubject
from bench.log import judge as judge_logs
from bench.measure import QUICK, Budget, calibrate
from bench.results import Figure, Figures, Sample, Scenario, judge, summarise, summarise_times
from bench.servers import FLOOR, NODE_WS, OYEZ
from bench.table import write_benchmarks

FAN_OUT = Scenario("fanout-1000-1", "Fan-out to 1,000, one at a time", "µs CPU a recipient")


def sample(microseconds: float, operations: int = 1000) -> Sample:
    """A round that took so much CPU for each operation, three quarters of it in the kernel."""
    seconds = microseconds * operations / 1e6
    cpu = CpuTime(seconds / 4, seconds * 3 / 4)
    return Sample(operations=operations, cpu=cpu, seconds=1.0, load_cpu=0.5)


def figures_of(*, stored: bool = True, **values: float) -> Figures:
    figures = Figures()
    keys = {"oyez": OYEZ, "ws": NODE_WS, "floor": FLOOR}
    figures.add(summarise(FAN_OUT, keys[name], [sample(value)], stored=stored) for name, value in values.items())
    return figures


def test_the_middle_round_speaks() -> None:
    figure = summarise(FAN_OUT, OYEZ, [sample(9), sample(4), sample(5)])
    assert (figure.value, figure.user, *(figure.spread or ())) == pytest.approx((5.0, 1.25, 4.0, 9.0))
    assert (figure.rate, figure.load_share) == (1000.0, 0.5)


def test_times_are_those_of_the_middle_round() -> None:
    rounds = [Sample(operations=100, cpu=CpuTime(1, 1), seconds=n, p50_ms=n * 10, p99_ms=n * 20) for n in (3, 1, 2)]
    scenarios = [Scenario(key, key, "") for key in ("time", "p50", "p99")]
    figures = list(summarise_times(scenarios, OYEZ, rounds))
    assert [(figure.scenario.key, figure.value, figure.spread) for figure in figures] == [
        ("time", 20_000, (10_000, 30_000)),
        ("p50", 20, (10, 30)),
        ("p99", 40, (20, 60)),
    ]


def test_targets_are_ratios_of_the_same_run() -> None:
    verdicts = {
        verdict.target.peer: verdict
        for verdict in judge(figures_of(oyez=5, ws=10, floor=3))
        if verdict.target.scenario == FAN_OUT.key and verdict.server == OYEZ
    }
    assert (verdicts[NODE_WS].measured, verdicts[NODE_WS].text) == (0.5, "met")
    assert verdicts[FLOOR].measured == pytest.approx(5 / 3)
    assert verdicts[FLOOR].text == "missed"


def test_the_error_of_a_durable_target_reports_that_nothing_was_stored() -> None:
    texts = {verdict.text for verdict in judge(figures_of(oyez=1, ws=10, floor=3, stored=False))}
    assert texts == {"met, with the log in memory", "not measured"}


def test_what_failed_or_is_missing_is_not_met() -> None:
    figures = figures_of(oyez=5)
    figures.add([Figure(scenario=FAN_OUT, server=NODE_WS, error="it fell over")])
    assert {verdict.text for verdict in judge(figures)} == {"not measured"}
    assert [figure.server for figure in figures.failed()] == [NODE_WS]


def test_the_page_says_met_missed_and_failed(tmp_path: Path) -> None:
    figures = figures_of(oyez=5, ws=10, floor=3)
    figures.add([Figure(scenario=Scenario("connect", "Connect", "µs"), server=OYEZ, error="it | fell\nover")])
    figures.skipped[NODE_WS] = "there is no `node`"
    page = tmp_path / "benchmarks.md"
    write_benchmarks(page, figures, command="make bench", machine={"cores": "2"}, versions={"Python": "3"})
    text = page.read_text()
    assert "| ≤ 0.6 × Node, ws | 0.50 | met |" in text
    assert "| missed |" in text
    assert "| not measured |" in text
    assert "Not measured: Node, ws, because there is no `node`." in text
    # A server's words must not break the table.
    assert "it \\| fell over" in text


@dataclass
class FakeSubject:
    """Takes a millisecond for each count, and ten for each of the first hundred."""

    key: str = OYEZ
    stored: bool | None = None
    counted: int = 0

    def do(self, count: int) -> Sample:
        slow = max(0, min(count, 100 - self.counted))
        self.counted += count
        seconds = (slow * 10 + (count - slow)) / 1000
        return Sample(operations=count, cpu=CpuTime(seconds, 0), seconds=seconds)


def test_counts_fill_a_round_once_the_server_is_warm() -> None:
    budget = Budget(warm_up_seconds=2.0, round_seconds=1.5)
    assert 1400 <= calibrate(FakeSubject(), budget, 1) <= 1500
    assert calibrate(FakeSubject(), budget, 10) % 10 == 0
    assert calibrate(FakeSubject(), QUICK, 10) >= 10


def test_this_process_uses_time_and_memory() -> None:
    before = read_cpu(os.getpid())
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    assert 0.05 <= read_cpu(os.getpid()).since(before).total <= 2
    assert read_memory(os.getpid()) > 1_000_000


def test_a_ratio_is_one_of_neighbouring_rounds() -> None:
    subjects = {name: LogSubject(name, _never) for name in (SQLITE, REDIS, ALONE)}
    for way in WAYS:
        for name, rates in ((SQLITE, (60_000, 70_000)), (REDIS, (10, 30)), (ALONE, (10, 60))):
            subjects[name].samples[way] = [(rate, 1.0) for rate in rates]
    assert ratios(subjects, WAYS[0]) == [0.5, 1.0]
    assert {measured >= wanted for _, wanted, measured, _ in judge_logs(subjects)} == {True}


async def _never(count: int) -> object:
    raise AssertionError


def test_capacity_follows_from_what_an_event_costs() -> None:
    one = Costs(Cost((100.0,), 20.0), Cost((10.0,), 4.0))
    two = Costs(Cost((100.0, 50.0), 25.0), Cost((10.0, 5.0), 5.0))
    cases = (MEMORY, SQLITE_CASE, VALKEY)
    findings = Findings(
        {(case, recipients): one for case in cases for recipients in (0, 1_000)},
        {WORKERS: two, TWO_NODES: two},
        connection=10 * 1024,
        entry=500.0,
    )
    assert "| SQLite | 1,000 | 100 | 10,000 | 10,000,000 | 10.0 | 100,000 | 100,000,000 |" in write_fan_out(findings)
    assert "| Valkey, two nodes | in lists of 100 | 10.0 | 5.00 | 5.00 |" in write_together(findings)
    arithmetic = " ".join(write_arithmetic(findings))
    assert "250,000 for 1, 200,000 for 2" in arithmetic
    assert "0.5 to 5.0 % at 1,000" in arithmetic
