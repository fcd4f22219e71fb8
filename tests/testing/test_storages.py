"""Each promise is broken on purpose, and the kit says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from aiostreams import InvalidKey, MemoryStorage, ObjectExists, StoredObject, Stream
from aiostreams.storage.memory import _MemoryWriter
from aiostreams.testing import check_storage
from aiostreams.testing.storages import promise_11_prefixes_select


class Lossy(MemoryStorage):
    async def create(self, key: str, **kwargs: Any) -> Stream:
        stream = await super().create(key, **kwargs)
        assert isinstance(stream, _MemoryWriter)
        commit = stream._commit
        stream._commit = lambda data: commit(data[:-1])
        return stream


class Eager(MemoryStorage):
    """Shows the object at once."""

    async def create(self, key: str, **kwargs: Any) -> Stream:
        stream = await super().create(key, **kwargs)
        async with await super().create(key, overwrite=True):
            pass
        assert isinstance(stream, _MemoryWriter)
        commit = stream._commit

        def again(data: bytes) -> None:
            self._objects.pop(key, None)
            commit(data)

        stream._commit = again
        return stream


class Keeping(MemoryStorage):
    """``abort`` stores."""

    async def create(self, key: str, **kwargs: Any) -> Stream:
        class Writer(_MemoryWriter):
            async def abort(self) -> None:
                self._commit(self._chunks.join())

        stream = await super().create(key, **kwargs)
        assert isinstance(stream, _MemoryWriter)
        return Writer(stream._commit, None)


class Trusting(MemoryStorage):
    """Takes any key to look at."""

    async def stat(self, key: str) -> StoredObject:
        try:
            return await super().stat(key)
        except InvalidKey:
            return StoredObject(key, 0)


class Clobbering(MemoryStorage):
    async def create(self, key: str, **kwargs: Any) -> Stream:
        kwargs["overwrite"] = True
        return await super().create(key, **kwargs)


class Absent(MemoryStorage):
    """Replaces by deleting first."""

    async def create(self, key: str, **kwargs: Any) -> Stream:
        stream = await super().create(key, **kwargs)
        if kwargs.get("overwrite"):
            self._objects.pop(key, None)
            await asyncio.sleep(0.01)
        return stream


class Vague(MemoryStorage):
    async def stat(self, key: str) -> StoredObject:
        found = await super().stat(key)
        return StoredObject(key, found.size, None, found.modified, f'"{found.etag}"')


class Forgetful(MemoryStorage):
    async def create(self, key: str, **kwargs: Any) -> Stream:
        if kwargs.get("metadata") and len(kwargs["metadata"]) > 2:
            kwargs["metadata"] = {}
        return await super().create(key, **kwargs)


class Listing(MemoryStorage):
    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        folder = prefix.rpartition("/")[0]
        async for found in super().list(prefix):
            if found.key.startswith(folder + "/"):
                yield found
        if prefix.endswith("ab"):
            yield StoredObject(prefix + "ghost", 0)


class Endless(MemoryStorage):
    """Lists by an iterator that takes no notice of being closed."""

    def list(  # type: ignore[override] # all that a Storage has to give
        self, prefix: str = ""
    ) -> AsyncIterator[StoredObject]:
        found = super().list(prefix)

        class Deaf:
            def __aiter__(self) -> AsyncIterator[StoredObject]:
                return self

            async def __anext__(self) -> StoredObject:
                return await anext(found)

            async def aclose(self) -> None:
                pass

        return Deaf()


class Sticky(MemoryStorage):
    async def delete(self, key: str) -> None:
        if not key.endswith("d/e/f"):
            await super().delete(key)


class Copying(MemoryStorage):
    """Copies the bytes alone."""

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        found = self._find(source)
        await self.put(target, found.data, overwrite=overwrite)


class Replacing(MemoryStorage):
    """Copies onto what is there."""

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        del overwrite
        await super().copy(source, target, overwrite=True)


class Losing(MemoryStorage):
    """Takes the source away first."""

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        found = self._find(source)
        await self.delete(source)
        await self.put(
            target,
            found.data,
            content_type=found.stored.content_type,
            metadata=found.stored.metadata,
            overwrite=overwrite,
        )


class Staying(MemoryStorage):
    """Moves nothing."""

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        await self.copy(source, target, overwrite=overwrite)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Lossy, "came back otherwise"),
        (Eager, "show before close"),
        (Keeping, "abort.. left"),
        (Trusting, "returned StoredObject, not InvalidKey"),
        (Clobbering, "replaced an object unasked"),
        (Absent, "it was away"),
        (Vague, "etag has quotes"),
        (Forgetful, "metadata are"),
        (Listing, "list.'ab'. gave"),
        (Endless, "a closed listing goes on"),
        (Sticky, "another one was deleted"),
        (Copying, "lost the type"),
        (Replacing, "copying onto an object"),
        (Losing, "a refused move lost its source|no object"),
        (Staying, "exists already"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_broken_promise_is_told(
    broken: type[MemoryStorage], message: str
) -> None:
    storage = broken()

    async def make() -> MemoryStorage:
        return storage

    with pytest.raises(AssertionError, match=message):
        await check_storage(make)


class Raising(MemoryStorage):
    """Fails where it must not."""

    async def stat(self, key: str) -> StoredObject:
        raise OSError("not there")


async def test_what_a_broken_storage_raises_is_a_broken_promise() -> None:
    with pytest.raises(AssertionError, match=r"promise_.*OSError.*not there"):
        await check_storage(Raising)


class Plain(MemoryStorage):
    """Lists by an iterator that is no generator."""

    def list(  # type: ignore[override] # all that a Storage has to give
        self, prefix: str = ""
    ) -> AsyncIterator[StoredObject]:
        found = super().list(prefix)

        class Listing:
            def __aiter__(self) -> AsyncIterator[StoredObject]:
                return self

            async def __anext__(self) -> StoredObject:
                return await anext(found)

        return Listing()


async def test_listing_need_not_be_a_generator() -> None:
    await promise_11_prefixes_select(Plain)


async def test_attributes_are_not_asked_of_who_has_none() -> None:
    storage = Forgetful()
    await check_storage(lambda: storage, attributes=False)


async def test_close_of_a_storage_in_memory_takes_large_objects() -> None:
    storage = MemoryStorage()
    stream = await storage.create("o")
    for _ in range(40):
        await stream.write(bytes(100_000))
    assert stream.position == 4_000_000
    late = await storage.create("o", overwrite=False)
    await late.write(b"x")
    await stream.close()
    with pytest.raises(ObjectExists):
        await late.close()
    assert repr(storage) == "<MemoryStorage 1 objects>"
