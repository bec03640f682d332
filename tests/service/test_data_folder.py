"""The data folder's format: older ones are migrated step by step, newer ones refused, and none is half migrated."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from oyez.errors import SettingsError
from oyez.log.log import Entry
from oyez.log.sqlite import SqliteLog
from oyez.service.app import Oyez
from oyez.service.data_folder import STEPS, open_folder
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.shops import serve, shop

TODAY = str(len(STEPS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(port=0, oyez_data=str(folder))


def read_format(folder: Path) -> str:
    return (folder / "format").read_text().strip()


@pytest.fixture
async def old(folder: Path, settings: Settings) -> Path:
    """A folder as Oyez made it before there was a number: with a secret, a database and a log that has an event."""
    log = SqliteLog(folder / "log-books.sqlite")
    await log.open()
    event = b'["sold",{"item":"old","buyer":"ada","timestamp":"2026-01-31T12:00:00Z"}]'
    await log.append([Entry(namespace="/", rooms=("buyer:ada",), data=event)])
    await log.close()
    return folder


async def test_a_folder_without_a_number_is_migrated_and_keeps_what_is_in_it(
    old: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert not (old / "format").exists()
    caplog.set_level("INFO", "oyez")
    oyez = Oyez([shop("books")], settings)
    assert read_format(old) == TODAY
    (line,) = [line for line in caplog.text.splitlines() if "data folder" in line]
    assert "was migrated" in line and "was=0" in line
    async with serve(oyez) as market:
        start = f"{(await market.oyez.systems['books'].log.position()).partition('.')[0]}.0"
        (entry,) = await market.oyez.systems["books"].log.read(start, "/", frozenset({"buyer:ada"}), 10)
        assert b"old" in entry.data


def test_a_new_folder_is_in_todays_format(folder: Path, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        open_folder(settings)
        assert read_format(folder) == TODAY
    assert caplog.text == ""
    assert folder.stat().st_mode & 0o777 == 0o700


def test_steps_are_done_in_order_and_each_once(folder: Path, settings: Settings) -> None:
    done: list[int] = []
    steps = [lambda folder, number=number: done.append(number) for number in range(5)]
    folder.mkdir()
    (folder / "format").write_text("2\n")
    for _ in range(2):
        open_folder(settings, steps)
    assert (done, read_format(folder)) == ([2, 3, 4], "5")


def test_an_interrupted_migration_goes_on_where_it_stopped(folder: Path, settings: Settings) -> None:
    done: list[str] = []

    def fail(folder: Path) -> None:
        raise OSError("the disk is full")

    folder.mkdir()
    (folder / "format").write_text("0\n")
    first, last = (lambda folder: done.append("first")), (lambda folder: done.append("last"))
    with pytest.raises(SettingsError, match="the disk is full"):
        open_folder(settings, [first, fail, last])
    assert read_format(folder) == "1"
    open_folder(settings, [first, first, last])
    assert done == ["first", "first", "last"]


def test_of_several_that_start_together_one_migrates(folder: Path, settings: Settings) -> None:
    done: list[Path] = []
    barrier = Barrier(8)
    folder.mkdir()
    (folder / "format").write_text("0\n")

    def start(_: int) -> None:
        barrier.wait(PATIENCE)
        open_folder(settings, [done.append])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(start, range(8)))
    assert (done, read_format(folder)) == ([folder], "1")


def test_a_newer_folder_is_refused_and_left_alone(folder: Path, settings: Settings) -> None:
    folder.mkdir()
    (folder / "format").write_text("99\n")
    with pytest.raises(SettingsError, match=f"newer Oyez: its format is 99, this one reads up to {TODAY}. Start the"):
        Oyez([shop("books")], settings)
    assert [file.name for file in folder.iterdir()] == ["format"]


@pytest.mark.parametrize("text", ["", "one", "-1", "1.5", "9" * 40])
def test_what_is_no_number_is_refused(folder: Path, settings: Settings, text: str) -> None:
    folder.mkdir()
    (folder / "format").write_text(text)
    with pytest.raises(SettingsError, match="should hold a number"):
        open_folder(settings)


def test_where_nothing_is_kept_there_is_no_folder(folder: Path) -> None:
    elsewhere = {"jwt_secret": "s" * 32, "database_url": "postgresql://db/oyez", "redis_url": "redis://redis"}
    open_folder(Settings(oyez_data=str(folder), **elsewhere))  # type: ignore[arg-type]
    assert not folder.exists()


@pytest.mark.parametrize("name", ["domain.sqlite", "log-books.sqlite", "log-books.peers", "nodes"])
def test_what_another_user_has_made_in_it_is_one_sentence(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    open_folder(settings)
    foreign = folder / name
    foreign.touch() if name.endswith("sqlite") else foreign.mkdir()
    # The tests may run as a user who may do everything.
    monkeypatch.setattr("os.access", lambda path, mode, **options: Path(path).name != name)
    with pytest.raises(SettingsError) as raised:
        open_folder(settings)
    (line,) = str(raised.value).splitlines()
    assert str(foreign) in line
    assert "belongs to user" in line
