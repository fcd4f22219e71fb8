"""What a file system keeps of an object beside its bytes: one extended attribute.

It is set on the temporary file, so it appears with the object and is gone with it.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from aiostreams.uploads.objectdraft import ATTRIBUTE
from aiostreams.uploads.storage import check_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Attributes", "decode_attributes", "encode_attributes"]

# What a file system says that keeps no attributes, or none of this file.
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA})


class Attributes(NamedTuple):
    """What is kept beside the bytes."""

    content_type: str | None = None
    metadata: Mapping[str, str] = {}


def encode_attributes(content_type: str | None, metadata: Mapping[str, str]) -> bytes:
    """The attribute's value; empty when there is nothing to keep."""
    kept: dict[str, object] = {}
    if content_type is not None:
        kept["content_type"] = content_type
    if metadata:
        kept["metadata"] = metadata
    return json.dumps(kept, ensure_ascii=False).encode() if kept else b""


def decode_attributes(fd: int) -> Attributes:
    """What the file says; others may have written it, so all of it is checked."""
    try:
        kept = json.loads(os.getxattr(fd, ATTRIBUTE))
        content_type = kept.get("content_type")
        metadata = check_attributes(content_type, kept.get("metadata"))
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
    except (AttributeError, ValueError, TypeError):
        pass
    else:
        return Attributes(content_type, metadata)
    return Attributes()
