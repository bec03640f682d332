"""Fields whose values are in the name of an event or command, such as `orderId` of `order:{orderId}:moved`."""

from typing import Any

import msgspec
from msgspec import UNSET, inspect

from oyez.contract.patterns import Pattern
from oyez.contract.schema import describe, fields_of, quote, read_key, write_key
from oyez.errors import InvalidDataError


class NamedFields:
    """The fields of one class that fill the placeholders of a name."""

    def __init__(self, pattern: Pattern, kind: type[msgspec.Struct]) -> None:
        """Each placeholder must be the wire name of a field."""
        found = {field.encode_name: field for field in fields_of(inspect.type_info(kind))}
        types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        self._pattern = pattern
        self._fields = {placeholder: found[placeholder] for placeholder in pattern.placeholders}
        self._types = {placeholder: types[placeholder] for placeholder in pattern.placeholders}

    def name(self, struct: msgspec.Struct) -> str:
        """The name that these fields of `struct` make. Raises InvalidDataError if a value cannot be part of a name."""
        values = {
            placeholder: read_key(getattr(struct, field.name)) or "" for placeholder, field in self._fields.items()
        }
        try:
            return self._pattern.fill(values)
        except ValueError:
            wrong = next(name for name, value in values.items() if not self._pattern.can_hold(name, value))
            raise InvalidDataError(wrong, f"a text that can be a part of the name {self._pattern.text}") from None

    def read(self, name: str) -> dict[str, str | int]:
        """The values in a name, by the wire names of their fields. Raises InvalidDataError if one does not fit."""
        texts = self._pattern.match(name)
        if texts is None:
            raise InvalidDataError("", f"a name of the form {self._pattern.text}")
        return {placeholder: self._read_value(placeholder, text) for placeholder, text in texts.items()}

    def _read_value(self, placeholder: str, text: str) -> str | int:
        found = self._fields[placeholder].type
        try:
            value = write_key(text, found)
            msgspec.convert(value, self._types[placeholder])
        except ValueError:
            raise InvalidDataError(placeholder, f"{describe(found)}, in the event's name") from None
        return value

    def fill(self, values: dict[str, Any], name: str) -> dict[str, Any]:
        """The values of fields by their names in Python, with those of a name.

        Raises InvalidDataError if a field has another value than the name.
        """
        filled = dict(values)
        for placeholder, value in self.read(name).items():
            field = self._fields[placeholder].name
            if (given := filled.get(field, UNSET)) is not UNSET:
                check_same(placeholder, given, value)
            filled[field] = value
        return filled


def check_same(field: str, given: object, named: str | int) -> None:
    """Raise InvalidDataError if a field does not have the value that the name of its event has."""
    if read_key(given) != read_key(named):
        raise InvalidDataError(field, f"{quote(str(named))}, as in the event's name, or nothing")
