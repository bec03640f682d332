"""The documentation site: `make docs` builds it with Sphinx from the Markdown files of this repository.

The pages are written for a reader on the site and on a code host alike, so they hold no Sphinx directives (api.md is
the exception). The table of contents is therefore here: a page that is missing in it is an error of the build.
"""

from importlib.metadata import version as find_version

from pygments.lexers.data import JsonLexer
from sphinx.application import Sphinx

CONTENTS = {
    "Start": ["install", "tutorial", "new", "coming-from-socketio"],
    "Guides": [
        "contracts",
        "recipes",
        "handlers",
        "guides",
        "backends",
        "publishing",
        "publishing-python",
        "emitters",
        "embedding",
        "delivery",
        "recovery",
        "docs-page",
        "plain-websocket",
        "receipts",
        "webhooks",
        "members",
        "outbox",
        "generated-documents",
        "compatibility",
        "testing",
    ],
    "Operating": [
        "operating",
        "admin",
        "admin-page",
        "operations",
        "deploying",
        "security",
        "doctor",
        "logging",
        "metrics",
        "tracing",
        "troubleshooting",
        "scaling",
        "settings",
    ],
    "Reference": ["contract-reference", "publishing-api", "server-api", "protocol", "clients", "glossary", "api"],
    "The shipped systems": ["systems", "quotes", "bookings", "fixrx", "qscrap", "rez"],
    "Measurements": ["benchmarks", "performance", "reliability", "robustness", "first-run"],
    "For contributors": ["architecture", "../CONTRIBUTING", "../SECURITY", "../CHANGELOG"],
}
"""Heading of the side bar → pages under it, relative to docs/."""

project = "Oyez"
author = "the Oyez authors"
copyright = "the Oyez authors"
version = release = find_version("oyez")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/*.md"]

# Anchors are made from headings as code hosts make them, so that a link works in both places.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"Oyez {version}"
html_show_sourcelink = False
html_copy_source = False
# index.html, which leads to the root page.
html_extra_path = ["site"]


def setup(app: Sphinx) -> None:
    app.add_lexer("jsonl", JsonLexer)
    app.connect("source-read", add_contents)


def add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the table of contents to the root page (the last argument is the page's text, to be replaced in place)."""
    if page != root_doc:
        return
    for caption, pages in CONTENTS.items():
        lines = "\n".join(name.removeprefix("../") if name.startswith("../") else f"docs/{name}" for name in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"
