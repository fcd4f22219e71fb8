"""A place where uploads grow: what one promises, whatever it keeps them in.

A ``Staging`` has two kinds of writes. ``change`` makes a step of an upload's state, at
once or not at all; of two at one time the second sees what the first has done. An
``Appender`` adds bytes, which count from its ``commit`` on, or earlier (as on a disk).
A change, or another appender, fences it: nothing that it writes afterwards counts, and
``Fenced`` says so, however late it comes back.

Nothing here is a lock that is held over a wait for a client: a process that is killed,
or stopped for an hour, is in nobody's way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from aiostreams.errors import StorageError
from aiostreams.resumable.state import UploadInfo, UploadState
from aiostreams.streams.tasks import finish, start

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from aiostreams.streams.hashing import Hashes
    from aiostreams.uploads.staged import StagedStream

__all__ = ["Appender", "StagedUpload", "Staging", "Step", "Unsuitable", "to_the_end"]

T = TypeVar("T")

# Gives the next state, the same object for none, or raises.
Step: TypeAlias = Callable[[UploadInfo, UploadState], UploadState]


class Unsuitable(StorageError):
    """The storage does not keep a promise that resumable uploads rely on."""


@dataclass(frozen=True, slots=True)
class StagedUpload:
    """An upload as it was found.

    Attributes:
        info: what was said at its creation.
        state: what was known then.
        version: for the staging: by it an appender finds that it was fenced.
    """

    info: UploadInfo
    state: UploadState
    version: Any


class Appender(ABC):
    """Adds bytes to an upload, for one request.

    Attributes:
        upload: as of the last commit.
    """

    upload: StagedUpload

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Take ``data``; it may be written later.

        Raises:
            Fenced: another request has gone on with the upload.
            StorageError: the storage failed.
        """

    @abstractmethod
    async def commit(self, step: Step) -> StagedUpload:
        """Count everything that was written, and make ``step`` with it.

        The state that ``step`` gets has the new offset. Should the step raise, the
        bytes count all the same, except of a held appender's.

        Raises:
            Fenced: another request has gone on with the upload.
            StorageError: the storage failed.
            StreamError: as raised by ``step``.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Let go of what was not committed."""

    def hash_with(self, hashes: Hashes) -> bool:
        """Let ``hashes`` take all bytes while they are written, if this one can."""
        del hashes
        return False


class Staging(ABC):
    """A place where uploads grow."""

    @abstractmethod
    async def create(self, info: UploadInfo) -> StagedUpload:
        """Begin an upload, whose id is new.

        Raises:
            StorageError: the storage failed.
        """

    @abstractmethod
    async def change(self, upload_id: str, step: Step) -> StagedUpload:
        """Make a step of an upload's state.

        Raises:
            UploadNotFound: there is none.
            UploadGone: what was known of it is lost.
            UploadBusy: others change it all the time.
            StorageError: the storage failed.
            StreamError: as raised by ``step``.
        """

    @abstractmethod
    async def append(self, upload: StagedUpload, *, held: bool = False) -> Appender:
        """Add bytes to an upload as it was found.

        Args:
            upload: as found last.
            held: whether no byte may count before ``commit``.

        Raises:
            Fenced: another request has gone on with the upload meanwhile.
            StorageError: the storage failed.
        """

    @abstractmethod
    async def open(self, upload: StagedUpload) -> StagedStream:
        """Open the bytes of a complete upload: of known size, and able to seek.

        Raises:
            UploadGone: some of them are lost.
            StorageError: the storage failed.
        """

    @abstractmethod
    async def clear(self, upload: StagedUpload) -> None:
        """Remove the bytes of an upload, and keep what is known of it.

        Raises:
            StorageError: the storage failed.
        """

    @abstractmethod
    async def remove(self, upload_id: str, *, swept: bool = False) -> None:
        """Remove an upload that was deleted just now, and whatever is of its id.

        Args:
            upload_id: its id.
            swept: whether what fences others that append to it goes too.

        Raises:
            StorageError: the storage failed.
        """

    @abstractmethod
    def ids(self) -> AsyncGenerator[str, None]:
        """Return the ids of all uploads of which there is anything.

        Raises:
            StorageError: the storage failed.
        """

    @abstractmethod
    async def check(self) -> None:
        """Try whether the storage keeps the promises that this relies on.

        Raises:
            Unsuitable: it does not.
            StorageError: it failed.
        """

    async def tidy(self, older_than: float) -> None:  # noqa: B027 - most need none
        """Remove what a process left that was killed while it made an upload.

        Args:
            older_than: how many seconds ago it must have been written last.

        Raises:
            StorageError: the storage failed.
        """


async def to_the_end(step: Coroutine[Any, Any, T]) -> T:
    """Run a step that must not end midway; a cancellation is raised afterwards."""
    task = start(step)
    try:
        await finish(task)
    except BaseException:
        if task.done() and not task.cancelled():
            task.exception()  # mark as seen
        raise
    return task.result()
