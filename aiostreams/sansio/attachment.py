r"""``Content-Disposition`` of a response: RFC 6266, RFC 8187.

    attachment; filename="naive.txt"; filename*=UTF-8''na%C3%AFve.txt

``filename*`` says the name exactly; ``filename`` is for those who do not read the
other, curl among them, and is harmless to all. It is sent alone when it is exact for
everyone. What makes it inexact is what today's clients do with it:

    non-ASCII             read as Latin-1, as UTF-8, or not at all
    " and \               cut the name short in curl, which knows no escapes
    / and \               lose the path before them (curl), or become "_" (browsers)
    % and two hex digits  are decoded by Chromium; a lone % is left alone
    =?                    begins an encoded word (RFC 2047) in Chromium and Firefox
    spaces at either end  are trimmed

In the fallback accents are dropped, and each other such character becomes "_".
Part headers of a multipart body have rules of their own, and are not built here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

from aiostreams.sansio.negotiation import is_token

__all__ = ["content_disposition"]

# C0, DEL and C1 controls, the two Unicode line ends, and surrogates, which have no
# UTF-8: none belongs in a name, and some end a header.
_forbidden = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
_ambiguous = re.compile(
    r"""[^\x20-\x7e]|["\\/]|%(?=[0-9A-Fa-f]{2})|=(?=\?)|^\x20+|(?<!\x20)\x20++\Z"""
)
# attr-char (RFC 8187 section 3.2.1), beyond the letters, digits and _.-~ that
# quote() keeps in any case.
_ATTR_CHARS: Final = "!#$&+^`|"


def content_disposition(kind: str, filename: str | None = None) -> str:
    """Build the value of a ``Content-Disposition`` response field.

    Args:
        kind: ``"attachment"`` (to be saved), ``"inline"`` (to be shown), or another
            disposition type, which is treated as attachment (RFC 6266 section 4.2).
        filename: the name to save under, if there is one to suggest. A path is not
            shortened: it is the caller who knows which part of it is the name.

    Returns:
        An ASCII string; ``kind`` alone for no filename or an empty one.

    Raises:
        ValueError: ``kind`` is not a token; ``filename`` has a control character
            (CR, LF and NUL are some), a Unicode line end or a lone surrogate.
    """
    if not is_token(kind):
        raise ValueError(f"a disposition type has to be a token, not {kind!r}")
    if not filename:
        return kind
    if found := _forbidden(filename):
        raise ValueError(
            f"character {found.start() + 1} of a filename is U+{ord(found[0]):04X}, "
            "which no header can carry safely"
        )
    if not _ambiguous.search(filename):
        return f'{kind}; filename="{filename}"'
    exact = quote(filename, safe=_ATTR_CHARS)
    return f"{kind}; filename=\"{_fallback(filename)}\"; filename*=UTF-8''{exact}"


def _fallback(filename: str) -> str:
    """An ASCII name that every client takes as it stands."""
    # Taken apart first, for that can give new quotes and slashes: U+FF02, U+2100.
    apart = unicodedata.normalize("NFKD", filename)
    plain = "".join(char for char in apart if not unicodedata.combining(char))
    return _ambiguous.sub("_", plain) or "_"
