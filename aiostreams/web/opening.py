"""Opening the source of a response, while it can still be answered otherwise.

A path may come from a URL, so what is wrong with it is answered as a web server
answers it: 404 for what is not there, 403 for what may not be read, 503 while no
more files can be open. Anything else (a FIFO, a device, a disk that fails) is the
server's own fault.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from aiostreams.errors import ObjectNotFound, StorageError, StreamError

if TYPE_CHECKING:
    from aiostreams.streams.base import Stream

__all__ = ["open_source"]

_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# Names that no file can have, and links that lead nowhere.
_NOWHERE: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
_TOO_MANY: Final = frozenset({errno.EMFILE, errno.ENFILE})


class _Forbidden(StreamError, PermissionError):
    """The file is there, and not for this process."""

    status = 403


async def open_source(stream: Stream) -> None:
    """Open ``stream``, or close it.

    Raises:
        ObjectNotFound: there is no such file.
        StorageError: too many files are open.
        StreamError: it cannot be read.
    """
    try:
        await stream.open()
    except OSError as error:
        await stream.close()
        if isinstance(error, ObjectNotFound):
            raise
        if isinstance(error, _NOT_THERE) or error.errno in _NOWHERE:
            raise ObjectNotFound("there is no such file") from error
        if isinstance(error, PermissionError):
            raise _Forbidden("the file may not be read") from error
        if error.errno in _TOO_MANY and not isinstance(error, StreamError):
            raise StorageError("too many files are open", error) from error
        raise
    except BaseException:
        await stream.close()
        raise
