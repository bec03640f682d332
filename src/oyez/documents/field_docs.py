"""The texts below the fields of a class: Python does not keep them, so they are read from the source.

A class whose source cannot be read has no such texts.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

Docs = Mapping[str, str]
_NONE: Docs = MappingProxyType({})


def find_field_docs(struct: type) -> Docs:
    """For fields by their names in Python, the string below each; those of base classes too."""
    docs: dict[str, str] = {}
    for cls in reversed(struct.__mro__):
        docs |= _read_module(cls.__module__).get(cls.__name__, _NONE)
    return docs


@lru_cache(maxsize=256)
def _read_module(name: str) -> Mapping[str, Docs]:
    """The texts of all classes of a module, by the names of the classes."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (OSError, TypeError, SyntaxError, KeyError):
        return {}
    return {node.name: dict(_read_body(node.body)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _read_body(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            value = below.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield field.target.id, " ".join(inspect.cleandoc(value.value).split())
