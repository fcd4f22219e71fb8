"""What a file is to those who look at it: its name, its type, how it is shown.

Files that were uploaded have the type that ``receive`` found by their first bytes.
Files that others put into the folder have none, nor do object stores tell it in a
listing; then the name has to do. Wrong it does no harm, since ``nosniff`` keeps
browsers from believing anything else.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Kind",
    "decode",
    "kind_of",
    "media_type",
    "shown_path",
    "size_in_words",
    "types_in_words",
]

Kind: TypeAlias = Literal["image", "audio", "video", "text"]

# What a browser draws and does not run. SVG is not among them.
IMAGES: Final = frozenset(
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "bmp")
)
# Text by another name.
TEXTUAL: Final = frozenset(
    f"application/{kind}"
    for kind in ("json", "x-ndjson", "toml", "yaml", "x-yaml", "sql", "x-sh")
)
# Shown as text they would do no harm; but who looks at a page wants to see the page.
PAGES: Final = frozenset({"text/html", "text/xml"})

# What is said of a file by those who do not know.
UNKNOWN: Final = "application/octet-stream"

# The folder that an upload by form has for itself.
OWN_FOLDER: Final = re.compile("[0-9a-f]{16}/")
CHARSET: Final = re.compile(r';\s*charset="?([\w.:-]{1,40})', re.IGNORECASE)
MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def media_type(key: str, content_type: str | None) -> str:
    """Return the type as stored, if that says anything, else by the extension."""
    if content_type in {None, UNKNOWN}:
        content_type = mimetypes.guess_type(key)[0]
    return content_type or UNKNOWN


def kind_of(content_type: str) -> Kind | None:
    """How files of this type are shown, if they are."""
    essence = content_type.partition(";")[0].strip().lower()
    main = essence.partition("/")[0]
    if essence in IMAGES:
        return "image"
    if main == "audio":
        return "audio"
    if main == "video":
        return "video"
    if (main == "text" and essence not in PAGES) or essence in TEXTUAL:
        return "text"
    return None


def decode(data: bytes, content_type: str) -> str:
    """Return the text that bytes of this type are, as well as one can tell."""
    found = CHARSET.search(content_type)
    charset = found[1] if found else "utf-8"
    for mark, marked in MARKS:
        if data.startswith(mark):
            charset = marked
    try:
        return data.decode(charset, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def shown_path(key: str) -> str:
    """Return the key as people know it: without its unique folder."""
    return OWN_FOLDER.sub("", key, count=1)


# What people call them; others are known by the second half of their names.
PLURALS: Final = {
    "*/*": "any file",
    "application/*": "documents",
    "audio/*": "sounds",
    "image/*": "pictures",
    "text/*": "texts",
    "text/plain": "texts",
    "video/*": "videos",
}


def types_in_words(types: Iterable[str]) -> list[str]:
    """Media types, for people."""
    words = {PLURALS.get(kind) or kind.rpartition("/")[2].upper() for kind in types}
    return sorted(words, key=str.lower)


def size_in_words(size: float) -> str:
    """Return a number of bytes, for people."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    digits = 1 if size < 10 and units[0] != "bytes" else 0
    return f"{size:.{digits}f} {units[0]}"
