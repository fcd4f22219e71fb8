"""Stagings of each kind, uploads to put into them, and streams that behave badly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from aiostreams import ClientGone, DiskStorage, IterStream, MemoryStorage, Stream
from aiostreams.resumable.disk import DiskStaging
from aiostreams.resumable.engine import Append, Appended, Uploads
from aiostreams.resumable.log import LogStaging
from aiostreams.resumable.staging import StagedUpload, Staging
from aiostreams.resumable.state import Protocol, UploadInfo, UploadState, new_id

KINDS = ("memory", "disk", "disk+fsync", "log on disk", "obstore")


def staging_of(kind: str, path: Path) -> Callable[[], Staging]:
    if kind == "disk":
        return lambda: DiskStaging(path)
    if kind == "disk+fsync":
        return lambda: DiskStaging(path, fsync=True)
    if kind == "log on disk":
        return lambda: LogStaging(DiskStorage(path))
    if kind == "obstore":
        pytest.importorskip("obstore", reason="needs the extra s3")
        from obstore.store import MemoryStore

        from aiostreams.storage.object_store import ObjectStorage

        store = MemoryStore()
        return lambda: LogStaging(ObjectStorage(store))
    memory = MemoryStorage()
    return lambda: LogStaging(memory)


def info_of(*, protocol: Protocol = "tus", **kwargs: Any) -> UploadInfo:
    now = kwargs.pop("now", time.time())
    kwargs.setdefault("expires", 3600.0)
    kwargs.setdefault("max_age", 86400.0)
    return UploadInfo(
        id=new_id(now),
        protocol=protocol,
        method="POST",
        path="/",
        created=now,
        **kwargs,
    )


def anyone(info: UploadInfo, state: UploadState) -> None:
    """Check nothing."""


def stream_of(*pieces: bytes) -> Stream:
    return IterStream(pieces)


async def add(
    uploads: Uploads,
    upload: StagedUpload | str,
    data: bytes | Iterable[bytes] | Stream,
    *,
    at: int,
    **kwargs: Any,
) -> Appended:
    """Append ``data`` at an offset."""
    upload_id = upload if isinstance(upload, str) else upload.info.id
    if isinstance(data, bytes):
        kwargs.setdefault("content_length", len(data))
    else:
        kwargs.setdefault("content_length", None)
    stream = (
        data
        if isinstance(data, Stream)
        else IterStream([data] if isinstance(data, bytes) else data)
    )
    return await uploads.append(upload_id, anyone, Append(offset=at, **kwargs), stream)


async def offset_of(uploads: Uploads, upload: StagedUpload) -> int:
    """The offset as a HEAD tells it."""
    return (await uploads.fence(upload.info.id, anyone)).state.offset


async def bytes_of(uploads: Uploads, upload: StagedUpload) -> bytes:
    async with await uploads.open(upload) as stream:
        return await stream.read()


class Dropped(Stream):
    """Some pieces, and then the connection is gone."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self._pieces = list(pieces)

    async def readany(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        raise ClientGone("gone")


class Stalled(Stream):
    """Some pieces, and then nothing more."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self._pieces = list(pieces)
        self.waiting = asyncio.Event()

    async def readany(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        self.waiting.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError
