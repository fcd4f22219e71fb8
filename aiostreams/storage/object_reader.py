"""One version of an object in a store, read by ranged requests.

Each stream, and each slice, makes a request of its own for exactly its bytes, when it
is first read, bound by ``If-Match`` to the version that was opened. The body streams:
while a piece is used the next one is fetched, and no more than that.

A body that breaks off is asked for again from where it was. Reading is idempotent,
so that is safe; three failures without a byte in between are the end of it. It also
makes the store's timeout, which is for a whole answer, none for a slow reader.

A file of its own: reading and writing an object share nothing but the store.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiostreams.errors import ObjectNotFound, StorageError
from aiostreams.limits import KiB
from aiostreams.storage.obstore import enter, explain, load
from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import PendingCall

if TYPE_CHECKING:
    from aiostreams.storage.base import StoredObject

__all__ = ["ObjectReader"]

# The least that one piece has, but for the last one.
_PIECE = 256 * KiB
_TRIES = 3
_BACKOFF = 0.1  # seconds, doubled with each failure


class ObjectReader(Stream):
    """The bytes of an object from ``offset`` to ``end``.

    Args:
        store: of obstore.
        path: the object's, in the store.
        stored: what is known about it.
        e_tag: the store's own spelling of the validator.
        offset: the first byte.
        end: the first byte that is not read any more.
    """

    def __init__(
        self,
        store: Any,
        path: str,
        stored: StoredObject,
        e_tag: str | None,
        offset: int,
        end: int,
    ) -> None:
        super().__init__(size=end - offset, content_type=stored.content_type)
        self._store = store
        self._path = path
        self._stored = stored
        self._e_tag = e_tag
        self._offset = offset
        self._end = end
        self._at = offset
        self._body: Any = None
        self._fetching: PendingCall[bytes] = PendingCall()

    @property
    def etag(self) -> str | None:
        """The validator of this version."""
        return self._stored.etag

    @property
    def last_modified(self) -> float | None:
        """When it was stored, in POSIX seconds."""
        return self._stored.modified

    async def readany(self) -> bytes:
        """Return the next piece.

        Raises:
            ObjectNotFound: the object was deleted.
            StorageError: it was replaced, or the store failed.
        """
        if self._at == self._end and not self._fetching.pending:
            return b""
        piece = await self._fetching.run(self._fetch)
        if self._at < self._end:
            self._fetching.begin(self._fetch)
        return piece

    async def _fetch(self) -> bytes:
        """Fetch the piece at ``_at``, which is moved on."""
        tries = 0
        while True:
            try:
                enter()
                if self._body is None:
                    self._body = await self._request()
                piece = bytes(await anext(self._body, b""))
            except Exception as error:
                self._body = None
                tries += 1
                failed = self._explain(error)
                if tries == _TRIES or isinstance(failed, ObjectNotFound):
                    raise failed from error
                if type(error).__name__ == "PreconditionError":
                    raise failed from error
                await asyncio.sleep(_BACKOFF * 2**tries)
                continue
            if piece:
                # More than was asked for is SizeMismatch, found by the guard.
                self._at = min(self._end, self._at + len(piece))
                return piece
            self._body = None
            tries += 1
            if tries == _TRIES:
                # Too short for good: the guard says so by SizeMismatch.
                self._at = self._end
                return b""

    async def _request(self) -> Any:
        options: dict[str, Any] = {"range": (self._at, self._end)}
        if self._e_tag is not None:
            options["if_match"] = self._e_tag
        found = await load().get_async(self._store, self._path, options=options)
        return aiter(found.stream(min_chunk_size=_PIECE))

    def _explain(self, error: Exception) -> Exception:
        if type(error).__name__ == "PreconditionError":
            return StorageError(f"{self._stored.key!r} was replaced", error)
        return explain(error, "read", self._stored.key)

    async def slice(self, offset: int, length: int | None = None) -> ObjectReader:
        """Return a stream over a part of the same version."""
        begin = min(self._end, self._offset + offset)
        end = self._end if length is None else min(self._end, begin + length)
        return ObjectReader(
            self._store, self._path, self._stored, self._e_tag, begin, end
        )

    async def close(self) -> None:
        """Let go of the connection."""
        try:
            await self._fetching.cancel()
        finally:
            self._body = None
