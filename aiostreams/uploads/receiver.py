"""The receiving of files: one after the other into storage, all of them or none.

A ``Receiver`` takes one file at a time: its first bytes are looked at, and refused
before the rest is read; then it is copied to its storage while it arrives, hashed on
the way. What was stored is remembered until the request has gone well; ``undo()``
removes it, and waits for that through every cancellation.

A file is stored under a new key only, never over another one: what ``undo()`` removes
was made by this request.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import inspect
import logging
import re
import secrets
from typing import TYPE_CHECKING, Final, Protocol

from aiostreams.errors import LimitExceeded, pointer_to
from aiostreams.sansio.disposition import safe_filename
from aiostreams.sansio.mediatype import OCTET_STREAM
from aiostreams.sansio.sniff.types import SNIFF_BYTES, named_type
from aiostreams.storage.disk_draft import DiskWriter
from aiostreams.streams.copy import copy
from aiostreams.streams.hashing import Hashes, HashStream, hash_whole
from aiostreams.streams.tasks import finish, start
from aiostreams.streams.threads import ThreadCall
from aiostreams.uploads.rules import Ceiling, CeilingStream, FileRule
from aiostreams.uploads.stored import StoredFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from aiostreams.limits import Limits
    from aiostreams.storage.base import Storage
    from aiostreams.streams.base import Stream

    Sniffer: TypeAlias = Callable[[bytes], str | None]
    KeyMaker: TypeAlias = "Callable[[IncomingFile], str | Awaitable[str]]"

__all__ = ["IncomingFile", "Receiver"]

_logger = logging.getLogger("aiostreams.uploads")

# How long the removal of a failed request's files may take, in seconds.
_PATIENCE: Final = 30.0
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
    ) -> None:
        self._storage = storage
        self._accept = accept
        self._key = key or _random_key
        self._own_keys = key is None
        self._hashes = tuple(hashes)
        self._limits = limits
        # Those of other fields, so that each is made once.
        self._rules = dict(rules)
        self._other = _ANY if accept is None else FileRule(accept=accept)
        self._sniffer = sniffer
        self._quota = quota
        self._counts: dict[str, int] = {}
        self._received = 0
        # In order; the last one's sink may be open still.
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
            content_type, key = await self._identify(rule, field, incoming, head)
            source.unread(head)
            sink = await self._create(
                storage, key, content_type, ceiling.size if size is None else size
            )
            async with sink:
                hashes, hashed = self._hashed(source, sink)
                count = await copy(hashed, sink)
                file = StoredFile(
                    field,
                    incoming.filename,
                    content_type,
                    count,
                    {},
                    key,
                    incoming.content_type,
                    storage,
                )
                self._remember(file, committed=False)
        except LimitExceeded as error:
            raise source.named(error)  # noqa: B904 - has its cause, or is itself
        file = dataclasses.replace(file, digests=hashes.digests)
        return self._remember(file, committed=True)

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
        content_type, key = await self._identify(
            rule, field, incoming, data[:SNIFF_BYTES]
        )
        file = StoredFile(
            field,
            incoming.filename,
            content_type,
            len(data),
            await hash_whole(data, self._hashes),
            key,
            incoming.content_type,
            storage,
        )
        self._remember(file, committed=False)
        await storage.put(
            key, data, content_type=content_type, overwrite=self._own_keys
        )
        return self._remember(file, committed=True)

    def _admit(
        self, field: str, incoming: IncomingFile, size: int | None
    ) -> tuple[FileRule, Storage, Ceiling]:
        """Whether one more file, of that size, may come; to where; how large."""
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
        self, rule: FileRule, field: str, incoming: IncomingFile, head: bytes
    ) -> tuple[str, str]:
        """The media type, if it is welcome, and the key."""
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
        key = self._key(incoming)
        if inspect.isawaitable(key):
            key = await key
        if content_type == OCTET_STREAM and not self._own_keys and rule.accept is None:
            # Neither the bytes nor the client know: a key may be called "report.csv".
            content_type = named_type(head, declared, key)
        return content_type, key

    async def _create(
        self, storage: Storage, key: str, content_type: str, size: int
    ) -> Stream:
        return await storage.create(
            key,
            content_type=content_type,
            # A random key is nobody else's. That spares an object store the check,
            # for which it would have to copy the object.
            overwrite=self._own_keys,
            size=size,
        )

    def _hashed(
        self, source: Stream, sink: Stream
    ) -> tuple[Hashes | HashStream, Stream]:
        """What has the digests in the end, and what is to be copied for that."""
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

    def _remember(self, file: StoredFile, *, committed: bool) -> StoredFile:
        """Have the file removed if the request fails.

        Under a key of our own that begins before it is committed: a commit that is
        cancelled may have been one. Under a key that may be another's that would be
        a crime.
        """
        if committed and self._own_keys:
            self.stored[-1] = file
        elif committed or self._own_keys:
            self.stored.append(file)
        if committed:
            self._received += file.size
        return file

    def rule(self, field: str) -> FileRule:
        """What holds for the files of a field."""
        rule = self._rules.get(field, self._other)
        if rule.accept is None and self._accept is not None:
            rule = dataclasses.replace(rule, accept=self._accept)
            self._rules[field] = rule
        return rule

    def missing(self) -> list[tuple[str, str]]:
        """The fields that have fewer files than their rules ask for, as faults."""
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

    async def undo(self) -> None:
        """Remove everything that was stored; whoever cancels waits for it."""
        stored, self.stored = self.stored, []
        if not stored:
            return
        removing = start(_remove(stored))
        try:
            await finish(removing, timeout=_PATIENCE)
        finally:
            if removing.done():
                _logger.debug("upload undone: %d files", len(stored))
            else:
                removing.cancel()
                _logger.error("files of a failed upload remain: %d", len(stored))


async def _remove(stored: list[StoredFile]) -> None:
    for file in reversed(stored):
        assert file.storage is not None
        try:
            await file.storage.delete(file.key)
        except Exception:
            _logger.exception("a file of a failed upload remains: %r", file.key)


def _random_key(incoming: IncomingFile) -> str:
    """128 random bits, with the extension of the name."""
    name = secrets.token_hex(16)
    if simple := _SIMPLE_NAME.fullmatch(incoming.filename or ""):
        return f"{name}.{simple[1].lower()}"  # as below, in a tenth of the time
    _, dot, extension = safe_filename(incoming.filename).rpartition(".")
    plain = extension.isascii() and extension.isalnum()
    if dot and plain and len(extension) <= _LONGEST_EXTENSION:
        return f"{name}.{extension.lower()}"
    return name
