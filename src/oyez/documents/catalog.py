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
from oyez.documents.versions import describe_version


class Document(NamedTuple):
    """How a document is made."""

    media_type: str
    build: Callable[[Description], bytes]
    """Makes its content from the description of a contract."""
    finish: Callable[[bytes, Description, str], bytes] | None = None
    """Adds what depends on the address of the server, such as `https://live.example`; None if nothing does."""
    shows_forms: bool = False
    """True if it shows old forms beside the newest ones, unless a version is asked for."""

    def make(self, description: Description, url: str) -> bytes:
        """The whole document for the server at `url`."""
        content = self.build(description)
        return content if self.finish is None else self.finish(content, description, url)

    def choose(self, description: Description, version: str | None = None) -> Description:
        """The description from which it is made for clients of a version. Raises UnknownVersionError."""
        return description if version is None and self.shows_forms else describe_version(description, version)


DOCUMENTS: Mapping[str, Document] = MappingProxyType(
    {
        "contract.json": Document("application/json", encode_json, shows_forms=True),
        "asyncapi.json": Document("application/json", build_asyncapi, add_servers, shows_forms=True),
        "types.ts": Document("application/typescript", build_typescript),
        "schemas.json": Document("application/schema+json", build_schemas),
        "models.py": Document("text/x-python", build_models),
    }
)
