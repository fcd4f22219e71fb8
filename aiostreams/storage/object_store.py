"""Objects in S3, Google Cloud Storage, Azure, and whatever else obstore speaks to.

``ObjectStorage`` puts keys below a prefix, describes what is there, and makes the
readers and writers that do the work. Nothing is kept in this process: any number of
them may use one bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from copy import copy as duplicate
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from aiostreams.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StreamError,
)
from aiostreams.files.draft import TEMPORARY_PREFIX
from aiostreams.limits import GiB, MiB
from aiostreams.storage.base import (
    StagedObject,
    Storage,
    StoredObject,
    check_attributes,
    check_key,
    check_prefix,
    is_listed,
)
from aiostreams.storage.incomplete import IncompleteUploads
from aiostreams.storage.object_reader import ObjectReader
from aiostreams.storage.object_writer import (
    MAX_COPY,
    TOKEN,
    ObjectWriter,
    digests_in,
    part_plan,
)
from aiostreams.storage.obstore import (
    FAREWELL,
    PATIENCE,
    enter,
    explain,
    finish,
    load,
    with_defaults,
)
from aiostreams.streams.copy import copy
from aiostreams.streams.tasks import settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping

    from aiostreams.streams.base import Stream

__all__ = ["ObjectStorage"]

_logger = logging.getLogger("aiostreams.uploads")

_MIN_PART = 5 * MiB
_MAX_PART = 5 * GiB
# Where resumable uploads grow.
_UPLOADS = f"{TEMPORARY_PREFIX}uploads"
# Where large new objects wait for their names.
_TEMPORARY = f"{TEMPORARY_PREFIX}temporary"
_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
# What S3 and Google sign for at most.
_MAX_EXPIRES = 7 * 86400
# What a header carries as it is; the rest of a value is percent-encoded.
_PLAIN = "!\"#$&'()*+,/:;<=>?@[]^`{|}"

# S3 forgets metadata that are empty; no value has a NUL.
_EMPTY = "%00"


class ObjectStorage(Storage):
    """Objects in a store of ``obstore`` (extra ``s3``).

    Small objects are stored by one request; beyond ``part_size``, parts are sent
    while the object is written. An upload holds ``part_size * concurrency`` bytes
    and some 3 MiB. 10,000 parts is the stores' limit: an object whose ``size`` is
    given to ``create`` gets larger parts if it needs them; of unknown length it is
    ``LimitExceeded`` beyond ``part_size * 10,000`` (80 GB).

    A new large object (``overwrite=False``) is uploaded under ``.aiostreams-temporary``
    and then copied by the store, if nothing is there. S3 copies up to 5 GiB, so more
    needs ``overwrite=True``, as does a server that ignores conditional copies. With
    keys that are random anyway, ``overwrite=True`` is faster.

    Digests that ``receive`` has computed are kept with objects of up to one part: what
    a store is to know of a larger one it has to be given before the bytes.

    Set a lifecycle rule that aborts incomplete multipart uploads after a day: a
    process that is killed leaves one, and so does an answer that is lost. :meth:`sweep`
    aborts them too, on S3, where it can have the store's keys.

    Make the first request after a ``fork``, and ``close()`` the storage before the
    event loop ends. A store without attributes (``LocalStore``) keeps no content
    types, and refuses metadata; :class:`DiskStorage` is better there.

    Args:
        store: an ``obstore.store``. Timeouts (60 s for a request, 5 s to connect)
            and retries (3 within 60 s) are set on a copy, unless you have.
        prefix: a key below which all others are.
        part_size: 5 MiB to 5 GiB.
        concurrency: how many parts of one object are sent at once.

    Raises:
        ImportError: obstore is not installed.
        InvalidKey: the prefix is no key.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        store: Any,
        prefix: str = "",
        *,
        part_size: int = 8 * MiB,
        concurrency: int = 4,
    ) -> None:
        load()
        prefix = prefix.strip("/")
        if prefix:
            check_key(prefix)
        if not _MIN_PART <= part_size <= _MAX_PART:
            raise ValueError(f"part_size must be 5 MiB to 5 GiB, not {part_size}")
        if concurrency < 1:
            raise ValueError(f"concurrency must be positive, not {concurrency}")
        self.store: Any = with_defaults(store)
        self._kind = type(store).__name__
        self._prefix = prefix
        self._part_size = part_size
        self._concurrency = concurrency
        # Strong references: a commit outlives the stream whose close() is cancelled.
        self._tasks: set[asyncio.Task[None]] = set()
        self._advised = False

    @property
    def hidden(self) -> ObjectStorage:
        """A storage next to this one, for what no key of this one can name."""
        hidden = duplicate(self)
        hidden._prefix = self.path(_UPLOADS)  # noqa: SLF001 - another one of this
        return hidden

    @property
    def copies_at_most_5_gib(self) -> bool:
        """Whether it is S3, which copies no more by one request."""
        return self._kind == "S3Store"

    async def create(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> Stream:
        """Open a writable stream, see :meth:`Storage.create`.

        Raises:
            StorageError: the store keeps no metadata.
        """
        attributes = self._attributes(key, content_type, metadata)
        return self._writer(
            key, self.path(key), attributes, content_type, size, overwrite=overwrite
        )

    async def put_known(
        self,
        key: str,
        data: bytes,
        digests: Mapping[str, str],
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object and its digests, see :meth:`Storage.put_known`."""
        if type(self).put is not Storage.put:
            # What a subclass does with the bytes is not passed by.
            await super().put_known(
                key,
                data,
                digests,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
            )
            return
        sink = await self.create(
            key,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
            size=len(data),
        )
        async with sink:
            await sink.write(data)
            if sink.position == len(data):
                sink.known_digests = digests

    async def stage(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> StagedObject:
        """Begin an object that gets its key later, see :meth:`Storage.stage`.

        It waits below ``.aiostreams-temporary``. To publish it costs a copy by the
        store and a request that deletes; on S3, the bytes of more than 5 GiB pass
        through this process once more.
        """
        if type(self).create is not ObjectStorage.create:
            # What a subclass does with the bytes is not passed by.
            return await super().stage(
                key,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
                size=size,
            )
        attributes = self._attributes(key, content_type, metadata)
        if not overwrite and await self.exists(self.path(key), key):
            raise ObjectExists(f"{key!r} exists already")

        def write(path: str) -> ObjectWriter:
            return self._writer(
                key, path, attributes, content_type, size, overwrite=True
            )

        return _StagedInStore(self, key, write, overwrite=overwrite)

    def _attributes(
        self, key: str, content_type: str | None, metadata: Mapping[str, str] | None
    ) -> dict[str, str] | None:
        """Return what the store is to keep of an object; ``None`` for nothing."""
        check_key(key)
        metadata = check_attributes(content_type, metadata)
        if self._kind == "LocalStore":
            if metadata:
                raise StorageError(f"{self._kind} keeps no metadata")
            return None
        attributes = {name: _encode(value) for name, value in metadata.items()}
        if content_type is not None:
            attributes["Content-Type"] = content_type
        return attributes

    def _writer(
        self,
        key: str,
        path: str,
        attributes: dict[str, str] | None,
        content_type: str | None,
        size: int | None,
        *,
        overwrite: bool,
    ) -> ObjectWriter:
        return ObjectWriter(
            self,
            key,
            attributes,
            path=path,
            content_type=content_type,
            overwrite=overwrite,
            plan=part_plan(self._part_size, self._concurrency, size),
        )

    async def open(self, key: str) -> Stream:
        """Open a readable stream over the object, see :meth:`Storage.open`."""
        check_key(key)
        return await self.open_path(self.path(key), key)

    async def open_path(self, path: str, key: str) -> Stream:
        """Open a readable stream over what is at a path, for what is staged there."""
        found = await self.look(path, key)
        stored = _describe(key, found.meta, found.attributes)
        reader = ObjectReader(
            self.store, path, stored, found.meta["e_tag"], 0, stored.size
        )
        reader.known_digests = digests_in(found.attributes.get(TOKEN))
        return reader

    async def stat(self, key: str) -> StoredObject:
        """Describe the object."""
        check_key(key)
        found = await self.look(self.path(key), key)
        return _describe(key, found.meta, found.attributes)

    async def delete(self, key: str) -> None:
        """Remove the object, if it is there."""
        check_key(key)
        await self.remove(self.path(key))

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Copy the object within the store, see :meth:`Storage.copy`.

        S3 copies up to 5 GiB by itself; the bytes of a larger object pass through
        this process.
        """
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        await self.copy_path(self.path(source), target, overwrite=overwrite)

    async def copy_path(self, source: str, target: str, *, overwrite: bool) -> None:
        """Copy what is at a path within the store.

        Raises:
            ObjectNotFound, ObjectExists, StorageError: as :meth:`copy`.
        """
        found = await self.look(source, source)
        too_large = self.copies_at_most_5_gib and found.meta["size"] > MAX_COPY
        # LocalStore links, and leaves a file behind when it replaces such a link.
        if too_large or self._kind == "LocalStore":
            stored = _describe(target, found.meta, found.attributes)
            async with await self.open_path(source, target) as stream:
                sink = await self.create(
                    target,
                    content_type=stored.content_type,
                    metadata=stored.metadata,
                    overwrite=overwrite,
                    size=stored.size,
                )
                async with sink:
                    await copy(stream, sink)
            return
        if not overwrite and await self.exists(self.path(target), target):
            raise ObjectExists(f"{target!r} exists already")
        copying = self.start(
            self._copy(source, target, found.attributes.get(TOKEN), overwrite=overwrite)
        )
        try:
            await settle(copying)
        except asyncio.CancelledError:
            await finish(copying)
            raise
        copying.result()

    async def _copy(
        self, source: str, target: str, token: str | None, *, overwrite: bool
    ) -> None:
        enter()
        try:
            await load().copy_async(
                self.store, source, self.path(target), overwrite=overwrite
            )
        except Exception as error:
            explained = explain(error, "copy", source)
            if isinstance(explained, ObjectNotFound):
                raise explained from error
            # The answer may be lost. The token goes along with the copy.
            with contextlib.suppress(StreamError):
                there = await self.look(self.path(target), target)
                if token is not None and there.attributes.get(TOKEN) == token:
                    return
            if isinstance(explained, ObjectExists):
                raise ObjectExists(f"{target!r} exists already") from error
            raise explained from error

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        """List the objects whose keys begin with ``prefix``, without their attributes.

        The store looks through the whole folder that the prefix is in.
        """
        folder, start = check_prefix(prefix)
        begin = "/".join((*folder, start))
        cut = len(self._prefix) + 1 if self._prefix else 0
        enter()
        listing = load().list(self.store, self.path("/".join(folder)) or None)
        try:
            async for batch in listing:
                for meta in batch:
                    key = meta["path"][cut:]
                    if is_listed(key, begin) and _is_key(key):
                        yield _describe(key, meta, {})
        except Exception as error:
            raise explain(error, "list", prefix) from error

    async def presign(
        self, key: str, method: str = "GET", expires: float = 3600.0
    ) -> str:
        """Make a URL for ``method`` on the object, see :meth:`Storage.presign`.

        Args:
            key: the object's; it need not exist.
            method: GET, HEAD, PUT or DELETE.
            expires: for how many seconds, up to 7 days.
        """
        check_key(key)
        if method not in _METHODS:
            known = ", ".join(sorted(_METHODS))
            raise ValueError(f"unknown method {method!r}; expected one of {known}")
        if not 0 < expires <= _MAX_EXPIRES:
            raise ValueError(f"expires must be up to 7 days, not {expires} seconds")
        if self._kind not in {"S3Store", "GCSStore", "AzureStore"}:
            return await super().presign(key)
        enter()
        try:
            url: str = await load().sign_async(
                self.store, method, self.path(key), timedelta(seconds=expires)
            )
        except Exception as error:
            raise explain(error, "sign", key) from error
        return url

    async def sweep(self, older_than: float = 86400.0) -> int:
        """Remove temporary objects that a killed process has left.

        On S3, incomplete multipart uploads below the prefix are aborted as well. That
        needs the store's keys, and the right to list these uploads; the log says if
        one is missing.

        Args:
            older_than: how many seconds ago they must have been stored, or begun.

        Returns:
            How many were removed.

        Raises:
            StorageError: the store failed.
        """
        enter()
        removed = 0
        try:
            async for batch in load().list(self.store, self.path(_TEMPORARY)):
                for meta in batch:
                    if time.time() - meta["last_modified"].timestamp() > older_than:
                        await self.remove(meta["path"])
                        removed += 1
        except Exception as error:
            raise explain(error, "sweep", _TEMPORARY) from error
        removed += await self._abort_incomplete(older_than)
        return removed + await super().sweep(older_than)

    async def _abort_incomplete(self, older_than: float) -> int:
        if self._kind != "S3Store":
            return 0
        why = "the store's keys cannot be had"
        try:
            uploads = await IncompleteUploads.of(self.store)
            if uploads is not None:
                store_prefix = self.store.prefix or ""
                prefix = f"{store_prefix}/{self._prefix}".strip("/")
                return await uploads.abort(prefix, older_than)
        except StorageError as error:
            why = str(error)
        if not self._advised:
            self._advised = True
            _logger.warning(
                "incomplete multipart uploads are not swept, a lifecycle rule has to "
                "abort them: %s",
                why,
            )
        return 0

    async def close(self) -> None:
        """Wait for what is under way, at most 10 seconds.

        obstore's threads then get a moment to let go of the event loop.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE)
        await asyncio.sleep(FAREWELL)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._kind} {self._prefix!r}>"

    # -- for readers and writers ---------------------------------------------------

    def path(self, key: str) -> str:
        """Return where the key is in the store."""
        return f"{self._prefix}/{key}".strip("/")

    def temporary_path(self) -> str:
        """Return a path for an object that has no name yet."""
        return self.path(f"{_TEMPORARY}/{secrets.token_hex(16)}")

    def start(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a step that must end, whoever waits for it."""
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def look(self, path: str, key: str) -> Any:
        """Return the store's answer about an object.

        Raises:
            ObjectNotFound: there is none.
            StorageError: the store failed.
        """
        enter()
        try:
            return await load().get_async(self.store, path, options={"head": True})
        except Exception as error:
            raise explain(error, "look at", key) from error

    async def exists(self, path: str, key: str) -> bool:
        """Return whether there is an object.

        Raises:
            StorageError: the store failed.
        """
        enter()
        try:
            await load().head_async(self.store, path)
        except Exception as error:
            explained = explain(error, "look at", key)
            if isinstance(explained, ObjectNotFound):
                return False
            raise explained from error
        return True

    async def remove(self, path: str) -> None:
        """Delete an object, if it is there.

        Raises:
            StorageError: the store failed.
        """
        enter()
        try:
            await load().delete_async(self.store, path)
        except Exception as error:
            explained = explain(error, "delete", path)
            if not isinstance(explained, ObjectNotFound):
                raise explained from error


class _StagedInStore(StagedObject):
    """An object at a temporary path of its store."""

    _storage: ObjectStorage

    def __init__(
        self,
        storage: ObjectStorage,
        key: str,
        write: Callable[[str], ObjectWriter],
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(storage, key, overwrite=overwrite)
        self._write = write
        self._path: str | None = None

    async def create(self) -> Stream:
        self._path = self._storage.temporary_path()
        return self._write(self._path)

    async def open(self) -> Stream:
        if self._path is None:
            raise ObjectNotFound("the bytes are not staged any more")
        return await self._storage.open_path(self._path, self.key)

    async def _publish(self) -> None:
        assert self._path is not None
        await self._storage.copy_path(self._path, self.key, overwrite=self._overwrite)
        try:
            await self._discard()
        except StorageError as error:  # the object is where it is to be
            _logger.warning("staged bytes left behind: %s", error)

    async def _discard(self) -> None:
        path, self._path = self._path, None
        if path is not None:
            await self._storage.remove(path)


def _encode(value: str) -> str:
    return quote(value, safe=_PLAIN) or _EMPTY


def _is_key(key: str) -> bool:
    """Return whether it is one of ours; others may have put other things there."""
    try:
        check_key(key)
    except InvalidKey:
        return False
    return True


def _describe(key: str, meta: Any, attributes: Mapping[str, str]) -> StoredObject:
    e_tag = meta["e_tag"]
    if e_tag is not None:
        # A weak one would be taken for a strong one.
        e_tag = None if e_tag.startswith("W/") else e_tag.strip('"') or None
    return StoredObject(
        key,
        meta["size"],
        attributes.get("Content-Type"),
        meta["last_modified"].timestamp(),
        e_tag,
        {
            name: "" if value == _EMPTY else unquote(value)
            for name, value in attributes.items()
            # The others are HTTP's, "Cache-Control" and so on.
            if name == name.lower() and name != TOKEN
        },
    )
