"""Payloads from rows and from other payloads."""

from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row

from oyez.contract import Payload

P = TypeVar("P", bound=Payload)


def to_payload(source: Row[Any] | Payload, kind: type[P], **values: Any) -> P:
    """A payload of `kind` with these values; the fields that are not given are those of `source` with the same names.

    Raises TypeError if a required field is in neither.
    """
    known = source._mapping if isinstance(source, Row) else msgspec.structs.asdict(source)
    same = {name: known[name] for name in kind.__struct_fields__ if name in known and name not in values}
    return kind(**same, **values)
