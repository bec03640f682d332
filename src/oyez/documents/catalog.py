"""The documents of a contract by the names of their files, as a server has them and as `oyez docs` writes them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from oyez.contract.codec import encode_json
from oyez.documents.description import Description


class Document(NamedTuple):
    """How a document is made."""

    media_type: str
    build: Callable[[Description], bytes]
    """Makes its content from the description of a contract."""


DOCUMENTS: Mapping[str, Document] = MappingProxyType(
    {
        "contract.json": Document("application/json", encode_json),
    }
)
