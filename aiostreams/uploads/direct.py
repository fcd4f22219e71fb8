"""Uploads that go straight to the bucket: a URL to send to, and a confirmation.

What a client has sent there is unchecked. ``confirm_upload`` first moves it to
a key that the client's URL cannot reach, then holds it to its rule, and then gives it
its key. It is a file of its own because no request's body is in it.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiostreams.errors import StreamError
from aiostreams.sansio.sniff.types import SNIFF_BYTES
from aiostreams.storage.base import STAGED
from aiostreams.streams.copy import copy
from aiostreams.streams.tasks import finish, start
from aiostreams.uploads.checks import Checks
from aiostreams.uploads.rules import Ceiling
from aiostreams.uploads.stored import StoredFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.storage.base import Storage
    from aiostreams.uploads.rules import FileRule

__all__ = ["DirectUpload", "confirm_upload", "direct_upload"]

_FIELD = "file"
_UNKNOWN = "application/octet-stream"
# For how many seconds a check may neither read nor return.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class DirectUpload:
    """What a client needs to upload by itself. JSON can have it.

    Attributes:
        url: where to send the bytes.
        method: ``"PUT"``.
        headers: fields to send with them.
        expires: for how many seconds.
    """

    url: str
    method: str
    headers: Mapping[str, str]
    expires: float


async def direct_upload(
    storage: Storage,
    key: str,
    *,
    size: int,
    content_type: str = "application/octet-stream",
    expires: float = 3600.0,
) -> DirectUpload:
    """Let a client send one object straight to the store.

    The URL can be used again until it expires, and the store enforces no ``size``:
    what counts is what :func:`confirm_upload` finds. Give it a new random key below
    ``aiostreams-staged/``, from which ``sweep()`` of the storage removes what is never
    confirmed.

    Args:
        storage: where to.
        key: where the object will wait.
        size: how many bytes the client will send.
        content_type: its media type.
        expires: for how many seconds the URL is good.

    Raises:
        NotImplementedError: the storage has no URLs.
        InvalidKey, ValueError, StorageError: as ``Storage.presign``.
    """
    if size < 0:
        raise ValueError(f"size must not be negative, got {size}")
    url = await storage.presign(key, "PUT", expires)
    headers = {"Content-Type": content_type}
    if "blob.core.windows.net" in url:
        headers["x-ms-blob-type"] = "BlockBlob"
    return DirectUpload(url, "PUT", headers, expires)


async def confirm_upload(
    storage: Storage, key: str, rule: FileRule, *, to: str
) -> StoredFile:
    """Hold what a client has sent to a rule, and give it its key; or remove it.

    Its first bytes are read, and all of it if the rule has checks. An object store
    copies it twice: out of the client's reach first. If the first bytes show another
    type than the client has given it, it is stored anew with that one, and all of its
    bytes pass through this process.

    Args:
        storage: where it is.
        key: what ``direct_upload`` was given.
        rule: what is asked of it; its counts and its storage mean nothing here.
        to: where it is to stay.

    Raises:
        ObjectNotFound: there is nothing; another call may have confirmed it.
        UnsupportedContent, LimitExceeded, InvalidContent: it breaks the rule.
        ObjectExists: ``to`` is taken.
        StorageError: the storage failed. If it had been moved, it is removed as well,
            now or by ``sweep()``; the client has to upload again.
    """
    staged = STAGED + secrets.token_hex(16)
    await storage.move(key, staged)
    try:
        file = await _judge(storage, staged, rule, to)
        await _settle(storage, staged, file)
    except BaseException:
        removing = start(_remove(storage, staged))
        await finish(removing, timeout=_PATIENCE)
        raise
    return file


async def _judge(storage: Storage, staged: str, rule: FileRule, to: str) -> StoredFile:
    async with await storage.open(staged) as stream:
        size = stream.size
        assert size is not None
        if rule.max_size is not None and size > rule.max_size:
            raise Ceiling(rule.max_size).exceeded(_FIELD, None, size)
        declared = stream.content_type
        head = await stream.read(SNIFF_BYTES)
        content_type = rule.check_type(_FIELD, head, declared)
        stream.unread(head)
        file = StoredFile(_FIELD, None, content_type, size, {}, to, declared, storage)
        async with Checks(rule.checks(), file, _PATIENCE) as checks:
            if rule.checks():
                await copy(stream, checks)
            await checks.verdict()
        return file


async def _settle(storage: Storage, staged: str, file: StoredFile) -> None:
    if file.content_type == (file.declared_type or _UNKNOWN):
        await storage.move(staged, file.key)
        return
    # No store changes the type of what it has.
    metadata = (await storage.stat(staged)).metadata
    async with await storage.open(staged) as stream:
        sink = await storage.create(
            file.key,
            content_type=file.content_type,
            metadata=metadata,
            size=file.size,
        )
        async with sink:
            await copy(stream, sink)
    await _remove(storage, staged)


async def _remove(storage: Storage, staged: str) -> None:
    with contextlib.suppress(StreamError):  # what remains is swept
        await storage.delete(staged)
