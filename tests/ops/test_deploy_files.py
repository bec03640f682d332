"""The files for Grafana and Prometheus use metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from oyez.ops.families import FAMILIES

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
NAMES = {family.name + suffix for family in FAMILIES for suffix in SUFFIXES[family.kind]}


@pytest.mark.parametrize("file", [RULES, DEPLOY / "grafana-dashboard.json"], ids=lambda file: file.name)
def test_only_metrics_that_exist_are_used(file: Path) -> None:
    used = set(re.findall(r"\boyez_[a-z_]+", file.read_text()))
    assert used and used <= NAMES


def test_every_panel_has_a_query() -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    assert dashboard["panels"]
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_every_alert_has_a_first_step() -> None:
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert alerts and all(re.search(rf"\| .*\b{alert}\b", page) for alert in alerts)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is part of Prometheus")
def test_prometheus_accepts_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
