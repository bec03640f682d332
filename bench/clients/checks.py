"""Checks of one client against a real server."""

from collections.abc import Awaitable, Callable, Mapping


async def run_checks(checks: Mapping[str, Callable[[], Awaitable[object]]]) -> dict[str, str]:
    """For each check the error; empty if there was none."""
    results = {}
    for name, check in checks.items():
        try:
            await check()
            results[name] = ""
        except Exception as error:
            results[name] = repr(error)
        print(f"  {name}: {results[name] or 'passed'}", flush=True)
    return results
