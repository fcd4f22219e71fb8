"""Makes links of the names in docstrings, when the reference is built from them.

Docstrings are written to be read in an editor: a name stands in double backquotes,
or in a role such as :func:`copy`. Each that names something public becomes a link to
its place in the reference; strict builds fail when that place is missing.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

import aiostreams
import aiostreams.testing

_PUBLIC = {
    **{name: f"aiostreams.{name}" for name in aiostreams.__all__},
    **{name: f"aiostreams.testing.{name}" for name in aiostreams.testing.__all__},
}
# Lists that are described in the text of their page, not by a docstring.
for _name in ("LAWS", "PROMISES", "KiB", "MiB", "GiB"):
    _PUBLIC.pop(_name)
_ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc):`~?([\w.]+)`")
_LITERAL = re.compile(r"``([\w.]+)(\(\))?``")


class CrossReferences(griffe.Extension):
    """Rewrites each docstring once, before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return

        def link(match: re.Match[str]) -> str:
            called = match[2] if match.re is _LITERAL and match[2] else ""
            name = match[1].removeprefix("aiostreams.").removeprefix("testing.")
            owner, _, member = name.partition(".")
            path = _PUBLIC.get(owner)
            shown = f"`{name}{called}`"
            # A name needs no link to itself.
            if path is None or member or owner in obj.path.split("."):
                return shown
            return f"[{shown}][{path}]"

        # What is indented by four is code, or the text of a section; only a role or a
        # literal is touched, and neither occurs in code.
        text = _ROLE.sub(link, obj.docstring.value)
        obj.docstring.value = _LITERAL.sub(link, text)
