"""Uploads in any ``Storage``: a log of records that are created once.

Below the folder of an upload (``yyyymmdd/<id>``):

    info            what was said at its creation; the upload exists while this does
    log/<number>    a record: the state from then on, and the data that belongs to it
    data/<random>   bytes of one or more requests, written once

The next free number of the log is the only thing that two processes compete for, and a
storage gives each key to one of them (``put`` without ``overwrite``). So it is the
fence: whoever finds its number taken has been overtaken, and what it had not recorded
never counts. That needs no lock, no lease and no clock. A record holds a token; whoever
cannot tell whether its own was stored (the answer was lost) looks for it.

Bytes count when a record names them, and not before: a cut data object is an object
that nothing names. Nothing is rewritten, and nothing is removed before the upload ends.

What is remembered of a log (``_known``) is where to look next and never what is told:
numbers are contiguous, so the last record is the one before the first that is missing.
``info`` goes first when an upload is removed and is read last when it is looked for;
while it is there the log is complete.

A file of its own, as each of the two kinds of staging has one.
"""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from aiostreams.errors import ObjectExists, ObjectNotFound, StorageError
from aiostreams.limits import MiB
from aiostreams.resumable.staging import (
    Appender,
    StagedUpload,
    Staging,
    Unsuitable,
    to_the_end,
)
from aiostreams.resumable.state import (
    Fenced,
    UploadBusy,
    UploadGone,
    UploadInfo,
    UploadNotFound,
    UploadState,
    filename_of,
    folder_of,
    is_id,
)
from aiostreams.sansio.sniff.types import SNIFF_BYTES, resolve_type
from aiostreams.storage.base import StagedObject, check_key
from aiostreams.storage.object_store import ObjectStorage
from aiostreams.streams.base import Stream
from aiostreams.uploads.staged import StagedStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from aiostreams.resumable.staging import Step
    from aiostreams.storage.base import Storage, StoredObject

__all__ = ["LogStaging", "Segment", "SegmentStream"]

# A record has the state, and an answer of up to 64 KiB in base64.
_MAX_RECORD: Final = 1 * MiB
# How many pieces of data one record names; then it names the record that names more.
_SEGMENTS: Final = 64
# How many logs are remembered.
_KNOWN: Final = 1024
# How often somebody else may be faster before a change gives up.
_RACES: Final = 100
# How many times in a row the offset may be asked for: each time takes a record.
_MAX_FENCES: Final = 1000


@dataclass(frozen=True, slots=True)
class _Record:
    """One entry of a log.

    Attributes:
        number: its place; 0 is the state right after creation, which has no object.
        token: whose it is.
        state: from then on.
        data: names and sizes of the newest data, oldest first.
        before: the number of the record that has the data before these, or 0.
    """

    number: int
    token: str
    state: UploadState
    data: tuple[tuple[str, int], ...] = ()
    before: int = 0

    def next(self, state: UploadState, added: tuple[str, int] | None = None) -> _Record:
        """Return the record that follows this one."""
        data, before = self.data, self.before
        if added is not None:
            if len(data) == _SEGMENTS:
                data, before = (), self.number
            data = (*data, added)
        return _Record(self.number + 1, secrets.token_hex(8), state, data, before)

    def encode(self) -> bytes:
        members = {
            "token": self.token,
            "state": self.state.dump(),
            "data": self.data,
            "before": self.before,
        }
        return json.dumps(members, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, number: int, data: bytes) -> _Record:
        try:
            members = json.loads(data)
            return cls(
                number,
                members["token"],
                UploadState.load(members["state"]),
                tuple((name, size) for name, size in members["data"]),
                members["before"],
            )
        except (ValueError, TypeError, KeyError) as error:
            raise UploadGone("the state of the upload is lost") from error


class LogStaging(Staging):
    """Uploads as objects of a storage.

    Args:
        storage: where; it keeps what ``check_storage`` proves, no more is needed.
        prefix: what all keys begin with.
    """

    def __init__(self, storage: Storage, prefix: str = "") -> None:
        self.storage: Storage = storage
        self._prefix = prefix
        self._known: OrderedDict[str, _Record] = OrderedDict()

    async def create(self, info: UploadInfo) -> StagedUpload:
        """Store ``info``."""
        await self._create(f"{self.folder(info.id)}/info", info.encode())
        record = _Record(0, "", info.begin())
        self._remember(info.id, record)
        return StagedUpload(info, record.state, record)

    async def change(self, upload_id: str, step: Step) -> StagedUpload:
        """Store the next record, again and again if others are faster."""
        for _ in range(_RACES):
            upload = await self._find(upload_id)
            state = step(upload.info, upload.state)
            if state is upload.state:
                return upload
            if state.fences > max(upload.state.fences, _MAX_FENCES):
                raise UploadBusy(
                    f"the offset was asked for {_MAX_FENCES} times in a row",
                    60,
                    status=429,
                )
            try:
                return await to_the_end(self.record(upload, upload.version.next(state)))
            except Fenced:
                continue
        raise UploadBusy("other requests keep changing the upload", 1)

    async def append(self, upload: StagedUpload, *, held: bool = False) -> Appender:
        """Make an appender; nothing counts before its commit anyway."""
        return _LogAppender(self, upload, held=held)

    async def open(self, upload: StagedUpload) -> StagedStream:
        """Return a stream over the data, one object after the other."""
        record: _Record = upload.version
        chain = [record.data]
        while record.before:
            earlier = await self._read(self.folder(upload.info.id), record.before)
            if earlier is None:
                raise UploadGone("the state of the upload is lost")
            record = earlier
            chain.append(record.data)
        folder = f"{self.folder(upload.info.id)}/data"
        segments = [
            Segment(self.storage, f"{folder}/{name}", size)
            for data in reversed(chain)
            for name, size in data
        ]
        if sum(segment.size for segment in segments) != upload.state.offset:
            raise UploadGone("the state of the upload is lost")
        return _StagedSegments(segments, upload)

    async def clear(self, upload: StagedUpload) -> None:
        """Delete the data; the log stays whole while ``info`` is there."""
        await self._delete_all(f"{self.folder(upload.info.id)}/data/")

    async def remove(self, upload_id: str, *, swept: bool = False) -> None:
        """Delete ``info`` first, then the rest; the last record goes with a sweep.

        Until then it fences those who have not heard of the end.
        """
        folder = self.folder(upload_id)
        last = self._known.pop(upload_id, None)
        kept = "" if swept or last is None else f"{folder}/log/{last.number:08d}"
        await self.storage.delete(f"{folder}/info")
        await self._delete_all(f"{folder}/", but=kept)

    async def ids(self) -> AsyncGenerator[str, None]:
        """Yield the ids in keys, each once."""
        seen: set[str] = set()
        async with aclosing(self._list(self._prefix)) as listing:
            async for found in listing:
                upload_id = found.key.removeprefix(self._prefix)[9:35]
                if is_id(upload_id) and upload_id not in seen:
                    seen.add(upload_id)
                    yield upload_id

    async def check(self) -> None:
        """Create one key twice."""
        key = f"{self._prefix}check/{secrets.token_hex(8)}"
        await self.storage.put(key, b"first")
        is_kept = False
        try:
            await self.storage.put(key, b"second")
        except ObjectExists:
            is_kept = True
        with suppress(StorageError):  # else it is tidied away
            await self.storage.delete(key)
        if not is_kept:
            raise Unsuitable(
                "this store ignores conditional writes (If-None-Match), so two "
                "requests could both continue an upload: resumable uploads need "
                "another staging"
            )

    async def tidy(self, older_than: float) -> None:
        """Delete what was created twice, where that process was killed."""
        before = time.time() - older_than
        async with aclosing(self._list(f"{self._prefix}check/")) as listing:
            keys = [
                found.key
                async for found in listing
                if found.modified is not None and found.modified < before
            ]
        for key in keys:
            await self.storage.delete(key)

    def folder(self, upload_id: str) -> str:
        """Return where an upload is kept."""
        return self._prefix + folder_of(upload_id)

    # -- for the appender ----------------------------------------------------------

    async def record(self, upload: StagedUpload, record: _Record) -> StagedUpload:
        """Store ``record`` as the next one of the log.

        Raises:
            Fenced: somebody else's is there.
            StorageError: the storage failed, and it is not there.
        """
        folder = self.folder(upload.info.id)
        try:
            await self._create(
                f"{folder}/log/{record.number:08d}",
                record.encode(),
                functools.partial(self._is_there, folder, record),
            )
        except ObjectExists as error:
            raise Fenced(
                "another request has gone on with the upload meanwhile"
            ) from error
        self._remember(upload.info.id, record)
        return StagedUpload(upload.info, record.state, record)

    async def _is_there(self, folder: str, record: _Record) -> bool | None:
        """Return whether the record is stored; ``None`` if its number is free."""
        found = await self._read(folder, record.number)
        return None if found is None else found.token == record.token

    async def _create(self, key: str, data: bytes, is_there: Any = None) -> None:
        """Create an object, or find that an earlier try has done so.

        Raises:
            ObjectExists: it is another one.
            StorageError: the storage failed, and it is not there.
        """
        try:
            await self.storage.put(key, data, content_type="application/json")
        except (ObjectExists, StorageError) as error:
            # The store may have done it, and its answer was lost.
            found = None if is_there is None else await is_there()
            if found:
                return
            if found is False and not isinstance(error, ObjectExists):
                raise ObjectExists(f"{key!r} exists already") from error
            raise

    async def forget(self, upload: StagedUpload, name: str) -> None:
        """Delete data that no record names, and none will; else the end does it."""
        with suppress(StorageError):
            await self.storage.delete(f"{self.folder(upload.info.id)}/data/{name}")

    # -- reading -------------------------------------------------------------------

    async def _find(self, upload_id: str) -> StagedUpload:
        """Return the upload as it is now.

        Raises:
            UploadNotFound, UploadGone, StorageError: as ``change``.
        """
        folder = self.folder(upload_id)
        record = await self._last(upload_id, folder)
        data = await self._load(f"{folder}/info")
        if data is None:
            self._known.pop(upload_id, None)
            raise UploadNotFound("there is no such upload")
        info = UploadInfo.decode(data)
        if record is None:
            record = _Record(0, "", info.begin())
        self._remember(upload_id, record)
        return StagedUpload(info, record.state, record)

    async def _last(self, upload_id: str, folder: str) -> _Record | None:
        record = self._known.get(upload_id)
        if record is None:
            number = 0
            async with aclosing(self._list(f"{folder}/log/")) as listing:
                async for found in listing:
                    last = found.key.rpartition("/")[2]
                    number = max(number, int(last) if last.isdigit() else 0)
            if not number:
                return None
            record = await self._read(folder, number)
            if record is None:
                raise UploadNotFound("there is no such upload")
            return record
        while (later := await self._read(folder, record.number + 1)) is not None:
            record = later
        return record

    async def _read(self, folder: str, number: int) -> _Record | None:
        data = await self._load(f"{folder}/log/{number:08d}")
        return None if data is None else _Record.decode(number, data)

    async def _load(self, key: str) -> bytes | None:
        try:
            return await self._load_once(key)
        except StorageError:
            # Two that sweep may remove a record and make it anew between the two
            # requests of one read. Else the storage gets another chance.
            return await self._load_once(key)

    async def _load_once(self, key: str) -> bytes | None:
        try:
            stream = await self.storage.open(key)
            async with stream:
                return await stream.read(_MAX_RECORD)
        except ObjectNotFound:
            return None

    def _remember(self, upload_id: str, record: _Record) -> None:
        self._known[upload_id] = record
        self._known.move_to_end(upload_id)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    # -- the rest ------------------------------------------------------------------

    def _list(self, prefix: str) -> AsyncGenerator[StoredObject, None]:
        return _closing(self.storage.list(prefix))

    async def _delete_all(self, prefix: str, but: str = "") -> None:
        async with aclosing(self._list(prefix)) as listing:
            keys = [found.key async for found in listing if found.key != but]
        for key in keys:
            await self.storage.delete(key)


async def _closing(
    listing: AsyncIterator[StoredObject],
) -> AsyncGenerator[StoredObject, None]:
    """Yield from ``listing``, closed when this is; it may be any async iterator."""
    try:
        async for found in listing:
            yield found
    finally:
        if isinstance(listing, AsyncGenerator):
            await cast("AsyncGenerator[StoredObject, None]", listing).aclose()


class _LogAppender(Appender):
    """Writes data objects, and a record for each."""

    def __init__(
        self, staging: LogStaging, upload: StagedUpload, *, held: bool
    ) -> None:
        self.upload = upload
        self._staging = staging
        self._held = held
        self._sink: Stream | None = None
        self._name = ""
        self._size = 0

    async def write(self, data: bytes) -> None:
        """Write into the data object, which the first bytes begin."""
        if self._sink is None:
            info = self.upload.info
            self._name = secrets.token_hex(8)
            self._sink = await self._staging.storage.create(
                f"{self._staging.folder(info.id)}/data/{self._name}",
                content_type=self._content_type(info, data),
                # The name is random. That spares an object store a copy.
                overwrite=True,
            )
        await self._sink.write(data)
        self._size += len(data)

    def _content_type(self, info: UploadInfo, data: bytes) -> str | None:
        """Return the object's type: as ``receive`` will, if it is all of the upload.

        Then the store can copy it, and nobody has to read it.
        """
        declared = info.fields.get("Content-Type")
        if self.upload.state.offset or "Content-Encoding" in info.fields:
            return declared
        return resolve_type(data[:SNIFF_BYTES], declared, filename_of(info.fields))

    async def commit(self, step: Step) -> StagedUpload:
        """Store the data object, then the record that names it."""
        return await to_the_end(self._commit(step))

    async def _commit(self, step: Step) -> StagedUpload:
        upload = self.upload
        record: _Record = upload.version
        sink, self._sink = self._sink, None
        if sink is None:
            state = step(upload.info, upload.state)
            if state is not upload.state:
                self.upload = await self._staging.record(upload, record.next(state))
            return self.upload
        await sink.close()
        size, self._size = self._size, 0
        added = upload.state.appended(size)
        failed: Exception | None = None
        try:
            state = step(upload.info, added)
        except Exception as error:
            if self._held:
                await self._staging.forget(upload, self._name)
                raise
            state, failed = added, error
        try:
            self.upload = await self._staging.record(
                upload, record.next(state, (self._name, size))
            )
        except Fenced:
            await self._staging.forget(upload, self._name)
            raise
        if failed is not None:
            raise failed
        return self.upload

    async def discard(self) -> None:
        """Abort the data object."""
        sink, self._sink = self._sink, None
        if sink is not None:
            await sink.abort()


class _StagedSegments(StagedStream):
    """The data of an upload, which a store copies if it is in one piece."""

    def __init__(self, segments: Sequence[Segment], upload: StagedUpload) -> None:
        super().__init__(
            SegmentStream(segments),
            content_type=upload.info.fields.get("Content-Type"),
            digests=upload.state.digests,
        )
        self._segments = segments

    def fits(self, storage: Storage) -> bool:
        """Return whether it is one object of the same store."""
        if len(self._segments) != 1 or not isinstance(storage, ObjectStorage):
            return False
        home = self._segments[0].storage
        return isinstance(home, ObjectStorage) and home.store is storage.store

    async def stage(
        self,
        storage: Storage,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        overwrite: bool,
    ) -> StagedObject | None:
        """Let the store copy the object in the end, with its attributes."""
        [segment] = self._segments
        assert isinstance(storage, ObjectStorage)
        found = await segment.storage.stat(segment.key)
        if metadata or found.content_type != content_type:
            return None
        check_key(key)
        return _CopiedInStore(storage, key, segment, overwrite=overwrite)


class _CopiedInStore(StagedObject):
    """An object that the store will copy."""

    def __init__(
        self, storage: ObjectStorage, key: str, segment: Segment, *, overwrite: bool
    ) -> None:
        super().__init__(storage, key, overwrite=overwrite)
        self._store = storage
        self._segment = segment

    async def create(self) -> Stream:
        raise NotImplementedError("the bytes are there already")

    async def open(self) -> Stream:
        return await self._segment.storage.open(self._segment.key)

    async def _publish(self) -> None:
        home = self._segment.storage
        assert isinstance(home, ObjectStorage)
        path = home.path(self._segment.key)
        await self._store.copy_path(path, self.key, overwrite=self._overwrite)

    async def _discard(self) -> None:
        pass  # the upload's, until it ends


@dataclass(frozen=True, slots=True)
class Segment:
    """One object of an upload.

    Attributes:
        storage: where it is.
        key: under which key.
        size: its bytes.
    """

    storage: Storage
    key: str
    size: int


class SegmentStream(Stream):
    """Objects one after the other, of which one is open at a time.

    Args:
        segments: the objects.
        offset: the first byte.
        length: how many bytes; to the end when ``None``.
    """

    def __init__(
        self, segments: Sequence[Segment], offset: int = 0, length: int | None = None
    ) -> None:
        whole = sum(segment.size for segment in segments)
        rest = max(0, whole - offset)
        super().__init__(size=rest if length is None else min(rest, length))
        self.segments: tuple[Segment, ...] = tuple(segments)
        self._offset = offset
        self._ranges = self._cut(offset, self.size or 0)
        self._following = next(self._ranges, None)
        self._current: Stream | None = None

    def _cut(self, offset: int, length: int) -> Iterator[tuple[Segment, int, int]]:
        """Each segment that is touched, with the range of it that is."""
        at, end = 0, offset + length
        for segment in self.segments:
            start, stop = max(offset, at), min(end, at + segment.size)
            if start < stop:
                yield segment, start - at, stop - start
            at += segment.size

    async def readany(self) -> bytes:
        """Return the next piece.

        Raises:
            UploadGone: an object is missing, or is another one.
            StorageError: the storage failed.
        """
        while True:
            if self._current is None:
                if self._following is None:
                    return b""
                # Taken when it is open: a read that is cancelled here loses nothing.
                self._current = await _open(*self._following)
                self._following = next(self._ranges, None)
            if piece := await self._current.readany():
                return piece
            current, self._current = self._current, None
            await current.close()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part of the same objects."""
        self.check_open()
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(
                f"offset and length must not be negative: {offset}, {length}"
            )
        rest = max(0, (self.size or 0) - offset)
        return SegmentStream(
            self.segments,
            self._offset + offset,
            rest if length is None else min(rest, length),
        )

    async def close(self) -> None:
        """Close the object that is open."""
        current, self._current = self._current, None
        if current is not None:
            await current.close()


async def _open(segment: Segment, offset: int, length: int) -> Stream:
    try:
        stream = await segment.storage.open(segment.key)
    except ObjectNotFound as error:
        raise UploadGone("some bytes of the upload are lost") from error
    if stream.size == length == segment.size:
        return stream
    async with stream:
        if stream.size != segment.size:
            raise UploadGone("some bytes of the upload are lost")
        return await stream.slice(offset, length)
