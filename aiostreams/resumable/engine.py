"""Uploads that grow over several requests: what a protocol can ask of them.

``Uploads`` is the same for tus and for the IETF's protocol. It appends the content of a
request to an upload, tells how far it is, ends it, has its handler run once and keeps
the answer. What holds between processes is the matter of a ``Staging``; within one:

* one request at a time appends to an upload. A newer one, or one that asks for the
  offset, ends the older one at once: what has arrived is committed, nothing is lost;
* bytes are committed at least every 64 MiB and every 10 seconds while they arrive, and
  at the end of the request, whatever ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from aiostreams.errors import BodyTimeout, StorageError, StreamError, exceeded
from aiostreams.limits import MiB
from aiostreams.resumable.staging import to_the_end
from aiostreams.resumable.state import (
    Fenced,
    OffsetDiffers,
    UploadBusy,
    UploadGone,
    UploadNotFound,
)
from aiostreams.streams.hashing import Hashes, HashStream
from aiostreams.streams.sections import ChainStream
from aiostreams.streams.tasks import end
from aiostreams.uploads.staged import StagedStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from aiostreams.resumable.staging import Appender, StagedUpload, Staging, Step
    from aiostreams.resumable.state import (
        Answer,
        Protocol,
        UploadInfo,
        UploadState,
    )
    from aiostreams.streams.base import Stream

__all__ = ["Append", "Appended", "Check", "TooLong", "Uploads"]

# At the latest after so many bytes, or seconds, what has arrived is made to count.
_COMMIT_BYTES: Final = 64 * MiB
_COMMIT_SECONDS: Final = 10.0
# How long a request waits for an older one to commit, in seconds. One whose storage
# hangs is left alone; it is fenced then.
_TAKEOVER: Final = 5.0
# How many bytes that have arrived a request may still take when it is to end.
_DRAIN: Final = 1 * MiB
# How often a storage that fails is asked before a HEAD fails, and the first pause.
_TRIES: Final = 4
_PAUSE: Final = 0.1

_logger = logging.getLogger("aiostreams.resumable")


# Refuses an upload that is not meant.
Check: TypeAlias = Callable[["UploadInfo", "UploadState"], None]


class TooLong(StreamError):
    """The content goes beyond the upload's length."""

    status = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What a request wants to add.

    Attributes:
        offset: where its content begins.
        content_length: the bytes of its content; ``None`` when they are not known.
        length: of the upload, if the request says so.
        complete: whether the content is the last; ``None`` if it is when the length of
            the upload is reached.
        max_content: how many bytes one request may have.
        held: whether its bytes count only when all have arrived and are as they should.
        process: whether the handler is to run next, by this process.
    """

    offset: int
    content_length: int | None
    length: int | None = None
    complete: bool | None = None
    max_content: int | None = None
    held: bool = False
    process: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """What has become of it.

    Attributes:
        upload: as it is now.
        received: how many bytes were added.
        error: what ended the request before its content did; ``None`` if nothing.
        token: the claim on the handler, if it is to run next.
    """

    upload: StagedUpload
    received: int
    error: StreamError | None = None
    token: str | None = None


@dataclass(slots=True, eq=False)
class _Active:
    """A request that appends, or is about to."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: StreamError | None = None
    _scope: asyncio.Timeout | None = None
    _drained: int = 0

    def interrupt(self, why: StreamError) -> None:
        """End it as soon as it has committed."""
        self.interrupted = self.interrupted or why
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def read(self, stream: Stream, deadline: float | None) -> bytes | None:
        """Return the next piece; ``None`` when the deadline has passed before.

        Raises:
            StreamError: as raised by the stream; or why it was interrupted.
        """
        if self.interrupted is not None:
            # What is here already is taken, but nothing is waited for.
            if self._drained >= _DRAIN:
                raise self.interrupted
            deadline = 0
        try:
            async with asyncio.timeout_at(deadline) as self._scope:
                piece = await stream.readany()
        except BodyTimeout:
            raise
        except TimeoutError:
            if self.interrupted is not None:
                raise self.interrupted from None
            return None
        finally:
            self._scope = None
        if self.interrupted is not None:
            self._drained += len(piece)
        return piece


class Uploads:
    """The uploads of an application.

    Args:
        staging: where they grow.
        claim: for how many seconds a handler counts as running whose process may have
            been killed.
    """

    def __init__(self, staging: Staging, *, claim: float = 600.0) -> None:
        self.staging: Staging = staging
        self._claim = claim
        self._active: dict[str, _Active] = {}
        self._stopping: UploadBusy | None = None

    # -- one upload ----------------------------------------------------------------

    async def create(self, info: UploadInfo) -> StagedUpload:
        """Begin an upload.

        Raises:
            StorageError: the storage failed.
        """
        upload = await self.staging.create(info)
        _logger.debug("upload begun: %s", info.id)
        return upload

    async def find(self, upload_id: str, check: Check) -> StagedUpload:
        """Return an upload as it is, which may change at once.

        Args:
            upload_id: its id.
            check: refuses an upload that is not meant.

        Raises:
            UploadNotFound, UploadGone: there is none, or no more.
            StorageError: the storage failed.
            StreamError: as raised by ``check``.
        """

        def step(info: UploadInfo, state: UploadState) -> UploadState:
            check(info, state)
            state.check(time.time())
            return state

        return await self.staging.change(upload_id, step)

    async def fence(self, upload_id: str, check: Check) -> StagedUpload:
        """Return an upload whose offset only the request that asks next can move.

        A request that appends in this process commits first, those of others are
        fenced. A storage that fails is asked again, for a second or two.

        Raises:
            UploadNotFound, UploadGone: there is none, or no more.
            UploadBusy: the storage fails for longer.
            StreamError: as raised by ``check``.
        """

        def step(info: UploadInfo, state: UploadState) -> UploadState:
            check(info, state)
            now = time.time()
            state.check(now)
            if not state.open:
                return state
            if (
                info.protocol == "tus"
                and state.length == state.offset
                and (not info.parts)
            ):
                # Its client takes this offset for success; the one who sent the last
                # bytes was killed before it could say that they were the last.
                return state.completed()
            return state.fenced(info.until(now))

        pause = _PAUSE
        for tries_left in reversed(range(_TRIES)):
            try:
                if upload_id in self._active:
                    await self.find(upload_id, check)  # not if it is another's
                    await self._take_over(upload_id)
                return await self.staging.change(upload_id, step)
            except StorageError as error:
                if not tries_left:
                    raise UploadBusy("the storage fails at the moment", 5) from error
                _logger.warning("storage failed, asked again: %s", error)
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError  # the last try returns or raises

    async def append(
        self,
        upload_id: str,
        check: Check,
        wanted: Append,
        stream: Stream,
        on_commit: Callable[[int], Awaitable[None]] | None = None,
    ) -> Appended:
        """Add a request's content to an upload.

        Args:
            upload_id: its id.
            check: refuses an upload that is not meant.
            wanted: what is to be added.
            stream: the content.
            on_commit: called with the offset when bytes have been made to count.

        Returns:
            What was added, also when the client or the stream failed on the way.

        Raises:
            UploadNotFound, UploadGone: there is no such upload, or no more.
            OffsetDiffers: it is elsewhere; of the content nothing was read.
            LengthDiffers: the length was said to be another one; likewise.
            LimitExceeded: that is too much; likewise.
            TooLong: the content says itself that it is too long; likewise.
            Fenced: another process has gone on with the upload.
            StorageError: the storage failed.
            StreamError: as raised by ``check``.
        """
        async with self._alone(upload_id, check) as active:
            upload = await self.find(upload_id, check)
            state = upload.state
            if wanted.offset != state.offset or not state.open:
                raise OffsetDiffers(state.offset, wanted.offset)
            expected = state.expecting(wanted.length, upload.info.max_size)
            room = _room(upload.info, expected, wanted.content_length)
            pump = _Pump(active, wanted, room, self._claim, on_commit)
            return await pump.run(
                await self.staging.append(upload, held=wanted.held), stream
            )

    async def invalidate(self, upload_id: str) -> None:
        """End an upload whose client has broken it.

        Raises:
            StorageError: the storage failed.
        """
        await self.staging.change(
            upload_id,
            lambda _, state: replace(state, invalid=True) if state.open else state,
        )

    async def cancel(self, upload_id: str, check: Check) -> StagedUpload:
        """End an upload for good, and remove it; gives it as it was.

        Raises:
            UploadNotFound, UploadGone: there is none, or no more.
            StorageError: the storage failed.
            StreamError: as raised by ``check``.
        """

        def step(info: UploadInfo, state: UploadState) -> UploadState:
            check(info, state)
            state.check(time.time())
            return replace(state, deleted=True)

        found = await self.find(upload_id, check)
        await self._take_over(upload_id)
        await to_the_end(self._cancel(upload_id, step))
        return found

    async def _cancel(self, upload_id: str, step: Step) -> None:
        await self.staging.change(upload_id, step)
        try:
            await self.staging.remove(upload_id)
        except StorageError as error:
            _logger.warning("bytes left for the sweep: %s: %s", upload_id, error)

    # -- requests that append ------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _alone(self, upload_id: str, check: Check) -> AsyncIterator[_Active]:
        """Be the one request of this process that appends."""
        if upload_id in self._active:
            await self.find(upload_id, check)
            await self._take_over(upload_id)
        if self._stopping is not None:
            raise self._stopping
        active = self._active[upload_id] = _Active()
        try:
            yield active
        finally:
            active.done.set()
            if self._active.get(upload_id) is active:
                del self._active[upload_id]

    async def _take_over(self, upload_id: str) -> None:
        """End whoever appends, once it has committed."""
        while (older := self._active.get(upload_id)) is not None:
            _logger.info("upload taken over: %s", upload_id)
            older.interrupt(
                Fenced("another request has gone on with the upload meanwhile")
            )
            try:
                async with asyncio.timeout(_TAKEOVER):
                    await older.done.wait()
            except TimeoutError:
                _logger.warning("request hangs, its upload goes on: %s", upload_id)
                if self._active.get(upload_id) is older:
                    del self._active[upload_id]

    # -- the handler ---------------------------------------------------------------

    async def process(
        self,
        upload: StagedUpload,
        run: Callable[[StagedUpload], Awaitable[Answer]],
        *,
        token: str | None = None,
    ) -> Answer:
        """Return the final answer to a complete upload; ``run`` makes it, once.

        Args:
            upload: as found last.
            run: runs the handler.
            token: the claim on it, if the caller has made one by ``append``.

        Raises:
            UploadBusy: another request is at it, or was when its process was killed.
            UploadNotFound, UploadGone: it was deleted.
            StorageError: the storage failed.
            BaseException: as raised by ``run``; the handler may then be run again.
        """
        upload_id = upload.info.id
        mine = token or secrets.token_hex(8)

        def claim(_: UploadInfo, state: UploadState) -> UploadState:
            if state.answer is not None and state.claim != mine:
                return state
            state.check(time.time())
            return state.claimed_by(mine, time.time(), self._claim)

        if token is None and upload.state.answer is None:
            upload = await to_the_end(self.staging.change(upload_id, claim))
        if upload.state.answer is not None:
            return upload.state.answer
        renewing = asyncio.create_task(self._renew(upload_id, claim))
        try:
            answer = await run(upload)
        except BaseException:
            await end(renewing)
            await to_the_end(self._release(upload_id, mine))
            raise
        await end(renewing)
        return await to_the_end(self._keep(upload, mine, answer))

    async def _renew(self, upload_id: str, claim: Step) -> None:
        """Let others know that the handler still runs."""
        while True:
            await asyncio.sleep(self._claim / 3)
            try:
                await self.staging.change(upload_id, claim)
            except StreamError as error:
                _logger.warning("claim not renewed: %s: %s", upload_id, error)

    async def _release(self, upload_id: str, token: str) -> None:
        try:
            await self.staging.change(
                upload_id, lambda _, state: state.released_by(token)
            )
        except StreamError as error:
            _logger.warning("claim not given back: %s: %s", upload_id, error)

    async def _keep(self, upload: StagedUpload, token: str, answer: Answer) -> Answer:
        upload_id = upload.info.id

        def step(info: UploadInfo, state: UploadState) -> UploadState:
            return state.answered_by(token, answer, info.until(time.time()))

        pause = _PAUSE
        failed: StorageError | None = None
        for _ in range(_TRIES):
            try:
                found = await self.staging.change(upload_id, step)
            except (UploadNotFound, UploadGone):
                return answer  # deleted while the handler ran
            except StorageError as error:
                failed = error
            else:
                return found.state.answer or answer
            await asyncio.sleep(pause)
            pause *= 2
        # It is given now; whoever asks again has the handler run again.
        _logger.error("answer not kept: %s: %s", upload_id, failed)
        return answer

    async def clear(self, upload_id: str) -> None:
        """Remove the bytes of an upload that was answered; else the sweep does.

        They stay while its handler may run: here it has ended, but it may have taken so
        long that another process has begun it too. And they stay if its answer could
        not be kept.
        """
        try:
            found = await self.staging.change(upload_id, lambda _, state: state)
        except (UploadNotFound, UploadGone):
            return
        except (StorageError, UploadBusy) as error:
            _logger.warning("bytes left for the sweep: %s: %s", upload_id, error)
            return
        await self._clear(found)

    async def _clear(self, found: StagedUpload) -> None:
        state = found.state
        if state.answer is None or state.is_running(time.time()):
            return
        try:
            await self.staging.clear(found)
        except StorageError as error:
            _logger.warning("bytes left for the sweep: %s: %s", found.info.id, error)

    # -- parts ---------------------------------------------------------------------

    async def assemble(self, upload: StagedUpload) -> StagedUpload:
        """Return an upload made of others, complete if all of these are.

        Raises:
            UploadGone: a part is no more; or together they are too long.
            StorageError: the storage failed.
        """
        if not upload.info.parts or upload.state.complete:
            return upload
        parts = [await self._part(part) for part in dict.fromkeys(upload.info.parts)]
        sizes = {part.info.id: part.state.offset for part in parts}
        if not all(part.state.complete for part in parts):
            return upload
        total = sum(sizes[part] for part in upload.info.parts)

        def step(info: UploadInfo, state: UploadState) -> UploadState:
            if not state.open:
                return state
            if info.max_size is not None and total > info.max_size:
                return replace(state, invalid=True)
            return replace(
                state.appended(total - state.offset), length=total
            ).completed()

        upload = await self.staging.change(upload.info.id, step)
        if upload.state.invalid:
            raise UploadGone("the parts of the upload are too long together")
        return upload

    async def await_part(self, part_id: str, upload_id: str) -> None:
        """Let a part remember which upload waits for it.

        Raises:
            UploadNotFound, UploadGone, StorageError: as ``find``.
        """

        def step(_: UploadInfo, state: UploadState) -> UploadState:
            state.check(time.time())
            if state.complete or upload_id in state.waiting:
                return state
            return replace(state, waiting=(*state.waiting, upload_id))

        await self.staging.change(part_id, step)

    async def _part(self, upload_id: str) -> StagedUpload:
        try:
            return await self.find(upload_id, lambda _, __: None)
        except UploadNotFound as error:
            raise UploadGone("a part of the upload does not exist any more") from error

    async def open(self, upload: StagedUpload) -> StagedStream:
        """Open the bytes of a complete upload; its taker closes the stream.

        Raises:
            UploadGone: some are lost.
            StorageError: the storage failed.
        """
        if not upload.info.parts:
            return await self.staging.open(upload)
        streams: dict[str, Stream] = {}
        chain: list[Stream] = []
        try:
            for part_id in upload.info.parts:
                if part_id not in streams:
                    streams[part_id] = await self.staging.open(
                        await self._part(part_id)
                    )
                    chain.append(streams[part_id])
                else:
                    chain.append(await streams[part_id].slice(0))
        except BaseException:
            await ChainStream(*chain).close()
            raise
        kind = upload.info.fields.get("Content-Type")
        return StagedStream(ChainStream(*chain), content_type=kind)

    # -- all uploads ---------------------------------------------------------------

    async def sweep(
        self, older_than: float, on_expired: Callable[[Protocol], None] | None = None
    ) -> int:
        """Remove what has expired. Any number of processes may do so at once.

        Args:
            older_than: how old, in seconds, is what a killed process has left, and
                what is no upload yet.
            on_expired: called with the protocol of each upload that has expired before
                it was complete; by one process only.

        Returns:
            How many uploads were removed.

        Raises:
            StorageError: the storage failed.
        """
        removed = 0
        async with contextlib.aclosing(self.staging.ids()) as ids:
            async for upload_id in ids:
                if upload_id not in self._active:
                    removed += await self._sweep(upload_id, on_expired)
        await self.staging.tidy(older_than)
        return removed

    async def _sweep(
        self, upload_id: str, on_expired: Callable[[Protocol], None] | None
    ) -> bool:
        expired = False

        def step(_: UploadInfo, state: UploadState) -> UploadState:
            nonlocal expired
            now = time.time()
            expired = False
            if now < state.expires or state.is_running(now) or state.deleted:
                return state
            expired = state.open
            return replace(state, deleted=True)

        try:
            found = await self.staging.change(upload_id, step)
            if not found.state.deleted:
                await self._clear(found)
                return False
            if expired:
                _logger.debug("upload expired: %s", upload_id)
                if on_expired is not None:
                    on_expired(found.info.protocol)
        except UploadBusy:
            return False
        except (UploadNotFound, UploadGone):
            pass  # what is left of it
        await to_the_end(self.staging.remove(upload_id, swept=True))
        return True

    async def shutdown(self) -> None:
        """End all requests that append, once they have committed."""
        self._stopping = UploadBusy("the server is being stopped", 1, status=503)
        for active in list(self._active.values()):
            active.interrupt(self._stopping)
        waiting = [active.done.wait() for active in self._active.values()]
        if waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TAKEOVER):
                    await asyncio.gather(*waiting)


def _room(
    info: UploadInfo, state: UploadState, content_length: int | None
) -> int | None:
    """Return how many bytes the content may have.

    Raises:
        TooLong: it says that it has more than are missing.
        LimitExceeded: it says that it has more than are allowed.
    """
    if state.length is not None:
        room = state.length - state.offset
        if content_length is not None and content_length > room:
            raise TooLong(
                f"the content has {content_length} bytes, but only {room} of "
                f"{state.length} are missing"
            )
        return room
    if info.max_size is None:
        return None
    room = max(0, info.max_size - state.offset)
    if content_length is not None and content_length > room:
        raise exceeded("the upload", state.offset + content_length, info.max_size)
    return room


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


class _Pump:
    """Moves the content of one request into an upload."""

    def __init__(
        self,
        active: _Active,
        wanted: Append,
        room: int | None,
        claim: float,
        on_commit: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        self._active = active
        self._wanted = wanted
        self._room = room
        if wanted.max_content is not None:
            self._room = min(
                wanted.max_content, wanted.max_content if room is None else room
            )
        self._claim = claim
        self._on_commit = on_commit
        self._token: str | None = None
        self._hashes: Hashes | HashStream | None = None
        self._received = 0
        # Bytes that were written and do not count yet, and when they shall.
        self._pending = 0
        self._deadline: float | None = None

    async def run(self, appender: Appender, stream: Stream) -> Appended:
        """Append the content, and commit it whatever ends it."""
        try:
            try:
                if self._whole(appender.upload):
                    stream = self._hashed(appender, stream)
                await self._take(appender, stream)
            except StreamError as error:
                return await self._broken_off(appender, error)
            except asyncio.CancelledError:
                if not self._wanted.held:
                    try:
                        await appender.commit(self._touched)
                    except StreamError as error:
                        _logger.warning("bytes not committed: %s", error)
                raise
            upload = await appender.commit(self._finished)
            return Appended(upload, self._received, token=self._token)
        finally:
            await appender.discard()

    async def _broken_off(self, appender: Appender, error: StreamError) -> Appended:
        """Keep what has arrived: the stream failed, or the request was interrupted."""
        if isinstance(error, StorageError | Fenced) and error is not (
            self._active.interrupted
        ):
            raise error
        if self._wanted.held:
            return Appended(appender.upload, 0, error)
        upload = await appender.commit(self._touched)
        return Appended(upload, self._received, error)

    async def _take(self, appender: Appender, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        while True:
            piece = await self._active.read(stream, self._deadline)
            if piece is None:
                await self._commit(appender)
                continue
            if not piece:
                return
            end = self._received + len(piece)
            if self._room is not None and end >= self._room:
                await self._take_last(appender, stream, piece)
                return
            await self._write(appender, piece)
            if self._deadline is None and not self._wanted.held:
                self._deadline = loop.time() + _COMMIT_SECONDS
            if self._pending >= _COMMIT_BYTES and not self._wanted.held:
                await self._commit(appender)

    async def _take_last(
        self, appender: Appender, stream: Stream, piece: bytes
    ) -> None:
        """Take the piece that fills the room, unless there is more.

        A content that is too long must not make an upload look complete.
        """
        assert self._room is not None
        end = self._received + len(piece)
        if end == self._room:
            try:
                more = await self._active.read(stream, None)
            except BaseException:
                await self._write(appender, piece)
                raise
            if not more:
                await self._write(appender, piece)
                return
            end += len(more)
        upload = appender.upload
        start = self._wanted.offset
        most = self._wanted.max_content
        if most is not None and end > most:
            raise exceeded("the content of one request", end, most)
        length = _first(upload.state.length, self._wanted.length)
        if length is None:
            assert upload.info.max_size is not None
            raise exceeded("the upload", start + end, upload.info.max_size)
        raise TooLong(
            f"the content has at least {end} bytes, but only {length - start} of "
            f"{length} were missing"
        )

    async def _write(self, appender: Appender, piece: bytes) -> None:
        await appender.write(piece)
        self._received += len(piece)
        self._pending += len(piece)

    async def _commit(self, appender: Appender) -> None:
        upload = await appender.commit(self._touched)
        self._pending = 0
        self._deadline = None
        if self._on_commit is not None:
            await self._on_commit(upload.state.offset)

    # -- steps ---------------------------------------------------------------------

    def _touched(self, info: UploadInfo, state: UploadState) -> UploadState:
        """Return what was said of the length, and that the upload is used."""
        state.check(time.time())
        state = state.expecting(self._wanted.length, info.max_size)
        return state.touched(info.until(time.time()))

    def _finished(self, info: UploadInfo, state: UploadState) -> UploadState:
        """Return the state at the end of the content; the upload may be complete."""
        state = self._touched(info, state)
        complete = self._wanted.complete
        if complete is None:
            complete = state.length == state.offset
        if not complete:
            return state
        digests = {} if self._hashes is None else self._hashes.digests
        state = state.completed(digests)
        if self._wanted.process:
            self._token = secrets.token_hex(8)
            state = state.claimed_by(self._token, time.time(), self._claim)
        return state

    # -- digests -------------------------------------------------------------------

    def _whole(self, upload: StagedUpload) -> bool:
        """Return whether the content is, as it seems, all of the upload."""
        if self._wanted.offset:
            return False
        if self._wanted.complete is not None:
            return self._wanted.complete
        length = _first(upload.state.length, self._wanted.length)
        return length is not None and length == self._wanted.content_length

    def _hashed(self, appender: Appender, stream: Stream) -> Stream:
        """Hash all bytes on their way: else they are read once more."""
        self._hashes = Hashes(("sha256",))
        if appender.hash_with(self._hashes):
            return stream
        self._hashes = hashing = HashStream(stream, "sha256")
        return hashing
