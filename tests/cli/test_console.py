"""What the commands print, word by word."""

import shlex
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from oyez.cli import console


def test_an_event_is_shown_in_the_time_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 1, 31, 12, 0, 5, 67_800, tzinfo=timezone(timedelta(hours=3)))
    console.show_event("said", [{"name": "Zoë"}, 2], moment)
    stamp = moment.astimezone().strftime("%H:%M:%S")
    assert capsys.readouterr().out == f'{stamp}.067  said  {{"name":"Zoë"}} 2\n'


def test_long_lines_and_markup_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_event("[bold]:smile:", ["x" * 500], datetime.now(UTC))
    assert capsys.readouterr().out.endswith(f'  [bold]:smile:  "{"x" * 500}"\n')


def test_nothing_can_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_event("a\x1b[2J", ["\u009b2J\u202e", {"\x07": 1}], datetime.now(UTC))
    assert capsys.readouterr().out.endswith('  a\\u001b[2J  "\\u009b2J\\u202e" {"\\u0007":1}\n')


def test_an_error_is_one_line_whatever_it_is_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.fail("first\n  second\x1b", 2) == 2
    assert capsys.readouterr().err == "Error: first second\\u001b\n"


def test_words_are_quoted_for_a_shell() -> None:
    words = ["oyez", "--data", '{"a": "it\'s"}', "--token", "$TOKEN", ""]
    line = console.join_words(words)
    assert shlex.split(line) == words
    assert '"$TOKEN"' in line


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `oyez` that is not on the path, one folder below the working folder."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "bin" / "oyez"
    script.parent.mkdir()
    script.touch(0o755)
    monkeypatch.setenv("PATH", "/usr/bin")
    return script


def test_a_script_is_called_by_its_path(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert console.invocation() == ["bin/oyez"]


def test_on_the_path_its_name_is_enough(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(sys, "argv", ["bin/oyez"])
    assert console.invocation() == ["oyez"]


def test_another_program_of_that_name_on_the_path_is_not_meant(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "oyez"
    other.parent.mkdir()
    other.touch(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert console.invocation() == ["bin/oyez"]


def test_as_a_module_it_is_called_with_its_python(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/lib/oyez/cli/__main__.py"])
    python, *words = console.invocation()
    assert words == ["-m", "oyez.cli"]
    assert Path(python).samefile(sys.executable)
