"""Python source: values and calls in lines of at most 120 characters, comments, docstrings."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 120


def literal(value: Any, indent: int = 0, used: int = 0) -> str:
    """A JSON value as Python source, on one line if it fits behind `used` characters."""
    line = flat(value)
    if len(line) + indent + used <= WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + 4
    pad = " " * inner
    if isinstance(value, dict):
        parts = [f"{pad}{quote(key)}: {literal(part, inner, len(quote(key)) + 3)},\n" for key, part in value.items()]
        return "{\n" + "".join(parts) + " " * indent + "}"
    parts = [f"{pad}{literal(part, inner, 1)},\n" for part in value]
    return "[\n" + "".join(parts) + " " * indent + "]"


def flat(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(key)}: {flat(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flat, value)) + "]"
    return quote(value) if isinstance(value, str) else repr(value)


def quote(text: str) -> str:
    """A text as Python source, in double quotes."""
    # JSON's escapes are Python's too; what cannot be printed stays escaped.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def call(name: str, arguments: Sequence[str], indent: int = 0) -> str:
    """A call, on one line if it fits."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) + indent <= WIDTH and "\n" not in line:
        return line
    pad = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{pad}{argument},\n" for argument in arguments) + " " * indent + ")"


def comment(text: str, indent: int = 0) -> str:
    """A comment, in as many lines as it needs."""
    start = " " * indent + "# "
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start)) + "\n"


def docstring(text: str, indent: int = 4) -> str:
    """A docstring with its sentence."""
    pad = " " * indent
    text = " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    if len(text) + indent + 6 <= WIDTH:
        return f'{pad}"""{text}"""\n'
    lines = textwrap.wrap(text, WIDTH - indent, initial_indent=pad + '"""', subsequent_indent=pad)
    return "\n".join(lines) + f'\n{pad}"""\n'
