"""The documents of a contract by the names of their files, as a server has them and as `oyez docs` writes them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from oyez.contract.codec import encode_json
from oyez.documents.asyncapi import add_servers, build_asyncapi
from oyez.documents.description import Description
from oyez.documents.models import build_models
from oyez.documents.schemas import build_schemas
from oyez.documents.typescript import build_typescript


class Document(NamedTuple):
    """How a document is made."""

    media_type: str
    build: Callable[[Description], bytes]
    """Makes its content from the description of a contract."""
    finish: Callable[[bytes, Description, str], bytes] | None = None
    """Adds what depends on the address of the server, such as `https://live.example`; None if nothing does."""

    def make(self, description: Description, url: str) -> bytes:
        """The whole document for the server at `url`."""
        content = self.build(description)
        return content if self.finish is None else self.finish(content, description, url)


DOCUMENTS: Mapping[str, Document] = MappingProxyType(
    {
        "contract.json": Document("application/json", encode_json),
        "asyncapi.json": Document("application/json", build_asyncapi, add_servers),
        "types.ts": Document("application/typescript", build_typescript),
        "schemas.json": Document("application/schema+json", build_schemas),
        "models.py": Document("text/x-python", build_models),
    }
)
