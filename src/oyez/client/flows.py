"""The calls of a publisher as flows: which requests each makes, and what it returns. Nothing here sends or waits."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import msgspec

from oyez.client.backlog import Settled, Waiting, fail, find_refused, is_too_long
from oyez.client.publications import Encoder, Publication, Published
from oyez.client.publisher_errors import InvalidEventsError, PublisherError
from oyez.client.requests import Answer, Call, Flow, Retries, not_oyez, send
from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom

CREATED = 201


class _One(msgspec.Struct):
    position: str | None
    rooms: tuple[str, ...] = ()


class _Several(msgspec.Struct):
    positions: list[str | None]
    rooms: list[tuple[str, ...]]


class _Members(msgspec.Struct):
    members: list[str]
    next: str | None
    parts: dict[str, str] = {}


class Flows:
    """The calls of one system's publisher."""

    def __init__(self, url: str, system: Contract | str, retries: Retries) -> None:
        """`system` is the contract, or the system's name. Raises PublisherError if `url` is not an address."""
        self.url = _check_address(url)
        self.system = system if isinstance(system, str) else system.name
        self._encoder = Encoder(None if isinstance(system, str) else system)
        self._retries = retries

    def encode(self, publication: Publication) -> bytes:
        """The JSON of an event. Raises InvalidEventsError."""
        return self._encoder.encode(publication)

    def publish(self, publication: Publication, key: str | None) -> Flow[Published]:
        answer = yield from self._post(self._encoder.encode(publication), key)
        one = answer.decode(_One)
        return Published(one.position, one.rooms)

    def publish_all(self, publications: Sequence[Publication], key: str | None) -> Flow[list[Published]]:
        if not publications:
            return []
        return (yield from self._publish_encoded(self._encoder.encode_all(publications), key))

    def publish_batch(self, batch: Sequence[Waiting]) -> Flow[list[Settled]]:
        """Publish events of a queue. Returns what became of each.

        Events that are refused fail alone, and the others are sent again without them.
        """
        settled: list[Settled] = []
        while batch:
            try:
                published = yield from self._publish_encoded([waiting.body for waiting in batch], None)
            except InvalidEventsError as error:
                refused = find_refused(batch, error)
                if not refused and is_too_long(batch, error):
                    first = yield from self.publish_batch(batch[: len(batch) // 2])
                    return settled + first + (yield from self.publish_batch(batch[len(batch) // 2 :]))
                if not refused:
                    return settled + fail(batch, error)
                settled += [Settled(batch[index], reason) for index, reason in refused.items()]
                batch = [waiting for index, waiting in enumerate(batch) if index not in refused]
            except PublisherError as error:
                return settled + fail(batch, error)
            else:
                return settled + [Settled(*one) for one in zip(batch, published, strict=True)]
        return settled

    def add_member(self, room: NamedRoom | str, subject: str, part: str | None, namespace: str | None) -> Flow[bool]:
        call = self._member_call("PUT", room, namespace, subject, {} if part is None else {"part": part})
        answer = yield from send(call, self._retries)
        return answer.status == CREATED

    def remove_member(self, room: NamedRoom | str, subject: str, namespace: str | None) -> Flow[None]:
        yield from send(self._member_call("DELETE", room, namespace, subject), self._retries)

    def list_members(self, room: NamedRoom | str, namespace: str | None) -> Flow[dict[str, str | None]]:
        found: dict[str, str | None] = {}
        after: str | None = ""
        while after is not None:
            call = self._member_call("GET", room, namespace, query={"after": after} if after else {})
            page = (yield from send(call, self._retries)).decode(_Members)
            found |= {subject: page.parts.get(subject) for subject in page.members}
            after = page.next
        return found

    def request(self, method: str, path: str, body: Any, query: Mapping[str, str] | None, key: str | None) -> Flow[Any]:
        """Any other request of the system's HTTP API; `path` follows the system's name."""
        content = None if body is None else encode_json(body)
        writes = method.upper() not in ("GET", "HEAD", "OPTIONS")
        call = Call(method, self._path(path), content, query or {}, (key or _make_key()) if writes else None)
        answer = yield from send(call, self._retries)
        return answer.decode(object) if answer.content else None

    def _publish_encoded(self, bodies: Sequence[bytes], key: str | None) -> Flow[list[Published]]:
        answer = yield from self._post(b"[%b]" % b",".join(bodies), key)
        several = answer.decode(_Several)
        if not len(several.positions) == len(several.rooms) == len(bodies):
            raise not_oyez(answer.url)
        return [Published(*one) for one in zip(several.positions, several.rooms, strict=True)]

    def _post(self, body: bytes, key: str | None) -> Flow[Answer]:
        call = Call("POST", self._path("/events"), body, idempotency_key=key or _make_key())
        return (yield from send(call, self._retries))

    def _member_call(
        self,
        method: str,
        room: NamedRoom | str,
        namespace: str | None,
        subject: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Call:
        path = f"/rooms/{quote(str(room), safe='')}/members"
        if subject is not None:
            path += f"/{quote(subject, safe='')}"
        named = room.namespace if isinstance(room, NamedRoom) else namespace
        asked = dict(query or {}) | ({"namespace": named} if named is not None else {})
        return Call(method, self._path(path), None, asked, None if method == "GET" else _make_key())

    def _path(self, path: str) -> str:
        return f"/{quote(self.system, safe='')}{path}"


def _make_key() -> str:
    return str(uuid4())


def _check_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise PublisherError(f"{url!r} is no address of a server. Write it like http://127.0.0.1:5001.")
    return url.rstrip("/")
