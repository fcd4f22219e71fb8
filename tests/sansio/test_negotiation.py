"""RFC 9110 12.5 and 8.4: every element a client can write, and what it then gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import UnsupportedContent
from aiostreams.sansio.headers import is_token
from aiostreams.sansio.negotiation import (
    FieldLines,
    choose_coding,
    choose_type,
    join_lines,
    merge_vary,
    parse_content_encoding,
)

ALL = ("zstd", "br", "gzip", "deflate")
CODINGS = (*ALL, "identity")
ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}


def choose(lines: FieldLines, supported: Sequence[str] = CODINGS) -> str | None:
    return choose_coding(lines, supported, ALIASES)


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        # absent and empty
        (None, "identity"),
        ([], "identity"),
        ("", "identity"),
        (" \t", "identity"),
        (",,", "identity"),
        # one coding
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("X-GZIP;q=0.5", "gzip"),
        ("deflate", "deflate"),
        ("identity", "identity"),
        ("compress", "identity"),
        ("x-compress", "identity"),
        # preference among equals is the server's
        ("gzip, deflate, br, zstd", "zstd"),
        ("deflate,gzip,br", "br"),
        ("deflate, gzip", "gzip"),
        ("gzip, identity", "gzip"),
        # weights
        ("deflate;q=0.1, gzip;q=1", "gzip"),
        ("deflate;q=1, gzip;q=0.1", "deflate"),
        ("gzip;q=0.5, br;q=0.8, zstd;q=0.2", "br"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("gzip;q=0.5, identity;q=0.6", "identity"),
        ("gzip;Q=0.5, br;Q=0.4", "gzip"),
        ("gzip ; q=0.5 , br\t;\tq=0.4", "gzip"),
        ("gzip;q= 0.5, br;q =0.4", "gzip"),
        ("gzip;q=.2", "gzip"),
        ("gzip;q=1., br;q=0.9", "gzip"),
        ("gzip;q=0.12345, br;q=0.12344", "gzip"),
        # refusals
        ("gzip;q=0", "identity"),
        ("gzip;q=0.0", "identity"),
        ("gzip;q=0.000, deflate", "deflate"),
        ("gzip;q=0.", "identity"),
        ("gzip;q=0, *", "zstd"),
        ("zstd;q=0, *", "br"),
        ("x-gzip;q=0, gzip", "identity"),
        ("gzip, gzip;q=0", "identity"),
        # wildcard
        ("*", "zstd"),
        ("*;q=0.5", "zstd"),
        ("*;q=0.5, gzip", "gzip"),
        ("*;q=0.5, gzip;q=0.1", "zstd"),
        ("*;q=0.5, identity;q=0.6", "identity"),
        ("*;q=0.5, identity;q=0", "zstd"),
        # nothing acceptable
        ("*;q=0", None),
        ("identity;q=0", None),
        ("identity;q=0, compress", None),
        ("*;q=0, compress", None),
        ("gzip;q=0, identity;q=0", None),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0, identity", "identity"),
        ("*;q=0, identity;q=0.5", "identity"),
        # garbage is dropped, the rest counts
        ("gzip;q=2", "identity"),
        ("gzip;q=-1", "identity"),
        ("gzip;q=abc", "identity"),
        ("gzip;q=", "identity"),
        ("gzip;q=1.1", "identity"),
        ("gzip;q=1e0", "identity"),
        ("gzip;q=nan", "identity"),
        ("gzip;q=inf", "identity"),
        ("gzip;q=\u0661", "identity"),
        ("gzip;q=0.\u0665", "identity"),
        ("gzip;q=00.5", "identity"),
        ("gzip;q=0.1234567890123", "identity"),
        ("identity;q=wrong, gzip;q=0.1", "gzip"),
        ("gz ip, deflate", "deflate"),
        ("\x00, gzip", "gzip"),
        ("gzip;level=9", "gzip"),
        ("gzip;level=9;q=0", "identity"),
        ("gzip;", "gzip"),
        ("\uff27\uff3a\uff29\uff30", "identity"),
        ('"gzip"', "identity"),
        # several lines
        (["gzip", "br"], "br"),
        (["gzip;q=0", "deflate"], "deflate"),
        (["", "gzip"], "gzip"),
        (("gzip;q=0.1", "br;q=0.05"), "gzip"),
    ],
)
def test_choose_coding_when_sent(
    accept_encoding: FieldLines, expected: str | None
) -> None:
    assert choose(accept_encoding) == expected


def test_choose_coding_when_supported_is_short() -> None:
    assert choose("gzip, br, zstd", ("gzip",)) == "gzip"
    assert choose("br, zstd", ("gzip",)) == "identity"
    assert choose("br, zstd, identity;q=0", ("gzip",)) is None
    assert choose("*", ()) == "identity"
    assert choose("*;q=0", ()) is None


def test_choose_coding_when_the_server_prefers_identity() -> None:
    assert choose("gzip, identity", ("identity", "gzip")) == "identity"
    assert choose("gzip", ("identity", "gzip")) == "gzip"
    assert choose("*", ("identity", "gzip")) == "identity"


def test_choose_coding_when_value_is_too_long_to_remember() -> None:
    """A long value is answered like a short one."""
    padding = ", ".join(f"unknown-{n}" for n in range(50))
    assert choose(f"{padding}, gzip;q=0.5, br;q=0.4") == "gzip"


weights = st.sampled_from(["", ";q=0", ";q=0.001", ";q=0.3", ";q=1", ";q=x"])
elements = st.tuples(
    st.sampled_from([*CODINGS, "*", "x-gzip", "compress", "", "a b"]), weights
).map("".join)


@given(st.lists(elements, max_size=8))
def test_choose_coding_when_any_list_is_never_refused_by_the_client(
    lines: list[str],
) -> None:
    """The RFC's definition of acceptable, written the slow way, agrees."""
    values: dict[str, list[float]] = {}
    for line in lines:
        coding, _, weight = line.partition(";q=")
        if coding and coding != "a b" and weight != "x":
            key = "gzip" if coding == "x-gzip" else coding
            values.setdefault(key, []).append(float(weight or 1))
    lowest = {coding: min(seen) for coding, seen in values.items()}

    def weight_of(coding: str) -> float:
        default = 0.0001 if coding == "identity" else 0.0
        return lowest.get(coding, lowest.get("*", default))

    acceptable = {coding: weight_of(coding) for coding in CODINGS if weight_of(coding)}
    chosen = choose(lines or [""])
    if not acceptable:
        assert chosen is None
    else:
        assert chosen is not None
        assert acceptable[chosen] == max(acceptable.values())
        equals = [c for c in CODINGS if acceptable.get(c) == acceptable[chosen]]
        assert chosen == equals[0]


PROBLEM, TEXT, HTML = "application/problem+json", "text/plain", "text/html"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, PROBLEM),
        ("", PROBLEM),
        ([], PROBLEM),
        ("*/*", PROBLEM),
        ("*", PROBLEM),
        ("text/plain", TEXT),
        ("text/*", TEXT),
        ("TEXT/PLAIN", TEXT),
        ("application/json", None),
        ("application/*", PROBLEM),
        ("application/problem+json;q=0.5, text/plain;q=0.6", TEXT),
        ("application/problem+json;q=0.5, text/plain;q=0.5", PROBLEM),
        ("text/*;q=0.9, */*;q=0.1", TEXT),
        ("text/plain;q=0, */*", PROBLEM),
        ("*/*, application/problem+json;q=0", TEXT),
        ("*/*;q=0", None),
        ("image/png", None),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", PROBLEM),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", PROBLEM),
        ("text/plain;q=1.5", PROBLEM),  # all garbage is as good as absent
        ("nonsense", PROBLEM),
        ("/, */plain, text/", PROBLEM),
        ("nonsense, text/plain", TEXT),
        ('text/plain;x="a,b;q=0";q=0.5, application/problem+json;q=0.4', PROBLEM),
        ('text/plain;x="a,b;q=0";q=0.5, application/problem+json;q=0.6', PROBLEM),
        ('image/png;x="a, text/plain, b", application/json', None),
        (["text/plain;q=0.4", "application/problem+json;q=0.3"], TEXT),
        ("text/plain, text/plain;q=0", None),
    ],
)
def test_choose_type_when_sent(accept: FieldLines, expected: str | None) -> None:
    assert choose_type(accept, (PROBLEM, TEXT)) == expected


def test_choose_type_when_ranges_have_parameters() -> None:
    """The example of RFC 9110 section 12.5.1, with its own table of weights."""
    accept = (
        "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, "
        "text/plain;format=fixed;q=0.4, */*;q=0.5"
    )
    flowed, fixed = "text/plain;format=flowed", "text/plain;format=fixed"
    assert choose_type(accept, (TEXT, flowed)) == flowed
    assert choose_type(accept, (fixed, TEXT)) == TEXT
    assert choose_type(accept, (HTML, fixed)) == fixed
    assert choose_type(accept, (HTML, "image/jpeg")) == "image/jpeg"
    assert choose_type(accept, (HTML,)) == HTML


def test_choose_type_when_parameters_are_quoted() -> None:
    offer = "text/html; charset=utf-8"
    assert choose_type('text/html; Charset="UTF-8", */*;q=0', (offer,)) == offer
    assert choose_type('text/html;charset="latin-1", */*;q=0', (offer,)) is None
    assert choose_type('text/html;x="unclosed, */*', (offer,)) is None
    assert choose_type("text/html;flag, */*;q=0", (offer,)) == offer


def test_choose_type_when_nothing_is_offered() -> None:
    assert choose_type("*/*", ()) is None


@pytest.mark.parametrize(
    ("current", "names", "expected"),
    [
        (None, (), ""),
        (None, ("Accept-Encoding",), "Accept-Encoding"),
        ("", ("Accept-Encoding",), "Accept-Encoding"),
        ("Accept-Encoding", ("Accept-Encoding",), "Accept-Encoding"),
        ("accept-encoding", ("Accept-Encoding",), "accept-encoding"),
        ("Origin", ("Accept-Encoding",), "Origin, Accept-Encoding"),
        ("Origin ,, Cookie,", ("Accept",), "Origin, Cookie, Accept"),
        ("Origin, origin, ORIGIN", (), "Origin"),
        ("*", ("Accept-Encoding",), "*"),
        ("Origin, *", ("Accept-Encoding",), "*"),
        ("Origin", ("*",), "*"),
        (["Origin", "Cookie"], ("Origin",), "Origin, Cookie"),
    ],
)
def test_merge_vary_when_given(
    current: FieldLines, names: tuple[str, ...], expected: str
) -> None:
    merged = merge_vary(current, *names)
    assert merged == expected
    assert merge_vary(merged, *names) == expected


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", "a,b", "é"])
def test_merge_vary_when_name_is_no_token(name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        merge_vary(None, name)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (None, ()),
        ("", ()),
        ("identity", ()),
        ("GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("X-Compress", ("compress",)),
        ("gzip, br", ("gzip", "br")),
        ("gzip,identity,,br,", ("gzip", "br")),
        (["gzip", "br"], ("gzip", "br")),
        (["gzip, br", "zstd"], ("gzip", "br", "zstd")),
        ("gzip, gzip", ("gzip", "gzip")),
        ("nobody-knows", ("nobody-knows",)),
    ],
)
def test_parse_content_encoding_when_well_formed(
    lines: FieldLines, expected: tuple[str, ...]
) -> None:
    assert parse_content_encoding(lines, ALIASES) == expected


@pytest.mark.parametrize(
    "bad", ["gz ip", "gzip;q=1", '"gzip"', "\x00", "gzip/1", "é", "\u212a"]
)
def test_parse_content_encoding_when_a_token_is_bad(bad: str) -> None:
    """It is reported by its place, not by its bytes."""
    with pytest.raises(UnsupportedContent) as caught:
        parse_content_encoding(f"gzip, {bad}", {}, accept_encoding="gzip, br")
    assert str(caught.value) == (
        "element 2 of Content-Encoding is not the name of a coding"
    )
    assert caught.value.accept_encoding == "gzip, br"
    assert caught.value.status == 415


def test_join_lines_when_absent_one_or_many() -> None:
    assert join_lines(None) is None
    assert join_lines([]) is None
    assert join_lines("a") == "a"
    assert join_lines(iter(["a", "b"])) == "a, b"


def test_is_token_when_every_ascii_character() -> None:
    separators = set('"(),/:;<=>?@[\\]{}')
    for code in range(256):
        char = chr(code)
        assert is_token(char) is (0x20 < code < 0x7F and char not in separators)
    assert not is_token("")
    assert not is_token("gzip\n")


header_like = st.text() | st.text(alphabet=',;q=*/"\\.01 gzip\tidentity', max_size=60)


@given(header_like)
def test_every_reader_when_fed_anything_raises_nothing_else(value: str) -> None:
    assert choose(value) in {*CODINGS, None}
    assert choose_type(value, (PROBLEM, TEXT)) in {PROBLEM, TEXT, None}
    merge_vary(value, "Accept")
    try:
        codings = parse_content_encoding(value, ALIASES)
    except UnsupportedContent:
        pass
    else:
        assert all(is_token(coding) for coding in codings)


READERS: list[Callable[[str], object]] = [
    choose,
    lambda value: choose_type(value, (PROBLEM, TEXT)),
    lambda value: merge_vary(value, "Accept"),
    lambda value: parse_content_encoding(
        value.replace(" ", "").replace('"', ""), ALIASES
    ),
]


@pytest.mark.parametrize(
    "unit", [",", "a,", "gzip;q=0.1,", '"\\', '"\\"', '",', 'a/b;x="', ";", "*/*,", " "]
)
@pytest.mark.parametrize("reader", READERS)
def test_reading_time_when_header_is_hostile(
    reader: Callable[[str], object], unit: str
) -> None:
    """Four times the header takes about four times the time, not sixteen."""

    def cpu(size: int) -> float:
        value = (unit * size)[:size]
        best = 1.0
        for _ in range(3):
            start = time.process_time()
            try:
                reader(value)
            except UnsupportedContent:
                pass
            best = min(best, time.process_time() - start)
        return best

    assert cpu(64 * 1024) < 9 * cpu(16 * 1024) + 0.005
