"""Alembic revisions, read as text: importing Alembic takes longer than most starts of the server need it for."""

import re
from pathlib import Path

_REVISION = re.compile(r"""^revision(?:: str)? = ["']([^"'\n]+)["']$""", re.MULTILINE)
_PREVIOUS = re.compile(r"""^down_revision(?:: [^=\n]+)? = (?:None|["']([^"'\n]+)["'])$""", re.MULTILINE)


def find_newest(folder: Path) -> str | None:
    """The revision in `folder` that no other one follows. None if Alembic has to read the folder to find it.

    That is so if there are no revisions, several lines of them, or a revision that is written in an unusual form.
    """
    revisions, previous = set(), set()
    for path in folder.glob("*.py"):
        if path.name == "__init__.py":
            continue
        text = path.read_text(encoding="utf-8")
        names, before = _REVISION.findall(text), _PREVIOUS.findall(text)
        if len(names) != 1 or len(before) != 1 or names[0] in revisions:
            return None
        revisions.add(names[0])
        previous.update(before)
    newest = revisions - previous
    return newest.pop() if len(newest) == 1 else None
