"""The file of a form after its upload: an object in its storage."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiostreams.content.members import FormFile
from aiostreams.multipart.multidict import ImmutableMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.storage.base import StagedObject, Storage
    from aiostreams.streams.base import Stream

__all__ = ["StoredFile", "StoredFiles"]


@dataclass(frozen=True, slots=True)
class StoredFile(FormFile):
    """One file that was received and stored.

    ``JSON(file)``, and a JSON value that has it anywhere inside, writes
    :meth:`to_dict`: where it is and what it is, in terms that a client may know.

    Attributes:
        field: the name of the form's field; ``"file"`` for a raw body.
        filename: the filename as sent, or ``None``. Data, never a path.
        content_type: the media type that the first bytes show, where they do; else
            the one the client declared, else ``application/octet-stream``.
        size: the number of bytes.
        digests: algorithm to hex digest.
        key: where it is in its storage.
        declared_type: what the client called it, or ``None``.
        storage: where it is.
        staged: for ``open()``: where its bytes are until it is at its key.
    """

    field: str
    filename: str | None
    content_type: str
    size: int
    digests: Mapping[str, str]
    key: str
    declared_type: str | None = None
    storage: Storage | None = dataclasses.field(default=None, repr=False, compare=False)
    staged: StagedObject | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        # A plain dict: a read-only view can be neither written as JSON nor copied.
        object.__setattr__(self, "digests", dict(self.digests))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON has for the file, without its storage and claims."""
        return {
            "key": self.key,
            "field": self.field,
            "filename": self.filename,
            "content_type": self.content_type,
            "size": self.size,
            "digests": self.digests,
        }

    async def open(self) -> Stream:
        """Return a stream over the stored bytes, which can seek.

        It knows the digests that were computed when the file was received. Inside the
        block of ``receive`` the bytes are staged; read the stream there.

        Raises:
            ObjectNotFound: it was deleted meanwhile.
            StorageError: the storage failed.
        """
        if self.staged is not None and not self.staged.published:
            stream = await self.staged.open()
        else:
            assert self.storage is not None
            stream = await self.storage.open(self.key)
        if stream.size == self.size:
            stream.known_digests = self.digests
        return stream


class StoredFiles(ImmutableMultiDict[StoredFile]):
    """The files of a form by their fields: an immutable multidict."""

    _value_type = StoredFile
