"""Any header text: a value, or a documented error; what is written reads back."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2])]

with atheris.instrument_imports():
    from aiostreams.errors import StreamError
    from aiostreams.sansio.charsets import text_codec
    from aiostreams.sansio.disposition import (
        decode_extended,
        format_disposition,
        parse_disposition,
        safe_filename,
    )
    from aiostreams.sansio.headers import boundary_of, decode_header, parse_header_block


def check(data: bytes) -> None:
    text = decode_header(data)
    for parse in (boundary_of, decode_extended, text_codec):
        with contextlib.suppress(StreamError):
            parse(text)
    for codec in (None, "gbk"):
        with contextlib.suppress(StreamError):
            found = parse_disposition(text, codec)
            # None of these fails: there are no surrogates in what is handed out.
            f"{found.name}{found.filename}".encode()
    with contextlib.suppress(StreamError):
        parse_header_block(data)
    safe = safe_filename(text)
    assert safe == safe_filename(safe)
    assert 0 < len(safe.encode()) < 256
    assert not set(safe) & set("/\\:\0\r\n")
    with contextlib.suppress(ValueError):
        written = format_disposition(text, text)
        assert parse_disposition(written)[:3] == ("form-data", text, text)


if __name__ == "__main__":
    atheris.Setup([*sys.argv, "-max_len=400"], check)
    atheris.Fuzz()
