"""The receiving of files: one after the other into storage, all of them or none.

A ``Receiver`` takes one file at a time: its first bytes are looked at, and refused
before the rest is read; then it is staged in its storage while it arrives, hashed on
the way. Small ones are held in memory. When the request has gone well, ``publish()``
gives all of them their keys, one after the other; ``undo()`` removes them. Both are
waited for through every cancellation.

A file is stored under a new key only, never over another one: what ``undo()`` removes
was made by this request. Should the process be killed between two keys, the files that
have theirs remain: no storage gives several keys in one step.

A file of its own: it knows storages and rules, and nothing of a request.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import hashlib
import inspect
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiostreams.errors import (
    LimitExceeded,
    ObjectExists,
    ObjectNotFound,
    pointer_to,
)
from aiostreams.limits import KiB, MiB
from aiostreams.sansio.disposition import safe_filename
from aiostreams.sansio.mediatype import OCTET_STREAM
from aiostreams.sansio.sniff.types import SNIFF_BYTES, named_type
from aiostreams.storage.base import (
    SmallObject,
    StagedObject,
    check_attributes,
    check_key,
)
from aiostreams.storage.disk_draft import DiskWriter
from aiostreams.streams.base import Stream
from aiostreams.streams.copy import copy
from aiostreams.streams.hashing import Hashes, HashStream, hash_whole
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.tasks import finish, settle, start
from aiostreams.streams.threads import ThreadCall
from aiostreams.uploads.checks import Checks, all_checks
from aiostreams.uploads.rules import Ceiling, CeilingStream, FileRule
from aiostreams.uploads.staged import StagedStream
from aiostreams.uploads.stored import StoredFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from aiostreams.limits import Limits
    from aiostreams.storage.base import Storage
    from aiostreams.uploads.checks import Check

    Sniffer: TypeAlias = Callable[[bytes], str | None]
    KeyMaker: TypeAlias = "Callable[[IncomingFile], str | Awaitable[str]]"
    Words: TypeAlias = Mapping[str, str]
    MetadataMaker: TypeAlias = (
        "Words | Callable[[IncomingFile], Words | Awaitable[Words]]"
    )

__all__ = ["DigestKey", "HeldObject", "IncomingFile", "Receiver", "by_digest"]

_logger = logging.getLogger("aiostreams.uploads")

# How long the removal of a failed request's files may take, in seconds.
_PATIENCE: Final = 30.0
# How many bytes of small files are held in memory, of a form that is not as a whole.
_HELD: Final = 64 * KiB
# How many of them a disk stores in one trip to a thread.
_TOGETHER: Final = 32
# What an object store takes in 10,000 of its smallest parts.
_UNSIZED: Final = 10_000 * 5 * MiB
_LONGEST_EXTENSION: Final = 12
_SIMPLE_NAME: Final = re.compile("[A-Za-z0-9]{1,99}\\.([A-Za-z0-9]{1,12})")

_ANY: Final = FileRule()


class IncomingFile(Protocol):
    """What is known of a file before it is read; a ``Part`` is one.

    Attributes:
        name: the name of the form's field; ``"file"`` for a body that is one file.
        filename: as sent, or ``None``. Data, never a path.
        safe_filename: made harmless; ``"file"`` when there is none.
        content_type: what the client calls it, or ``None``.
    """

    @property
    def name(self) -> str | None: ...
    @property
    def filename(self) -> str | None: ...
    @property
    def safe_filename(self) -> str: ...
    @property
    def content_type(self) -> str | None: ...


class Receiver:
    """Stores the files of one request.

    Args:
        storage: where files go whose rule names no other storage.
        accept: media types or patterns that are welcome where no rule says more.
        key: makes the key of a file; random unless given.
        hashes: algorithms for the digests.
        limits: ``max_file`` counts here.
        rules: what holds for the files of a field, by its name.
        sniffer: tells a media type by the first bytes; the table of this package
            unless given.
        quota: the most bytes that all files together may have.
        metadata: a few words about each file, or what makes them.
        staged: whether the files wait for ``publish()``.
        check: what sees the bytes of every file, and may refuse it.
        seed: what keys of our own are made from, instead of chance: the same for the
            same request that is handled again.
        again: whether it is, since the process that handled it was killed: it may have
            stored its files.

    Raises:
        ValueError: keys that are digests are not staged.
    """

    def __init__(
        self,
        storage: Storage | None,
        *,
        accept: frozenset[str] | None,
        key: KeyMaker | None,
        hashes: Sequence[str],
        limits: Limits,
        rules: Mapping[str, FileRule],
        sniffer: Sniffer | None,
        quota: int | None,
        metadata: MetadataMaker | None,
        staged: bool,
        check: Check | Iterable[Check] | None,
        seed: str | None = None,
        again: bool = False,
    ) -> None:
        self._storage = storage
        self._accept = accept
        # None for keys of our own: a method of our own in here would be a cycle, and
        # all of this a matter for the garbage collector.
        self._key = key
        self._metadata = metadata
        self._check = all_checks(check)
        self._staging = staged
        self._seed = seed
        self._again = again
        if isinstance(key, DigestKey):
            if not staged:
                raise ValueError(
                    "by_digest() needs staged=True: a digest is known only at the end"
                )
            hashes = list(dict.fromkeys((*hashes, key.algorithm)))
        self._hashes = tuple(hashes)
        self._limits = limits
        # Those of other fields, so that each is made once.
        self._rules = dict(rules)
        self._other = _ANY if accept is None else FileRule(accept=accept)
        self._sniffer = sniffer
        self._quota = quota
        self._counts: dict[str, int] = {}
        self._received = 0
        # How many bytes may still be held in memory.
        self._room = _HELD
        # The keys of this request, each with its storage.
        self._places: set[tuple[int, str]] = set()
        self._staged: list[StagedObject] = []
        self.stored: list[StoredFile] = []

    async def store(
        self, field: str, incoming: IncomingFile, stream: Stream
    ) -> StoredFile:
        """Store one file.

        Args:
            field: the form's field.
            incoming: what is known of the file.
            stream: its bytes; read to the end.

        Raises:
            UnsupportedContent: its type is not welcome; little of it was read.
            LimitExceeded: it is too large.
            InvalidContent: it is one too many for its field.
            StreamError: as raised by the stream, and by the storage.
        """
        size = stream.size
        rule, storage, ceiling = self._admit(field, incoming, size)
        source = CeilingStream(stream, ceiling, field, incoming.filename)
        try:
            head = await source.read(SNIFF_BYTES)
            file = await self._identify(rule, field, incoming, head, storage)
            adopted = await self._adopt(file, incoming, stream)
            if adopted is not None:
                assert isinstance(stream, StagedStream)
                async with self._checks(rule, file) as checks:
                    digests = await self._examine(stream, checks)
                return await self._keep(file, adopted, stream.size or 0, digests)
            source.unread(head)
            most = ceiling.size if size is None else size
            if min(most, len(head) if len(head) < SNIFF_BYTES else most) <= self._room:
                staged: StagedObject = await self._hold(file, incoming)
            else:
                # Where nobody has said how long it is, its ceiling is of interest to a
                # store with large parts alone: a quota would reserve all of it.
                known = size is not None or most > _UNSIZED
                staged = await self._stage(file, incoming, most if known else None)
            checks = self._checks(rule, file)
            async with await staged.create() as sink, checks:
                hashes, hashed = self._hashed(source, sink)
                count = await copy(hashed, checks.before(sink))
                await checks.verdict()
                # Not of a sink that a storage of one's own has written to before.
                if isinstance(hashes, HashStream) and sink.position == count:
                    sink.known_digests = hashes.digests
        except LimitExceeded as error:
            raise source.named(error)  # noqa: B904 - has its cause, or is itself
        return await self._keep(file, staged, count, hashes.digests)

    async def _adopt(
        self, file: StoredFile, incoming: IncomingFile, stream: Stream
    ) -> StagedObject | None:
        """Let the storage make an object of bytes that it has, if it can."""
        assert file.storage is not None
        if not isinstance(stream, StagedStream) or not stream.fits(file.storage):
            return None
        metadata = await self._words(incoming)
        adopted = await stream.stage(
            file.storage,
            file.key,
            content_type=file.content_type,
            metadata=metadata or {},
            overwrite=self._key is None,
        )
        if adopted is not None:
            self._staged.append(adopted)
            self._check_new(file)
        return adopted

    async def _examine(self, stream: StagedStream, checks: Checks) -> Mapping[str, str]:
        """Return the digests; for these, and for checks, it is read once if need be."""
        known = stream.digests
        if checks or any(name not in known for name in self._hashes):
            known = await _digests(await stream.slice(0), self._hashes, checks)
            await checks.verdict()
        return {name: known[name] for name in self._hashes}

    async def store_bytes(
        self, field: str, incoming: IncomingFile, data: bytes
    ) -> StoredFile:
        """Store one file that is here already, in one piece.

        Args:
            field: the form's field.
            incoming: what is known of the file.
            data: its bytes.

        Raises:
            StreamError: as :meth:`store`.
        """
        rule, storage, _ = self._admit(field, incoming, len(data))
        head = data[:SNIFF_BYTES]
        file = await self._identify(rule, field, incoming, head, storage)
        staged = await self._hold(file, incoming)
        staged.data = data
        digests = await hash_whole(data, self._hashes)
        if self._check or rule.checks():
            async with self._checks(rule, file, data) as checks:
                await checks.verdict()
        return await self._keep(file, staged, len(data), digests)

    def _checks(
        self, rule: FileRule, file: StoredFile, data: bytes | None = None
    ) -> Checks:
        checks = (*rule.checks(), *self._check)
        return Checks(checks, file, self._limits.idle_timeout, data)

    async def _hold(self, file: StoredFile, incoming: IncomingFile) -> HeldObject:
        """Hold a small file in memory until the end: that saves a file."""
        assert file.storage is not None
        metadata = await self._words(incoming)
        self._check_new(file)
        held = HeldObject(
            file.storage,
            file.key,
            file.content_type,
            metadata,
            overwrite=self._key is None,
        )
        self._staged.append(held)
        return held

    async def _stage(
        self, file: StoredFile, incoming: IncomingFile, size: int | None
    ) -> StagedObject:
        assert file.storage is not None
        metadata = await self._words(incoming)
        self._check_new(file)
        stage = file.storage.stage if self._staging else _direct(file.storage)
        staged = await stage(
            file.key,
            content_type=file.content_type,
            metadata=metadata,
            # A random key is nobody else's. That spares an object store the check,
            # for which it would have to copy the object.
            overwrite=self._key is None,
            size=size,
        )
        # Before it is written: one that fails midway is undone as well.
        self._staged.append(staged)
        return staged

    async def _words(self, incoming: IncomingFile) -> Mapping[str, str] | None:
        if not callable(self._metadata):
            return self._metadata
        words = self._metadata(incoming)
        return await words if inspect.isawaitable(words) else words

    def _check_new(self, file: StoredFile) -> None:
        """Refuse a key that another file of this request has."""
        place = id(file.storage), file.key
        if place in self._places:
            raise ObjectExists(f"{file.key!r} is the key of two files of one request")
        self._places.add(place)

    async def _keep(
        self,
        file: StoredFile,
        staged: StagedObject,
        size: int,
        digests: Mapping[str, str],
    ) -> StoredFile:
        if isinstance(staged, HeldObject):
            self._room -= size
        key = file.key
        staged.digests = digests
        if isinstance(self._key, DigestKey):
            key = staged.key = self._key.key(digests)
        # replace() takes three times as long, as much as parsing the form.
        file = StoredFile(
            file.field, file.filename, file.content_type, size, digests, key,
            file.declared_type, file.storage, staged,
        )  # fmt: skip
        self.stored.append(file)
        self._received += size
        if not self._staging:
            await staged.publish()
        return file

    def _admit(
        self, field: str, incoming: IncomingFile, size: int | None
    ) -> tuple[FileRule, Storage, Ceiling]:
        """Admit one more file of that size; return its rule, storage and limit."""
        rule = self.rule(field)
        count = self._counts[field] = self._counts.get(field, 0) + 1
        rule.check_count(field, count, incoming.filename)
        storage = rule.storage or self._storage
        if storage is None:
            raise RuntimeError(
                "receive() needs a storage: give it one, or setup(app, storage=...)"
            )
        ceiling = self._ceiling(rule)
        if size is not None and size > ceiling.size:
            # By its own account: nothing of it needs to be waited for.
            raise ceiling.exceeded(field, incoming.filename, size)
        return rule, storage, ceiling

    async def _identify(
        self,
        rule: FileRule,
        field: str,
        incoming: IncomingFile,
        head: bytes,
        storage: Storage,
    ) -> StoredFile:
        """Return the file, with its media type, if that is welcome, and its key."""
        declared, filename = incoming.content_type, incoming.filename
        if self._sniffer is None:
            content_type = rule.check_type(field, head, declared, filename)
        else:
            # Somebody else's: nobody knows how long it takes.
            check = functools.partial(
                rule.check_type, field, head, declared, filename, sniffer=self._sniffer
            )
            job = ThreadCall(functools.partial(contextvars.copy_context().run, check))
            await job.wait()  # one that is cancelled has bytes of its own
            content_type = job.result()
        if self._key is None:
            key = self._own_key(incoming)
        else:
            made = self._key(incoming)
            key = await made if inspect.isawaitable(made) else made
        if (
            content_type == OCTET_STREAM
            and self._key is not None
            and rule.accept is None
        ):
            # Neither the bytes nor the client know: a key may be called "report.csv".
            content_type = named_type(head, declared, key)
        return StoredFile(field, filename, content_type, 0, {}, key, declared, storage)

    def _hashed(
        self, source: Stream, sink: Stream
    ) -> tuple[Hashes | HashStream, Stream]:
        """Return what has the digests in the end, and what is to be copied for that."""
        if not self._hashes:
            return Hashes(()), source
        if isinstance(sink, DiskWriter):
            # The threads would hand the bytes to each other, for a fifth of the time
            # that hashing them takes.
            hashes = Hashes(self._hashes)
            sink.hash_with(hashes)
            return hashes, source
        hashing = HashStream(source, *self._hashes)
        return hashing, hashing

    def _own_key(self, incoming: IncomingFile) -> str:
        """128 random bits, or the same ones for the same seed, with the extension."""
        if self._seed is None:
            return _keep_extension(secrets.token_hex(16), incoming)
        number = sum(self._counts.values())
        digest = hashlib.sha256(f"{self._seed}\0{number}".encode())
        return _keep_extension(digest.hexdigest()[:32], incoming)

    def rule(self, field: str) -> FileRule:
        """Return what holds for the files of a field."""
        rule = self._rules.get(field, self._other)
        if rule.accept is None and self._accept is not None:
            rule = dataclasses.replace(rule, accept=self._accept)
            self._rules[field] = rule
        return rule

    def missing(self) -> list[tuple[str, str]]:
        """Return a fault for each field with fewer files than its rule asks for."""
        return [
            (pointer_to([field]), message)
            for field, rule in self._rules.items()
            if (message := rule.miscount(self._counts.get(field, 0))) is not None
        ]

    def _ceiling(self, rule: FileRule) -> Ceiling:
        size = self._limits.max_file
        if rule.max_size is not None and rule.max_size < size:
            size = rule.max_size
        if self._quota is not None:
            left = max(0, self._quota - self._received)
            if left < size:
                return Ceiling(left, self._quota)
        return Ceiling(size)

    async def publish(self) -> None:
        """Give every file its key. A cancellation is raised afterwards.

        Should it fail, some may have theirs: ``undo()`` is to be called.

        Raises:
            ObjectExists: a key is taken.
            StorageError: a storage failed.
        """
        if self._key is None:
            # Without a task, which costs as much as the file: what does this ends by
            # itself before it lets a cancellation out.
            await _publish_together(self._staged)
        if all(staged.published for staged in self._staged):
            return
        publishing = start(self._publish())
        try:
            await settle(publishing)
        except asyncio.CancelledError:
            try:
                await finish(publishing, timeout=_PATIENCE)
            finally:
                if not publishing.done():
                    publishing.cancel()
                elif not publishing.cancelled():
                    publishing.exception()  # mark as seen
            raise
        publishing.result()

    async def _publish(self) -> None:
        for staged in self._staged.copy():
            if staged.published:
                continue
            try:
                await staged.publish()
            except ObjectExists:
                if self._again and await self._is_ours(staged):
                    staged.published = True
                    continue
                if not isinstance(self._key, DigestKey):
                    raise
                # The same bytes are there. They are another's, and so are never undone.
                self._staged.remove(staged)
                await staged.undo()
                staged.published = True

    async def _is_ours(self, staged: StagedObject) -> bool:
        """Return whether the key has the same bytes already: from before a crash."""
        [file] = (file for file in self.stored if file.staged is staged)
        assert file.storage is not None
        there = await file.storage.open(file.key)
        if there.size != file.size:
            await there.close()
            return False
        names = tuple(file.digests) or ("sha256",)
        digests = file.digests or await _digests(await staged.open(), names)
        return await _digests(there, names) == digests

    async def undo(self) -> None:
        """Remove everything that was stored; whoever cancels waits for it."""
        self.stored = []
        staged, self._staged = self._staged, []
        if not staged:
            return
        removing = start(_remove(staged))
        try:
            await finish(removing, timeout=_PATIENCE)
        finally:
            if removing.done():
                _logger.debug("upload undone: %d files", len(staged))
            else:
                removing.cancel()
                _logger.error("files of a failed upload remain: %d", len(staged))


async def _digests(
    stream: Stream, names: Sequence[str], checks: Checks | None = None
) -> Mapping[str, str]:
    """Return the digests of ``stream``, which is closed; checks see its bytes too."""
    async with HashStream(stream, *names) as hashing:
        while piece := await hashing.readany():
            if checks is not None:
                await checks.write(piece)
        return hashing.digests


async def _publish_together(staged: list[StagedObject]) -> None:
    """Publish what is held for a disk: one trip to a thread takes several files."""
    held: dict[Storage, list[HeldObject]] = {}
    for one in staged:
        if (
            isinstance(one, HeldObject)
            and not one.published
            and one.storage.takes_several
        ):
            held.setdefault(one.storage, []).append(one)
    for storage, several in held.items():
        for first in range(0, len(several), _TOGETHER):
            batch = several[first : first + _TOGETHER]
            await storage.put_several([one.begin() for one in batch])
            for one in batch:
                one.end()


async def _remove(stored: list[StagedObject]) -> None:
    for staged in reversed(stored):
        try:
            await staged.undo()
        except Exception:
            _logger.exception("a file of a failed upload remains: %r", staged.key)


class HeldObject(StagedObject):
    """A small object in memory, which its storage gets when it is published.

    Attributes:
        data: its bytes.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        content_type: str,
        metadata: Mapping[str, str] | None,
        *,
        overwrite: bool,
    ) -> None:
        if not overwrite:  # else it is one of ours
            check_key(key)
        super().__init__(storage, key, overwrite=overwrite)
        self._content_type = content_type
        self._metadata = check_attributes(content_type, metadata)
        self._begun = False
        self.data: bytes | None = None

    async def create(self) -> Stream:
        return _HeldWriter(self)

    async def open(self) -> Stream:
        if self.data is None:
            raise ObjectNotFound("the bytes are not staged any more")
        return ByteStream(self.data, content_type=self._content_type)

    @property
    def storage(self) -> Storage:
        """Where it will be."""
        return self._storage

    def begin(self) -> SmallObject:
        """Return all that is to be stored; it may be there from now on."""
        assert self.data is not None
        self._begun = True
        return SmallObject(
            self.key, self.data, self.digests, self._content_type, self._metadata
        )

    def end(self) -> None:
        """Note that it is stored."""
        self.data = None
        self.published = True

    async def _publish(self) -> None:
        key, data, digests, content_type, metadata = self.begin()
        await self._storage.put_known(
            key,
            data,
            digests,
            content_type=content_type,
            metadata=metadata,
            overwrite=self._overwrite,
        )
        self.end()

    async def _discard(self) -> None:
        self.data = None
        if self._begun and self._overwrite:
            # A cancelled put may have been one, and the key is nobody else's.
            await self._storage.delete(self.key)


class _HeldWriter(Stream):
    """Collects the bytes of a small object."""

    def __init__(self, held: HeldObject) -> None:
        super().__init__()
        self._held = held
        self._chunks: list[bytes] = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._chunks.append(bytes(data))

    async def close(self) -> None:
        self._held.data = b"".join(self._chunks)

    async def abort(self) -> None:
        self._chunks = []


class _DirectObject(StagedObject):
    """An object that is at its key as soon as it is written."""

    def __init__(
        self, storage: Storage, key: str, *, overwrite: bool, **attributes: Any
    ) -> None:
        super().__init__(storage, key, overwrite=overwrite)
        self._attributes = attributes

    async def create(self) -> Stream:
        return await self._storage.create(
            self.key, overwrite=self._overwrite, **self._attributes
        )

    async def open(self) -> Stream:
        return await self._storage.open(self.key)

    async def _publish(self) -> None:
        pass

    async def _discard(self) -> None:
        if self._overwrite:
            # As above. Never for keys without overwrite: they may name an object
            # of another request.
            await self._storage.delete(self.key)


def _direct(storage: Storage) -> Callable[..., Awaitable[StagedObject]]:
    async def stage(key: str, *, overwrite: bool, **attributes: Any) -> StagedObject:
        return _DirectObject(storage, key, overwrite=overwrite, **attributes)

    return stage


# Those of which nobody can make two files with one digest.
_STRONG: Final = frozenset({
    "sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b",
    "blake2s",
})  # fmt: skip


class DigestKey:
    """A key that is the file's digest; see :func:`by_digest`.

    Attributes:
        algorithm: which one.
    """

    def __init__(self, algorithm: str, prefix: str) -> None:
        self.algorithm: str = algorithm
        self._prefix = prefix

    def __call__(self, incoming: IncomingFile) -> str:
        """Return a key for the time until the digest is known."""
        del incoming
        return self._prefix + secrets.token_hex(16)

    def key(self, digests: Mapping[str, str]) -> str:
        """Return the key."""
        return self._prefix + digests[self.algorithm]


def by_digest(algorithm: str = "sha256", prefix: str = "") -> DigestKey:
    """For ``receive(key=...)``: store each content once, under its digest.

    A file that is there already is kept and shared: it is not stored again, and not
    removed when the request fails. Who deletes one must know that no other record
    has it.

    Args:
        algorithm: ``sha256``, or another that withstands collisions; it is added to
            ``hash``.
        prefix: what the key begins with, such as ``"blobs/"``.

    Raises:
        ValueError: the algorithm is none of these.
        InvalidKey: no key begins like that.
    """
    if algorithm not in _STRONG:
        strong = ", ".join(sorted(_STRONG))
        raise ValueError(f"{algorithm!r} cannot make keys; expected one of {strong}")
    check_key(prefix + "0" * 64)
    return DigestKey(algorithm, prefix)


def _keep_extension(name: str, incoming: IncomingFile) -> str:
    """``name``, with the extension of the file's own name."""
    if simple := _SIMPLE_NAME.fullmatch(incoming.filename or ""):
        return f"{name}.{simple[1].lower()}"  # as below, in a tenth of the time
    _, dot, extension = safe_filename(incoming.filename).rpartition(".")
    plain = extension.isascii() and extension.isalnum()
    if dot and plain and len(extension) <= _LONGEST_EXTENSION:
        return f"{name}.{extension.lower()}"
    return name
