"""The systems that come with Oyez, by the files in this folder. Nothing of them is imported."""

from pathlib import Path

from oyez import systems


def list_systems(having: str = "contract.py") -> list[str]:
    """The names of the systems that come with Oyez and have that file, in alphabetical order."""
    return sorted(path.parent.name for folder in systems.__path__ for path in Path(folder).glob(f"*/{having}"))


def find_file(reference: str) -> Path:
    """The file that declares the system that has this name, or the path itself of a Python file."""
    if reference.endswith(".py"):
        return Path(reference)
    return Path(next(iter(systems.__path__))) / reference / "contract.py"
