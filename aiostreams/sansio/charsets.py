"""The charset of a body or of a form: where it is declared, and decoding by it.

UTF-8 is meant where nothing is said. A byte order mark is no part of a body's text.
A form has one charset for all of its text (:class:`FormCharset`), which its
Content-Type or a field named ``_charset_`` may say.

``LABELS`` has names of charsets that Python does not know, for codecs that it has:
from the labels of the WHATWG's Encoding standard (section 4.2), which browsers, mail
programs and what was written for them go by; browsers write such names into a
_charset_ field, and Java on Windows calls its Japanese windows-31j. A label that
Python knows keeps the meaning it has there. Left out are those of no charset in
particular (``replacement``, ``x-user-defined``).
"""

from __future__ import annotations

import codecs
import encodings.aliases
from encodings import normalize_encoding
from functools import cache, lru_cache
from typing import Final

from aiostreams.errors import MalformedBody, StreamError, UnsupportedContent
from aiostreams.sansio.headers import parse_content_type

__all__ = [
    "CHARSET_FIELD",
    "LABELS",
    "LONGEST_CHARSET",
    "FormCharset",
    "ascii_codec_of",
    "codec_of",
    "decode_text",
    "text_codec",
]
_PROBE = '\n&=+%[]{}:,0aA"\\'


@lru_cache(maxsize=256)
def codec_of(content_type: str | None) -> str:
    """Python's codec for the charset of ``content_type``; ``utf-8`` without one.

    Raises:
        MalformedBody: the parameters of the type cannot be read.
        UnsupportedContent: the charset is unknown.
    """
    if content_type is None or ";" not in content_type:
        return "utf-8"
    charset = parse_content_type(content_type).parameters.get("charset")
    codec = "utf-8" if charset is None else text_codec(charset)
    # ASCII is UTF-8 cut short: a client that is wrong about it does no harm.
    return "utf-8" if codec in {"ascii", "utf-8-sig"} else codec


def ascii_codec_of(content_type: str | None) -> str:
    """As :func:`codec_of`, for a syntax that is split as bytes before decoding.

    Raises:
        MalformedBody, UnsupportedContent: as :func:`codec_of`; also for a charset
            in which the syntax would be other bytes than in ASCII.
    """
    codec = codec_of(content_type)
    if codec != "utf-8":
        try:
            same = _PROBE.encode(codec) == _PROBE.encode("ascii")
        except UnicodeError:
            same = False
        if not same:
            raise UnsupportedContent(
                f"the charset {codec} is not supported for this type of content"
            )
    return codec


def decode_text(data: bytes, codec: str) -> str:
    """Return ``data`` as text, without a leading byte order mark.

    Raises:
        MalformedBody: the bytes are not of that charset.
    """
    try:
        text = data.decode(codec)
    except UnicodeError as exc:
        start = exc.start if isinstance(exc, UnicodeDecodeError) else 0
        raise MalformedBody(f"the body is not {codec}, at byte {start}") from exc
    return text.removeprefix("\ufeff")


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
# Text codecs for Python, but no charset that a part could be in: they are
# escapes of other text, or (undefined) always fail. UTF-7 is one of these escapes: it
# hides markup from whoever looks at the bytes, and gives lone surrogates.
_NOT_CHARSETS: Final = frozenset(
    {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7"}
)
_NAMELESS_CODECS: Final = frozenset(
    {"cp1006", "cp720", "cp737", "cp856", "cp874", "cp875", "koi8_t", "koi8_u"}
    | {"mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian", "utf_8_sig"}
)


@cache
def _codec_names() -> frozenset[str]:
    aliases = encodings.aliases.aliases
    return frozenset({*aliases, *aliases.values()} | _NAMELESS_CODECS)


def text_codec(charset: str) -> str:
    """Return the name of Python's codec for a charset label, safe to decode with.

    Labels unknown here are refused before ``codecs.lookup`` sees them: it
    remembers every name it was ever asked for.

    Raises:
        UnsupportedContent: the charset is unknown, or it names a transform
            (``zlib_codec``, ``rot13``, ``idna``) and no charset.
    """
    label = charset.strip().lower()
    if label.isascii():
        normal = encodings.normalize_encoding(label)
        normal = LABELS.get(normal, normal)
        if normal in _codec_names() or normal.replace(".", "_") in _codec_names():
            try:
                info = codecs.lookup(normal)
            except LookupError as exc:  # a codec of another operating system
                raise UnsupportedContent("the charset is unknown") from exc
            canonical = info.name.replace("-", "_")
            # The attribute is private, but it is what bytes.decode itself asks.
            if info._is_text_encoding and canonical not in _NOT_CHARSETS:  # noqa: SLF001
                return info.name
    raise UnsupportedContent("the charset of the content is not supported")


# A form-data field of this name says the charset of the others (RFC 7578 section 4.6).
CHARSET_FIELD: Final = "_charset_"
# What is longer names no charset.
LONGEST_CHARSET: Final = 64
# What browsers, who fill that field in, write under these names: the characters that
# Windows added as well (WHATWG Encoding, section 4.2).
_AS_BROWSERS_DO: Final = {
    "big5": "cp950",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
}


class FormCharset:
    """The charset of the text of a form: of fields, names and filenames.

    RFC 7578 knows no ``charset`` parameter. Java's clients send it all the same, and
    write the fields in that charset; from others it says UTF-8, or nothing that we
    know. A ``_charset_`` field overrides it.

    Args:
        content_type: that of the form.

    Attributes:
        codec: Python's codec, or ``None`` for UTF-8.

    Raises:
        MalformedBody: the parameters of the type cannot be read.
    """

    __slots__ = ("codec",)

    def __init__(self, content_type: str = "") -> None:
        self.codec: str | None = None
        if "charset" in content_type.lower():
            label = parse_content_type(content_type).parameters.get("charset", "utf-8")
            codec = _codec_or_none(label)
            if codec not in {"ascii", "utf-8", "utf-8-sig"}:
                self.codec = codec

    def learn(self, name: str | None, value: bytes) -> None:
        """Learn the charset from a field, if it is the one that says it.

        It is a field like any other, so one that names no charset says nothing.
        """
        if name == CHARSET_FIELD and len(value) <= LONGEST_CHARSET:
            codec = _codec_or_none(value.decode("ascii", "replace"))
            if codec is not None:
                codec = _AS_BROWSERS_DO.get(codec, codec)
                self.codec = None if codec == "utf-8" else codec

    def codec_of(self, content_type: str | None) -> str:
        """Python's codec for a part of that type; one that says no charset has ours.

        Raises:
            MalformedBody: the parameters of the type cannot be read.
            UnsupportedContent: the charset is unknown.
        """
        if self.codec is not None and (
            content_type is None
            or "charset" not in parse_content_type(content_type).parameters
        ):
            return self.codec
        return codec_of(content_type)

    def decode(self, value: bytes, content_type: str | None, number: int) -> str:
        """Return the text of the form's field of that number.

        Raises:
            UnsupportedContent, MalformedBody: as :meth:`codec_of`; or it is not of
                its charset.
        """
        codec = self.codec_of(content_type)
        try:
            return value.decode(codec)
        except UnicodeError:
            raise MalformedBody(f"field {number} of the form is not {codec}") from None


def _codec_or_none(label: str) -> str | None:
    try:
        return text_codec(label)
    except StreamError:
        return None
