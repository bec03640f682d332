"""The old forms of a system's events: made from the newest ones when they are delivered, once for all recipients."""

from collections.abc import Iterator

import msgspec

from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.contract import Contract
from oyez.contract.old_forms import EventForms
from oyez.contract.versions import Versions, find_form
from oyez.errors import ContractError, InvalidDataError
from oyez.log.log import Entry
from oyez.logger import get_logger

logger = get_logger("oyez.runtime")

_sparse = SparseLog(logger, interval=10.0)
"""A function that fails may fail for each event."""


class OldEventForms:
    """Makes the old forms of the events of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._system = contract.name
        self._versions: Versions = contract.versions
        self._events = {event.name: event for event in contract.events.values() if event.was}
        self._forms = {name: EventForms(event) for name, event in self._events.items()}

    @property
    def oldest(self) -> int:
        """The age of the oldest version; 0 if there is only one."""
        return max(len(self._versions.names) - 1, 0)

    def find_form(self, entry: Entry, age: int) -> int:
        """The number of the form for clients of a version of that age; 0 if they receive the entry as it is."""
        event = self._events.get(entry.name)
        return 0 if event is None else find_form(event.was, self._versions, age)

    def convert(self, entry: Entry, number: int) -> Entry | None:
        """The form `number` of an entry, made from the form before it; None if these clients do not receive it.

        An entry that an earlier contract has published in this form stays as it is, also one that no form fits.
        """
        forms = self._forms[entry.name]
        codec = forms.codecs[number]
        try:
            payload = forms.codecs[number - 1].decode_event(entry.data)
        except InvalidDataError:
            return entry
        try:
            converted = forms.convert(payload, number)
            if converted is None:
                return None
            data, binary = (
                codec.wrap_binary(converted)
                if codec.binary
                else (codec.wrap(codec.encode_decoded(converted), converted), ())
            )
        except (ContractError, InvalidDataError) as error:
            _sparse.warning(
                "an event has no old form: clients of older versions do not receive it",
                system=self._system,
                name=entry.name,
                position=entry.position,
                reason=str(error),
            )
            return None
        return msgspec.structs.replace(entry, data=data, binary=binary)

    def list_forms(self, entry: Entry) -> Iterator[Entry | None]:
        """An entry in all its forms, the newest first."""
        found: Entry | None = entry
        yield found
        for number in range(1, len(self._events[entry.name].was) + 1):
            found = self.convert(found, number) if found is not None else None
            yield found

    def list_versions(self, entry: Entry) -> Iterator[tuple[str, int]]:
        """Each version, and the number of the form that its clients receive of an entry."""
        for version in self._versions.names:
            yield version, self.find_form(entry, self._versions.age(version))

    def convert_for(self, entry: Entry, age: int) -> Entry | None:
        """An entry as clients of a version of that age receive it; None if they do not."""
        found: Entry | None = entry
        for number in range(1, self.find_form(entry, age) + 1):
            found = self.convert(found, number) if found is not None else None
        return found
