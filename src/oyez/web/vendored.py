"""The files of other projects that pages load: those of npm packages, unchanged, in `vendor/{name}`."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "vendor"
IMPORTS = {
    "preact": "vendor/preact/preact.mjs",
    "preact/hooks": "vendor/preact/hooks.mjs",
    "htm": "vendor/htm/htm.mjs",
}
"""The files that modules import by a name."""
CHARTS = {"uplot": "vendor/uplot/uPlot.esm.js"}
"""The same for charts, which only the admin page has."""


def build_import_map(files: str, imports: Mapping[str, str] = IMPORTS) -> str:
    """The import map of a page, as JSON. `files` is the address of the files, relative to the page."""
    return msgspec.json.encode({"imports": {module: f"./{files}/{path}" for module, path in imports.items()}}).decode()
