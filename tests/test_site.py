"""The documentation site builds without a warning: each link leads to a page, each page is in the contents."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_a_warning_and_can_be_searched(tmp_path: Path) -> None:
    options = ["-q", "-W", "--keep-going", "-c", "tools/docs", "-d", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert {page.stem for page in (tmp_path / "site/docs").glob("*.html")} == pages
    assert "room" in (tmp_path / "site/searchindex.js").read_text()
    assert "README.html" in (tmp_path / "site/index.html").read_text()
