"""A source that cannot be opened: 404, 403, 503, or whatever it says itself; and closed."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Self

import pytest

from aiostreams import (
    FileStream,
    ObjectNotFound,
    StorageError,
    Stream,
    StreamClosed,
    StreamError,
)
from aiostreams.web.response import open_source


class Unopened(Stream):
    """Fails with ``error`` when it is opened."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error

    async def open(self) -> Self:
        if self.error is not None:
            raise self.error
        return self

    async def readany(self) -> bytes:
        return b""


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "number",
    [errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP],
    ids=errno.errorcode.get,
)
async def test_what_is_not_there_is_404(number: int) -> None:
    stream = Unopened(os_error(number))
    with pytest.raises(ObjectNotFound) as caught:
        await open_source(stream)
    assert (caught.value.status, stream.closed) == (404, True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM], ids=errno.errorcode.get)
async def test_what_may_not_be_read_is_403(number: int) -> None:
    stream = Unopened(os_error(number))
    with pytest.raises(StreamError, match="may not be read") as caught:
        await open_source(stream)
    assert (caught.value.status, stream.closed) == (403, True)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE], ids=errno.errorcode.get
)
async def test_while_too_many_are_open_it_is_503(number: int) -> None:
    stream = Unopened(os_error(number))
    with pytest.raises(StorageError, match="too many files") as caught:
        await open_source(stream)
    assert (caught.value.status, stream.closed) == (503, True)


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.EIO),
        StorageError("too many files are open", os_error(errno.EMFILE)),
        StorageError("the bucket does not answer"),
        ObjectNotFound("no object 'x'"),
        StreamClosed("over"),
        RuntimeError("a fault"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_other_errors_are_raised_as_they_are(error: BaseException) -> None:
    stream = Unopened(error)
    with pytest.raises(type(error)) as caught:
        await open_source(stream)
    assert caught.value is error
    assert stream.closed


async def test_what_can_be_opened_stays_open() -> None:
    stream = Unopened(None)
    await open_source(stream)
    assert not stream.closed


async def test_a_folder_and_a_device_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        await open_source(FileStream(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StreamError) as caught:
        await open_source(FileStream(tmp_path / "fifo"))
    assert caught.value.status == 500
