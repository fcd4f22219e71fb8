"""Templates: HTML files with ``$names``, whose values are escaped unless they are HTML.

Enough for an app of a few pages. What a client chose (a file's name, say) is text, and
becomes markup nowhere: only what a template made is ``Markup``.
"""

from __future__ import annotations

import html
import string
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Markup", "Template"]

TEMPLATES: Final = Path(__file__).parent / "templates"


class Markup(str):
    """Text that is HTML, and not to be escaped again."""

    __slots__ = ()

    @classmethod
    def join_all(cls, pieces: Iterable[Markup]) -> Markup:
        """One after the other."""
        return cls("".join(pieces))


class Template:
    """One file of the folder ``templates``.

    Called with a value for each of its names it gives ``Markup``. An attribute's value
    has to stand in double quotes, which the escaping counts on.
    """

    def __init__(self, name: str) -> None:
        text = (TEMPLATES / name).read_text("utf-8")
        self._template = string.Template(text)

    def __call__(self, **values: object) -> Markup:
        return Markup(
            self._template.substitute(
                {
                    name: value
                    if isinstance(value, Markup)
                    else html.escape(str(value))
                    for name, value in values.items()
                }
            )
        )
