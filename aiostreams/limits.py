"""The limits of the package, in one frozen object, finite by default.

Whatever grows with what a client sends is bounded by one of these. Bytes are counted
while streaming, for every way of reading. Limits are inclusive: n pass, n + 1 are
refused. ``sys.maxsize`` removes a limit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["DEFAULT_LIMITS", "GiB", "KiB", "Limits", "MiB"]

KiB: Final = 1024
"""1,024 bytes."""

MiB: Final = 1024 * KiB
"""1,048,576 bytes."""

GiB: Final = 1024 * MiB
"""1,073,741,824 bytes."""


# None lifts these.
_OPTIONAL: Final = frozenset({"idle_timeout", "total_timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits for one application, or one route (see :func:`limit`).

    Sizes are in bytes, times in seconds.

    Raises:
        TypeError: a limit is not a number.
        ValueError: a limit is negative.
    """

    # The whole body, decoded; the bytes on the wire are held to it as well, so
    # that neither a long body nor a bomb gets past it.
    max_body: int = 1 * GiB
    # What one request may hold in memory: read_bytes/text/json, and all form
    # fields together. A field limit alone would let 1,000 fields take 1 GiB.
    max_memory: int = 1 * MiB
    # Each part costs headers, objects and maybe a file descriptor.
    max_parts: int = 1000
    # One form field; fields are meant for memory.
    max_field: int = 1 * MiB
    # One file part; files are meant for disk.
    max_file: int = 1 * GiB
    # Header fields of one part: browsers send two, libraries up to four.
    max_headers: int = 16
    # All header bytes of one part: a name, a filename and a type fit easily.
    max_header_size: int = 8 * KiB
    # Bytes before the first delimiter: RFC 2046 allows them, nobody sends them.
    max_preamble: int = 16 * KiB
    # Multipart inside multipart: each level is a parser on the stack.
    max_depth: int = 3
    # Decoded to encoded bytes, after the first 64 KiB out: honest text reaches
    # 20, a bomb 1,000.
    max_ratio: float = 100
    # Content codings stacked upon another: each multiplies the ratio.
    max_codings: int = 2
    # Longest silence between two pieces of a body.
    idle_timeout: float | None = 30.0
    # Longest time for the whole body; none, since large uploads take long.
    total_timeout: float | None = None
    # Bytes a second on average after the grace: stops a client that sends one
    # byte now and then to stay under the idle timeout. Kestrel's number.
    min_rate: float = 240
    # Seconds before min_rate is held against a client.
    min_rate_grace: float = 5.0
    # Refuse a body whose length is not declared (411). Off: chunked bodies
    # are counted while they stream.
    require_length: bool = False
    # Take a PUT with Content-Range, which is of a part: who does not know that puts
    # the tail of a file in its place (RFC 9110 section 14.5). Off: 400.
    partial_put: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in _OPTIONAL:
                continue
            if isinstance(field.default, bool):
                if not isinstance(value, bool):
                    raise TypeError(
                        f"{field.name} must be True or False, not {value!r}"
                    )
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{field.name} must be a number, not {value!r}")
            if not value >= 0:
                raise ValueError(f"{field.name} must not be negative: {value!r}")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some limits changed.

        Raises:
            TypeError: a name is not a limit, or a value not a number.
            ValueError: a value is negative.
        """
        return dataclasses.replace(self, **changes)


DEFAULT_LIMITS: Final = Limits()
