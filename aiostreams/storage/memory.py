"""Objects in memory: for tests, and for a program that needs no more.

It keeps every promise of a ``Storage`` within one process, so that what was tested
with it does not surprise elsewhere.

A file of its own, as each storage has one.
"""

from __future__ import annotations

import dataclasses
import functools
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiostreams.errors import ObjectExists, ObjectNotFound
from aiostreams.files.writing import ChunkList
from aiostreams.limits import MiB
from aiostreams.storage.base import (
    StagedObject,
    Storage,
    StoredObject,
    check_attributes,
    check_key,
    check_prefix,
    is_listed,
)
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

__all__ = ["MemoryStorage"]

# More than this is joined in a thread.
_LARGE = 1 * MiB


@dataclass(frozen=True, slots=True)
class _Object:
    stored: StoredObject
    data: bytes
    digests: Mapping[str, str]


class MemoryStorage(Storage):
    """Objects in this process's memory; they are gone with it.

    Nothing limits how much is stored but what is written: put a ``LimitStream``, or
    the limits of :class:`Limits`, before it.
    """

    def __init__(self) -> None:
        self._objects: dict[str, _Object] = {}
        self._hidden: MemoryStorage | None = None

    @property
    def hidden(self) -> MemoryStorage:
        """A storage next to this one, for what no key of this one is to name."""
        if self._hidden is None:
            self._hidden = MemoryStorage()
        return self._hidden

    async def create(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> Stream:
        """Open a writable stream, see :meth:`Storage.create`."""
        del size
        check_key(key)
        metadata = check_attributes(content_type, metadata)
        if not overwrite:
            self._check_free(key)

        def commit(data: bytes) -> None:
            digests = writer.known_digests
            found = _made(key, data, content_type, metadata, digests)
            self.add(found, overwrite=overwrite)

        writer = _MemoryWriter(commit, content_type)
        return writer

    async def put_known(
        self,
        key: str,
        data: bytes,
        digests: Mapping[str, str],
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object and its digests, see :meth:`Storage.put_known`."""
        mine = type(self).create is MemoryStorage.create
        if not mine or type(self).put is not Storage.put:
            # What a subclass does with the bytes is not passed by.
            await super().put_known(
                key,
                data,
                digests,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
            )
            return
        check_key(key)
        metadata = check_attributes(content_type, metadata)
        found = _made(key, data, content_type, metadata, digests)
        self.add(found, overwrite=overwrite)

    async def stage(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> StagedObject:
        """Begin an object that gets its key later, see :meth:`Storage.stage`."""
        if type(self).create is not MemoryStorage.create:
            # What a subclass does with the bytes is not passed by.
            return await super().stage(
                key,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
                size=size,
            )
        check_key(key)
        metadata = check_attributes(content_type, metadata)
        if not overwrite:
            self._check_free(key)
        make = functools.partial(
            _made, key, content_type=content_type, metadata=metadata, digests={}
        )
        return _StagedInMemory(self, key, content_type, make, overwrite=overwrite)

    def add(self, found: _Object, *, overwrite: bool) -> None:
        """Put an object at its key, for what writes it."""
        if not overwrite:
            self._check_free(found.stored.key)
        self._objects[found.stored.key] = found

    async def open(self, key: str) -> Stream:
        """Open a readable stream over the object, see :meth:`Storage.open`."""
        return _MemoryReader(self._find(key))

    async def stat(self, key: str) -> StoredObject:
        """Describe the object."""
        return self._find(key).stored

    async def delete(self, key: str) -> None:
        """Remove the object, if it is there."""
        check_key(key)
        self._objects.pop(key, None)

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Store the same bytes under another key, see :meth:`Storage.copy`."""
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        found = self._find(source)
        if not overwrite:
            self._check_free(target)
        stored = dataclasses.replace(
            found.stored, key=target, modified=time.time(), etag=secrets.token_hex(8)
        )
        self._objects[target] = dataclasses.replace(found, stored=stored)

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        """List the objects whose keys begin with ``prefix``."""
        check_prefix(prefix)
        for key, found in list(self._objects.items()):
            if is_listed(key, prefix):
                yield found.stored

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._objects)} objects>"

    def _find(self, key: str) -> _Object:
        check_key(key)
        found = self._objects.get(key)
        if found is None:
            raise ObjectNotFound(f"no object {key!r}")
        return found

    def _check_free(self, key: str) -> None:
        if key in self._objects:
            raise ObjectExists(f"{key!r} exists already")


def _made(
    key: str,
    data: bytes,
    content_type: str | None,
    metadata: Mapping[str, str],
    digests: Mapping[str, str],
) -> _Object:
    etag = secrets.token_hex(8)
    stored = StoredObject(key, len(data), content_type, time.time(), etag, metadata)
    return _Object(stored, data, digests)


class _StagedInMemory(StagedObject):
    """An object that its storage does not know yet."""

    _storage: MemoryStorage

    def __init__(
        self,
        storage: MemoryStorage,
        key: str,
        content_type: str | None,
        make: Callable[..., _Object],
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(storage, key, overwrite=overwrite)
        self._content_type = content_type
        self._make = make
        self._object: _Object | None = None

    async def create(self) -> Stream:
        return _MemoryWriter(self._keep, self._content_type)

    def _keep(self, data: bytes) -> None:
        self._object = self._make(data=data)

    async def open(self) -> Stream:
        if self._object is None:
            raise ObjectNotFound("the bytes are not staged any more")
        return _MemoryReader(self._object)

    async def _publish(self) -> None:
        assert self._object is not None
        stored = dataclasses.replace(self._object.stored, key=self.key)
        found = _Object(stored, self._object.data, self.digests)
        self._storage.add(found, overwrite=self._overwrite)
        self._object = None

    async def _discard(self) -> None:
        self._object = None


class _MemoryWriter(Stream):
    """Collects the bytes of one object."""

    def __init__(
        self, commit: Callable[[bytes], None], content_type: str | None
    ) -> None:
        super().__init__(content_type=content_type)
        self._commit = commit
        self._chunks = ChunkList()
        self._written = 0

    @property
    def position(self) -> int:
        """How many bytes have been written."""
        return self._written

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep a copy of ``data``."""
        piece = bytes(data)
        self._chunks.add(piece)
        self._written += len(piece)

    async def close(self) -> None:
        """Store the object."""
        chunks = self._chunks.take()
        if self._written < _LARGE:
            self._commit(b"".join(chunks))
            return
        joining = ThreadCall(functools.partial(b"".join, chunks))
        await joining.wait()
        self._commit(joining.result())

    async def abort(self) -> None:
        """Forget what was written."""
        self._chunks.take()


class _MemoryReader(ByteStream):
    """One version of an object."""

    def __init__(self, found: _Object) -> None:
        super().__init__(found.data, content_type=found.stored.content_type)
        self._stored = found.stored
        self.known_digests: Mapping[str, str] = found.digests

    @property
    def etag(self) -> str | None:
        """The validator of this version."""
        return self._stored.etag

    @property
    def last_modified(self) -> float | None:
        """When it was stored, in POSIX seconds."""
        return self._stored.modified
