"""What the reference makes of the docstrings, beyond showing them.

Docstrings are written to be read in an editor: a name stands in double backquotes,
or in a role such as :func:`copy`. Each that names something public becomes a link to
its place in the reference; strict builds fail when that place is missing.

A method that a subclass overrides in keeping with its base, and so describes in one
line, is not repeated for every class.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

import aiostreams
import aiostreams.codings
import aiostreams.compression
import aiostreams.sniffing
import aiostreams.stats
import aiostreams.storage
import aiostreams.testing

_PUBLIC = {
    name: f"{module.__name__}.{name}"
    for module in (
        aiostreams,
        aiostreams.codings,
        aiostreams.compression,
        aiostreams.sniffing,
        aiostreams.stats,
        aiostreams.storage,
        aiostreams.testing,
    )
    for name in module.__all__
}
_ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc):`~?([\w.]+)`")
_LITERAL = re.compile(r"``([\w.]+)(\(\))?``")
# Members that stand on the page of their base.
_CONTRACTS = {
    name
    for base in (aiostreams.Stream, aiostreams.Storage)
    for name in vars(base)
    if not name.startswith("_")
} - {"size", "content_type"}
_BASES = {"Stream", "Content", "Storage"}


class Reference(griffe.Extension):
    """Rewrites each docstring once, before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Make links, and leave out what its base says already."""
        if obj.docstring is None:
            return
        owner = obj.parent
        if (
            owner is not None
            and owner.is_class
            and owner.name not in _BASES
            and obj.name in _CONTRACTS
            and "\n" not in obj.docstring.value
        ):
            obj.docstring = None
            return

        def link(match: re.Match[str]) -> str:
            called = match[2] if match.re is _LITERAL and match[2] else ""
            name = match[1].removeprefix("aiostreams.").removeprefix("testing.")
            first, _, member = name.partition(".")
            path = _PUBLIC.get(first)
            # A name needs no link to itself.
            if path is None or member or first in obj.path.split("."):
                return f"`{name}{called}`"
            return f"[`{name}{called}`][{path}]"

        text = _ROLE.sub(link, obj.docstring.value)
        obj.docstring.value = _LITERAL.sub(link, text)
