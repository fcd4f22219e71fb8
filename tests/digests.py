"""Digest fields of bytes, as a client would make them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from aiostreams.sansio.digest import DIGEST_ALGORITHMS, format_digest


def digest_of(data: bytes, names: Iterable[str] = ("sha-256",)) -> str:
    return format_digest(
        {name: hashlib.new(DIGEST_ALGORITHMS[name], data).digest() for name in names}
    )
