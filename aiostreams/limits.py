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

    # The bytes of a body after decoding. The bytes before decoding count against it
    # as well, so it stops both a long body and a decompression bomb.
    max_body: int = 1 * GiB
    # The memory for the values of one request: read_bytes, read_text, read_json, and
    # all form fields together. With max_field alone, 1,000 fields could take 1 GiB.
    max_memory: int = 1 * MiB
    # The parts of a multipart body. Each one costs header fields, objects and maybe a
    # file descriptor.
    max_parts: int = 1000
    # The bytes of one form field. Fields are kept in memory.
    max_field: int = 1 * MiB
    # The bytes of one file part. Files are stored.
    max_file: int = 1 * GiB
    # The header fields of one part. Browsers send two, libraries up to four.
    max_headers: int = 16
    # The bytes of all header fields of one part. A name, a filename and a type need
    # far less.
    max_header_size: int = 8 * KiB
    # The bytes before the first delimiter. RFC 2046 allows them; browsers send none.
    max_preamble: int = 16 * KiB
    # The levels of multipart inside multipart. Each level has a parser of its own.
    max_depth: int = 3
    # The ratio of decoded to encoded bytes, after the first 64 KiB of decoded bytes.
    # Normal text reaches 20, a decompression bomb 1,000.
    max_ratio: float = 100
    # The content codings of one body. Each one multiplies the ratio.
    max_codings: int = 2
    # The longest time between two pieces of a body.
    idle_timeout: float | None = 30.0
    # The longest time for the complete body. There is none, because a large upload
    # takes long.
    total_timeout: float | None = None
    # The lowest average rate, in bytes per second, after min_rate_grace. It stops a
    # client that sends single bytes to avoid idle_timeout. Kestrel has the same value.
    min_rate: float = 240
    # The time before min_rate applies.
    min_rate_grace: float = 5.0
    # Whether a body without a Content-Length is refused with 411. If off, a chunked
    # body is counted while it streams.
    require_length: bool = False
    # Whether a PUT with Content-Range is accepted. Its body is a part of a file, and a
    # handler that ignores the field would store that part as the file (RFC 9110
    # section 14.5). If off, the answer is 400.
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
