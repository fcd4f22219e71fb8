"""Names of charsets that Python does not know, for codecs that it has.

From the labels of the WHATWG's Encoding standard (section 4.2), which browsers, mail
programs and what was written for them go by; browsers write such names into a
_charset_ field, and Java on Windows calls its Japanese windows-31j. A label that
Python knows keeps the meaning it has there. Left out are those of no charset in
particular (``replacement``, ``x-user-defined``).
"""

from __future__ import annotations

from encodings import normalize_encoding
from typing import Final

__all__ = ["LABELS"]

# Both as ``normalize_encoding`` writes them.
LABELS: Final[dict[str, str]] = {
    normalize_encoding(label): normalize_encoding(codec)
    for codec, labels in {
        "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
        "utf-16": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff",
        "utf-16-be": "unicodefffe",
        "iso8859-1": "iso88591",
        "iso8859-2": "iso88592",
        "iso8859-3": "iso88593",
        "iso8859-4": "iso88594",
        "iso8859-5": "iso88595",
        "iso8859-6": "csiso88596e csiso88596i iso-8859-6-e iso-8859-6-i iso88596",
        "iso8859-7": "iso88597 sun_eu_greek",
        "iso8859-8": "csiso88598e csiso88598i iso-8859-8-e iso-8859-8-i iso88598 "
        "logical visual",
        "iso8859-9": "iso88599",
        "iso8859-10": "iso885910",
        "iso8859-11": "iso885911",
        "iso8859-13": "iso885913",
        "iso8859-14": "iso885914",
        "iso8859-15": "csisolatin9 iso885915",
        "koi8-r": "koi koi8",
        "koi8-u": "koi8-ru",
        "mac-roman": "csmacintosh mac x-mac-roman",
        "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "cp874": "dos-874 windows-874",
        **{f"cp{number}": f"x-cp{number}" for number in range(1250, 1259)},
        "gb2312": "csgb2312 gb_2312 gb_2312-80",
        "gbk": "x-gbk",
        "big5": "cn-big5 x-x-big5",
        "euc_jp": "cseucpkdfmtjapanese x-euc-jp",
        "cp932": "windows-31j cswindows31j x-sjis",
        "euc_kr": "cseuckr csksc56011987 iso-ir-149 ks_c_5601-1989 ksc_5601",
        "cp949": "windows-949",
    }.items()
    for label in labels.split()
}
