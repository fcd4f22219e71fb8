"""Bytes that are stored already, and wait for the key that they are to have.

``receive`` reads such a stream like any other, or has it staged by the storage as it
is: then its bytes are neither read nor written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiostreams.streams.transforms import Transform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.storage.base import StagedObject, Storage
    from aiostreams.streams.base import Stream

__all__ = ["StagedStream"]


class StagedStream(Transform):
    """``source``, all of whose bytes are stored somewhere; it can seek.

    Args:
        source: the bytes; owned.
        content_type: what they are called.
        digests: algorithm to hex digest, as far as they are known.

    Attributes:
        digests: these.
    """

    def __init__(
        self,
        source: Stream,
        *,
        content_type: str | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(source)
        self._content_type = content_type
        self.digests: Mapping[str, str] = digests or {}

    @property
    def content_type(self) -> str | None:
        """What the bytes are called."""
        return self._content_type

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part of the same bytes."""
        self._life.check_open()
        return await self.source.slice(offset, length)

    def fits(self, storage: Storage) -> bool:
        """Tell whether ``stage`` is worth trying."""
        del storage
        return False

    async def stage(
        self,
        storage: Storage,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        overwrite: bool,
    ) -> StagedObject | None:
        """Begin an object of these bytes that gets its key later, without reading them.

        They stay where they are as well; whoever put them there removes them.

        Args:
            storage: where the object is to be.
            key: its key.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.

        Returns:
            The object; ``None`` if the bytes have to be copied.

        Raises:
            InvalidKey, ValueError, ObjectExists, StorageError: as ``Storage.stage``.
        """
        del storage, key, content_type, metadata, overwrite
        return None
