"""A storage with a quota: how many bytes the objects of an account may have.

An upload reserves its bytes in a ledger before they go to the storage that has the
objects, and settles them when the object is there. The order is what keeps the promise:

    reserve -> write -> (reserve more -> write)* -> publish -> settle, end the replaced

At every instant, also when this process is killed or the ledger is away, each object
has an entry that is not smaller. The ledger may count too much for a while, and never
too little, so nobody gets beyond the limit, whatever runs side by side. An upload that
fails before it is published ends its entry. Where it is not known whether it was
published, because the call failed or was cancelled or the process was killed, the
storage is asked what is there: at once, or when the entry has lapsed.

``_Books`` asks the ledger, ``_Upload`` is one entry on its way; ``_Writer`` and
``_StagedOnAccount`` write with it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, TypeVar

from aiostreams.errors import (
    LimitExceeded,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StreamBusy,
    StreamError,
)
from aiostreams.limits import KiB, MiB
from aiostreams.storage.base import (
    STAGED,
    StagedObject,
    check_attributes,
    check_key,
)
from aiostreams.storage.ledger import QuotaEntry
from aiostreams.storage.wrapped import WrappedStorage
from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import finish, settle, start

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Mapping,
    )
    from typing import Any, TypeAlias

    from aiostreams.storage.base import Storage, StoredObject
    from aiostreams.storage.ledger import QuotaLedger

    Account: TypeAlias = "Callable[[str], str | None]"
    Limit: TypeAlias = "int | Callable[[str], int | Awaitable[int]]"

__all__ = ["QuotaStorage"]

T = TypeVar("T")

_logger = logging.getLogger("aiostreams.uploads")

# An upload of unknown length reserves as much again as it has, within these.
_LEAST: Final = 64 * KiB
_MOST: Final = 16 * MiB
# How many deleted objects are remembered that the ledger could not be told of.
_MOST_DOUBTS: Final = 1000
# How long the end of an upload that failed or was cancelled may take, in seconds.
_PATIENCE: Final = 30.0


def _one_account(key: str) -> str:
    del key
    return ""


class QuotaStorage(WrappedStorage):
    """Objects in ``storage``, as long as their account has room for them.

    An upload with a ``size`` reserves it at once, any other upload as it grows. An
    upload that exceeds the limit is a ``LimitExceeded`` (413) and leaves nothing. When
    an object replaces another one, only the difference counts. Concurrent uploads
    cannot exceed the limit together, in any number of processes that share a ledger.
    The bytes of a deleted object are free at once.

    A ledger that fails, or does not answer within ``timeout``, refuses uploads with a
    ``StorageError`` of 503. If that happens when an object is stored already, it is
    stored; its entry stays reserved, and is settled later.

    The reservation of a killed process lapses after ``expires`` seconds. It is released
    when an upload would be refused otherwise, or by :meth:`sweep`. The ledger can count
    too much when two processes replace or delete one object at the same time;
    :meth:`recount` corrects that, and counts objects that are older than the ledger.

    Keys below ``aiostreams-staged/`` are not counted, and neither are resumable uploads
    while they grow. Store by this storage alone: what others put there is not counted
    before ``recount``. ``presign`` gives no URL to PUT to, but below
    ``aiostreams-staged/``, where ``direct_upload`` may wait for ``confirm_upload``.

    Args:
        storage: where the objects are; any. Closed by ``close()``.
        ledger: who has how much, as a :class:`QuotaLedger`.
        limit: how many bytes an account may have; or what tells it, plain or async, by
            the account.
        account: gives the account of a key, or ``None`` if it is not counted. There is
            one account for all unless given.
        expires: after how many seconds a reservation lapses that is not renewed. Longer
            than any pause within an upload.
        timeout: how many seconds the ledger may take to answer.

    Raises:
        ValueError: a number is not positive.
    """

    def __init__(
        self,
        storage: Storage,
        ledger: QuotaLedger,
        *,
        limit: Limit,
        account: Account = _one_account,
        expires: float = 3600.0,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(storage)
        if not callable(limit) and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        if expires <= 0 or timeout <= 0:
            raise ValueError(
                f"expires and timeout must be positive, got {expires} and {timeout}"
            )
        self._books = _Books(storage, ledger, limit, account, expires, timeout)

    @property
    def hidden(self) -> Storage | None:
        """A storage for resumable uploads, which are not counted while they grow."""
        hidden: Storage | None = getattr(self._storage, "hidden", None)
        return hidden

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

        Args:
            key: where it will be.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.
            size: how long it will be at most; reserved at once.

        Raises:
            LimitExceeded: it is more than the account has room for; ``write`` raises it
                too, and has then taken nothing.
            StorageError: the ledger can't be asked, or the storage failed.
        """
        check_key(key)
        check_attributes(content_type, metadata)
        upload = _Upload(self._books, key)
        sink = await upload.begin(
            size,
            lambda: self._storage.create(
                key,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
                size=size,
            ),
        )
        return _Writer(upload, sink, None if overwrite else self)

    async def put(
        self,
        key: str,
        data: bytes | bytearray | memoryview,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object that is in memory, see :meth:`Storage.put`.

        Raises:
            LimitExceeded: it is more than the account has room for.
            StorageError: the ledger can't be asked, or the storage failed.
        """
        if type(self).create is not QuotaStorage.create:
            # What a subclass does with the bytes is not passed by.
            await super().put(
                key,
                data,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
            )
            return
        check_key(key)
        check_attributes(content_type, metadata)
        upload = _Upload(self._books, key)
        upload.size = memoryview(data).nbytes
        publish = functools.partial(
            self._storage.put,
            key,
            data,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
        )
        await upload.publish(publish, new=None if overwrite else self)

    async def stage(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> StagedObject:
        """Begin an object that gets its key later, as the storage does it.

        Its bytes are reserved when it is written; see :meth:`create`.
        """
        if type(self).create is not QuotaStorage.create:
            # What a subclass does with the bytes is not passed by.
            return await super().stage(
                key,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
                size=size,
            )
        staged = await self._storage.stage(
            key,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
            size=size,
        )
        return _StagedOnAccount(self, staged, self._books, size, overwrite=overwrite)

    async def delete(self, key: str) -> None:
        """Remove the object, if it is there, and give its bytes back.

        If the ledger can't be asked it counts a while longer: until an upload would be
        refused otherwise, or :meth:`sweep`; or, after a new start, :meth:`recount`.

        Raises:
            StorageError: the storage failed.
        """
        check_key(key)
        await self._books.forget(key)

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Store the object once more, see :meth:`Storage.copy`. It counts once more.

        Raises:
            LimitExceeded: it is more than the account has room for.
        """
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        upload = _Upload(self._books, target)
        upload.size = (await self._storage.stat(source)).size
        await upload.publish(
            lambda: self._storage.copy(source, target, overwrite=overwrite),
            copied=True,
        )

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give the object another key, see :meth:`Storage.move`.

        Raises:
            LimitExceeded: it goes to another account, which has no room for it.
        """
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        upload = _Upload(self._books, target)
        upload.size = (await self._storage.stat(source)).size
        await upload.publish(
            lambda: self._storage.move(source, target, overwrite=overwrite),
            source=source,
            copied=True,
        )

    async def presign(
        self, key: str, method: str = "GET", expires: float = 3600.0
    ) -> str:
        """Make a URL by which anyone may read the object, as the storage does.

        Raises:
            NotImplementedError: it is to write or delete a counted object by, or the
                storage has no URLs.
        """
        check_key(key)
        if method not in {"GET", "HEAD"} and self._books.account_of(key) is not None:
            raise NotImplementedError(
                f"a URL to {method} an object would bypass its quota, expected GET or "
                f"HEAD, or a key below {STAGED!r}"
            )
        return await self._storage.presign(key, method, expires)

    async def sweep(self, older_than: float = 86400.0) -> int:
        """Remove what a killed process has left, in the storage and in the ledger.

        Args:
            older_than: how many seconds ago it must have been written last. In the
                ledger, it is what has lapsed.

        Returns:
            How much was removed, the entries that ended among it.
        """
        removed = await self._storage.sweep(older_than)
        while ended := await self._books.reap():
            removed += ended
        return removed

    async def recount(self) -> None:
        """Hold the ledger to what is stored.

        Settled entries whose object is gone end, those of another size get it, and
        objects without an entry get one, whatever the limit. Uploads may go on
        meanwhile. Each object is listed, and looked up in the ledger.

        Raises:
            StorageError: the ledger can't be asked, or the storage failed.
        """
        await self._books.check()
        async for stored in self.list():
            await self._books.adopt(stored)


class _Books:
    """The ledger, asked by a storage.

    Args:
        storage: where the objects are; asked what is there.
        ledger: who has how much.
        limit: how much an account may have.
        account: whose a key is.
        expires: after how many seconds a reservation lapses.
        timeout: how many seconds the ledger may take to answer.
    """

    def __init__(
        self,
        storage: Storage,
        ledger: QuotaLedger,
        limit: Limit,
        account: Account,
        expires: float,
        timeout: float,
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._limit = limit
        self._account = account
        self.expires: Final = expires
        self._timeout = timeout
        # Keys whose entries may be of objects that were deleted.
        self._doubts: set[str] = set()

    def account_of(self, key: str) -> str | None:
        """Return the account of a key; ``None`` if it is not counted."""
        return None if key.startswith(STAGED) else self._account(key)

    async def _ask(self, answer: Coroutine[Any, Any, T]) -> T:
        """Wait for the ledger, but not for ever.

        Raises:
            StorageError: with status 503: it has failed, or takes too long.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except StreamError:
            raise
        except TimeoutError as error:
            wrong = f"did not answer within {self._timeout} seconds"
            cause: Exception = error
        except Exception as error:  # noqa: BLE001 - whatever a database raises
            wrong = f"has failed: {type(error).__name__}"
            cause = error
        failed = StorageError(f"the ledger of the quota {wrong}")
        failed.status = 503
        raise failed from cause

    async def _limit_of(self, account: str) -> int:
        if isinstance(self._limit, int):
            return self._limit
        limit = self._limit(account)
        return await limit if inspect.isawaitable(limit) else limit

    async def reserve(self, entry: QuotaEntry, *, least: int) -> QuotaEntry:
        """Reserve what ``entry`` says; or only ``least`` bytes, if that is too much.

        Returns:
            The entry as it is reserved.

        Raises:
            LimitExceeded: ``least`` is too much as well.
            StorageError: the ledger can't be asked.
        """
        limit = await self._ask(self._limit_of(entry.account))
        total = await self._reserve(entry, limit)
        if total > limit and least < entry.size:
            entry = replace(entry, size=least)
            total = await self._reserve(entry, limit)
        if total > limit and await self._has_reaped():
            total = await self._reserve(entry, limit)
        if total > limit:
            raise LimitExceeded(
                f"the stored objects would have {total} bytes, quota {limit}",
                limit=limit,
                seen=total,
            )
        return entry

    async def _reserve(self, entry: QuotaEntry, limit: int) -> int:
        return await self._ask(
            self._ledger.reserve(entry, limit=limit, expires=self.expires)
        )

    async def settle(self, entry: QuotaEntry, replaced: Collection[str]) -> None:
        """Count an object for good.

        Raises:
            StorageError: the ledger can't be asked.
        """
        await self._ask(self._ledger.settle(entry, replaced))

    async def release(self, tokens: Collection[str]) -> bool:
        """End entries. If the ledger can't be asked they remain, and count.

        Returns:
            Whether they have ended.
        """
        if not tokens:
            return True
        try:
            await self._ask(self._ledger.release(tokens))
        except StreamError as error:
            _logger.warning("entries of a quota remain for now: %s", error)
            return False
        return True

    async def forget(self, key: str) -> None:
        """Remove an object, whatever becomes of the ledger, and end its entries.

        Raises:
            StorageError: the storage failed.
        """
        if len(self._doubts) < _MOST_DOUBTS:
            self._doubts.add(key)
        try:
            tokens: list[str] | None = await self.find(key)
        except StreamError as error:
            # What an upload has stored that fails for this must go.
            _logger.warning("an object is deleted, and counts for now: %s", error)
            tokens = None
        await self._storage.delete(key)
        if tokens is not None and await self.release(tokens):
            self._doubts.discard(key)

    async def find(self, *keys: str) -> list[str]:
        """Return the tokens of the settled entries of keys.

        Raises:
            StorageError: the ledger can't be asked.
        """
        return [
            entry.token
            for key in keys
            if self.account_of(key) is not None
            for entry in await self._ask(self._ledger.find(key))
        ]

    async def measure(self, key: str, size: int) -> int:
        """Return the size of an object, or ``size`` if it is gone by now.

        Raises:
            StorageError: the storage failed.
        """
        try:
            return (await self._storage.stat(key)).size
        except ObjectNotFound:
            return size

    async def resolve(self, entry: QuotaEntry) -> None:
        """Find out whether there is an object for an entry, and settle or end it.

        Raises:
            StorageError: the ledger can't be asked, or the storage failed.
        """
        # Before the storage is asked: an entry of an object that comes now remains.
        replaced = await self.find(entry.key)
        try:
            size = (await self._storage.stat(entry.key)).size
        except ObjectNotFound:
            await self._ask(self._ledger.release([entry.token]))
        else:
            await self.settle(replace(entry, size=size), replaced)

    async def _has_reaped(self) -> bool:
        try:
            return await self.reap() > 0
        except StreamError as error:
            # The upload is refused for its size, whatever is in the way here.
            _logger.warning("entries of a quota are not looked after: %s", error)
            return False

    async def reap(self) -> int:
        """Settle or end entries that have lapsed or are in doubt; returns how many.

        Raises:
            StorageError: the ledger can't be asked, or the storage failed.
        """
        lapsed = await self._ask(self._ledger.lapsed())
        for entry in lapsed:
            await self.resolve(entry)
        doubts = tuple(self._doubts)
        for key in doubts:
            await self.check(key)
            self._doubts.discard(key)
        return len(lapsed) + len(doubts)

    async def check(self, key: str | None = None) -> None:
        """Hold the settled entries of a key, or all of them, to what is stored.

        Raises:
            StorageError: the ledger can't be asked, or the storage failed.
        """
        if key is not None:
            for entry in await self._ask(self._ledger.find(key)):
                await self.resolve(entry)
            return
        listing = aiter(self._ledger.entries())
        listed: QuotaEntry | None
        while (listed := await self._ask(_next(listing))) is not None:
            await self.resolve(listed)

    async def adopt(self, stored: StoredObject) -> None:
        """Count an object that has no entry.

        Raises:
            StorageError: the ledger can't be asked.
        """
        account = self.account_of(stored.key)
        if account is not None and not await self.find(stored.key):
            entry = QuotaEntry(_token(), account, stored.key, stored.size)
            await self.settle(entry, ())


async def _next(listing: AsyncIterator[QuotaEntry]) -> QuotaEntry | None:
    return await anext(listing, None)


def _token() -> str:
    return secrets.token_hex(16)


class _Upload:
    """One entry, from its reservation until it is settled or has ended.

    Args:
        books: where it is entered.
        key: where the object will be.

    Attributes:
        size: how many bytes the object has so far.
    """

    def __init__(self, books: _Books, key: str) -> None:
        self._books = books
        self._token = _token()
        self._reserved = -1
        self._renew_at = 0.0
        # Whether the ledger may have an entry.
        self._entered = False
        self.size: int = 0
        self._key = key
        self._account = books.account_of(key)

    async def begin(
        self, size: int | None, create: Callable[[], Awaitable[Stream]]
    ) -> Stream:
        """Reserve ``size``, if it is known, and open the stream to write to.

        Raises:
            LimitExceeded: the account has no room.
            StorageError: the ledger can't be asked, or as raised by ``create``.
        """
        try:
            if size is not None:
                await self._reserve(size, size)
            return await create()
        except BaseException:
            await self.end()
            raise

    async def grow(self, size: int) -> None:
        """Make room for ``size`` more bytes.

        Raises:
            LimitExceeded: the account has none; nothing has changed.
            StorageError: the ledger can't be asked.
        """
        least = self.size + size
        if least > self._reserved:
            more = min(max(least, _LEAST), _MOST)
            await self._reserve(least + more, least)
        elif time.monotonic() > self._renew_at:
            await self._reserve(self._reserved, least)
        self.size = least

    async def _reserve(self, size: int, least: int) -> None:
        if self._account is None:
            return
        self._entered = True  # a call that fails may have been heard
        entry = QuotaEntry(self._token, self._account, self._key, size)
        entry = await self._books.reserve(entry, least=least)
        self._reserved = entry.size
        self._renew_at = time.monotonic() + self._books.expires / 2

    async def end(self) -> None:
        """End the entry of an upload that has failed; whoever cancels waits for it."""
        if self._entered:
            self._entered = False
            await _through(self._books.release([self._token]))

    def rename(self, key: str) -> None:
        """Change the key; ``publish`` then asks whether its account has room."""
        if key != self._key:
            self._key = key
            self._account = self._books.account_of(key)
            self._renew_at = 0.0

    async def publish(
        self,
        publish: Callable[[], Awaitable[None]],
        *,
        source: str | None = None,
        copied: bool = False,
        new: Storage | None = None,
    ) -> None:
        """Make the object visible, and settle it.

        Args:
            publish: makes it visible.
            source: a key whose object goes when this one comes.
            copied: whether it is measured anew: what it was made of may have changed.
            new: a storage to remove it from, should this be cancelled when it is there.

        Raises:
            LimitExceeded: the account has no room.
            StorageError: the ledger can't be asked, or as raised by ``publish``.
        """
        keys = (self._key,) if source is None else (self._key, source)
        try:
            if source is None or self._books.account_of(source) != self._account:
                await self._renew()
            replaced = await self._books.find(*keys)
        except BaseException:
            await self.end()
            raise
        try:
            await publish()
        except (ObjectExists, ObjectNotFound):
            await self.end()
            raise
        except BaseException:
            await _through(self._resolve(source))
            raise
        await self._settle(replaced, new, copied=copied)

    async def _renew(self) -> None:
        if self.size > self._reserved or time.monotonic() > self._renew_at:
            await self._reserve(self.size, self.size)

    async def _settle(
        self, replaced: list[str], new: Storage | None, *, copied: bool
    ) -> None:
        settling = start(self._settle_quietly(replaced, copied=copied))
        try:
            await settle(settling)
        except asyncio.CancelledError:
            await finish(settling, timeout=_PATIENCE)
            if new is not None:
                await _through(new.delete(self._key))
            raise
        settling.result()

    async def _settle_quietly(self, replaced: list[str], *, copied: bool) -> None:
        if self._account is None:
            await self.end()
            await self._books.release(replaced)
            return
        self._entered = False
        try:
            if copied:
                self.size = await self._books.measure(self._key, self.size)
            entry = QuotaEntry(self._token, self._account, self._key, self.size)
            await self._books.settle(entry, replaced)
        except StreamError as error:
            # It counts as reserved, and is settled when that lapses.
            _logger.warning("an object of a quota is not settled: %s", error)

    async def _resolve(self, source: str | None) -> None:
        """Find out what has become of it, and of the object that was to go."""
        self._entered = False
        try:
            if self._account is not None:
                entry = QuotaEntry(self._token, self._account, self._key, self.size)
                await self._books.resolve(entry)
            if source is not None:
                await self._books.check(source)
        except StreamError as error:
            _logger.warning("unknown what an upload has stored: %s", error)


async def _through(step: Coroutine[Any, Any, object]) -> None:
    """Run what must end, through cancellations, which are raised afterwards."""
    task = start(step)
    await finish(task, timeout=_PATIENCE)
    if task.done():
        task.result()


class _Writer(Stream):
    """Writes an object that is reserved as it grows; ``close()`` stores it.

    Args:
        upload: its entry.
        sink: where the bytes go.
        new: see ``_Upload.publish``.
        staged: whether it is published later.
    """

    def __init__(
        self,
        upload: _Upload,
        sink: Stream,
        new: Storage | None,
        *,
        staged: bool = False,
    ) -> None:
        super().__init__(content_type=sink.content_type)
        self._upload = upload
        self._sink = sink
        self._new = new
        self._staged = staged

    @property
    def position(self) -> int:
        """How many bytes have been written."""
        return self._upload.size

    async def open(self) -> Self:
        """Open the stream that the bytes go to."""
        self.check_open()
        await self._sink.open()
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Reserve room for ``data``, if need be, and write it.

        Raises:
            LimitExceeded: the account has no room; nothing was taken.
            StorageError, ObjectExists: as the storage's; or the ledger can't be asked.
        """
        await self._upload.grow(memoryview(data).nbytes)
        await self._sink.write(data)

    async def close(self) -> None:
        """Store the object.

        Raises:
            LimitExceeded: the account has no room any more; the key is what it was.
            StorageError, ObjectExists: as the storage's; or the ledger can't be asked.
            StreamBusy: another task was writing; the key is what it was.
        """
        if self.busy:
            await self.abort()
            raise StreamBusy("an upload was closed during a write: discarded")
        try:
            if self._staged:
                await self._sink.close()
            else:
                await self._upload.publish(self._sink.close, new=self._new)
        except BaseException:
            await self._discard()
            raise

    async def abort(self) -> None:
        """Leave no trace of what was written."""
        await self._discard()

    async def _discard(self) -> None:
        try:
            await self._sink.abort()
        finally:
            await self._upload.end()


class _StagedOnAccount(StagedObject):
    """A staged object of the storage, and its entry."""

    def __init__(
        self,
        storage: QuotaStorage,
        staged: StagedObject,
        books: _Books,
        size: int | None,
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(storage, staged.key, overwrite=overwrite)
        self._staged = staged
        self._size = size
        self._upload = _Upload(books, staged.key)

    async def create(self) -> Stream:
        sink = await self._upload.begin(self._size, self._staged.create)
        return _Writer(self._upload, sink, None, staged=True)

    async def open(self) -> Stream:
        return await self._staged.open()

    async def _publish(self) -> None:
        self._staged.key = self.key
        self._upload.rename(self.key)
        await self._upload.publish(self._staged.publish)

    async def _discard(self) -> None:
        try:
            await self._staged.undo()
        finally:
            await self._upload.end()
