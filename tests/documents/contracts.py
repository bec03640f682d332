"""The contracts for which documents are made in tests: all that ship, the examples, and one with every form."""

from functools import cache
from pathlib import Path

from oyez.contract import Contract
from oyez.documents.description import Description, describe
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from tests.documents.bazaar import contract as bazaar

EXAMPLES = Path(__file__).parents[2] / "examples"
WITH_PATTERNS = {"newsroom"}
"""Examples whose events have names with placeholders: `test_names_with_ids.py` is about such names."""
REFERENCES = [
    *list_systems(),
    *(str(path) for path in sorted(EXAMPLES.glob("*.py")) if path.stem not in WITH_PATTERNS),
]
NAMES = [*(Path(reference).stem for reference in REFERENCES), bazaar.name]


@cache
def find_contract(name: str) -> Contract:
    if name == bazaar.name:
        return bazaar
    return load_system(REFERENCES[NAMES.index(name)]).contract


@cache
def find_description(name: str) -> Description:
    return describe(find_contract(name))
