"""A complete form-data body in one piece, parsed at the speed of ``bytes.split``.

Most forms are small and wholly there before anyone looks at them. Such a body is
split at its delimiters, and each piece must match, from end to end, one regular
expression: a plain head (see :mod:`aiostreams.sansio.parthead`), then any content.
When every piece does, and no limit is near, the pieces are the parts. When
anything at all is out of the ordinary (a preamble, padding, a header more, an
escape in a name, a limit passed, an error) the answer is None and the push parser
decides, so that there is one set of rules and one set of errors.

1,000 small fields take 0.6 ms this way, by the push parser 1.3 ms.

A file of its own: the short cut next to the push parser, held to the same answers.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.sansio.parthead import PLAIN_HEAD

__all__ = ["FormPart", "parse_whole_form"]

_BLANK_LINE: Final = rb"\r\n\r\n"
# What stands between two delimiters; `.` after (?s:) is one step for any length.
_piece: Final = re.compile(
    rb"\r\n(" + PLAIN_HEAD.removesuffix(_BLANK_LINE) + rb"\r\n)\r\n((?s:.*+))"
).fullmatch


class FormPart(NamedTuple):
    """One part of a form.

    Attributes:
        raw: its header bytes, as :attr:`PartBegin.raw` has them.
        name: the field's name.
        filename: the filename as sent, or None for a field.
        content_type: its Content-Type as sent, or None.
        body: its content.
    """

    raw: bytes
    name: str
    filename: str | None
    content_type: str | None
    body: bytes


def parse_whole_form(
    body: bytes, boundary: bytes, limits: Limits = DEFAULT_LIMITS
) -> list[FormPart] | None:
    """Parse a body of which nothing is missing, if it is an ordinary one.

    The parts are those that :class:`MultipartParser` finds, or there is no answer.

    Args:
        body: from its first byte to its last.
        boundary: as :func:`boundary_of` gives it.
        limits: the same as for the push parser; a body over one has no answer.
    """
    opening = b"--" + boundary
    if not body.startswith(opening) or limits.max_headers < 2:
        return None
    # One more split than parts are allowed, so that one too many shows.
    pieces = body.split(b"\r\n" + opening, limits.max_parts + 1)
    pieces[0] = pieces[0][len(opening) :]
    if not pieces.pop().startswith(b"--") or len(pieces) > limits.max_parts:
        return None
    max_head, max_field, max_file = (
        limits.max_header_size,
        limits.max_field,
        limits.max_file,
    )
    # No part of a body this small is over a ceiling.
    near = len(body) > min(max_head, max_field, max_file)
    parts = []
    new = tuple.__new__  # 90 ns, where FormPart() takes 290 ns
    for match in map(_piece, pieces):
        if match is None:
            return None
        raw, name, filename, content_type, content = match.groups()
        if near and (
            len(raw) > max_head
            or len(content) > (max_field if filename is None else max_file)
        ):
            return None
        name = name.decode("utf-8", "replace")
        if filename is not None:
            filename = filename.decode("utf-8", "replace")
        if content_type is not None:
            content_type = content_type.decode("ascii")
        parts.append(new(FormPart, (raw, name, filename, content_type, content)))
    return parts
