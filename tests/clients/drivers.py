"""Processes that drive clients in another language or version by lines of JSON, and those clients as tests see them."""

import asyncio
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.support.clock import PATIENCE
from tests.support.driver import Driver, Reporter

JAVASCRIPT = ("node", str(Path(__file__).parents[1] / "js" / "clients.mjs"))
PYTHON = (sys.executable, str(Path(__file__).with_name("python_driver.py")))
VERSIONS = Path(sys.prefix) / "clients"
"""Where `make clients` installs old versions of python-socketio, each in a folder of its own."""

CURRENT = ".".join(metadata.version("python-socketio").split(".")[:2])


def python_path(version: str) -> dict[str, str]:
    """The environment in which Python finds that version of python-socketio; the current one is installed already."""
    folders = [VERSIONS / name for name in ([] if version == CURRENT else [version]) + ["sync"]]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing: run `make clients`, which installs it")
    return {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders), "PYTHONWARNINGS": "ignore"}


class Remote(Reporter):
    """One client in a driver's process. Reports are kept in order."""

    def __init__(self, driver: Driver, name: str) -> None:
        super().__init__(driver, name, [])

    async def open(self, url: str, **details: Any) -> None:
        await self.command("open", url=url, **details)

    async def emit(self, event: str, *args: Any) -> None:
        await self.command("emit", event=event, args=args)

    async def call(self, event: str, *args: Any) -> Any:
        """Emit with an acknowledgement; the list of its arguments."""
        return await self.command("call", event=event, args=args)

    async def close(self) -> None:
        await self.command("close")

    async def until(self, what: str, count: int = 1, **details: Any) -> list[dict[str, Any]]:
        """All reports of that kind with those details, as soon as there are `count`."""
        async with asyncio.timeout(PATIENCE):
            while len(found := self.find(what, **details)) < count:
                await self.wait_for_report(f"{count} {what} {details}")
        return found

    def find(self, what: str, **details: Any) -> list[dict[str, Any]]:
        return [
            report
            for report in self.reports
            if report["what"] == what and all(report.get(key) == value for key, value in details.items())
        ]

    def arguments(self, event: str) -> list[list[Any]]:
        """The arguments of each event of that name."""
        return [report["args"] for report in self.find("event", event=event)]
