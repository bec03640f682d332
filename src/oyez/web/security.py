"""The headers of pages: what a browser may load for them, and that it shows them in no frame."""

import base64
import hashlib
from collections.abc import Sequence

COMMON = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Links of the page and the answer to `Accept` may change with the next version.
    "cache-control": "no-cache",
}


def page_headers(policy: str) -> dict[str, str]:
    """The headers of a page with this content security policy."""
    return {**COMMON, "content-security-policy": f"{policy}; frame-ancestors 'none'"}


def build_policy(*, scripts: Sequence[str] = (), styles: Sequence[str] = (), connect: Sequence[str] = ()) -> str:
    """A content security policy of which nothing is allowed but these sources.

    Nothing inline runs that is not given by its hash, and a script cannot turn text into HTML (Trusted Types). Of
    the whole policy, only `frame-ancestors` has to be a header; the rest may also be in the page.
    """
    directives = {
        "default-src": ["'none'"],
        "script-src": scripts,
        "style-src": styles,
        "connect-src": connect,
        "img-src": ["'self'"] if scripts else (),
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items() if sources)


def hash_source(text: str) -> str:
    """The source that allows an inline script or style with exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
