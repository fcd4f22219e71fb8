"""The content codings there are: what each is called, needs, and is made by.

    zstd     compression.zstd (Python 3.14) or backports.zstd (extra ``zstd``)
    br       brotli 1.2 or newer (extra ``brotli``)
    gzip     always; faster with extra ``speedups`` (see ``zlib_backend``)
    deflate  likewise

Libraries are imported when first needed. One that is missing is the client's problem
when the client sent the coding (415, with what it may send instead), and the
application's when the application asked for it (``ImportError`` naming the extra).
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

from aiostreams.codings.gzip import (
    DeflateDecoder,
    DeflateEncoder,
    GzipDecoder,
    GzipEncoder,
)
from aiostreams.codings.zstd_brotli import (
    BrotliDecoder,
    BrotliEncoder,
    ZstdDecoder,
    ZstdEncoder,
)
from aiostreams.errors import UnsupportedContent

if TYPE_CHECKING:
    from aiostreams.codings.base import Decoder, Encoder

__all__ = ["make_decoder", "make_encoder", "supported_codings"]

# In the order a server prefers them: zstd compresses faster than gzip to fewer
# bytes, br is smaller but slower, deflate has no checksum worth the name and two
# readings.
_CODINGS: Final = ("zstd", "br", "gzip", "deflate")
_EXTRAS: Final = {"zstd": "zstd", "br": "brotli"}


def supported_codings() -> tuple[str, ...]:
    """The codings that can be read and written here, best first."""
    return tuple(
        coding
        for coding in _CODINGS
        if coding not in _EXTRAS or _library(coding) is not None
    )


def make_decoder(coding: str) -> Decoder:
    """A decoder for one coding, named in lower case and not by an alias.

    Raises:
        UnsupportedContent: there is none; says which ones there are.
    """
    if coding == "gzip":
        return GzipDecoder()
    if coding == "deflate":
        return DeflateDecoder()
    library = _library(coding)
    if library is None:
        what = "needs a library that is missing" if coding in _EXTRAS else "is unknown"
        supported = ", ".join(supported_codings())
        # The name comes from the client: shown as far as it can be a name.
        raise UnsupportedContent(
            f"the content coding {coding[:32]!r} {what}; supported: {supported}",
            accept_encoding=supported,
        )
    return ZstdDecoder(library) if coding == "zstd" else BrotliDecoder(library)


def make_encoder(coding: str, level: int | None = None) -> Encoder:
    """An encoder for one coding, named in lower case and not by an alias.

    Raises:
        ImportError: its library is missing; names the extra that brings it, if one
            does.
        ValueError: there is no such coding, or it has no such level.
    """
    if coding == "gzip":
        return GzipEncoder(level)
    if coding == "deflate":
        return DeflateEncoder(level)
    if coding not in _EXTRAS:
        raise ValueError(
            f"no content coding {coding!r}; there are {', '.join(_CODINGS)}"
        )
    library = _library(coding)
    if library is None:
        remedy = f'pip install "aiostreams[{_EXTRAS[coding]}]"'
        if coding == "zstd" and sys.version_info >= (3, 14):  # no extra brings it
            remedy = "this Python was built without compression.zstd"
        raise ImportError(f"the content coding {coding!r} needs a library: {remedy}")
    if coding == "zstd":
        return ZstdEncoder(library, level)
    return BrotliEncoder(library, level)


@functools.cache
def _library(coding: str) -> Any | None:
    """The module for a coding beyond zlib's, or ``None``."""
    if coding == "zstd":
        return _import("compression.zstd") or _import("backports.zstd")
    if coding == "br":
        library = _import("brotli")
        # Older ones give all output at once: a bomb's, too.
        version = getattr(library, "__version__", "0").split(".")
        return library if [int(part) for part in version[:2]] >= [1, 2] else None
    return None


def _import(name: str) -> Any | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
