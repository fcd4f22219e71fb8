"""Files beside a file, in a content coding: ``page.html.zst``, ``.br`` or ``.gz``.

They are served in its place, as they are: no work, and by ``sendfile``. One that is
older than its original is stale and does not count; nor does what is no regular file,
a symbolic link above all: it could lead anywhere.
"""

from __future__ import annotations

import functools
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiostreams.errors import StreamError
from aiostreams.files.file import FileStream
from aiostreams.sansio.negotiation import choose_coding
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiostreams.sansio.negotiation import FieldLines

__all__ = ["open_precompressed"]

_EXTENSIONS: Final = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}


async def open_precompressed(
    path: str, accept_encoding: FieldLines, codings: Sequence[str]
) -> tuple[str, FileStream] | None:
    """Open what lies beside the file at ``path`` in the coding a client likes best.

    Args:
        path: the file itself.
        accept_encoding: the lines of the field.
        codings: those that may be sent, best first.

    Returns:
        The coding and the open stream, or ``None`` when the file itself is better.
    """
    wanted = [
        coding
        for coding in codings
        if coding in _EXTENSIONS and choose_coding(accept_encoding, (coding,)) == coding
    ]
    if not wanted:
        return None
    looking = ThreadCall(functools.partial(_up_to_date, path, wanted))
    await looking.finish()
    coding = choose_coding(accept_encoding, looking.result())
    if coding is None or coding == "identity":
        return None
    stream = FileStream(path + _EXTENSIONS[coding], follow_symlinks=False)
    try:
        await stream.open()
    except (OSError, StreamError):
        # Replaced or removed since.
        await stream.close()
        return None
    return coding, stream


def _up_to_date(path: str, codings: Iterable[str]) -> list[str]:
    """The codings whose file is there and not older than the one at ``path``."""
    found = []
    try:
        modified = Path(path).stat().st_mtime_ns
        for coding in codings:
            try:
                beside = Path(path + _EXTENSIONS[coding]).lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(beside.st_mode) and beside.st_mtime_ns >= modified:
                found.append(coding)
    except OSError:
        return []
    return found
