"""Predicates that say which responses are worth compressing.

For ``Compression(when=...)``.
"""

from __future__ import annotations

from aiostreams.web.compression.config import (
    Candidate,
    Predicate,
    compressible,
    path_prefix,
)

__all__ = ["Candidate", "Predicate", "compressible", "path_prefix"]
