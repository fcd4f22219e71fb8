"""Encrypted objects in any other storage, by AES-256-GCM in chunks of 64 KiB.

An object is a header of 171 bytes and then the chunks, each with its tag of 16 bytes;
docs/guides/encryption.md has the format byte by byte. The chunks are those of STREAM
(Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance"): the nonce of each has its number, and whether it is the
last one, so none can be changed, moved or cut off. Each object has a random data key of
its own, so no chunk fits into another object. The header has that key, encrypted with
a master key, together with digests of the content type and of the metadata, which the
other storage keeps as they are.

The key of the object is not a part of it: an object can be copied and moved by whatever
the other storage has for that.

``_Cipher`` is one object's data key, ``_MasterKeys`` make headers and read them;
``_Writer`` and ``_Reader`` are the streams. One chunk takes AES some 10 us in hardware,
so it is encrypted on the event loop: `cryptography` keeps the interpreter's lock, and a
thread would gain nothing. Of one large piece, other tasks get their turn after each
MiB, which takes some 0.2 ms.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from aiostreams.errors import StorageError, StreamBusy, exceeded
from aiostreams.extras import require
from aiostreams.limits import KiB, MiB
from aiostreams.storage.base import StagedObject, check_attributes, check_key
from aiostreams.storage.wrapped import WrappedStorage
from aiostreams.streams.base import Stream
from aiostreams.streams.copy import copy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aiostreams.storage.base import Storage, StoredObject
    from aiostreams.streams.iterable import BytesLike

__all__ = ["EncryptedStorage"]

_MAGIC: Final = b"aioseal\x01"  # the last byte is the version
_KEY: Final = 32
_TAG: Final = 16
# Magic and version, id of the master key, nonce of what follows: all of it is
# authenticated with what follows.
_HEAD: Final = struct.Struct("8s32s12s")
# Data key, beginning of the nonces, digests of content type and metadata.
_SECRET: Final = struct.Struct("32s7s32s32s")
_HEADER: Final = _HEAD.size + _SECRET.size + _TAG
_CHUNK: Final = 64 * KiB
_SEALED: Final = _CHUNK + _TAG
_MAX_CHUNKS: Final = 2**32  # the counter of a nonce has four bytes
_MAX_KEY_ID: Final = 32
# How many chunks are read or written in one piece.
_BATCH: Final = 4
# How many bytes are encrypted before other tasks get their turn.
_TURN: Final = 1 * MiB
# How often an object is looked at that is replaced at the very moment.
_TRIES: Final = 10

_NO_TYPE: Final = hashlib.sha256().digest()


class EncryptedStorage(WrappedStorage):
    """Objects that ``storage`` has encrypted: AES-256-GCM in chunks of 64 KiB.

    Someone who has access to the storage can neither read the bytes nor change them
    unnoticed. A flipped bit, a missing or moved chunk, a chunk of another object, and
    changed metadata or a changed content type are a ``StorageError``. Not detected are
    an object that is removed, replaced by an older version, or stored under another
    key. Keys, sizes, content types and metadata are not encrypted.

    Each object has its own data key, which is encrypted with a master key. Put a new
    master key before the old ones: it is used for new objects, the others only for
    reading. :meth:`rewrap` encrypts the data key of an older object with the new one.

    Only the chunks that a range touches are decrypted. ``open`` and ``stat`` read the
    header and the last chunk, which authenticate the size. ``list`` computes each size
    from the stored length, and gives neither content types nor metadata. ``copy`` and
    ``move`` are those of the storage. There are no URLs (``presign``).

    Extra ``encryption``.

    Args:
        storage: where the encrypted objects are; any. Closed by ``close()``.
        keys: master keys of 32 random bytes by their ids, the current one first. An id
            is 1 to 32 printable ASCII characters and stands in every object, readable.
            Use one id for one key for ever, and one key for 4 billion objects at most.

    Raises:
        ImportError: `cryptography` is not installed.
        ValueError: there is no key, or one, or its id, is not as said above.
    """

    def __init__(self, storage: Storage, keys: Mapping[str, bytes]) -> None:
        super().__init__(storage)
        self._given = dict(keys)
        self._keys = _MasterKeys(self._given)

    @property
    def hidden(self) -> EncryptedStorage | None:
        """A storage for data that no key can name; encrypted as well."""
        hidden: Storage | None = getattr(self._storage, "hidden", None)
        return None if hidden is None else EncryptedStorage(hidden, self._given)

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
        metadata = check_attributes(content_type, metadata)
        sink = await self._storage.create(
            key,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
            size=None if size is None else _sealed_size(size),
        )
        header, cipher = self._keys.make(content_type, metadata)
        return _Writer(key, sink, header, cipher)

    async def put(
        self,
        key: str,
        data: bytes | bytearray | memoryview,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object that is in memory, see :meth:`Storage.put`."""
        if type(self).create is not EncryptedStorage.create:
            # What a subclass does with the bytes is not passed by.
            await super().put(
                key,
                data,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
            )
            return
        check_key(key)
        metadata = check_attributes(content_type, metadata)
        header, cipher = self._keys.make(content_type, metadata)
        view = _bytes_of(data)
        count = max(1, -(-len(view) // _CHUNK))
        sealed = [header]
        for index in range(count):
            chunk = view[index * _CHUNK : (index + 1) * _CHUNK]
            sealed.append(cipher.encrypt(index, chunk, last=index == count - 1))
            if not (index + 1) * _CHUNK % _TURN:
                await asyncio.sleep(0)
        await self._storage.put(
            key,
            b"".join(sealed),
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
        """Begin an object that gets its key later, as the storage does it."""
        if type(self).create is not EncryptedStorage.create:
            # What a subclass does with the bytes is not passed by.
            return await super().stage(
                key,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
                size=size,
            )
        metadata = check_attributes(content_type, metadata)
        staged = await self._storage.stage(
            key,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
            size=None if size is None else _sealed_size(size),
        )
        made = self._keys.make(content_type, metadata)
        return _StagedEncrypted(self, staged, self._keys, *made, overwrite=overwrite)

    async def open(self, key: str) -> Stream:
        """Open a readable stream over the object, see :meth:`Storage.open`.

        Raises:
            StorageError: the object, its content type or its length was changed, it is
                not encrypted, or with a key that is not given; or the storage failed.
        """
        return await _open(self._keys, key, await self._storage.open(key))

    async def stat(self, key: str) -> StoredObject:
        """Describe the object, see :meth:`Storage.stat`.

        Raises:
            StorageError: as :meth:`open`; also if the metadata were changed.
        """
        for _ in range(_TRIES):
            stored = await self._storage.stat(key)
            async with await _open(
                self._keys, key, await self._storage.open(key)
            ) as opened:
                if opened.etag != stored.etag:
                    continue  # it was replaced just now
                opened.found.check_metadata(stored.metadata, key)
                size = opened.size
                assert size is not None
                return replace(stored, size=size, content_type=opened.content_type)
        raise StorageError(f"{key!r} is replaced all the time")

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        """List the objects whose keys begin with ``prefix``.

        Without content types and metadata, which are held to the header by ``stat``
        only. The size is what the length of the encrypted object leaves.
        """
        listing = super().list(prefix)
        try:
            async for stored in listing:
                sealed = max(0, stored.size - _HEADER)
                size = max(0, sealed - _TAG * -(-sealed // _SEALED))
                yield replace(stored, size=size, content_type=None, metadata={})
        finally:
            await listing.aclose()

    async def rewrap(self, key: str) -> bool:
        """Encrypt the object's data key with the current master key.

        The chunks are copied as they are; time and etag are new. No storage can replace
        an object only if it is still the same, so nobody may replace or delete this one
        meanwhile: what they did could be undone.

        Returns:
            Whether there was anything to do.

        Raises:
            StorageError, ObjectNotFound: as :meth:`open`.
        """
        stored = await self._storage.stat(key)
        async with await self._storage.open(key) as sealed:
            header = await sealed.read(_HEADER)
            rewrapped = self._keys.rewrap(header, key)
            if rewrapped is None:
                return False
            sink = await self._storage.create(
                key,
                content_type=sealed.content_type,
                metadata=stored.metadata,
                overwrite=True,
                size=sealed.size,
            )
            async with sink:
                await sink.write(rewrapped)
                await copy(sealed, sink)
                if (await self._storage.stat(key)).etag != stored.etag:
                    raise StorageError(f"{key!r} was replaced: not given another key")
        return True


async def _open(keys: _MasterKeys, key: str, sealed: Stream) -> _Reader:
    """Open the object that is encrypted in a stream, which is owned.

    Raises:
        StorageError: as :meth:`EncryptedStorage.open`.
    """
    try:
        count = _count_chunks(sealed.size, key)
        if count == 1:
            whole = await _read_slice(sealed, 0, None)
            header, last = whole[:_HEADER], whole[_HEADER:]
        else:
            header = await _read_slice(sealed, 0, _HEADER)
            last = await _read_slice(sealed, _HEADER + (count - 1) * _SEALED, None)
        found = keys.read(header, key)
        content_type = found.check_type(sealed.content_type, key)
        tail = found.cipher.decrypt(count - 1, last, key, last=True)
        return _Reader(key, sealed, found, content_type, count, tail)
    except BaseException:
        await sealed.close()
        raise


async def _read_slice(stream: Stream, offset: int, length: int | None) -> bytes:
    async with await stream.slice(offset, length) as part:
        return await part.read()


def _bytes_of(data: bytes | bytearray | memoryview) -> memoryview:
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous else memoryview(bytes(view))


def _sealed_size(size: int) -> int:
    """Return how long an object of ``size`` bytes is when it is encrypted."""
    return _HEADER + size + _TAG * max(1, -(-size // _CHUNK))


def _count_chunks(size: int | None, key: str) -> int:
    """Return how many chunks an encrypted object of ``size`` bytes has.

    Raises:
        StorageError: none has that size.
    """
    assert size is not None, "open() of a storage gives a size"
    whole, rest = divmod(size - _HEADER, _SEALED)
    count = whole + bool(rest)
    # The last chunk of several is not empty.
    least = _TAG + (count > 1)
    if count < 1 or 0 < rest < least:
        raise StorageError(f"{key!r} is cut, or not encrypted: it has {size} bytes")
    return count


class _Cipher:
    """Encrypts and decrypts the chunks of one object."""

    def __init__(self, data_key: bytes, prefix: bytes) -> None:
        self._aead = _aead(data_key)
        self._prefix = prefix

    def encrypt(self, index: int, chunk: BytesLike, *, last: bool) -> bytes:
        sealed: bytes = self._aead.encrypt(self._nonce(index, last), chunk, None)
        return sealed

    def decrypt(self, index: int, sealed: BytesLike, key: str, *, last: bool) -> bytes:
        """Return a chunk.

        Raises:
            StorageError: it is not the one that was written.
        """
        return _decrypt(
            self._aead,
            self._nonce(index, last),
            sealed,
            None,
            f"{key!r} was changed or cut: chunk {index} does not fit",
        )

    def _nonce(self, index: int, last: bool) -> bytes:  # noqa: FBT001 - of two callers
        return self._prefix + struct.pack(">IB", index, last)


def _aead(key: bytes) -> Any:
    module = require(
        "cryptography.hazmat.primitives.ciphers.aead",
        extra="encryption",
        what="EncryptedStorage",
    )
    return module.AESGCM(key)


def _decrypt(
    aead: Any, nonce: bytes, sealed: BytesLike, authenticated: bytes | None, wrong: str
) -> bytes:
    """Decrypt; ``wrong`` is the message if it can't be done.

    Raises:
        StorageError: the key or a byte is another one.
    """
    exceptions = require(
        "cryptography.exceptions", extra="encryption", what="EncryptedStorage"
    )
    try:
        data: bytes = aead.decrypt(nonce, sealed, authenticated)
    except exceptions.InvalidTag as error:
        raise StorageError(wrong) from error
    return data


class _Found(NamedTuple):
    """What a header says."""

    cipher: _Cipher
    type_digest: bytes
    metadata_digest: bytes

    def check_type(self, content_type: str | None, key: str) -> str | None:
        """Return the content type as it was given to ``create``.

        A file system that keeps none loses it; another one is never passed on.

        Raises:
            StorageError: it was changed.
        """
        if content_type is None or self.type_digest == _NO_TYPE:
            return None
        if _digest_type(content_type) != self.type_digest:
            raise StorageError(f"the content type of {key!r} was changed")
        return content_type

    def check_metadata(self, metadata: Mapping[str, str], key: str) -> None:
        """Check that they are those that were given to ``create``.

        Raises:
            StorageError: they were changed.
        """
        if _digest_metadata(metadata) != self.metadata_digest:
            raise StorageError(f"the metadata of {key!r} were changed")


def _digest_type(content_type: str | None) -> bytes:
    return hashlib.sha256((content_type or "").encode()).digest()


def _digest_metadata(metadata: Mapping[str, str]) -> bytes:
    # No name and no value has a NUL.
    words = (f"{name}\0{metadata[name]}\0" for name in sorted(metadata))
    return hashlib.sha256("".join(words).encode()).digest()


class _MasterKeys:
    """Makes headers with the first of the keys, and reads them with any."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("there is no key, expected at least one")
        self._keys: dict[bytes, Any] = {}
        for name, key in keys.items():
            printable = name.isascii() and name.isprintable()
            if not printable or not 1 <= len(name) <= _MAX_KEY_ID:
                raise ValueError(
                    f"the key id {name[:80]!r} is not 1 to {_MAX_KEY_ID} printable "
                    "ASCII characters"
                )
            if len(key) != _KEY:
                raise ValueError(
                    f"the key {name!r} has {len(key)} bytes, expected {_KEY}"
                )
            self._keys[name.encode().ljust(_MAX_KEY_ID, b"\0")] = _aead(bytes(key))
        self._current = next(iter(self._keys))

    def make(
        self, content_type: str | None, metadata: Mapping[str, str]
    ) -> tuple[bytes, _Cipher]:
        """Return the header of a new object, and its cipher."""
        data_key, prefix = os.urandom(_KEY), os.urandom(7)
        secret = _SECRET.pack(
            data_key, prefix, _digest_type(content_type), _digest_metadata(metadata)
        )
        return self._wrap(secret), _Cipher(data_key, prefix)

    def read(self, header: bytes, key: str) -> _Found:
        """Return what the header of an object says.

        Raises:
            StorageError: it was changed, or its master key is another one, or missing.
        """
        data_key, prefix, *digests = _SECRET.unpack(self._unwrap(header, key))
        return _Found(_Cipher(data_key, prefix), *digests)

    def rewrap(self, header: bytes, key: str) -> bytes | None:
        """Return a header with the current key; ``None`` if it has that.

        Raises:
            StorageError: as :meth:`read`.
        """
        secret = self._unwrap(header, key)
        if _HEAD.unpack_from(header)[1] == self._current:
            return None
        return self._wrap(secret)

    def _wrap(self, secret: bytes) -> bytes:
        nonce = os.urandom(12)
        head = _HEAD.pack(_MAGIC, self._current, nonce)
        sealed: bytes = self._keys[self._current].encrypt(nonce, secret, head)
        return head + sealed

    def _unwrap(self, header: bytes, key: str) -> bytes:
        if len(header) != _HEADER:
            raise StorageError(f"{key!r} is cut, or not encrypted")
        magic, name, nonce = _HEAD.unpack_from(header)
        if magic != _MAGIC:
            raise StorageError(f"{key!r} is not encrypted, or in a format unknown here")
        aead = self._keys.get(name)
        called = name.rstrip(b"\0").decode("ascii", "replace")
        if aead is None:
            raise StorageError(
                f"{key!r} is encrypted with the master key {called!r}, which is not "
                "given"
            )
        return _decrypt(
            aead,
            nonce,
            header[_HEAD.size :],
            header[: _HEAD.size],
            f"the header of {key!r} was changed, or the master key {called!r} is not "
            "the one it was made with",
        )


class _Writer(Stream):
    """Encrypts an object while it is written; ``close()`` stores it."""

    def __init__(self, key: str, sink: Stream, header: bytes, cipher: _Cipher) -> None:
        super().__init__(content_type=sink.content_type)
        self._key = key
        self._sink = sink
        self._cipher = cipher
        # What is encrypted and not yet with the sink; the header goes first.
        self._sealed = [header]
        # The beginning of a chunk. The last one is known as such by ``close()`` only.
        self._held = bytearray()
        self._index = 0
        self._written = 0
        self._broken = False

    @property
    def position(self) -> int:
        """How many bytes have been written."""
        return self._written

    async def open(self) -> Self:
        """Open the stream that the encrypted bytes are written to."""
        self.check_open()
        await self._sink.open()
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt ``data`` as far as it makes whole chunks.

        Raises:
            StorageError, ObjectExists: as the storage's; or an earlier write failed.
            LimitExceeded: it is the byte after 256 TiB.
        """
        if self._broken:
            raise StorageError(f"an earlier write to {self._key!r} has failed")
        view = _bytes_of(data)
        room = _CHUNK - len(self._held)
        if len(view) <= room:
            self._held += view
        else:
            self._broken = True  # unless all of it is written
            await self._write_chunks(view, room)
            self._broken = False
        self._written += len(view)

    async def _write_chunks(self, view: memoryview, room: int) -> None:
        self._held += view[:room]
        chunk: bytearray | memoryview = self._held
        at, turn = room, _TURN
        while True:
            if self._index == _MAX_CHUNKS - 1:
                most = _MAX_CHUNKS * _CHUNK
                raise exceeded(f"{self._key!r}", most + 1, most)
            self._seal(chunk, last=False)
            if len(self._sealed) >= _BATCH:
                await self._flush()
            if at >= turn:
                turn += _TURN
                await asyncio.sleep(0)  # a sink need not wait
            rest = len(view) - at
            if rest <= _CHUNK:
                break
            chunk = view[at : at + _CHUNK]
            at += _CHUNK
        self._held = bytearray(view[at:])

    def _seal(self, chunk: bytearray | memoryview, *, last: bool) -> None:
        self._sealed.append(self._cipher.encrypt(self._index, chunk, last=last))
        self._index += 1

    async def _flush(self) -> None:
        sealed, self._sealed = self._sealed, []
        await self._sink.write(sealed[0] if len(sealed) == 1 else b"".join(sealed))

    async def close(self) -> None:
        """Store the object.

        Raises:
            StorageError, ObjectExists: the key is what it was.
            StreamBusy: another task was writing; likewise.
        """
        if self.busy:
            await self._sink.abort()
            raise StreamBusy(f"{self._key!r} was closed during a write: discarded")
        if self._broken:
            await self._sink.abort()
            raise StorageError(f"a write to {self._key!r} has failed: discarded")
        try:
            self._seal(self._held, last=True)
            await self._flush()
        except BaseException:
            await self._sink.abort()
            raise
        await self._sink.close()

    async def abort(self) -> None:
        """Leave no trace of what was written."""
        await self._sink.abort()


class _Reader(Stream):
    """Decrypts an object, or a range of it.

    Args:
        key: the object's.
        sealed: all of its encrypted bytes; sliced, and owned.
        found: what the header says.
        content_type: as it was given.
        count: how many chunks there are.
        tail: the last of them, decrypted.
        offset: the first byte.
        end: the first byte that is not read any more.
    """

    def __init__(
        self,
        key: str,
        sealed: Stream,
        found: _Found,
        content_type: str | None,
        count: int,
        tail: bytes,
        offset: int = 0,
        end: int | None = None,
    ) -> None:
        end = (count - 1) * _CHUNK + len(tail) if end is None else end
        super().__init__(size=end - offset, content_type=content_type)
        self.found: Final = found
        self._key = key
        self._source = sealed
        self._count = count
        self._tail = tail
        self._offset = offset
        self._end = end
        self._at = offset
        # The encrypted chunks from the one at ``_at`` on, without the last of all.
        self._body: Stream | None = None
        # What has come of it: the beginning of a chunk, and what follows that.
        self._rest = bytearray()
        self._piece = memoryview(b"")
        self._failure: StorageError | None = None

    @property
    def etag(self) -> str | None:
        """The validator of this version."""
        return getattr(self._source, "etag", None)

    @property
    def last_modified(self) -> float | None:
        """When it was stored, in POSIX seconds."""
        return getattr(self._source, "last_modified", None)

    async def readany(self) -> bytes:
        """Decrypt the next chunks.

        Raises:
            StorageError: one was changed, or the storage failed.
        """
        if self._failure is not None:
            raise self._failure
        if self._at >= self._end:
            return b""
        index, begin = divmod(self._at, _CHUNK)
        if index == self._count - 1:
            data = self._tail
        else:
            data = await self._read_chunks(index)
        piece = data[begin : begin + self._end - self._at]
        self._at += len(piece)
        return piece

    async def _read_chunks(self, index: int) -> bytes:
        """Read and decrypt some chunks, at least the one of that number."""
        end = min(-(-self._end // _CHUNK), self._count - 1)
        if self._body is None:
            self._body = await self._source.slice(
                _HEADER + index * _SEALED, (end - index) * _SEALED
            )
        chunks: list[bytes] = []
        while len(chunks) < min(_BATCH, end - index):
            sealed = self._take()
            if sealed is not None:
                try:
                    chunk = self.found.cipher.decrypt(
                        index + len(chunks), sealed, self._key, last=False
                    )
                except StorageError as error:
                    if not chunks:
                        raise
                    self._failure = error  # after what came before it
                    break
                chunks.append(chunk)
            elif chunks:
                break
            else:
                piece = await self._body.readany()
                if not piece:
                    raise StorageError(f"{self._key!r} ends before its last chunk")
                self._piece = memoryview(piece)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _take(self) -> bytearray | memoryview | None:
        """Return the next chunk, if all of it is here; else keep its beginning."""
        missing = _SEALED - len(self._rest)
        sealed: bytearray | memoryview = self._piece[:missing]
        self._piece = self._piece[missing:]
        if len(sealed) == _SEALED:
            return sealed  # not copied
        self._rest += sealed
        if len(self._rest) < _SEALED:
            return None
        sealed, self._rest = self._rest, bytearray()
        return sealed

    async def slice(self, offset: int, length: int | None = None) -> _Reader:
        """Open a stream over a part of the same version."""
        begin = min(self._end, self._offset + offset)
        end = self._end if length is None else min(self._end, begin + length)
        return _Reader(
            self._key,
            await self._source.slice(0),
            self.found,
            self.content_type,
            self._count,
            self._tail,
            begin,
            end,
        )

    async def close(self) -> None:
        """Close the encrypted stream."""
        try:
            if self._body is not None:
                await self._body.close()
        finally:
            await self._source.close()


class _StagedEncrypted(StagedObject):
    """An encrypted object that is staged in the storage."""

    def __init__(
        self,
        storage: EncryptedStorage,
        staged: StagedObject,
        keys: _MasterKeys,
        header: bytes,
        cipher: _Cipher,
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(storage, staged.key, overwrite=overwrite)
        self._staged = staged
        self._keys = keys
        self._header = header
        self._cipher = cipher

    async def create(self) -> Stream:
        sink = await self._staged.create()
        return _Writer(self.key, sink, self._header, self._cipher)

    async def open(self) -> Stream:
        return await _open(self._keys, self.key, await self._staged.open())

    async def _publish(self) -> None:
        self._staged.key = self.key
        await self._staged.publish()

    async def _discard(self) -> None:
        await self._staged.undo()
