"""An S3 server for the pages that want one."""

from __future__ import annotations

from tests.storage.conftest import seaweed

__all__ = ["seaweed"]
