"""A name for a file that came from outside, safe to use as a path component.

The filename on the wire is data: it may be a path, a device, a terminal escape,
or empty. :func:`safe_filename` keeps what a person would recognise (letters of
every script, spaces inside, the extension) and nothing a file system or a shell
could take for something else, on POSIX and on Windows. It does not make names
unique: two uploads may well have the same one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["safe_filename"]

_MAX_BYTES: Final = 255  # NAME_MAX of every common file system
_FALLBACK: Final = "file"
# Controls, line and paragraph separators, bidirectional controls (they make
# "gpj.exe" of "exe.jpg"), zero-width marks and soft hyphens that hide, and
# non-characters.
_INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_RESERVED: Final = re.compile('[/\\\\:*?"<>|]')
# Names of devices on Windows, whatever the extension, in any case.
_DEVICE: Final = re.compile(
    "(?:CON|PRN|AUX|NUL|CONIN\\$|CONOUT\\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])"
)


def safe_filename(name: str | None) -> str:
    """The last component of ``name``, made harmless; ``"file"`` for no name.

    The result encodes to at most 255 bytes of UTF-8, keeps the last extension
    where it fits, has no separator, control or bidirectional character, does not
    start with a dot, ``-`` or ``~``, does not end in a dot or a space, and is no
    device of Windows. Applying the function again changes nothing.
    """
    text = (name or "").encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFC", text)
    text = re.split(r"[/\\]", text)[-1]
    text = _RESERVED.sub("_", _INVISIBLE.sub("", text))
    # Taking characters out may have brought combining ones together.
    text = unicodedata.normalize("NFC", text)
    while True:
        cleaned = _shorten(_trim(text))
        if cleaned == text:
            return text
        text = cleaned


def _trim(text: str) -> str:
    """Give the ends of ``text`` a shape that no shell or system reacts to."""
    text = text.strip().lstrip(". ").rstrip(". ").strip()
    if not text:
        return _FALLBACK
    stem = text.partition(".")[0].rstrip().upper()
    if text[0] in "-~" or _DEVICE.fullmatch(stem):
        return "_" + text
    return text


def _shorten(text: str) -> str:
    """Cut ``text`` to 255 bytes between characters, before its extension."""
    if len(text.encode()) <= _MAX_BYTES:
        return text
    stem, dot, extension = text.rpartition(".")
    suffix = (dot + extension).encode()
    room = _MAX_BYTES - len(suffix)
    if not stem or room < len(stem[0].encode()):
        return _cut(text, _MAX_BYTES)
    return _cut(stem, room) + suffix.decode()


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")
