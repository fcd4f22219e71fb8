"""How large one file may be, and what is said of one that is larger.

The lowest of three ceilings counts: that of ``Limits``, that of the field's rule, and
what the files before have left of the quota. A message names the file as its sender
knows it, by field and filename, and the quota where that is what is used up. ``limit``
and ``seen`` of the error are about this file in each case.

A name is put into words when there is an error, not for each file. A log gets the
field alone: what people call their files is nobody else's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiostreams.errors import LimitExceeded
from aiostreams.streams.transforms import LimitStream
from aiostreams.uploads.rules import call_file

if TYPE_CHECKING:
    from aiostreams.streams.base import Stream

__all__ = ["Ceiling", "CeilingStream"]


@dataclass(frozen=True, slots=True)
class Ceiling:
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
        """The error for a file of ``seen`` bytes, or of at least so many."""
        most = f"limit {self.size}"
        if self.quota is not None:
            most = f"{self.size} are left of the quota of {self.quota}"
        count = f"at least {seen}" if so_far else f"{seen}"
        wrong = f" has {count} bytes, {most}"
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
    """A file on its way, refused when it goes beyond its ceiling.

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
