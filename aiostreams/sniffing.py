"""The type of a file by its first bytes.

For ``receive(sniffer=...)``, and for applications that look at files themselves.
"""

from __future__ import annotations

from aiostreams.sansio.sniff.types import magic_sniffer, sniff

__all__ = ["magic_sniffer", "sniff"]
