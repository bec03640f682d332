"""Chromium for tests: one Node process that drives any number of pages.

The first page of a machine unpacks the browser, which takes a few seconds.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.driver import Driver
from tests.support.js_client import FOLDER

SCREENSHOTS = Path(os.environ["SCREENSHOTS"]).resolve() if os.environ.get("SCREENSHOTS") else None
"""The folder of screenshots for people to look at; none are made without it."""


class Page:
    """One page, in a browser context of its own. A place is a CSS selector, and a text that the element contains."""

    def __init__(self, browser: "Browser", name: str) -> None:
        self._browser = browser
        self._name = name

    async def command(self, command: str, **details: Any) -> Any:
        """The result of a command of `browser.mjs` for this page."""
        return await self._browser.command(command, name=self._name, **details)

    async def click(self, selector: str, text: str | None = None, nth: int | None = None) -> None:
        await self.command("click", **_place(selector, text, nth))

    async def fill(self, selector: str, value: str) -> None:
        await self.command("fill", selector=selector, value=value)

    async def choose(self, selector: str, value: str) -> None:
        """Choose the option of a list by its value or its text."""
        await self.command("choose", selector=selector, value=value)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.command("press", key=key)

    async def type(self, value: str) -> None:
        await self.command("type", value=value)

    async def wait_for(self, selector: str, text: str | None = None) -> None:
        """Return when the element is shown."""
        await self.command("wait", **_place(selector, text, None))

    async def wait_until(self, script: str) -> None:
        """Return when the JavaScript expression is true."""
        await self.command("until", script=script)

    async def texts(self, selector: str, text: str | None = None) -> list[str]:
        """The visible texts of all elements."""
        found: list[str] = await self.command("texts", **_place(selector, text, None))
        return found

    async def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return await self.command("evaluate", script=script)

    async def shoot(self, name: str) -> None:
        """Write what is shown to `{name}.png` in the folder SCREENSHOTS, if the environment has it."""
        if SCREENSHOTS is not None:
            # Playwright makes the folder.
            await self.command("shoot", path=str(SCREENSHOTS / f"{name}.png"))

    async def find_barriers(self, *rules: str) -> list[str]:
        """What axe-core finds that is serious or critical by these rules (none: all), one line for each rule."""
        found = await self.command("axe", rules=rules)
        return [json.dumps(each) for each in found if each["impact"] in ("serious", "critical")]

    async def list_errors(self) -> list[str]:
        """What the browser's console has as errors: exceptions, failed requests, violations of the policy."""
        errors: list[str] = (await self.command("seen"))["errors"]
        return errors

    async def list_requests(self) -> list[str]:
        """The addresses of everything that the page has loaded, and of its WebSockets."""
        requests: list[str] = (await self.command("seen"))["requests"]
        return requests

    async def is_too_wide(self) -> bool:
        """True if the page can be scrolled sideways."""
        wide: bool = await self.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wide


def _place(selector: str, text: str | None, nth: int | None) -> dict[str, Any]:
    place = {"selector": selector, "text": text, "nth": nth}
    return {name: value for name, value in place.items() if value is not None}


class Browser(Driver):
    """The process."""

    def __init__(self, process: Any) -> None:
        super().__init__(process)
        self._count = 0

    @classmethod
    @asynccontextmanager
    async def start(cls) -> "AsyncIterator[Browser]":
        async with cls.start_program(["node", str(FOLDER / "browser.mjs")]) as browser:
            yield browser

    @asynccontextmanager
    async def open(self, url: str, *, status: int = 200, **options: Any) -> AsyncIterator[Page]:
        """A page that has loaded `url`; `options` are `width`, `height` and `theme`."""
        self._count += 1
        page = Page(self, f"page {self._count}")
        assert await page.command("open", url=url, **options) == status
        try:
            yield page
        finally:
            await page.command("close")
