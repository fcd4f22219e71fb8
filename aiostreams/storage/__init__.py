"""Storages for objects: in memory, on disk, in object stores.

The checks of keys, prefixes and attributes are for storages of one's own.
"""

from __future__ import annotations

from aiostreams.storage.base import (
    StagedObject,
    check_attributes,
    check_key,
    check_prefix,
)

__all__ = ["StagedObject", "check_attributes", "check_key", "check_prefix"]
