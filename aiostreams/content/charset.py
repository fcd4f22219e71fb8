"""The charset of a body: what its Content-Type says, and bytes to text by it.

UTF-8 is meant where nothing is said. A byte order mark is no part of the text. The
codecs themselves, and which of them are safe, are ``sansio.headers.text_codec``'s.
"""

from __future__ import annotations

from functools import lru_cache

from aiostreams.errors import MalformedBody, UnsupportedContent
from aiostreams.sansio.headers import parse_content_type, text_codec

__all__ = ["ascii_codec_of", "codec_of", "decode_text"]

_PROBE = '\n&=+%[]{}:,0aA"\\'


@lru_cache(maxsize=256)
def codec_of(content_type: str | None) -> str:
    """Python's codec for the charset of ``content_type``; ``utf-8`` without one.

    Raises:
        MalformedBody: the parameters of the type cannot be read.
        UnsupportedContent: nobody knows the charset.
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
    """``data`` as text, without a leading byte order mark.

    Raises:
        MalformedBody: the bytes are not of that charset.
    """
    try:
        text = data.decode(codec)
    except UnicodeError as exc:
        start = exc.start if isinstance(exc, UnicodeDecodeError) else 0
        raise MalformedBody(f"the body is not {codec}, at byte {start}") from exc
    return text.removeprefix("\ufeff")
