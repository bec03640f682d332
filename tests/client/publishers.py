"""Both publishers under one interface, so that each test runs with both: the calls of the second run in threads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from oyez.client import Publication, Published, Publisher, SyncPublisher


class Threaded:
    """`SyncPublisher` for a test with asyncio."""

    def __init__(self, publisher: SyncPublisher) -> None:
        self._publisher = publisher

    async def publish(self, *event: Any, **options: Any) -> Published:
        return await asyncio.to_thread(self._publisher.publish, *event, **options)

    async def publish_all(self, publications: Sequence[Publication], **options: Any) -> list[Published]:
        return await asyncio.to_thread(self._publisher.publish_all, publications, **options)

    async def add_member(self, *member: Any, **options: Any) -> bool:
        return await asyncio.to_thread(self._publisher.add_member, *member, **options)

    async def remove_member(self, *member: Any, **options: Any) -> None:
        await asyncio.to_thread(self._publisher.remove_member, *member, **options)

    async def list_members(self, *room: Any, **options: Any) -> dict[str, str | None]:
        return await asyncio.to_thread(self._publisher.list_members, *room, **options)

    async def request(self, *words: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self._publisher.request, *words, **options)


Both = Publisher | Threaded
Make = Callable[..., Any]


@asynccontextmanager
async def make_async(*words: Any, **options: Any) -> AsyncIterator[Publisher]:
    async with Publisher(*words, **options) as publisher:
        yield publisher


@asynccontextmanager
async def make_threaded(*words: Any, **options: Any) -> AsyncIterator[Threaded]:
    with SyncPublisher(*words, **options) as publisher:
        yield Threaded(publisher)


MAKERS: dict[str, Make] = {"async": make_async, "sync": make_threaded}
