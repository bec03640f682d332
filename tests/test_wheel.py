"""The packages: with every file, and a project that is made and tested with nothing but the wheel."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.terminal import plain_environment

ROOT = Path(__file__).parent.parent


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    ended = subprocess.run(list(map(str, words)), cwd=cwd, env=plain_environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def list_files() -> set[str]:
    """The files of the package, as they are in the repository."""
    listed = run("git", "ls-files", "src/oyez").splitlines()
    return {path.removeprefix("src/") for path in listed if (ROOT / path).exists()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, as `docs/install.md` says."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; what it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python")
    run(*pip, "install", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_has_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert list_files() <= set(archive.namelist())


def test_the_source_package_has_every_file(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/src/")[2] for name in archive.getnames()}
    assert list_files() <= names


def test_a_project_is_made_and_passes_its_tests_with_the_wheel(programs: Path, tmp_path: Path) -> None:
    code = run(programs / "python", "-c", "import oyez; print(oyez.__file__)", cwd=tmp_path).strip()
    assert Path(code).is_relative_to(programs.parent), code
    run(programs / "oyez", "new", "parcels", cwd=tmp_path)
    assert "passed" in run(programs / "python", "-m", "pytest", "-q", cwd=tmp_path / "parcels")
