"""The draft of an object on disk: a ``Draft`` that brings its folders with it.

What it adds, all of it in the thread that the draft works in:

* the folder is reached without following links, and made if it is missing, by the
  first write and not before; if it is pruned in between, it is made again;
* the attributes are set on the temporary file, so they take their place with it;
* before it takes its place, the folder must still be where the key says;
* an object that had just been stored when its ``close()`` failed or was cancelled
  is taken back;
* folders that were made in vain are removed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from typing import TYPE_CHECKING

from aiostreams.errors import ObjectExists
from aiostreams.streams.draft import Draft
from aiostreams.streams.file import FileStream
from aiostreams.streams.filewriter import FileWriter
from aiostreams.streams.worker import Job
from aiostreams.uploads.folders import close

if TYPE_CHECKING:
    from aiostreams.streams.hashing import Hashes
    from aiostreams.streams.writebehind import Buffer
    from aiostreams.uploads.folders import Folders

__all__ = ["ATTRIBUTE", "DiskWriter", "ObjectDraft"]

ATTRIBUTE = "user.aiostreams"

# How often a folder may vanish before the temporary file is in it.
_TRIES = 100

_logger = logging.getLogger("aiostreams.files")


class ObjectDraft(Draft):
    """What will be the object.

    Args:
        folders: where it will be.
        segments: its key.
        attributes: the value of the extended attribute; none is set if empty.
        needed: whether it is an error when attributes cannot be kept.
        overwrite: whether an object that is there is replaced.
        fsync: whether the commit survives a power failure.

    Attributes:
        published: whether it is in its place, and nothing failed afterwards.
    """

    __slots__ = ("_at_once", "_attributes", "_folders", "_found", "_identity",
                 "_needed", "_parents", "published")  # fmt: skip

    # Said once in a process, not with each object.
    _warned = False

    def __init__(
        self,
        folders: Folders,
        segments: tuple[str, ...],
        attributes: bytes,
        *,
        needed: bool,
        overwrite: bool,
        fsync: bool,
    ) -> None:
        super().__init__(segments[-1], overwrite=overwrite, fsync=fsync, dir_fd=None)
        self._folders = folders
        self._parents = segments[:-1]
        self._attributes = attributes
        self._needed = needed
        self._identity: os.stat_result | None = None
        self._at_once = False
        self._found: os.stat_result | None = None
        self.published: bool = False

    def store(self, data: Buffer) -> None:
        """Do all of it at once: nothing can change meanwhile that could not after.

        So nothing is looked at twice, which is a third of the calls, and a new file
        has its mode from the start: it is whole a few microseconds later.

        Raises:
            StorageError, ObjectExists: as :meth:`commit`.
        """
        self._at_once = True
        self.commit([data] if data else [])

    def _replaced(self) -> os.stat_result | None:
        found = self._found = super()._replaced()
        return found

    def _first_mode(self) -> int:
        new = self._at_once and self._found is None
        return 0o666 if new else super()._first_mode()

    def _set_mode(self) -> None:
        if not self._at_once:
            super()._set_mode()
        elif self._found is not None:
            os.fchmod(self._fd, self._found.st_mode & 0o777)

    def _create(self) -> None:
        tries = 0
        while True:
            try:
                self._create_once()
            except FileNotFoundError:
                # A folder was pruned while we were on the way. Make it again.
                super().discard()
                tries += 1
                if tries == _TRIES:
                    raise
            else:
                break
        if self._attributes:
            self._set_attributes()

    def _create_once(self) -> None:
        self._dir_fd = folder = self._folders.open(self._parents, make=True)
        try:
            super()._create()
        finally:
            close(folder)

    def _set_attributes(self) -> None:
        try:
            os.setxattr(self._fd, ATTRIBUTE, self._attributes)
        except (AttributeError, OSError) as error:
            number = getattr(error, "errno", errno.ENOTSUP)
            if number not in {errno.ENOTSUP, errno.EOPNOTSUPP}:
                raise
            if self._needed:
                raise OSError(
                    errno.ENOTSUP, "the file system keeps no attributes"
                ) from error
            if not ObjectDraft._warned:
                ObjectDraft._warned = True
                _logger.warning("content types are lost: no extended attributes here")

    def _explain(self, error: OSError) -> OSError:
        # Nothing has failed: keys that clients choose can ask for this.
        if isinstance(error, NotADirectoryError):
            key = "/".join((*self._parents, self.name))
            return ObjectExists(f"there is an object where {key!r} needs a folder")
        if isinstance(error, IsADirectoryError):
            return ObjectExists(f"{self.name!r} is a folder with objects in it")
        return super()._explain(error)

    def _publish(self) -> None:
        if not self._at_once:
            self._check_folder()
        assert self._temporary is not None
        self._identity = os.stat(
            self._temporary, dir_fd=self._directory, follow_symlinks=False
        )
        try:
            super()._publish()
        except BaseException:
            self._remove_own(self._directory)
            raise
        self.published = True

    def _check_folder(self) -> None:
        folder = self._folders.open(self._parents)
        try:
            if not os.path.samestat(os.fstat(folder), os.fstat(self._directory)):
                raise OSError(errno.ESTALE, "its folder was moved")
        finally:
            close(folder)

    def retract(self) -> None:
        """Take back an object that was published, if it is a new one. Blocking."""
        self.published = False
        try:
            folder = self._folders.open(self._parents)
        except OSError:
            return
        try:
            self._remove_own(folder)
        finally:
            close(folder)
        self._prune()

    def _remove_own(self, folder: int) -> None:
        """Remove the object, unless it has replaced one, or is not ours by now."""
        if self._overwrite:
            return
        assert self._identity is not None
        try:
            found = os.stat(self.name, dir_fd=folder, follow_symlinks=False)
            if _same_file(found, self._identity):
                os.unlink(self.name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            _logger.warning("object left behind: %r: %s", self.name, error.strerror)

    def discard(self) -> None:
        """Remove every trace, also the folders that are empty now."""
        super().discard()
        if not self.published:
            self._prune()

    def _prune(self) -> None:
        self._folders.prune(self._parents)


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    # The number alone is soon given to another file.
    return os.path.samestat(one, other) and (
        (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    )


class DiskWriter(FileStream):
    """Writes an object; ``close()`` stores it."""

    def __init__(self, draft: ObjectDraft, content_type: str | None) -> None:
        super().__init__(draft.name, "xb", content_type=content_type)
        self._draft = draft
        self._target = FileWriter(draft)

    def hash_with(self, hashes: Hashes) -> None:
        """Have ``hashes`` take every byte, in the thread that writes it.

        They are complete when the object is stored.
        """
        self._draft.hashes = hashes

    async def close(self) -> None:
        """Store the object.

        Raises:
            StorageError, ObjectExists, StreamBusy: the key is what it was.
        """
        try:
            await super().close()
        except asyncio.CancelledError:
            if self._draft.published:
                await Job(self._draft.retract).finish()
            raise
