"""File: bytes with a name.

A File holds no bytes of its own making: it names a path, which each ``encode()``
opens anew, or bytes, or a stream, which can be sent once. Its name is for others to
read, so it never has a directory in it, whichever system's separator was used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from multidict import CIMultiDict, CIMultiDictProxy

from aiostreams.content.base import Content
from aiostreams.content.members import FormFile
from aiostreams.errors import exceeded
from aiostreams.files.file import FileStream
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.sansio.mediatype import OCTET_STREAM, guess_content_type
from aiostreams.streams.base import Stream
from aiostreams.streams.copy import copy
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.transforms import LimitStream, Transform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.limits import Limits

__all__ = ["File"]


class File(Content, FormFile):
    """A file to send, or one that was received.

    Args:
        source: a path, or the content itself: a Stream (owned by whoever takes the
            encoded stream, usable once), or bytes. Bytes are never a path.
        name: what the file is called; of a path, its last component unless given.
            Directories in it are dropped.
        content_type: its media type; else the stream's own, else what the name
            promises, else ``application/octet-stream``.
        headers: more header fields, for a file that is sent as a part of a multipart
            body.

    Attributes:
        name: the name without directories; ``None`` when none was given.
        path: the path as given; ``None`` for a stream or bytes.
        headers: as given.

    Raises:
        TypeError: ``source`` is none of these.
    """

    reads_stream = True

    def __init__(
        self,
        source: str | os.PathLike[str] | Stream | bytes | bytearray | memoryview,
        *,
        name: str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.headers: CIMultiDictProxy[str] = CIMultiDictProxy(
            CIMultiDict(headers or {})
        )
        self.path = None
        self._stream: Stream | None = None
        self._data = b""
        self._used = False
        if isinstance(source, Stream):
            self._stream = source
            content_type = content_type or source.content_type
        elif isinstance(source, (bytes, bytearray, memoryview)):
            self._data = bytes(source)
        elif isinstance(source, (str, os.PathLike)):
            self.path = os.fspath(source)
            name = self.path if name is None else name
        else:
            raise TypeError(
                f"File takes a path, a Stream or bytes, not {type(source).__name__}"
            )
        self.name: str | None = _basename(name)
        self._content_type = content_type or guess_content_type(
            self.name or "", default=OCTET_STREAM
        )

    @property
    def content_type(self) -> str:
        return self._content_type

    @property
    def response_headers(self) -> Mapping[str, str]:
        """Served as it was sent, it must not be taken for something else."""
        return {"X-Content-Type-Options": "nosniff"}

    def encode(self) -> Stream:
        """Return the bytes: of a path a new ``FileStream``, not opened yet.

        Raises:
            RuntimeError: the stream that this File wraps was encoded before.
        """
        if self.path is not None:
            return FileStream(self.path, content_type=self._content_type)
        stream = self._stream
        if stream is None:
            return ByteStream(self._data, content_type=self._content_type)
        if self._used:
            raise RuntimeError("the stream of this File was encoded before")
        self._used = True
        if stream.content_type == self._content_type:
            return stream
        return _Relabelled(stream, self._content_type)

    @classmethod
    async def decode(
        cls, stream: Stream, *, limits: Limits | None = None, name: str | None = None
    ) -> Self:
        """Return a File over ``stream``; nothing of it is read yet.

        Args:
            stream: the body; whoever encodes or saves the File closes it.
            limits: ``max_file`` counts here.
            name: what the file is called; ``None`` when that is unknown.

        Raises:
            LimitExceeded: the size that the stream declares is over ``max_file``. A
                stream without one is stopped there while it is read.
        """
        ceiling = (limits or DEFAULT_LIMITS).max_file
        size = stream.size
        content_type = stream.content_type
        if size is None:
            stream = LimitStream(stream, ceiling, what="the file")
        elif size > ceiling:
            raise exceeded("the file", size, ceiling, exact=True)
        return cls(stream, name=name, content_type=content_type)

    async def __aenter__(self) -> Stream:
        stream = await super().__aenter__()
        if isinstance(stream, FileStream):
            try:
                # A missing file is an error of the `with` line, and the size known.
                await stream.open()
            except BaseException as error:
                await super().__aexit__(type(error), error, error.__traceback__)
                raise
        return stream

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON has for a file in a model: its name and its type."""
        return {"filename": self.name, "content_type": self.content_type}

    async def save(self, path: str | os.PathLike[str], *, fsync: bool = False) -> int:
        """Write the file to ``path``, all of it or nothing, and close its stream.

        Args:
            path: where to; an existing file is replaced at the end.
            fsync: whether to wait until it would survive a power failure.

        Returns:
            The number of bytes.

        Raises:
            StorageError: the disk is full, or failed.
            Exception: what reading raises; ``path`` is as it was.
        """
        async with self as source, FileStream(path, "wb", fsync=fsync) as sink:
            return await copy(source, sink)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<File{name} {self._content_type}>"


def _basename(name: str | None) -> str | None:
    if name is None:
        return None
    return name[max(name.rfind("/"), name.rfind("\\")) + 1 :] or None


class _Relabelled(Transform):
    """A stream under another content type."""

    def __init__(self, source: Stream, content_type: str) -> None:
        super().__init__(source)
        self._label = content_type

    @property
    def content_type(self) -> str:
        """The other content type."""
        return self._label

    @property
    def etag(self) -> str | None:
        """The source's: the bytes are the same."""
        etag: str | None = getattr(self.source, "etag", None)
        return etag

    @property
    def last_modified(self) -> float | None:
        """The source's."""
        modified: float | None = getattr(self.source, "last_modified", None)
        return modified

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a slice of the source, under the other content type."""
        return _Relabelled(await self.source.slice(offset, length), self._label)
