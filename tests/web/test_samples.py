"""The programs that the page shows run as they are copied: they connect, receive, send and publish."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser
from tests.support.clock import PATIENCE
from tests.support.js_client import FOLDER
from tests.support.shops import Market
from tests.web import hostile

LANGUAGES = {"javascript": ("node", "sample.mjs"), "python": (sys.executable, "sample.py"), "curl": ("sh", "sample.sh")}


@pytest.fixture(scope="module")
async def samples(showcase: Market, browser: Browser) -> Mapping[str, Mapping[str, str]]:
    """The samples of the page, by what they are about and their language."""
    found: dict[str, dict[str, str]] = {}
    for name in TYPED:
        async with browser.open(f"{showcase.url}/{name}/docs") as page:
            await page.wait_for("h1")
            await page.choose("#connect select", "typescript")
            programs = await page.evaluate(ALL_TYPESCRIPT)
            found[name] = {str(number): text for number, text in enumerate(programs)}
    for system, items in ITEMS.items():
        async with browser.open(f"{showcase.url}/{system}/docs") as page:
            await page.wait_for("h1")
            for language in LANGUAGES:
                await page.choose("#connect select", language)
                for item, position in items.items():
                    script = f"document.querySelectorAll('#{position[0]} .code code')[{position[1]}].textContent"
                    found.setdefault(item, {})[language] = await page.evaluate(script)
    return found


TYPED = ("fixrx", "quotes", "game")
"""The systems of which all samples in TypeScript are compiled."""
ALL_TYPESCRIPT = (
    "[...document.querySelectorAll('main .code')]"
    ".filter((block) => block.querySelector('select')?.value === 'typescript')"
    ".map((block) => (block.querySelector('.whole code') ?? block.querySelector('code')).textContent)"
)
COMPILER = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "moduleDetection": "force",
    "types": ["node"],
}
ITEMS: Mapping[str, Mapping[str, Any]] = {
    "hostile": {
        "connect": ("connect", 0),
        "receive": ("event-hostile", 2),
        "publish": ("event-hostile", 3),
        "send": ("command-echo", 1),
    },
    "bookings": {"send in a namespace": ("command-customer-booking-track", 1)},
}


@asynccontextmanager
async def run(showcase: Market, language: str, text: str, folder: Path, **environ: str) -> AsyncIterator[Any]:
    """The sample as a program, whose output can be read; killed afterwards if it still runs."""
    program, name = LANGUAGES[language]
    (folder / name).write_text(text)
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(FOLDER / "node_modules")
    process = await asyncio.create_subprocess_exec(
        program,
        name,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_until(process: asyncio.subprocess.Process, *expected: str) -> str:
    """The output up to the text that has all of `expected`."""
    output = ""
    assert process.stdout is not None
    while not all(part in output for part in expected):
        chunk = await process.stdout.read(4096)
        if not chunk:
            raise AssertionError(f"expected {expected}, got {output!r}")
        output += chunk.decode()
    return output


async def receive_one(showcase: Market, language: str, samples: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    """Run the program that receives, and the one that publishes until the other has received an event."""
    key = showcase.oyez.signer.sign_service("hostile", 60.0)
    text = samples["publish"][language]
    (publishing := folder / "publish").mkdir()
    async with (
        run(showcase, language, samples["receive"][language], folder, TOKEN=showcase.token("ada")) as receiver,
        asyncio.TaskGroup() as tasks,
    ):
        reading = tasks.create_task(read_until(receiver, hostile.IMAGE))
        while not reading.done():
            async with run(showcase, language, text, publishing, KEY=key) as publisher:
                await read_until(publisher, "position", "user:ada")
                await publisher.wait()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_they_run(
    showcase: Market, samples: Mapping[str, Mapping[str, str]], language: str, tmp_path: Path
) -> None:
    user, customer = showcase.token("ada"), showcase.oyez.signer.sign_user("ada", "customer", {}, 60.0)

    async def expect(name: str, token: str, *expected: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        async with run(showcase, language, samples[name][language], folder, TOKEN=token) as process:
            await read_until(process, *expected)

    (tmp_path / "receive").mkdir()
    await asyncio.gather(
        receive_one(showcase, language, samples, tmp_path / "receive"),
        expect("connect", user, '"sid"' if language == "curl" else "connected"),
        expect("send", user, "text"),
        expect("send in a namespace", customer, "forbidden"),
    )


async def test_those_in_typescript_compile_with_the_types_of_the_system(
    showcase: Market, samples: Mapping[str, Mapping[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER, "include": ["**/*.ts"]}))
    for name in TYPED:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "types.ts").write_text((await showcase.request("GET", f"/{name}/types.ts")).text)
        assert len(samples[name]) > 8
        for number, text in samples[name].items():
            (folder / f"sample{number}.ts").write_text(text)
    compiler = await asyncio.create_subprocess_exec(
        str(FOLDER / "node_modules" / ".bin" / "tsc"), "--pretty", "false", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await compiler.communicate()
    assert output.decode() == ""
