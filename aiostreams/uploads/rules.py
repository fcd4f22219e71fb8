"""The rules for the files of one field of a form, and the errors of a broken one.

A rule is data: whoever receives a form enforces it while the bytes arrive, and asks
the methods here what to say when it is broken, so that it is said in one way. Rules
are given by field name (``receive(files={"avatar": FileRule(...)})``) or stand with
the field of a model (``Annotated[StoredFile, FileRule(...)]``).

For the size of a file the lowest of three limits counts: that of ``Limits``, that of
the field's rule, and what the files before it have left of the quota. A message names
the file as its sender knows it, by field and filename, and the quota if that is what
is used up. ``limit`` and ``seen`` of the error are about this file in each case.

A message is made when there is an error, not for each file. A log gets the field
alone: a filename is private to the person who sent it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aiostreams.errors import (
    InvalidContent,
    LimitExceeded,
    UnsupportedContent,
    exceeded,
    pointer_to,
)
from aiostreams.limits import KiB
from aiostreams.sansio.disposition import safe_filename
from aiostreams.sansio.sniff.types import (
    accepted_type,
    check_pattern,
    looks_like_text,
    resolve_type,
    sniff,
)
from aiostreams.streams.transforms import LimitStream
from aiostreams.uploads.checks import all_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from aiostreams.sansio.sniff.pictures import Picture
    from aiostreams.storage.base import Storage
    from aiostreams.streams.base import Stream
    from aiostreams.uploads.checks import Check
    from aiostreams.uploads.stored import StoredFile

__all__ = ["Ceiling", "CeilingStream", "FileRule", "call_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """What is asked of the files of a field.

    Attributes:
        max_size: how many bytes a file may have; ``None`` leaves it to
            ``Limits.max_file``.
        accept: which types are let in: ``{"image/png", "application/pdf"}``,
            ``{"image/*"}``; a ``str`` is a list divided by commas. ``None`` lets all
            in. The first bytes are asked, not the client alone; :func:`sniff` says what
            that is worth. Kept as a ``frozenset``.
        min_count: how many files the field must have.
        max_count: how many it may have; ``None`` leaves it to ``Limits.max_parts``.
        storage: where they go, in place of the storage of the form.
        check: sees the bytes of each file while they arrive, and may refuse it, as
            that of ``receive``; or several. Kept as a ``tuple``.
        max_pixels: how many pixels a picture may have: width times height. By the
            headers of PNG, JPEG, GIF and WebP, wherever in the file these stand;
            nothing is decoded. Where any of these four is given, a file whose size
            can't be determined is refused (422).
        max_width: how many pixels wide it may be.
        max_height: how many pixels high it may be.
        animated: whether it must, or must not, have several pictures.

    Raises:
        ValueError: a number is negative, the counts exclude each other, or a pattern
            is no media type.
    """

    max_size: int | None = None
    accept: Collection[str] | None = None
    min_count: int = 0
    max_count: int | None = None
    storage: Storage | None = None
    check: Check | Iterable[Check] | None = ()
    max_pixels: int | None = None
    max_width: int | None = None
    max_height: int | None = None
    animated: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", all_checks(self.check))
        accept = self.accept
        if accept is not None:
            listed = accept.split(",") if isinstance(accept, str) else accept
            tidy = frozenset(check_pattern(pattern) for pattern in listed)
            object.__setattr__(self, "accept", tidy)
        for name in (
            "max_size", "min_count", "max_count", *_PIXELS,
        ):  # fmt: skip
            number = getattr(self, name)
            if number is not None and number < 0:
                raise ValueError(f"{name} must not be negative, got {number}")
        if self.max_count is not None and self.max_count < self.min_count:
            raise ValueError(
                f"min_count {self.min_count} exceeds max_count {self.max_count}"
            )

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that are to see the bytes of each file."""
        limits = (self.max_pixels, self.max_width, self.max_height, self.animated)
        pictures = () if limits == (None,) * 4 else (self._check_picture,)
        return (*all_checks(self.check), *pictures)

    async def _check_picture(self, stream: Stream, file: StoredFile) -> None:
        from aiostreams.sansio.sniff.pictures import PictureReader  # noqa: PLC0415 - rare

        reader = PictureReader()
        try:
            while not reader.complete and (piece := await stream.readany()):
                while piece and not reader.complete:
                    cut = max(_SLICE, reader.ahead)
                    reader.feed(piece[:cut])
                    piece = piece[cut:]
                    self._check_size(reader.picture)
                    await asyncio.sleep(0)
            reader.finish()
            self._check_size(reader.picture, complete=True)
        except InvalidContent as error:
            raise InvalidContent(
                errors=[(pointer_to([file.field]), str(error))]
            ) from error

    def _check_size(self, picture: Picture, *, complete: bool = False) -> None:
        pixels = picture.width * picture.height
        seen = (pixels, picture.width, picture.height)
        limits = (self.max_pixels, self.max_width, self.max_height)
        for what, number, limit in zip(_PIXELS.values(), seen, limits, strict=True):
            if limit is not None and number > limit:
                raise InvalidContent(
                    f"the picture has {number} pixels{what}, limit {limit}"
                )
        if self.animated is False and picture.animated:
            raise InvalidContent("the picture is animated")
        if complete and self.animated and not picture.animated:
            raise InvalidContent("the picture is not animated")

    def check_type(
        self,
        field: str,
        head: bytes,
        declared: str | None,
        filename: str | None = None,
        *,
        sniffer: Callable[[bytes], str | None] | None = None,
    ) -> str:
        """Return the media type of a file, if it is let in.

        Args:
            field: for the message.
            head: the beginning of the file, ``SNIFF_BYTES`` of it or all.
            declared: what the client says.
            filename: whose extension counts when the client does not know, and for
                text; for the message, too.
            sniffer: asked in place of the table of this package.

        Raises:
            UnsupportedContent: it is not.
        """
        if self.accept is None:
            return resolve_type(head, declared, filename, sniffer=sniffer)
        shown = (sniffer or sniff)(head)
        if shown is None and looks_like_text(head):
            shown = "text/plain"
        if declared is None or declared.strip().lower() in _UNSAID:
            declared = resolve_type(b"", None, filename)
        found = accepted_type(shown, declared, self.accept, filename)
        if found is None:
            welcome = ", ".join(sorted(self.accept))
            wrong = f"is {shown or 'of an unknown type'}; accepted: {welcome}"
            error = UnsupportedContent(
                f"{call_file(field, filename)} {wrong}", accept=welcome
            )
            error.logged = f"{call_file(field, None)} {wrong}"
            raise error
        return found

    def check_count(self, field: str, count: int, filename: str | None) -> None:
        """Refuse one more file, if it is too many.

        Args:
            field: the field's name.
            count: how many files it has by now.
            filename: that of the last one.

        Raises:
            InvalidContent: they are too many.
        """
        message = self.miscount(count, filename, complete=False)
        if message is not None:
            raise InvalidContent(errors=[(pointer_to([field]), message)])

    def miscount(
        self, count: int, filename: str | None = None, *, complete: bool = True
    ) -> str | None:
        """Return what is wrong with that number of files, or ``None``."""
        if self.max_count is not None and count > self.max_count:
            one = f"{_shown(filename)} is too many: " if filename else ""
            return f"{one}at most {_files(self.max_count)}, got {count}"
        if complete and count < self.min_count:
            if count == 0 and self.min_count == 1:
                return "a file is required"
            return f"at least {_files(self.min_count)}, got {count}"
        return None


# How much of a picture is looked through before others have their turn, in bytes: a
# millisecond, if it is made of the smallest blocks.
_SLICE = 1 * KiB
# What is asked of pictures, and how a message calls it.
_PIXELS = {"max_pixels": "", "max_width": " of width", "max_height": " of height"}
# What senders write who do not know.
_UNSAID = frozenset({"", "application/octet-stream"})
# How much of a filename a message shows, in characters.
_LONGEST_NAME = 60


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"


def call_file(field: str, filename: str | None) -> str:
    """Name a file for a message: as its sender knows it, and harmless.

    For the sender's eyes. What goes to a log is called without its filename.
    """
    if not filename:
        return f"the file in {_short(field)}"
    return f"the file {_shown(filename)} in {_short(field)}"


def _shown(filename: str) -> str:
    name = safe_filename(filename)
    if len(name) > _LONGEST_NAME:
        return f"{name[:_LONGEST_NAME]!r}..."
    return f"{name!r}"


def _short(field: str) -> str:
    """Shorten a name that a client may have chosen, for a message."""
    return ascii(field) if len(field) <= 40 else ascii(field[:40]) + "..."


class Ceiling(NamedTuple):
    """The most bytes that a file may have.

    Attributes:
        size: that many.
        quota: what all files together may have, if ``size`` is what is left of it.
    """

    size: int
    quota: int | None = None

    def exceeded(
        self, field: str, filename: str | None, seen: int, *, so_far: bool = False
    ) -> LimitExceeded:
        """Make the error for a file of ``seen`` bytes, or of at least so many."""
        wrong = str(exceeded("", seen, self.size, exact=not so_far))
        if self.quota is not None:
            wrong += f" (left of the quota of {self.quota})"
        return _error(field, filename, wrong, wrong, self.size, seen)


def _error(
    field: str, filename: str | None, wrong: str, logged: str, limit: float, seen: float
) -> LimitExceeded:
    error = LimitExceeded(
        f"{call_file(field, filename)}{wrong}", limit=limit, seen=seen
    )
    error.logged = f"{call_file(field, None)}{logged}"
    return error


class CeilingStream(LimitStream):
    """A file on its way, refused when it goes beyond its limit.

    Args:
        source: its bytes; owned.
        ceiling: how many they may be.
        field: the form's field.
        filename: as sent, or ``None``.
    """

    def __init__(
        self, source: Stream, ceiling: Ceiling, field: str, filename: str | None
    ) -> None:
        super().__init__(source, ceiling.size)
        self._ceiling = ceiling
        self._names = field, filename
        self._own: LimitExceeded | None = None

    def _exceeded(self, seen: int) -> LimitExceeded:
        self._own = self._ceiling.exceeded(*self._names, seen, so_far=True)
        return self._own

    def named(self, error: LimitExceeded) -> LimitExceeded:
        """``error`` with the file in its message: what is below knows no names."""
        if error is self._own or type(error) is not LimitExceeded:
            return error
        wrong, logged = f": {error}", f": {error.logged or error}"
        named = _error(*self._names, wrong, logged, error.limit, error.seen)
        named.__cause__ = error
        return named
