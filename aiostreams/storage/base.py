"""The interface of a storage for objects, small enough to be easy to implement.

An object is a run of bytes under a key, with a media type and a few words of
metadata; it is written once, appears complete or not at all, and never changes. A
``Storage`` makes, opens, describes, deletes and lists objects. What is promised is
said on its methods, and ``aiostreams.testing.check_storage`` holds every storage of
this package, and yours, to it.

Keys and metadata have one grammar for all storages, so that what works in memory and
on disk works in every cloud. The checks here are all there is between a client's
idea of a name and a file system: every storage calls ``check_key`` first.
"""

from __future__ import annotations

import re
import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Self

from aiostreams.errors import InvalidKey, ObjectExists, ObjectNotFound
from aiostreams.files.draft import TEMPORARY_PREFIX
from aiostreams.limits import KiB
from aiostreams.streams.copy import copy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from aiostreams.streams.base import Stream

__all__ = [
    "STAGED",
    "SmallObject",
    "StagedObject",
    "Storage",
    "StoredObject",
    "check_attributes",
    "check_key",
    "check_prefix",
    "is_listed",
]

# Where staged bytes wait in a storage that can't keep them out of sight.
STAGED = "aiostreams-staged/"

# S3's and Google's ceiling; Azure has the same, in characters.
_MAX_KEY = 1024
# NAME_MAX of every common file system.
_MAX_SEGMENT = 255
# S3's ceiling for all metadata of an object; ext4 keeps as much beside a file.
_MAX_METADATA = 2 * KiB

# C0 and C1 controls, DEL; a backslash separates folders on other systems.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# Azure's names are identifiers, S3's and HTTP's are case-insensitive.
_METADATA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}", re.ASCII)
_METADATA_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")
# What a Content-Type field may hold (RFC 9110 section 5.5); the exact grammar of
# a media type is the business of whoever sends it.
_CONTENT_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it is known to its storage.

    Attributes:
        key: where it is.
        size: its length in bytes.
        content_type: its media type as given to ``create``. Object stores do not
            tell it in listings; it is ``None`` there.
        modified: when it was stored, in POSIX seconds, if known.
        etag: an opaque strong validator without quotes (RFC 9110 section 8.8.3), if
            known; another version under the same key has another one.
        metadata: as given to ``create``; empty in listings of object stores.
    """

    key: str
    size: int
    content_type: str | None = None
    modified: float | None = None
    etag: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A copy that cannot change, as everything else here.
        frozen = MappingProxyType(dict(self.metadata))
        object.__setattr__(self, "metadata", frozen)


class Storage(ABC):
    """A place for objects.

    A key is a relative path of segments separated by ``/``, 1 to 1024 bytes in
    UTF-8. A segment is 1 to 255 bytes, neither ``.`` nor ``..``, does not begin
    with ``.aiostreams-`` (temporary objects do), and has no control character and
    no backslash. Any other key is an :class:`InvalidKey`, before any I/O. What
    differs as a string is another object, on a case-sensitive file system.

    Metadata are up to 2 KiB of names (``[a-z_][a-z0-9_]*``, but not ``aiostreams``)
    and values (text without control characters).

    ``async with`` closes the storage.
    """

    @abstractmethod
    async def create(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> Stream:
        """Open a writable stream, whose ``close()`` stores the complete object.

        Until then, and for ever after ``abort()`` or an error, the key is what it
        was, and nothing else is left either. Should ``close()`` be cancelled, the
        object is not stored; one that was to replace another may just have done so.

        Of two that create one key at once, without ``overwrite``, one wins and the
        other gets ``ObjectExists``, at the latest from ``close()``.

        Args:
            key: where it will be.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.
            size: how long it will be at most, in bytes, if that is known. A hint;
                it is not held against what is written.

        Raises:
            InvalidKey: the key is outside the grammar.
            ValueError: the content type or the metadata are.
            ObjectExists: the key is taken; ``write`` and ``close`` raise it too.
            StorageError: the storage failed; ``write`` and ``close`` raise it too.
        """

    async def put(
        self,
        key: str,
        data: bytes | bytearray | memoryview,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object that is in memory.

        What :meth:`create`, one ``write`` and ``close()`` do; a storage may know a
        shorter way.

        Args:
            key: where it will be.
            data: its bytes, of any number; not changed until this returns.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.

        Raises:
            InvalidKey, ValueError, ObjectExists, StorageError: as :meth:`create`.
        """
        sink = await self.create(
            key,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
            size=len(data),
        )
        async with sink:
            await sink.write(data)

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
        """Store an object that is in memory, and whose digests are known.

        A storage that has room keeps them for the streams it opens
        (``Stream.known_digests``); this one does not.

        Args:
            key: where it will be.
            data: its bytes.
            digests: algorithm to hex digest of these.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.

        Raises:
            InvalidKey, ValueError, ObjectExists, StorageError: as :meth:`create`.
        """
        del digests
        await self.put(
            key,
            data,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
        )

    async def stage(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> StagedObject:
        """Begin an object that is written now, and gets its key later or is removed.

        Until it is published it is not at ``key``. The bytes wait under a key below
        ``aiostreams-staged/``, and are moved from there, unless the storage knows
        a better way. What a killed process leaves there, :meth:`sweep` removes.

        Args:
            key: where it will be; one that is taken may be refused early.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.
            size: how long it will be at most, in bytes, if that is known.

        Raises:
            InvalidKey, ValueError, StorageError: as :meth:`create`.
        """
        check_key(key)
        metadata = check_attributes(content_type, metadata)

        async def create(staged: str) -> Stream:
            return await self.create(
                staged,
                content_type=content_type,
                metadata=metadata,
                overwrite=True,  # the key is random
                size=size,
            )

        return _StagedByKey(self, key, create, overwrite=overwrite)

    async def sweep(self, older_than: float = 86400.0) -> int:
        """Remove what a killed process has left while it stored objects.

        Args:
            older_than: how many seconds ago it must have been written last.

        Returns:
            How much was removed.

        Raises:
            StorageError: the storage failed.
        """
        before = time.time() - older_than
        removed = 0
        async for stored in self.list(STAGED):
            if stored.modified is not None and stored.modified < before:
                await self.delete(stored.key)
                removed += 1
        return removed

    @abstractmethod
    async def open(self, key: str) -> Stream:
        """Open a readable stream over the object as it is now.

        It has ``size``, ``content_type``, ``etag`` and ``last_modified`` (POSIX
        seconds), and can seek: ``slice`` gives a part of the same version, or
        fails, but never a part of another one.

        Raises:
            InvalidKey: the key is outside the grammar.
            ObjectNotFound: there is no such object.
            StorageError: the storage failed.
        """

    @abstractmethod
    async def stat(self, key: str) -> StoredObject:
        """Describe the object.

        Raises:
            InvalidKey: the key is outside the grammar.
            ObjectNotFound: there is no such object.
            StorageError: the storage failed.
        """

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the object. One that is not there is no error.

        Streams that read it go on, or fail; they never get other bytes.

        Raises:
            InvalidKey: the key is outside the grammar.
            StorageError: the storage failed.
        """

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Store the object once more, under another key, with all that is known of it.

        The bytes pass through this process, unless the storage knows a shorter way.
        Cancelled, the copy may have been made.

        Args:
            source: the key of the object.
            target: where it will be as well. Its own key is taken: ``ObjectExists``;
                with ``overwrite``, nothing is done.
            overwrite: whether an object that is at ``target`` is replaced.

        Raises:
            InvalidKey: a key is outside the grammar.
            ObjectNotFound: there is no such object.
            ObjectExists: ``target`` is taken.
            StorageError: the storage failed.
        """
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        stored = await self.stat(source)
        async with await self.open(source) as stream:
            sink = await self.create(
                target,
                content_type=stream.content_type,
                metadata=stored.metadata,
                overwrite=overwrite,
                size=stream.size,
            )
            async with sink:
                await copy(stream, sink)

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give the object another key.

        Of two that move one object at once, at least one succeeds. At every instant,
        also when this process is killed, the object is under one key or under both.
        Cancelled, it may have been moved.

        Args:
            source: the key of the object.
            target: its new key; see :meth:`copy`.
            overwrite: whether an object that is at ``target`` is replaced.

        Raises:
            InvalidKey, ObjectNotFound, ObjectExists, StorageError: as :meth:`copy`.
        """
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        await self.copy(source, target, overwrite=overwrite)
        await self.delete(source)

    async def _is_itself(self, source: str, target: str, *, overwrite: bool) -> bool:
        """Return whether both keys are the same: nothing to do, or it can't be done.

        Raises:
            InvalidKey, ObjectNotFound, ObjectExists, StorageError: as :meth:`copy`.
        """
        check_key(source)
        check_key(target)
        if source != target:
            return False
        await self.stat(source)
        if not overwrite:
            raise ObjectExists(f"{target!r} exists already")
        return True

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """List the objects whose keys begin with ``prefix``, in any order.

        Objects that are created or deleted meanwhile may show or not. What waits below
        ``aiostreams-staged/`` for its key shows if ``prefix`` begins like that.

        Any async iterator will do. Those of this package's storages are generators,
        which ``contextlib.aclosing`` ends early with all that they have open.

        Args:
            prefix: any beginning of a key; the last segment may be cut.

        Raises:
            InvalidKey: no key begins like that.
            StorageError: the storage failed.
        """

    async def presign(
        self, key: str, method: str = "GET", expires: float = 3600.0
    ) -> str:
        """Make a URL by which anyone may ``method`` the object for ``expires`` seconds.

        Raises:
            NotImplementedError: this storage has no URLs.
            InvalidKey: the key is outside the grammar.
            ValueError: ``method`` or ``expires`` is out of range.
            StorageError: the storage failed.
        """
        del key, method, expires
        raise NotImplementedError(f"{type(self).__name__} has no URLs")

    @property
    def takes_several(self) -> bool:
        """Whether :meth:`put_several` is there."""
        return False

    async def put_several(self, objects: Sequence[SmallObject]) -> None:
        """Store several objects at once, whose keys are random, so that none is taken.

        Should it fail, or be cancelled, some are stored and others are not: whoever
        calls it removes all. It returns, or raises, when nothing is under way any more.

        Raises:
            NotImplementedError: this storage stores one object at a time.
            StorageError, ObjectExists: as :meth:`put`.
        """
        del objects
        raise NotImplementedError(f"{type(self).__name__} stores one object at a time")

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Wait for what is under way, and release what the storage holds.

        Closing again does nothing. Streams of the storage should be closed before.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class SmallObject(NamedTuple):
    """An object in memory, and what is kept with it; see :meth:`Storage.put_known`."""

    key: str
    data: bytes
    digests: Mapping[str, str]
    content_type: str | None
    metadata: Mapping[str, str] | None


class StagedObject(ABC):
    """An object that is on its way to its key; see :meth:`Storage.stage`.

    Args:
        storage: its storage.
        key: where it will be.
        overwrite: whether an object that is there is replaced.

    Attributes:
        key: where it will be; may be changed until it is published.
        digests: algorithm to hex digest of its bytes, where whoever writes it knows
            them. A storage that has room keeps them for the streams it opens.
        published: whether it is there.
    """

    def __init__(self, storage: Storage, key: str, *, overwrite: bool) -> None:
        self._storage = storage
        self.key: str = key
        self.digests: Mapping[str, str] = {}
        self._overwrite = overwrite
        self.published: bool = False

    @abstractmethod
    async def create(self) -> Stream:
        """Open the stream to write, once. Its ``close()`` makes the bytes complete.

        Raises:
            StorageError, ObjectExists: as :meth:`Storage.create`.
        """

    @abstractmethod
    async def open(self) -> Stream:
        """Open a stream over the bytes that can seek; it may fail once they are moved.

        Raises:
            ObjectNotFound: they are not staged any more.
            StorageError: the storage failed.
        """

    async def publish(self) -> None:
        """Give the object its key, at once or not at all. Not to be cancelled.

        Raises:
            InvalidKey: the key is outside the grammar.
            ObjectExists: the key is taken.
            StorageError: the storage failed.
        """
        await self._publish()
        self.published = True

    async def undo(self) -> None:
        """Remove it, from its key as well if it was published.

        Raises:
            StorageError: the storage failed.
        """
        if self.published:
            await self._storage.delete(self.key)
            self.published = False
        else:
            await self._discard()

    @abstractmethod
    async def _publish(self) -> None: ...

    @abstractmethod
    async def _discard(self) -> None: ...


class _StagedByKey(StagedObject):
    """An object at another key of its storage, to be moved from there."""

    def __init__(
        self,
        storage: Storage,
        key: str,
        create: Callable[[str], Awaitable[Stream]],
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(storage, key, overwrite=overwrite)
        self._create = create
        self._staged: str | None = None

    async def create(self) -> Stream:
        self._staged = STAGED + secrets.token_hex(16)
        return await self._create(self._staged)

    async def open(self) -> Stream:
        if self._staged is None:
            raise ObjectNotFound("the bytes are not staged any more")
        return await self._storage.open(self._staged)

    async def _publish(self) -> None:
        assert self._staged is not None
        await self._storage.move(self._staged, self.key, overwrite=self._overwrite)
        self._staged = None

    async def _discard(self) -> None:
        staged, self._staged = self._staged, None
        if staged is not None:
            await self._storage.delete(staged)


def check_key(key: str) -> tuple[str, ...]:
    """Check ``key`` and return its segments, for a storage of one's own.

    Raises:
        InvalidKey: it is outside the grammar, see :class:`Storage`.
        TypeError: it is not a ``str``.
    """
    if not isinstance(key, str):
        raise TypeError(f"the key must be a str, not {type(key).__name__}")
    _check_text(key)
    segments = tuple(key.split("/"))
    for segment in segments:
        _check_segment(segment)
        if segment in {"", ".", ".."}:
            raise InvalidKey(
                f"the key has the segment {segment!r}, expected a relative path"
            )
    return segments


def is_listed(key: str, prefix: str) -> bool:
    """Return whether a listing shows an object: one that is staged, to who asks."""
    if not key.startswith(prefix):
        return False
    return prefix.startswith(STAGED) or not key.startswith(STAGED)


def check_prefix(prefix: str) -> tuple[tuple[str, ...], str]:
    """Check ``prefix``; return its complete segments, and how the next one begins.

    For ``list`` of a storage of one's own.

    Raises:
        InvalidKey: no key begins like that.
        TypeError: it is not a ``str``.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"the prefix must be a str, not {type(prefix).__name__}")
    folder, slash, start = prefix.rpartition("/")
    _check_text(start)
    _check_segment(start)
    return (check_key(folder) if slash else ()), start


def _check_text(text: str) -> None:
    if _FORBIDDEN.search(text):
        raise InvalidKey("the key has a control character or a backslash")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidKey("the key is not valid Unicode") from None
    if size > _MAX_KEY:
        raise InvalidKey(f"the key has {size} bytes, limit {_MAX_KEY}")


def _check_segment(segment: str) -> None:
    size = len(segment.encode())
    if size > _MAX_SEGMENT:
        raise InvalidKey(f"a segment of the key has {size} bytes, limit {_MAX_SEGMENT}")
    if segment.startswith(TEMPORARY_PREFIX):
        raise InvalidKey(f"a segment of the key begins with {TEMPORARY_PREFIX!r}")


def check_attributes(
    content_type: str | None, metadata: Mapping[str, str] | None
) -> dict[str, str]:
    """Check and copy ``metadata``, for ``create`` of a storage of one's own.

    Args:
        content_type: what ``create`` was given; 1 to 255 printable ASCII characters.
        metadata: likewise; 2 KiB at most, see :class:`Storage`.

    Raises:
        ValueError: it, or the content type, is outside the grammar.
    """
    if content_type is not None and not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError("the content type is not 1 to 255 printable ASCII characters")
    copy = dict(metadata or {})
    size = 0
    for name, value in copy.items():
        if not _METADATA_NAME.fullmatch(name) or name == "aiostreams":
            raise ValueError(
                f"the metadata name {name[:80]!r} is not allowed, expected "
                "[a-z_][a-z0-9_]*, up to 64 characters, not 'aiostreams'"
            )
        if not _METADATA_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name!r} has control characters")
        size += len(name) + len(value.encode())
    if size > _MAX_METADATA:
        raise ValueError(f"the metadata have {size} bytes, limit {_MAX_METADATA}")
    return copy
