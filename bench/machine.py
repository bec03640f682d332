"""What the figures were taken on: processor, cores, kernel, limits, and the versions of everything involved."""

import json
import os
import platform
import resource
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.children import PEERS

PYTHON_PACKAGES = ("oyez", "picows", "uvicorn", "uvloop", "msgspec", "python-socketio", "python-engineio", "websockets")
NODE_PACKAGES = ("socket.io", "engine.io", "ws", "bufferutil", "@trufflesuite/uws-js-unofficial")


def describe_machine() -> dict[str, str]:
    return {
        "processor": find_line(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": f"{os.cpu_count()}, of which {len(os.sched_getaffinity(0))} may be used here",
        "memory": describe_memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "C compiler": first_line("cc", "--version"),
    }


def describe_memory() -> str:
    total = find_line(Path("/proc/meminfo"), "MemTotal")
    return f"{int(total.split()[0]) / 2**20:.1f} GB" if total else "unknown"


def describe_versions() -> dict[str, str]:
    """Versions by name; what is not installed is left out."""
    versions = {"Python": platform.python_version()}
    for name in PYTHON_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    if node := first_line("node", "--version"):
        versions["Node"] = node.removeprefix("v")
        for name in NODE_PACKAGES:
            # engine.io's own copy, where it has one, is the one it uses.
            modules = (PEERS / "node_modules" / "engine.io" / "node_modules", PEERS / "node_modules")
            package = next((path for folder in modules if (path := folder / name / "package.json").exists()), None)
            if package is not None:
                versions[f"{name} (npm)"] = str(json.loads(package.read_text())["version"])
    return versions


def find_line(path: Path, name: str) -> str:
    """The value after `name:` in a file of such lines; empty if there is none."""
    for line in path.read_text().splitlines():
        label, _, value = line.partition(":")
        if label.strip() == name:
            return value.strip()
    return ""


def first_line(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.partition("\n")[0].strip()


def raise_file_limit() -> int:
    """Allow as many open files as this process may; children inherit it. Returns how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def pick_cores() -> tuple[int | None, int | None]:
    """A core for the server and one for the load; none where there are not two."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)
