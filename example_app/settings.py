"""What the flags have said, and where handlers find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from aiostreams import Limits, MiB

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["SETTINGS", "STAGED", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the flags say.

    Attributes:
        max_file: the largest file, in bytes.
        max_files: how many files one form may have.
        max_body: the largest body, in bytes; room for all files of a form, unless
            given.
        quota: how many bytes all files of the storage may have; any number when
            ``None``.
        accept: the media types that are welcome; all when ``None``.
        upstream: where the proxy fetches from; the app's own files when ``None``.
        hosts: the names under which the app may be asked for, besides ``localhost``
            and addresses; any when it has ``"*"``.
    """

    max_file: int
    max_files: int = 100
    max_body: int | None = None
    quota: int | None = None
    accept: frozenset[str] | None = None
    upstream: URL | None = None
    hosts: frozenset[str] = frozenset()

    @property
    def limits(self) -> Limits:
        """The ceilings for every request."""
        room = self.max_file * self.max_files + 1 * MiB  # for what is around the files
        return Limits(
            max_body=room if self.max_body is None else self.max_body,
            max_file=self.max_file,
            max_parts=self.max_files,
        )


SETTINGS = web.AppKey("settings", Settings)

# Where a storage keeps what is not confirmed yet, and sweeps it.
STAGED = "aiostreams-staged/"
