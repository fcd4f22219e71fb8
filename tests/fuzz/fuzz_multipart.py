"""Any bytes: one outcome however cut, or a documented error. Run with -runs=N.

The first byte chooses form-data or any multipart, the second the size of pieces.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2])]

with atheris.instrument_imports():
    from aiostreams.limits import Limits
    from aiostreams.sansio.multipart import PartBegin
    from aiostreams.sansio.parthead import disposition_of
    from aiostreams.sansio.wholeform import parse_whole_form
    from tests.multiparts import cut, outcome

LIMITS = Limits(max_parts=4, max_field=64, max_file=96, max_preamble=32)


def check(data: bytes) -> None:
    form_data, size, body = bool(data[:1] > b"\x7f"), 1 + sum(data[1:2]) % 40, data[2:]
    whole = outcome(b"B", [body], limits=LIMITS, form_data=form_data)
    assert (whole.error is None) == whole.ended
    for pieces in (cut(body, size), cut(body, 1), [body[:size], b"", body[size:]]):
        assert outcome(b"B", pieces, limits=LIMITS, form_data=form_data) == whole
    for begin, _ in whole.parts:
        assert len(begin.headers) == begin.raw.count(b"\r\n")
        named = disposition_of(begin.raw)
        assert (named.name, named.filename) == (begin.name, begin.filename)
    quick = parse_whole_form(body, b"B", LIMITS)
    if form_data and quick is not None:
        parts = [
            (PartBegin(p.raw, p.name, p.filename, p.content_type), p.body)
            for p in quick
        ]
        assert parts == whole.parts
        assert whole.error is None


if __name__ == "__main__":
    seeds = Path(__file__).parent / "corpus" / "multipart"
    seeds.mkdir(parents=True, exist_ok=True)
    for file in sorted((Path(__file__).parents[1] / "corpus").glob("*.bin")):
        (seeds / file.name).write_bytes(b"\xff\x02" + file.read_bytes()[:2000])
    atheris.Setup([*sys.argv, "-max_len=2048", str(seeds)], check)
    atheris.Fuzz()
