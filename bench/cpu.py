"""What a process has used, by the operating system's count: processor time and memory, children included."""

import os
from pathlib import Path
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")


class CpuTime(NamedTuple):
    """Processor seconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def since(self, earlier: "CpuTime") -> "CpuTime":
        return CpuTime(self.user - earlier.user, self.system - earlier.system)


def list_family(pid: int) -> list[int]:
    """`pid` and every process that descends from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := read_stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    family = [pid]
    for member in family:
        family.extend(child for child, parent in parents.items() if parent == member)
    return family


def read_stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name, from the state on; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def read_cpu(pid: int) -> CpuTime:
    """Time of the process, its living descendants, and the ended children that were waited for."""
    user = system = 0
    for member in list_family(pid):
        if fields := read_stat(member):
            # proc(5): utime, stime, cutime and cstime are fields 14 to 17; the state is field 3.
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return CpuTime(user * TICK, system * TICK)


def read_memory(pid: int) -> int:
    """Proportional set size in bytes: shared pages are counted once over all that share them."""
    total = 0
    for member in list_family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
