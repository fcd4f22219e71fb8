"""The writer of an object in a store: complete in the end, or not there at all.

Up to one part is held in memory and sent by one request, which the store does or does
not; a new object by a conditional one (``If-None-Match: *``). More is sent in parts
while it is written, several at once, by obstore's writer. That writer cannot be given
"only if it is new", so a new large object first goes to a temporary key and is then
copied, conditionally, by the store itself.

Whether a request that failed was done or not, its error does not tell: the answer may
have been lost. So each upload leaves a token in the object's metadata, and after an
error we look: our token means success. What is sent by one request has its digests
after the token, where whoever writes it knows them by then.

Nothing here is cancelled halfway. The steps that change something run in tasks of
their own; whoever is cancelled waits for them to end, and then has them undone.

A file of its own: reading and writing an object share nothing but the store.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import warnings
from typing import TYPE_CHECKING, Any, Protocol

from aiostreams.errors import (
    LimitExceeded,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StreamBusy,
    StreamError,
)
from aiostreams.files.writing import ChunkList
from aiostreams.limits import GiB, KiB, MiB
from aiostreams.storage.obstore import enter, explain, finish, load
from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import settle

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiostreams.streams.iterable import BytesLike

__all__ = [
    "MAX_COPY",
    "MAX_PARTS",
    "TOKEN",
    "ObjectWriter",
    "Place",
    "digests_in",
    "part_plan",
]

MAX_PARTS = 10_000
# What S3 copies by one request.
MAX_COPY = 5 * GiB
# The name of the metadata that says which upload an object is of.
TOKEN = "aiostreams"  # noqa: S105 - no secret

# S3's limit for all metadata of an object.
_MOST = 2 * KiB
_DIGEST = re.compile("([a-z][a-z0-9_]{0,31})=((?:[0-9a-f]{2})+)")

# Passing bytes to obstore costs as much as copying 100 KiB.
_BATCH = 1 * MiB

_logger = logging.getLogger("aiostreams.uploads")


def digests_in(token: str | None) -> dict[str, str]:
    """Return the digests that stand after an upload's token, by algorithm."""
    words = (token or "").split(" ")[1:]
    found = [_DIGEST.fullmatch(word) for word in words]
    return {match[1]: match[2] for match in found if match}


def part_plan(part_size: int, concurrency: int, size: int | None) -> tuple[int, int]:
    """Return a part's size and how many are under way, for an object of ``size``.

    Parts grow so that 10,000 of them suffice, in whole MiB; fewer of them are then
    under way, so that the memory stays what it was, as far as one part allows.
    """
    needed = -(-(size or 0) // MAX_PARTS)
    if needed <= part_size:
        return part_size, concurrency
    grown = -(-needed // MiB) * MiB
    return grown, max(1, part_size * concurrency // grown)


class Place(Protocol):
    """What a writer needs of its storage, which imports this module."""

    @property
    def store(self) -> Any: ...
    @property
    def copies_at_most_5_gib(self) -> bool: ...
    def temporary_path(self) -> str: ...
    def start(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...
    async def look(self, path: str, key: str) -> Any: ...
    async def exists(self, path: str, key: str) -> bool: ...
    async def remove(self, path: str) -> None: ...


class ObjectWriter(Stream):
    """Writes one object; ``close()`` stores it."""

    def __init__(
        self,
        storage: Place,
        key: str,
        attributes: dict[str, str] | None,
        *,
        path: str,
        content_type: str | None,
        overwrite: bool,
        plan: tuple[int, int],
    ) -> None:
        super().__init__(content_type=content_type)
        self._storage = storage
        self._key = key
        self._path = path
        self._token = secrets.token_hex(16)
        self._attributes = attributes
        if attributes is not None:
            attributes[TOKEN] = self._token
        self._overwrite = overwrite
        self._part_size, self._concurrency = plan
        self._limit = self._part_size * MAX_PARTS
        if not overwrite and storage.copies_at_most_5_gib:
            self._limit = min(self._limit, MAX_COPY)
        self._chunks = ChunkList()
        self._written = 0
        self._temporary: str | None = None
        self._writer: Any = None
        self._sending: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._over = False

    @property
    def position(self) -> int:
        """How many bytes have been written."""
        return self._written

    # -- writing -------------------------------------------------------------------

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take ``data``, or nothing of it when cancelled or failing.

        Raises:
            StorageError: the store failed, with these bytes or earlier ones.
            ObjectExists: the key is taken, and this is to be a new object.
            LimitExceeded: it is longer than 10,000 parts, or than S3 can copy.
        """
        size = len(data) if isinstance(data, bytes | bytearray) else data.nbytes
        if self._failure is None and self._written + size > self._limit:
            self._failure = LimitExceeded(
                f"{self._key!r} has more than {self._limit} bytes: give create() its "
                "size, or a larger part_size; a new object on S3 over 5 GiB needs "
                "overwrite=True",
                limit=self._limit,
                seen=self._written + size,
            )
            await self._discard()
        if self._failure is not None:
            raise self._failure
        ready = self._chunks.held >= (
            self._part_size if self._writer is None else _BATCH
        )
        if ready:
            await self._hand_over()
        self._chunks.add(bytes(data))
        self._written += size

    async def _hand_over(self) -> None:
        """Send what is held, once what was sent before is with obstore."""
        if self._sending is not None:
            await settle(self._sending)
            if (error := self._sending.exception()) is not None:
                self._failure = error
                await self._discard()
                raise error
        chunks = self._chunks.take()
        self._sending = self._storage.start(self._send(chunks))

    async def _send(self, chunks: list[BytesLike]) -> None:
        try:
            enter()
            if self._writer is None:
                await self._begin()
            writer: Any = self._writer
            # obstore keeps the object it is given, so it is one that never changes.
            await writer.write(b"".join(chunks))
        except Exception as error:
            raise explain(error, "store", self._key) from error

    async def _begin(self) -> None:
        """Begin a multipart upload."""
        path = self._path if self._overwrite else self._storage.temporary_path()
        if not self._overwrite:
            await self._check_free()
        self._writer = load().open_writer_async(
            self._storage.store,
            path,
            attributes=self._attributes,
            buffer_size=self._part_size,
            max_concurrency=self._concurrency,
        )
        if not self._overwrite:
            self._temporary = path

    # -- the end -------------------------------------------------------------------

    async def close(self) -> None:
        """Store the object.

        Raises:
            StorageError, ObjectExists: the key is what it was.
            StreamBusy: another task was writing; likewise.
        """
        if self.busy:
            await self._discard()
            raise StreamBusy(f"{self._key!r} was closed during a write: discarded")
        if self._failure is not None:
            raise self._failure
        self._over = True
        committing = self._storage.start(self._commit())
        try:
            await settle(committing)
        except asyncio.CancelledError:
            await finish(self._storage.start(self._undo(committing)))
            raise
        committing.result()

    async def abort(self) -> None:
        """Leave no trace of what was written."""
        if not self._over:
            await self._discard()

    async def _discard(self) -> None:
        self._over = True
        self._chunks.take()
        if self._sending is not None:
            await finish(self._storage.start(self._give_up()))

    async def _commit(self) -> None:
        try:
            if self._sending is not None:
                await self._sending
            if self._writer is None:
                await self._put()
            else:
                await self._complete()
        except BaseException as error:
            await self._give_up()
            if isinstance(error, Exception) and not isinstance(error, StreamError):
                raise explain(error, "store", self._key) from error
            raise
        finally:
            self._chunks.take()

    async def _put(self) -> None:
        """Store by one request what fits into one part."""
        enter()
        self._keep_digests()
        mode = "overwrite" if self._overwrite else "create"
        body = self._chunks.join()
        try:
            await load().put_async(
                self._storage.store,
                self._path,
                body,
                attributes=self._attributes,
                mode=mode,
                use_multipart=False,
            )
        except Exception as error:  # noqa: BLE001 - all of obstore's
            await self._resolve(error)

    def _keep_digests(self) -> None:
        attributes = self._attributes
        if attributes is None:
            return
        words = "".join(f" {k}={v}" for k, v in self.known_digests.items())
        if len(words) + sum(len(k) + len(v) for k, v in attributes.items()) <= _MOST:
            self._token += words
            attributes[TOKEN] = self._token

    async def _complete(self) -> None:
        """Store the parts as one object, under the key."""
        writer, store = self._writer, self._storage.store
        await writer.write(self._chunks.join())
        self._writer = None  # from here on it aborts by itself
        if self._overwrite:
            try:
                await writer.close()
            except Exception as error:  # noqa: BLE001 - all of obstore's
                await self._resolve(error)
            return
        await writer.close()
        await self._check_free()
        try:
            await load().copy_async(store, self._temporary, self._path, overwrite=False)
        except Exception as error:  # noqa: BLE001 - all of obstore's
            await self._resolve(error)
        await self._remove_temporary()

    async def _resolve(self, error: Exception) -> None:
        """Find out whether what raised ``error`` was done all the same."""
        try:
            found = await self._storage.look(self._path, self._key)
        except ObjectNotFound:
            raise error from None
        except StreamError:
            _logger.warning("unknown whether %r was stored", self._key)
            raise error from None
        token = found.attributes.get(TOKEN)
        if token == self._token:
            return
        if not self._overwrite:
            raise ObjectExists(f"{self._key!r} exists already") from error
        raise error

    async def _check_free(self) -> None:
        if await self._storage.exists(self._path, self._key):
            raise ObjectExists(f"{self._key!r} exists already")

    async def _give_up(self) -> None:
        """Abort the multipart upload, and remove the temporary object."""
        if self._sending is not None:
            await settle(self._sending)
            self._sending.exception()  # told already, or of no interest any more
        writer, self._writer = self._writer, None
        if writer is not None:
            cause = ConnectionAbortedError("discarded")
            try:
                await writer.__aexit__(type(cause), cause, None)
            except Exception as error:  # noqa: BLE001 - must not hide the first one
                _logger.warning(
                    "multipart upload of %r left behind: %s",
                    self._key,
                    explain(error, "abort", self._key),
                )
        await self._remove_temporary()

    async def _remove_temporary(self) -> None:
        temporary, self._temporary = self._temporary, None
        if temporary is None:
            return
        try:
            await self._storage.remove(temporary)
        except StorageError as error:  # the upload itself is over
            _logger.warning("temporary object %r left behind: %s", temporary, error)

    async def _undo(self, committing: asyncio.Task[None]) -> None:
        """Take back what a cancelled ``close()`` has stored."""
        await settle(committing)
        if committing.exception() is None and not self._overwrite:
            await self._storage.remove(self._path)

    def __del__(self) -> None:
        if self._sending is not None and not self._over:
            warnings.warn(
                f"unclosed upload of {self._key!r}", ResourceWarning, 2, source=self
            )
