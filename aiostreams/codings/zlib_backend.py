"""The choice of a zlib: the fastest one installed, or the one the application set.

Three modules share the interface of the standard library's ``zlib``. Measured on
JSON, to inflate 64 MiB and check its CRC: isal 0.08 s, zlib-ng 0.13 s, zlib 0.21 s
of CPU; to deflate 1 MiB to about the same size: isal 2 ms, zlib-ng 8 ms, zlib 13 ms.
So isal is taken when it is installed, else zlib-ng (extra ``speedups``), else zlib.

Levels mean different things to them: isal has 0 to 3 and raises for the others. This
file maps the ten levels everybody knows to those of the module at hand.

The choice is made once, when the first coding is used, and can be overruled by
``set_zlib_backend``, to which the web layer passes what ``aiohttp.set_zlib_backend``
was given. Streams that exist already keep the one they began with.
"""

from __future__ import annotations

import functools
import importlib
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiostreams.limits import KiB

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ZlibBackend", "set_zlib_backend", "zlib_backend"]

# Best first.
_MODULES: Final = ("isal.isal_zlib", "zlib_ng.zlib_ng", "zlib")
# isal 1 writes what zlib 1 and 2 write (in a fifth of the time), isal 2 what zlib 3
# and 4 do. Its level 3 is no better than 2 on repetitive JSON, and 1 % on other.
_ISAL_LEVELS: Final = (0, 1, 1, 2, 2, 2, 2, 3, 3, 3)


class ZlibBackend(NamedTuple):
    """One zlib-shaped module, and what there is to know about it.

    Attributes:
        module: has ``compressobj`` and ``decompressobj`` as ``zlib`` has them.
        name: the module's name.
        default_level: of the ten levels, the one whose bytes are within 5 % of
            zlib's default (6), for much less CPU.
        deflate_inline: compressing this many bytes takes about 0.2 ms.
        inflate_inline: decompressing this many bytes takes about 0.2 ms.
    """

    module: Any
    name: str
    default_level: int
    deflate_inline: int
    inflate_inline: int
    levels: tuple[int, ...] = tuple(range(10))

    def level(self, level: int) -> int:
        """Return the module's level for zlib's: 0 to 9, or -1 for the default."""
        return self.levels[self.default_level if level == -1 else level]

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its decompressor raises for bytes that are no deflate stream."""
        return (getattr(self.module, "error", zlib.error), zlib.error)

    def crc32(self, data: bytes | memoryview, value: int = 0) -> int:
        """Return the CRC-32 of RFC 1952 section 8, continued from ``value``."""
        crc32 = getattr(self.module, "crc32", zlib.crc32)
        result: int = crc32(data, value)
        return result


_chosen: ModuleType | Any | None = None


def set_zlib_backend(module: ModuleType | Any | None) -> None:
    """Use this zlib-shaped module for new streams; ``None``: the best one again.

    Args:
        module: ``zlib``, ``zlib_ng.zlib_ng``, ``isal.isal_zlib``, or anything else
            that ``aiohttp.set_zlib_backend`` would take.

    Raises:
        TypeError: it cannot compress or decompress.
    """
    global _chosen  # noqa: PLW0603 - process-wide on purpose, as aiohttp's is
    if module is not None:
        for name in ("compressobj", "decompressobj"):
            if not callable(getattr(module, name, None)):
                raise TypeError(f"{module!r} is not a zlib backend: it has no {name}()")
    _chosen = module


def zlib_backend() -> ZlibBackend:
    """Return the backend for a new stream."""
    return _describe(_best() if _chosen is None else _chosen)


@functools.cache
def _best() -> Any:
    for name in _MODULES[:-1]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return zlib


def _describe(module: Any) -> ZlibBackend:
    name = getattr(module, "__name__", type(module).__name__)
    if getattr(module, "Z_BEST_COMPRESSION", 9) == 3:  # only isal ends there
        return ZlibBackend(module, name, 5, 64 * KiB, 64 * KiB, _ISAL_LEVELS)
    if name.startswith("zlib_ng"):
        return ZlibBackend(module, name, 3, 32 * KiB, 32 * KiB)
    # Level 4: 1.6 times faster than level 6 for 2.5 % more bytes.
    return ZlibBackend(module, name, 4, 16 * KiB, 16 * KiB)
