"""``receive``: an upload, its fields in memory and its files in a storage.

The body is taken in the order it comes, whatever that is: fields are gathered, each
file goes to its storage while it arrives. By the time the ``async with`` block begins
all of it is there; should the block, or anything before it, end in an exception,
nothing is left.

A file that does not come as a ``Part`` is described by an ``IncomingFile`` of its own:
its key is made from that, and its type is checked against it. Progress is reported at
intervals, not for each chunk.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

from aiohttp import hdrs

from aiostreams.errors import InvalidContent, MalformedBody, UnsupportedContent
from aiostreams.limits import KiB
from aiostreams.multipart.form import Form
from aiostreams.multipart.parts import PartReader
from aiostreams.multipart.whole import WHOLE, parse_form_parts, store_form
from aiostreams.sansio.disposition import parse_disposition, safe_filename
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.multipart import PartCount
from aiostreams.streams.http import content_type_of
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.transforms import ProgressStream
from aiostreams.uploads.receiver import Receiver
from aiostreams.uploads.stored import StoredFiles
from aiostreams.web.errors import ends_well
from aiostreams.web.state import body_of, find_storage, tally_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aiohttp import web

    from aiostreams.limits import Limits
    from aiostreams.multipart.part import Part
    from aiostreams.multipart.received import ReceivedFile
    from aiostreams.resumable.state import ResumableUpload
    from aiostreams.storage.base import Storage
    from aiostreams.streams.base import Stream
    from aiostreams.streams.transforms import ProgressCallback
    from aiostreams.uploads.checks import Check
    from aiostreams.uploads.formmodel import FormModel
    from aiostreams.uploads.receiver import KeyMaker, MetadataMaker, Sniffer
    from aiostreams.uploads.rules import FileRule
    from aiostreams.uploads.stored import StoredFile

__all__ = [
    "RAW_FIELD",
    "ArrivedFile",
    "Paced",
    "RawFile",
    "Receiving",
    "Upload",
    "receive",
]

T = TypeVar("T")

# A form that says it is no larger is waited for, and taken in one piece. A file in it
# that is not welcome is refused when all of it is here: that is a packet or a few.
_SMALL: Final = 64 * KiB


@dataclass(frozen=True, slots=True)
class Upload:
    """What was received.

    Attributes:
        form: the fields, an immutable multidict of text.
        files: the files, an immutable multidict of :class:`StoredFile`.
    """

    form: Form
    files: StoredFiles


@overload
def receive(
    request: web.BaseRequest,
    storage: Storage | None = None,
    *,
    accept: Iterable[str] | None = None,
    key: KeyMaker | None = None,
    hash: Iterable[str] = ("sha256",),
    limits: Limits | None = None,
    on_progress: ProgressCallback | None = None,
    files: Mapping[str, FileRule] | None = None,
    quota: int | None = None,
    sniffer: Sniffer | None = None,
    metadata: MetadataMaker | None = None,
    staged: bool = True,
    check: Check | Iterable[Check] | None = None,
) -> Receiving[Upload]: ...
@overload
def receive(
    request: web.BaseRequest,
    storage: Storage | None = None,
    *,
    form: type[T],
    unknown: Literal["ignore", "forbid"] = "ignore",
    duplicates: Literal["first", "last", "refuse"] = "last",
    accept: Iterable[str] | None = None,
    key: KeyMaker | None = None,
    hash: Iterable[str] = ("sha256",),
    limits: Limits | None = None,
    on_progress: ProgressCallback | None = None,
    files: Mapping[str, FileRule] | None = None,
    quota: int | None = None,
    sniffer: Sniffer | None = None,
    metadata: MetadataMaker | None = None,
    staged: bool = True,
    check: Check | Iterable[Check] | None = None,
) -> Receiving[T]: ...
def receive(
    request: web.BaseRequest,
    storage: Storage | None = None,
    *,
    form: type[Any] | None = None,
    unknown: Literal["ignore", "forbid"] = "ignore",
    duplicates: Literal["first", "last", "refuse"] = "last",
    accept: Iterable[str] | None = None,
    key: KeyMaker | None = None,
    hash: Iterable[str] = ("sha256",),  # noqa: A002 - the contract's name
    limits: Limits | None = None,
    on_progress: ProgressCallback | None = None,
    files: Mapping[str, FileRule] | None = None,
    quota: int | None = None,
    sniffer: Sniffer | None = None,
    metadata: MetadataMaker | None = None,
    staged: bool = True,
    check: Check | Iterable[Check] | None = None,
) -> Receiving[Any]:
    """Receive a form with files, or a body that is one file, into a storage.

        async with receive(request, accept={"image/*"}) as upload:
            return JSON({"keys": [file.key for file in upload.files.values()]})

    All or nothing: the files are staged, and get their keys when the block ends well.
    Inside it ``StoredFile.open()`` reads what is staged, and at the keys is nothing.
    When the block is left by an exception, or the upload fails by a limit, a
    disconnect, a cancellation or the storage, every file of the request is removed. An
    ``HTTPException`` below 400, such as a redirect that is raised, is an answer and
    ends the block well. A form is multipart or urlencoded; a body of another type is
    stored as the file of the field ``"file"``.

    The files get their keys one after the other. Should one fail, those before it are
    removed; should the process be killed just then, those before it remain. Otherwise
    a killed process leaves staged bytes only, which ``sweep()`` of the storage removes.

    Args:
        request: whose body.
        storage: where the files go; that of ``setup`` unless given.
        form: a model to make of the fields and files: of pydantic (extra
            ``pydantic``), a ``msgspec.Struct``, dataclass, attrs class or
            ``TypedDict`` (extra ``msgspec``). The block then gets that instead of an
            :class:`Upload`.
        unknown: what becomes of fields that the model does not have, unless it says
            so itself.
        duplicates: which of several texts counts for a member that takes one.
        accept: the media types that are welcome, such as ``{"image/*",
            "application/pdf"}``, held against the first bytes of each file.
        key: makes the key of a file from what is known of it (``name``,
            ``filename``, ``safe_filename``, ``content_type``); plain or async. The
            default is random, with the extension of the name.
        hash: algorithms for the digests; none when empty.
        limits: limits in place of the route's.
        on_progress: called with the bytes received and the length of the body, or
            ``None``, at most ten times a second; plain or async.
        files: rules for the files of a field, by its name.
        quota: the most bytes that all files together may have.
        sniffer: tells the media type by up to 4 KiB of a file; runs in a worker
            thread. Replaces the table of this package.
        metadata: a few words that are stored with each file, or what makes them, like
            ``key``: ``lambda file: {"filename": file.safe_filename}`` keeps the name,
            of any script. See :class:`Storage` for what they may be.
        staged: ``False`` gives each file its key as soon as it is stored, and removes
            it if the block fails. That spares an object store a copy and a request
            for each file of more than 64 KiB; a disk or memory is spared nothing.
        check: ``async check(stream, file)`` sees the bytes of each file while they
            arrive, before the block begins; or several, each of which sees all. It
            need not read to the end. What it raises refuses the upload: a
            ``StreamError`` or an ``HTTPException`` answers as itself, anything else is
            a 500. ``file`` is a :class:`StoredFile` without size and digests.

    Raises:
        UnsupportedContent: on entering the block: a body or a file of a type that
            is not welcome; little of it was read.
        LimitExceeded: likewise: over a limit, a rule or the quota.
        MalformedBody: likewise: it breaks its syntax.
        InvalidContent: likewise: it does not make a ``form``, or has more or fewer
            files than a rule asks for.
        ObjectExists: ``key`` gave one that is taken; on entering the block or at its
            end.
        StorageError: likewise: the storage failed, or is full; of status 503: a
            ``check`` neither read nor returned for ``Limits.idle_timeout``.
        StreamError: as raised by the stream.
        RuntimeError: there is no storage; or, on entering the block, another call has
            read the body, and its bytes are gone.
    """
    body = body_of(request)
    limits = limits or body.limits
    model: FormModel[Any] | None = None
    rules: dict[str, FileRule] = {}
    if form is not None:
        from aiostreams.uploads.formmodel import FormModel  # noqa: PLC0415 - few have one

        model = FormModel(form, unknown, duplicates)
        rules.update(model.rules)
    rules.update(files or {})
    receiver = Receiver(
        find_storage(request) if storage is None else storage,
        accept=None if accept is None else frozenset(accept),
        key=key,
        hashes=tuple(hash),
        limits=limits,
        rules=rules,
        sniffer=sniffer,
        quota=quota,
        metadata=metadata,
        staged=staged,
        check=check,
        seed=None if body.upload is None else body.upload.id,
        again=body.rerun,
    )
    return Receiving(request, receiver, limits, on_progress, model)


class Receiving(Generic[T]):
    """The context manager that ``receive`` returns."""

    def __init__(
        self,
        request: web.BaseRequest,
        receiver: Receiver,
        limits: Limits,
        on_progress: ProgressCallback | None,
        model: FormModel[T] | None,
    ) -> None:
        self._request = request
        self._receiver = receiver
        self._limits = limits
        self._on_progress = on_progress
        self._model = model
        # The fields of a model that take JSON, and files in fields that take none:
        # these are not stored.
        self._json = frozenset() if model is None else model.json_fields
        self._strangers: list[tuple[str, None]] = []
        self._fields: list[tuple[str, str]] = []

    async def __aenter__(self) -> T:
        try:
            received: T = await self._receive()
        except BaseException:
            await self._receiver.undo()
            raise
        return received

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if ends_well(exc):
                await self._receiver.publish()
                return
        except BaseException:
            await self._receiver.undo()
            raise
        await self._receiver.undo()

    async def _receive(self) -> Any:
        content_type = self._request.headers.get(hdrs.CONTENT_TYPE, "")
        media_type = media_type_of(content_type)
        upload = body_of(self._request).upload
        if upload is not None and upload.protocol == "tus":
            await self._store_raw(upload)  # a file, whatever it is called
        elif media_type == "multipart/form-data":
            data = await self._read_small()
            if data is None:
                await self._store_parts(self._stream())
            else:
                await self._store_form(data, content_type)
        elif media_type == "application/x-www-form-urlencoded":
            stream = self._stream(record=True)
            form = await Form.decode(stream, limits=self._limits)
            self._fields.extend(form.items())
        elif media_type.startswith("multipart/"):
            raise UnsupportedContent(
                f"the body must be a form or a file, not {media_type[:80]!r}",
                accept="multipart/form-data",
            )
        else:
            await self._store_raw(upload)
        stored = [(file.field, file) for file in self._receiver.stored]
        missing = self._receiver.missing()
        if self._model is not None:
            return self._bind(self._model, stored, missing)
        if missing:
            raise InvalidContent(errors=missing)
        # Both are ours, and right.
        return Upload(Form._of(self._fields), StoredFiles._of(stored))  # noqa: SLF001

    async def _store_raw(self, upload: ResumableUpload | None) -> None:
        """Store a body that is one file; metadata of an upload are its form's fields.

        The file is that of the model's one member for files, if there is one.
        """
        field = RAW_FIELD
        if upload is not None:
            self._fields.extend(
                (name, value)
                for name, value in upload.metadata.items()
                if name not in _OF_THE_FILE
            )
            files = {} if self._model is None else self._model.rules
            if len(files) == 1:
                (field,) = files
        await self._receiver.store(field, RawFile(self._request), self._stream())

    def _bind(
        self,
        model: FormModel[T],
        stored: list[tuple[str, StoredFile]],
        missing: list[tuple[str, str]],
    ) -> T:
        """Make the model; what it and the rules have to say comes in one error."""
        try:
            bound = model.bind(self._fields, [*stored, *self._strangers])
        except InvalidContent as error:
            named = {pointer for pointer, _ in error.errors}
            more = [wrong for wrong in missing if wrong[0] not in named]
            raise InvalidContent(errors=[*error.errors, *more]) from error
        if missing:
            raise InvalidContent(errors=missing)
        return bound

    def _stream(self, *, record: bool = False) -> Stream:
        stream = body_of(self._request).source("receive()", record=record)
        if self._on_progress is None:
            return stream
        # Not closed: the body is the request's.
        return ProgressStream(stream, Paced(self._on_progress))

    async def _read_small(self) -> bytes | None:
        """Read all of the body, if it is here already, or as good as."""
        body = body_of(self._request)
        ceiling = min(WHOLE, self._limits.max_memory)
        data = body.take_arrived("receive()", ceiling)
        if data is not None:
            if self._on_progress is not None:
                await Paced(self._on_progress)(len(data), len(data))
            return data
        stream = self._stream()
        size = stream.size
        if size is None or size > min(_SMALL, ceiling) or body.stream.position:
            return None
        data = await stream.read()
        body.remember(data, stream)
        return data

    async def _store_form(self, data: bytes, content_type: str) -> None:
        """Take a form that is in one piece; at once, if it is an ordinary one."""
        form = None
        if not self._json:
            form = parse_form_parts(data, content_type, self._limits)
        if form is None:
            await self._store_parts(ByteStream(data, content_type=content_type))
            return
        self._count().add(form.count)
        self._fields = form.fields
        for name, file in form.files:
            if self._model is not None and not self._model.takes_file(name):
                self._strangers.append((name, None))
            else:
                content = file.data
                assert content is not None  # the form was in one piece
                await self._receiver.store_bytes(name, ArrivedFile(name, file), content)

    async def _store_parts(self, stream: Stream) -> None:
        reader = PartReader(stream, limits=self._limits, count=self._count())
        form = await store_form(reader, self._store_file, _rename, texts=self._json)
        self._fields = form.fields
        self._strangers = [(name, None) for name, file in form.files if file is None]
        self._receiver.stored = [file for _, file in form.files if file is not None]

    async def _store_file(self, part: Part) -> StoredFile | None:
        name = part.name or ""
        if self._model is not None and not self._model.takes_file(name):
            return None
        return await self._receiver.store(name, part, part)

    def _count(self) -> PartCount:
        """Return what counts the parts, for the statistics too."""
        count = PartCount(self._limits.max_parts)
        if (tally := tally_of(self._request)) is not None:
            tally.count_parts(count)
        return count


def _rename(
    file: StoredFile | None, name: str, filename: str | None
) -> StoredFile | None:
    return None if file is None else replace(file, field=name, filename=filename)


# Metadata of an upload that speak of its file.
_OF_THE_FILE: Final = frozenset({"filename", "filetype"})
# What the one file of a body that is no form is called.
RAW_FIELD: Final = "file"


class ArrivedFile:
    """What a form in one piece says of a file."""

    __slots__ = ("content_type", "filename", "name")

    def __init__(self, name: str, file: ReceivedFile) -> None:
        self.name: str = name
        self.filename: str = file.filename
        self.content_type: str | None = file.sent_type

    @property
    def safe_filename(self) -> str:
        return safe_filename(self.filename)


class RawFile:
    """What the header section says of a body that is a file."""

    name = RAW_FIELD

    def __init__(self, request: web.BaseRequest) -> None:
        self.content_type: str | None = content_type_of(request.headers)
        self.filename: str | None = None
        disposition = request.headers.get(hdrs.CONTENT_DISPOSITION)
        if disposition is not None:
            try:
                self.filename = parse_disposition(disposition).filename
            except MalformedBody:
                # A wish of the client's that nobody can read: no name, then.
                pass

    @property
    def safe_filename(self) -> str:
        return safe_filename(self.filename)


# At most so often is progress told, in seconds.
_PROGRESS_INTERVAL: Final = 0.1


class Paced:
    """Tells progress not too often, and the end where it is known."""

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._next = 0.0

    async def __call__(self, done: int, total: int | None) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next or done == total:
            self._next = now + _PROGRESS_INTERVAL
            told = self._callback(done, total)
            if inspect.isawaitable(told):
                await told
