"""Header grammar: parameters, Content-Type, boundaries, charsets."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import MalformedBody
from aiostreams.sansio.headers import (
    Parameter,
    boundary_of,
    decode_header,
    format_content_type,
    format_header_block,
    parse_content_type,
    parse_header_block,
    split_parameters,
)


def values(text: str) -> list[tuple[str, str]]:
    return [(p.name, p.value) for p in split_parameters(text)[1]]


def test_header_blocks_become_pairs() -> None:
    block = b"Name:v\r\nX-Two: \t a : b \r\nEmpty:\r\n"
    assert parse_header_block(block) == (
        (b"Name", b"v"),
        (b"X-Two", b"a : b"),
        (b"Empty", b""),
    )
    assert parse_header_block(b"") == ()


@pytest.mark.parametrize(
    "block",
    [
        b"Name: v",
        b"Name: v\n",
        b"\r\n",
        b"Name\r\n",
        b"Name : v\r\n",
        b": v\r\n",
        b"A: b\r\n c\r\n",
        b"A: b\r\n\r\nC: d\r\n",
        b"A: \x00\r\n",
        b"A\xe9: b\r\n",
        b"A: b\rC: d\r\n",
    ],
)
def test_bad_header_blocks_are_malformed(block: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse_header_block(block)


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_in_a_header(byte: int) -> None:
    raw = bytes([byte])
    token = raw in b"!#$%&'*+-.^_`|~" or raw.isalnum()
    control = (byte < 32 and raw != b"\t") or byte == 127
    for block, fine in (
        (b"X%s: v\r\n" % raw, token),
        (b"X: a%sb\r\n" % raw, not control),
    ):
        # A colon ends a name, whatever comes next is the value.
        if fine or (raw == b":" and b"X:" in block):
            assert len(parse_header_block(block)) == 1
        else:
            with pytest.raises(MalformedBody):
                parse_header_block(block)


@given(
    st.lists(st.tuples(st.text("aB-!", min_size=1), st.text(max_size=9)), max_size=4)
)
def test_headers_read_back_as_written_or_are_refused(
    pairs: list[tuple[str, str]],
) -> None:
    try:
        block = format_header_block(pairs)
    except ValueError:
        assert any(
            value.strip(" \t") != value
            or any(ord(c) < 32 or ord(c) == 127 for c in value)
            for _, value in pairs
        )
        return
    assert parse_header_block(block) == tuple(
        (name.encode(), value.encode()) for name, value in pairs
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "v"),
        ("a b", "v"),
        ("a:", "v"),
        ("ä", "v"),
        ("a\r\nb", "v"),
        ("a", "v\r\nb: c"),
        ("a", "v\n"),
        ("a", "\x00"),
        ("a", " v"),
        ("a", "\udcff"),
    ],
)
def test_headers_that_would_inject_are_not_written(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        format_header_block([("x", "y"), (name, value)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", []),
        ("a;", []),
        ("a;;; ;", []),
        ("a; b=c", [("b", "c")]),
        (" a ;B=c ; d = e;f=", [("b", "c"), ("d", "e"), ("f", "")]),
        ('a; b = "c; d" ; e\t=\t"f"', [("b", "c; d"), ("e", "f")]),
        ("a; b c=d; =e; f = ; g", [("f", "")]),
        ('a; b="c; d=\\"e\\""; f=g', [("b", 'c; d=\\"e\\"'), ("f", "g")]),
        ('a; b=""', [("b", "")]),
        ('a; b="c" junk; d=e', [("b", "c"), ("d", "e")]),
        ("a; junk; =x; b=c", [("b", "c")]),
        ('a; b=c"d;e"f; g=h', [("b", 'c"d;e"f'), ("g", "h")]),
        ('a; b=c";d', [("b", 'c";d')]),
        ('a; b=c"\\', [("b", 'c"\\')]),
        ('a; b=c;"d', [("b", "c")]),
        ("a; b=c\\d e", [("b", "c\\d e")]),
        # Raw backslashes: the last quote closes when every one looks escaped.
        ('a; b="C:\\d\\"', [("b", "C:\\d\\")]),
        ('a; b="C:\\"; ', [("b", "C:\\")]),
        ('a; b="c\\\\"; d=e', [("b", "c\\\\"), ("d", "e")]),
    ],
)
def test_parameters_are_split(text: str, expected: list[tuple[str, str]]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize("text", ['a; b="c', 'a; b="', 'a; b="c\\"d', 'a; b="c; d=e'])
def test_a_quote_without_an_end_is_malformed(text: str) -> None:
    with pytest.raises(MalformedBody, match="has no end"):
        split_parameters(text)


def test_parameters_know_whether_they_were_quoted() -> None:
    assert split_parameters('x; a="b"; c=d') == (
        "x",
        [Parameter("a", "b", quoted=True), Parameter("c", "d", quoted=False)],
    )


@pytest.mark.parametrize(
    "unit",
    [
        ";",
        ";a",
        ";a=",
        ";a  =  ",
        ';a="',
        '"',
        "\\",
        '\\"',
        ';a="b"',
        ";a=b\\",
        '=";',
        " ",
    ],
)
@pytest.mark.parametrize("tail", ["", '"', "\\"])
def test_splitting_is_linear(unit: str, tail: str) -> None:
    def best(count: int) -> float:
        text = "x" + unit * (count // len(unit)) + tail
        times = []
        for _ in range(3):
            start = time.process_time()
            try:
                split_parameters(text)
            except MalformedBody:
                pass
            times.append(time.process_time() - start)
        return min(times)

    assert best(100_000) < 8 * best(25_000) + 0.005


@given(st.text(alphabet='ab=;"\\ \t%', max_size=30))
def test_any_text_splits_or_is_malformed(text: str) -> None:
    try:
        _, parameters = split_parameters("x;" + text)
    except MalformedBody:
        return
    for parameter in parameters:
        assert parameter.value in text


def test_content_types_are_parsed() -> None:
    parsed = parse_content_type('Text/HTML; Charset="utf-8"; a="b\\"\\\\"')
    assert parsed.media_type == "text/html"
    assert parsed.parameters == {"charset": "utf-8", "a": 'b"\\'}
    assert parse_content_type("") == ("", {})
    with pytest.raises(MalformedBody, match="'charset' twice"):
        parse_content_type("a/b; charset=x; CHARSET=y")
    # Whoever says the same again is understood.
    assert parse_content_type('a/b; charset=x; CHARSET="x"').parameters == {
        "charset": "x"
    }


media_types = st.sampled_from(["text/plain", "multipart/form-data", "a/b+c"])
tokens = st.text("abc-!#*", min_size=1, max_size=5)


@given(
    media_types,
    st.dictionaries(tokens, st.text(st.characters(max_codepoint=126), max_size=9)),
)
def test_content_types_read_back_the_same(
    media_type: str, parameters: dict[str, str]
) -> None:
    if any(ord(c) < 32 and c != "\t" for value in parameters.values() for c in value):
        with pytest.raises(ValueError, match="characters not allowed in a header"):
            format_content_type(media_type, parameters)
        return
    text = format_content_type(media_type, parameters)
    assert parse_content_type(text) == (media_type, parameters)


@pytest.mark.parametrize(
    "media_type", ["", "a", "a/", "a/b/c", "a/b;c=d", "a/b\r\nX: y"]
)
def test_what_is_no_media_type_is_not_written(media_type: str) -> None:
    with pytest.raises(ValueError, match="not a media type"):
        format_content_type(media_type)


def test_bad_parameters_are_not_written() -> None:
    with pytest.raises(ValueError, match="not a parameter name"):
        format_content_type("a/b", {"c d": "e"})
    for byte in [*range(9), *range(10, 32), *range(127, 256)]:
        with pytest.raises(ValueError, match="characters not allowed in a header"):
            format_content_type("a/b", {"c": chr(byte)})
    assert format_content_type("a/b", {"c": "d e"}) == 'a/b; c="d e"'


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ('multipart/mixed; BOUNDARY="a b"; charset=utf-8', b"a b"),
        ("multipart/form-data; charset=utf-8; boundary=" + "x" * 70, b"x" * 70),
        ('multipart/form-data; boundary="\'()+_,-./:=? x"', b"'()+_,-./:=? x"),
        ("multipart/form-data; boundary=----1$", b"----1$"),
        ('multipart/form-data; boundary="--:--"', b"--:--"),
        ("multipart/form-data;boundary=x;", b"x"),
    ],
)
def test_boundaries_are_found(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "parameter",
    [
        "",
        "; boundary",
        "; boundary=",
        '; boundary=""',
        '; boundary=" "',
        '; boundary="x "',
        '; boundary="' + "x" * 71 + '"',
        "; boundary=x; boundary=x",
        "; boundary=x; Boundary=y",
        '; boundary="x',
        '; boundary="a@b"',
        '; boundary="a;b"',
        '; boundary="a\\"b"',
        "; boundary=ä",
        "; boundary=a\x00b",
        "; boundary=[a]",
        '; boundary="a\r\nb"',
        '; boundary="a\tb"',
    ],
)
def test_bad_boundaries_are_malformed(parameter: str) -> None:
    with pytest.raises(MalformedBody):
        boundary_of("multipart/form-data" + parameter)


def test_header_bytes_survive_decoding() -> None:
    raw = bytes(range(256))
    assert decode_header(raw).encode("utf-8", "surrogateescape") == raw
