"""A storage that keeps its objects in another one: what passes through unchanged.

The other storage is owned: closing this one closes it. A subclass makes objects
in its own way, and overrides what else it changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiostreams.storage.base import Storage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiostreams.storage.base import StoredObject
    from aiostreams.streams.base import Stream

__all__ = ["WrappedStorage"]


class WrappedStorage(Storage):
    """Objects in ``storage``.

    Args:
        storage: where they are; closed by ``close()``.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def open(self, key: str) -> Stream:
        """Open a readable stream over the object, see :meth:`Storage.open`."""
        return await self._storage.open(key)

    async def stat(self, key: str) -> StoredObject:
        """Describe the object, see :meth:`Storage.stat`."""
        return await self._storage.stat(key)

    async def delete(self, key: str) -> None:
        """Remove the object, see :meth:`Storage.delete`."""
        await self._storage.delete(key)

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Store the object once more, see :meth:`Storage.copy`."""
        await self._storage.copy(source, target, overwrite=overwrite)

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give the object another key, see :meth:`Storage.move`."""
        await self._storage.move(source, target, overwrite=overwrite)

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        """List the objects whose keys begin with ``prefix``."""
        listing = self._storage.list(prefix)
        try:
            async for stored in listing:
                yield stored
        finally:
            close = getattr(listing, "aclose", None)  # any async iterator will do
            if close is not None:
                await close()

    async def sweep(self, older_than: float = 86400.0) -> int:
        """Remove what a killed process has left, see :meth:`Storage.sweep`."""
        return await self._storage.sweep(older_than)

    async def close(self) -> None:
        """Close the storage that the objects are in."""
        await self._storage.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._storage!r}>"
