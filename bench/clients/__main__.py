"""`python -m bench.clients`: the clients that are too heavy for the tests, against a real server.

It needs `npm --prefix bench/clients ci --ignore-scripts` and, for Firefox, the program `firefox-esr` or `firefox`.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.clients import browsers

KINDS = ("chromium", "firefox")


async def run(kinds: list[str], folder: Path) -> int:
    failed = 0
    for kind in kinds:
        program = browsers.find_program(kind)
        if program is None:
            print(f"{kind} is not installed: skipped (Debian: apt-get install firefox-esr)")
            continue
        results = await browsers.run(kind, program, folder)
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
