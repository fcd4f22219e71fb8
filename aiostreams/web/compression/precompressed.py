"""Files beside a file, in a content coding: ``page.html.zst``, ``.br``, ``.gz``.

They are served in its place, as they are: no work, and by ``sendfile``. One that is
older than its original is stale and does not count; nor does what is no regular file,
a symbolic link above all: it could lead anywhere.
"""

from __future__ import annotations

import functools
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from aiostreams.codings.registry import coding_aliases, find_coding
from aiostreams.errors import StreamError
from aiostreams.files.file import FileStream
from aiostreams.sansio.negotiation import choose_coding
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiostreams.sansio.negotiation import FieldLines

__all__ = ["open_precompressed"]


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
    aliases = coding_aliases()
    beside = {
        name: path + coding.extension
        for name in codings
        if (coding := find_coding(name)) is not None
        and coding.extension is not None
        and choose_coding(accept_encoding, (name,), aliases) == name
    }
    if not beside:
        return None
    looking = ThreadCall(functools.partial(_up_to_date, path, beside))
    await looking.finish()
    chosen = choose_coding(accept_encoding, looking.result(), aliases)
    if chosen is None or chosen == "identity":
        return None
    stream = FileStream(beside[chosen], follow_symlinks=False)
    try:
        await stream.open()
    except (OSError, StreamError):
        # Replaced or removed since.
        await stream.close()
        return None
    return chosen, stream


def _up_to_date(path: str, beside: Mapping[str, str]) -> list[str]:
    """The codings whose file is there and not older than the one at ``path``."""
    found = []
    try:
        modified = Path(path).stat().st_mtime_ns
        for coding, encoded in beside.items():
            try:
                status = Path(encoded).lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mtime_ns >= modified:
                found.append(coding)
    except OSError:
        return []
    return found
