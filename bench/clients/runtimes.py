"""The official client in Bun and Deno: the matrix of the tests, with another program that runs it."""

from pathlib import Path

from tests.clients.cases import CASES, JAVASCRIPT_VERSIONS
from tests.clients.drivers import JAVASCRIPT
from tests.clients.test_matrix import run_matrix

PACKAGES = Path(__file__).parent / "node_modules"
PROGRAMS = {"bun": "@oven/bun-linux-*/bin/bun", "deno": "@deno/linux-*/deno"}
ARGUMENTS = {"bun": (), "deno": ("run", "--allow-all")}


def find_program(kind: str) -> str | None:
    """The program that npm has installed for this machine."""
    found = sorted(PACKAGES.glob(PROGRAMS[kind]))
    return str(found[0]) if found else None


async def run(kind: str, program: str, folder: Path) -> dict[str, str]:
    """By client what came of it: empty if all was as it should be."""
    print(kind)
    cases = [case for case in CASES if (case.language, case.version) == ("javascript", JAVASCRIPT_VERSIONS[-1])]
    place = folder / kind
    place.mkdir()
    runs = await run_matrix(place, cases, (program, *ARGUMENTS[kind], JAVASCRIPT[-1]))
    results = {}
    for name, client in runs.items():
        results[name] = "; ".join(f"{step}: {error!r}" for step, error in client.failures.items())
        print(f"  {name}: {results[name] or 'passed'}", flush=True)
    return results
