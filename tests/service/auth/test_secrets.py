"""Oyez's own secret: made once, kept from others, never weak."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from joserfc import jwk

from oyez.errors import SettingsError
from oyez.service.auth.secrets import Secret, load_secret
from oyez.settings import MIN_SECRET_BYTES, Settings


def load_from(folder: str) -> Secret:
    return load_secret(Settings(oyez_data=folder))


def test_a_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    first = load_from(str(folder))
    second = load_from(str(folder))

    assert first.made and not second.made
    assert first.value == second.value
    assert len(first.value) >= MIN_SECRET_BYTES
    assert first.path == folder / "jwt-secret"
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["jwt-secret"]


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(load_from, [str(tmp_path)] * 16))

    assert len({secret.value for secret in found}) == 1
    assert sum(secret.made for secret in found) == 1


def test_two_folders_have_two_secrets(tmp_path: Path) -> None:
    assert load_from(str(tmp_path / "a")).value != load_from(str(tmp_path / "b")).value


def test_the_setting_wins_and_makes_no_file(tmp_path: Path) -> None:
    secret = load_secret(Settings(jwt_secret="s" * 32, oyez_data=str(tmp_path)))

    assert secret == Secret("s" * 32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_others_can_open_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = load_from(str(tmp_path)).path
    assert path is not None
    path.chmod(mode)

    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        load_from(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jwt-secret"
    path.touch(0o600)
    path.write_bytes(content)

    with pytest.raises(SettingsError):
        load_from(str(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="is not a folder"):
        load_from(str(tmp_path / "file"))


def test_a_short_secret_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match=r"31 bytes.*openssl rand -hex 32"):
        load_secret(Settings(jwt_secret="s" * 31))


def test_a_public_key_is_no_secret() -> None:
    pem = jwk.RSAKey.generate_key(2048, private=False).as_pem().decode()

    for text in (pem, "-----BEGIN nonsense-----" * 2):
        with pytest.raises(SettingsError, match="JWT_KEY_FILE"):
            load_secret(Settings(jwt_secret=text))


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(load_secret(Settings(jwt_secret="hush" * 8)))


@pytest.mark.parametrize("around", [("", "\r\n"), ("\ufeff", ""), ("\ufeff", "\r\n"), ("\n", "\n")])
def test_what_editors_leave_around_a_secret_is_no_part_of_it(tmp_path: Path, around: tuple[str, str]) -> None:
    written = ("s" * 32).join(around)
    assert load_secret(Settings(jwt_secret=written)).value == "s" * 32
    (tmp_path / "jwt-secret").write_bytes(written.encode())
    (tmp_path / "jwt-secret").chmod(0o600)
    assert load_from(str(tmp_path)).value == "s" * 32


def test_a_line_break_within_a_secret_is_refused_without_the_secret(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").write_bytes(b"s" * 32 + b"\r\n" + b"t" * 32)
    (tmp_path / "jwt-secret").chmod(0o600)
    for load in (lambda: Settings(jwt_secret="s" * 32 + "\n" + "t" * 32), lambda: load_from(str(tmp_path))):
        with pytest.raises(SettingsError, match=r"invisible character U\+000[AD] at position 33") as caught:
            load()
        assert "ssss" not in str(caught.value)
