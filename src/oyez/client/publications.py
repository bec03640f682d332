"""Events as a publisher sends them. With the contract, they are checked before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from oyez.client.publisher_errors import EventError, InvalidEventsError
from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract, Event
from oyez.contract.rooms import Everyone, NamedNamespace, NamedRoom, Place, Room, find_only_namespace
from oyez.contract.routing import EventRouter
from oyez.contract.schema import quote
from oyez.contract.types import Payload
from oyez.errors import INVALID_DATA, UNKNOWN_EVENT, ContractError, InvalidDataError, RefusedError
from oyez.protocol.socket_ids import socket_of

Target: TypeAlias = Place | str
"""A room `orders("42")`, everyone, or the name of a room. The id of a socket means this one client. A namespace
`shop("17")`, alone, means the rooms in it that follow from the data or need no name."""
Targets: TypeAlias = Target | Sequence[Target]


@dataclass(frozen=True, slots=True)
class Publication:
    """One event of a list.

    `event` is a payload of the contract, or the name of an event with its `data` as JSON types. `to` and `excluding`
    are those of `Publisher.publish`.
    """

    event: Payload | str
    data: Any = UNSET
    to: Targets | None = None
    excluding: Targets = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an event."""

    position: str | None
    """Its place in the log; None for a volatile event, which is not stored."""
    rooms: tuple[str, ...]
    """The names of the rooms to which it goes; `*` is everyone."""


class _Wire(msgspec.Struct, omit_defaults=True):
    event: str
    data: msgspec.Raw | UnsetType = UNSET
    to: list[str] | UnsetType = UNSET
    excluding: list[str] | UnsetType = msgspec.field(name="except", default=UNSET)
    namespace: str | UnsetType = UNSET


class Encoder:
    """Encodes the events of one system. With its contract, it checks them as the server does."""

    def __init__(self, contract: Contract | None) -> None:
        self._contract = contract.build() if contract is not None else None
        self._paths = {
            name: (event.make_codec(), EventRouter(event, contract))
            for name, event in (self._contract.events if self._contract else {}).items()
            if contract is not None
        }

    def encode(self, publication: Publication) -> bytes:
        """The JSON of one event. Raises InvalidEventsError, and ContractError for a payload of another contract."""
        return self.encode_all([publication])[0]

    def encode_all(self, publications: Sequence[Publication]) -> list[bytes]:
        """The JSON of each event. Raises InvalidEventsError with the errors of all."""
        encoded, errors = [], []
        for index, publication in enumerate(publications):
            try:
                encoded.append(self._encode(publication))
            except InvalidDataError as error:
                errors.append(EventError(index, error.field or "data", error.expected, INVALID_DATA.code, error.got))
            except RefusedError as error:
                field = "event" if error.refusal is UNKNOWN_EVENT else "to"
                errors.append(EventError(index, field, error.message, error.refusal.code))
        if errors:
            detail = f"{INVALID_DATA.message} Nothing was published."
            raise InvalidEventsError(INVALID_DATA.status, errors[0].code, detail, errors)
        return encoded

    def _encode(self, publication: Publication) -> bytes:
        if isinstance(publication.event, str):
            name, data = publication.event, _encode_data(publication.data)
        else:
            name, data = self._find(publication).name, b""
        to = None if publication.to is None else _list_targets(publication.to)
        named = None if to is None or _is_namespace(to) else _name_all(to, "to")
        excluding = _name_all(_list_targets(publication.excluding), "except")
        namespace = None if to is None else find_only_namespace(to)
        if self._contract is not None:
            data, namespace = self._check(name, publication.event, data, to, named)
        sent = msgspec.Raw(data) if data else UNSET
        return msgspec.json.encode(
            _Wire(name, sent, UNSET if named is None else named, excluding or UNSET, namespace or UNSET)
        )

    def _find(self, publication: Publication) -> Event:
        payload = publication.event
        assert not isinstance(payload, str)
        if self._contract is None:
            raise ContractError(
                f"{type(payload).__name__} is published without its contract: give the publisher the contract as its"
                " system, or publish the event by name"
            )
        if publication.data is not UNSET:
            raise InvalidDataError("", f"no data besides the payload {type(payload).__name__}")
        return self._contract.event_of(payload)

    def _check(
        self, name: str, event: Payload | str, data: bytes, to: Sequence[Target] | None, named: list[str] | None
    ) -> tuple[bytes, str | None]:
        """The data as it is sent, and the namespace, if it must be named. Raises InvalidDataError, RefusedError."""
        assert self._contract is not None
        found = self._contract.find_event(name)
        if found is None:
            raise RefusedError(UNKNOWN_EVENT, f"There is no event {quote(name)} in {self._contract.name}.")
        codec, router = self._paths[found.name]
        full = data if name == found.name else codec.add_named(data, name)
        payload = codec.decode_payload(full) if isinstance(event, str) else event
        meant, namespace = router.route(payload, to), None
        only = None if to is None else find_only_namespace(to)
        if only is not None and (named is None or self._contract.find_declared(only) != only):
            namespace = only
        elif meant != router.route(payload, named):
            # Servers of older versions know no `namespace`, so it is named only where it makes a difference.
            namespace = only
            if namespace is None:
                raise InvalidDataError("to", f"rooms of one namespace, or of all namespaces of {name}")
        return data if isinstance(event, str) else codec.encode_data(payload), namespace


def _encode_data(data: Any) -> bytes:
    if data is UNSET:
        return b""
    try:
        return encode_json(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidDataError("", f"values of JSON ({error})") from None


def _list_targets(targets: Any) -> list[Target]:
    # A value of another type is reported when it is named.
    return list(targets) if isinstance(targets, list | tuple | set | frozenset) else [targets]


def _is_namespace(targets: Sequence[Target]) -> bool:
    return len(targets) == 1 and isinstance(targets[0], NamedNamespace)


def _name_all(targets: Sequence[Target], field: str) -> list[str]:
    for target in targets:
        if not isinstance(target, str | NamedRoom | Everyone):
            remedy = " write the room's values in parentheses" if isinstance(target, Room) else " give a room or a name"
            raise InvalidDataError(field, f"rooms and their names, not {target!r};{remedy}")
    return [socket_of(str(target)) for target in targets]
