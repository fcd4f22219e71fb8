"""The push parser: what it accepts, refuses and limits, however bytes arrive."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Iterable

import multipart as defnull
import pytest
import python_multipart
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiostreams import LimitExceeded, Limits, MalformedBody, StreamClosed
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.sansio.disposition import format_disposition
from aiostreams.sansio.multipart import (
    BODY_END,
    PART_END,
    MultipartParser,
    PartBegin,
    PartCount,
    PreambleTooLong,
)
from aiostreams.sansio.parthead import (
    PLAIN_HEAD,
    disposition_of,
    parse_head,
    plain_part,
)
from tests.multiparts import Outcome, cut, form, outcome, plain, stable

A = plain("a")


def message(result: Outcome) -> str:
    assert result.error is not None, result
    assert issubclass(result.error[0], MalformedBody)
    return result.error[1]


def refused(body: bytes, *, form_data: bool = True) -> str:
    return message(stable(b"B", body, form_data=form_data))


def accepted(body: bytes, *, form_data: bool = True) -> list[tuple[str | None, bytes]]:
    result = stable(b"B", body, form_data=form_data)
    assert result.error is None
    assert result.ended
    return result.values


def test_events_when_a_form_is_whole() -> None:
    body = form((A, b"1"), (plain("f", "x.txt") + b"\r\nContent-Type: text/x", b"22"))
    parser = MultipartParser(b"B")
    events = parser.feed(body)
    assert parser.close() == []
    first, last = events[0], events[3]
    assert isinstance(first, PartBegin)
    assert isinstance(last, PartBegin)
    assert events == [first, b"1", PART_END, last, b"22", PART_END, BODY_END]
    assert (first.name, first.filename, first.content_type) == ("a", None, None)
    assert (last.name, last.filename, last.content_type) == ("f", "x.txt", "text/x")
    assert last.headers == (
        (b"Content-Disposition", b'form-data; name="f"; filename="x.txt"'),
        (b"Content-Type", b"text/x"),
    )
    assert last.get("CONTENT-type") == "text/x"
    assert last.get("x-missing") is None
    assert disposition_of(last.raw).type == "form-data"
    assert parser.parts == 2


def test_part_begin_compares_and_shows_itself() -> None:
    one, two = (MultipartParser(b"B").feed(form((A, b"")))[0] for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != "a"
    assert repr(one) == "<PartBegin name='a' filename=None content_type=None>"


def test_parts_are_empty_or_hold_line_ends() -> None:
    contents = [
        b"",
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n",
        b"--",
        b"\r\n-",
        b"--B",
        b"-B-",
    ]
    body = form(*((A, content) for content in contents if content != b"--B"))
    assert [v for _, v in accepted(body)] == [c for c in contents if c != b"--B"]


def test_an_empty_form_is_a_close_delimiter_alone() -> None:
    for body in (b"--B--", b"--B--\r\n", b"\r\n--B--\r\n"):
        assert accepted(body) == []


def test_an_empty_part_may_lack_its_own_line() -> None:
    """RFC 2046: the CR LF of the blank line may be the delimiter's."""
    head = b"--B\r\n" + A + b"\r\n\r\n"
    assert accepted(head + b"--B--") == [("a", b"")]
    assert accepted(head + head + b"--B--") == [("a", b"")] * 2
    assert accepted(b"--B\r\n\r\n--B--", form_data=False) == [(None, b"")]


def test_preamble_and_epilogue_are_ignored() -> None:
    body = form((A, b"1"))
    for preamble in (b"\r\n", b"x\r\n", b"\r\n\r\n", b"--\r\n--A\r\n", b"--B x--B\r\n"):
        form_data = not preamble.startswith(b"--B")
        assert accepted(preamble + body, form_data=form_data) == [("a", b"1")]
    for epilogue in (b"x", b"\r\n--B\r\n" + A + b"\r\n\r\n2\r\n--B--", b"\n"):
        assert accepted(body + epilogue) == [("a", b"1")]
    assert accepted(form((A, b"1")).rstrip() + b"junk") == [("a", b"1")]


def test_a_delimiter_must_begin_a_line() -> None:
    for before in (b"x", b" ", b"\n", b"Preamble\n", b"\r"):
        assert "before its first delimiter" in refused(
            before + b"--B\r\n" + A + b"\r\n\r\n1"
        )


def test_padding_behind_a_delimiter_is_bounded() -> None:
    def body(padding: bytes) -> bytes:
        return b"--B" + padding + b"\r\n" + A + b"\r\n\r\n1\r\n--B" + padding + b"\r\n"

    tail = A + b"\r\n\r\n2\r\n--B--"
    for padding in (b" ", b"\t", b" \t" * 32):
        assert accepted(body(padding) + tail) == [("a", b"1"), ("a", b"2")]
    for form_data in (True, False):
        assert "not followed" in refused(body(b" " * 65) + tail, form_data=form_data)


@pytest.mark.parametrize("after", [b"\n", b"\rx", b"\r\r\n", b" \n", b"\t\rx"])
@pytest.mark.parametrize("form_data", [True, False])
def test_a_delimiter_line_that_ends_in_a_bare_cr_or_lf_is_refused(
    after: bytes, form_data: bool
) -> None:
    good = b"--B\r\n" + A + b"\r\n\r\n1\r\n"
    for body in (b"--B" + after + b"--B--", good + b"--B" + after + b"\r\n--B--"):
        assert "not followed" in refused(body, form_data=form_data)


@pytest.mark.parametrize("after", [b"x", b"-x", b"-\r\n", b" x", b"B\r\n", b"_alt\r\n"])
def test_a_line_that_begins_as_a_delimiter(after: bytes) -> None:
    """An error in a form; content elsewhere, where boundaries extend each other."""
    body = form((A, b"1\r\n--B" + after + b"\r\n2"))
    assert "not followed" in refused(body)
    assert accepted(body, form_data=False) == [("a", b"1\r\n--B" + after + b"\r\n2")]
    body = form((A, b"--B" + after))
    assert "not followed" in refused(body)
    assert accepted(body, form_data=False) == [("a", b"--B" + after)]


def test_many_lines_that_look_like_delimiters_are_content_elsewhere() -> None:
    content = b"\r\n--Bx" * 300 + b"\r\n--B-" * 300 + b"\r\n--B\t-" * 9
    assert accepted(form((A, content)), form_data=False) == [("a", content)]


@pytest.mark.parametrize(
    "head",
    [
        b"no colon",
        b": value",
        b"Name : value",
        b" Name: value",
        b"Na(me: value",
        b"N\xc3\xa4me: value",
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b"X: a\x00b",
        b"X: a\x0bb",
        b"X: a\x7fb",
        b"X: a\nY: b",
        b"X: a\rY: b",
        b"X\n: a",
        b"--B",
        b"Content-Disposition: form-data; name=b",
        b"Content-Type: a/b\r\nContent-Type: a/b",
        b"Content-Length: 1\r\nContent-Length: 1",
        b"content-transfer-encoding: 8bit\r\nContent-Transfer-Encoding: 8bit",
        b"Content-Encoding: gzip\r\ncontent-encoding: gzip",
    ],
)
def test_bad_headers_are_refused(head: bytes) -> None:
    for form_data in (True, False):
        assert refused(form((A + b"\r\n" + head, b"1")), form_data=form_data)


@pytest.mark.parametrize(
    "head",
    [
        b"X: a",
        b"Content-Disposition: form-data",
        b"Content-Disposition:",
        b'Content-Disposition: attachment; name="a"',
        b'Content-Disposition: form-data; filename="a"',
        b"Content-Disposition: form-data; name*=utf-8''a",
    ],
)
def test_a_form_part_must_say_so_and_have_a_name(head: bytes) -> None:
    assert refused(form((head, b"1")))
    assert len(accepted(form((head, b"1")), form_data=False)) == 1


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="a"; name="b"',
        b'Content-Disposition: form-data; name="a"; NAME=b',
        b'Content-Disposition: form-data; name="a"; filename=a; filename="b"',
        b"Content-Disposition: form-data; name=a; filename*=utf-8''a; filename*=b",
        b'Content-Disposition: form-data; name="a',
    ],
)
def test_ambiguous_dispositions_are_refused(head: bytes) -> None:
    for form_data in (True, False):
        assert refused(form((head, b"1")), form_data=form_data)


def test_headers_beside_the_usual_are_kept() -> None:
    head = A.lower() + b"\r\nother!#$%&'*+-.^_`|~: \t v \xff\xc3\xa9 \r\nX-Empty:"
    result = stable(b"B", form((head, b"1")))
    ((begin, _),) = result.parts
    assert begin.headers[1:] == (
        (b"other!#$%&'*+-.^_`|~", b"v \xff\xc3\xa9"),
        (b"X-Empty", b""),
    )
    assert begin.get("X-EMPTY") == ""
    assert begin.get("other!#$%&'*+-.^_`|~") == "v \ufffdé"


def test_bytes_that_are_not_utf8_are_replaced_and_kept_as_sent() -> None:
    head = b'Content-Disposition: form-data; name="\xff"; filename="\xe9.txt"'
    for extra in (b"", b"\r\nX: y"):
        ((begin, _),) = stable(b"B", form((head + extra, b"1"))).parts
        assert (begin.name, begin.filename) == ("\ufffd", "\ufffd.txt")
        named = disposition_of(begin.raw, "latin-1")
        assert named == ("form-data", "ÿ", "é.txt", b"\xff", b"\xe9.txt")


def test_a_content_type_that_is_not_utf8() -> None:
    """A parameter may be in any charset; a media type in none is no media type."""
    named = A + b'\r\nContent-Type: text/plain; name="\xe9"'
    ((begin, _),) = stable(b"B", form((named, b"1"))).parts
    assert begin.content_type == 'text/plain; name="\ufffd"'
    assert "media type" in refused(form((A + b"\r\nContent-Type: text/\xe9", b"1")))


def test_parts_are_counted_with_others() -> None:
    count = PartCount(3)
    count.add()
    for body in (form((A, b"1")), form((A, b"1"), (A, b"2"))):
        parser = MultipartParser(b"B", count=count)
        parser.feed(body)
    assert isinstance(parser.error, LimitExceeded)
    assert (parser.error.limit, parser.error.seen) == (3, 4)


@pytest.mark.parametrize(
    "value", [b"+1", b"-1", b"1_0", b" ", b"", b"0x1", b"\xd9\xa4", b"1,1", b"9" * 4301]
)
def test_a_content_length_that_is_no_number_is_refused(value: bytes) -> None:
    assert "Content-Length" in refused(
        form((A + b"\r\nContent-Length: " + value, b"1"))
    )


def test_a_content_length_must_be_that_of_the_content() -> None:
    def body(declared: bytes, content: bytes) -> bytes:
        return form((A + b"\r\nContent-Length: " + declared, content))

    assert accepted(body(b"3", b"abc")) == [("a", b"abc")]
    assert accepted(body(b"0003", b"abc")) == [("a", b"abc")]
    assert accepted(body(b"0", b"")) == [("a", b"")]
    assert "has 2 bytes" in refused(body(b"3", b"ab"))
    assert "longer than" in refused(body(b"3", b"abcd"))
    assert "longer than" in refused(body(b"0", b"a"))
    # It never moves a delimiter: content that holds one ends there.
    assert "has 1 bytes" in refused(body(b"9", b"a\r\n--B--"))


def test_every_strict_prefix_is_an_error() -> None:
    body = form((A, b"1"), (plain("b", "c"), b"\r\n2")).rstrip(b"\r\n")
    assert accepted(body)
    for size in range(len(body)):
        result = outcome(b"B", [body[:size]])
        assert "ends" in message(result)
        assert not result.ended


def test_the_error_says_where_a_body_ends() -> None:
    body = form((A, b"1"), (A, b"2"))
    assert message(outcome(b"B", [])) == (
        "the multipart body ends before its first delimiter"
    )
    assert message(outcome(b"B", [body[:20]])) == (
        "the multipart body ends in the headers of part 1"
    )
    assert message(outcome(b"B", [body[:-6]])) == (
        "the multipart body ends in part 2, before its close delimiter"
    )


def test_what_stands_before_an_error_is_delivered_first() -> None:
    parser = MultipartParser(b"B")
    events = parser.feed(form((A, b"1"), (b"bad", b"2")))
    assert events[1:] == [b"1", PART_END]
    assert isinstance(parser.error, MalformedBody)
    for _ in range(2):
        with pytest.raises(MalformedBody, match="line 1 of a part's headers"):
            parser.feed(b"x")
        with pytest.raises(MalformedBody, match="line 1 of a part's headers"):
            parser.close()


def test_an_error_before_any_event_is_raised_at_once() -> None:
    parser = MultipartParser(b"B")
    with pytest.raises(MalformedBody):
        parser.feed(form((b"bad", b"")))
    assert parser.error is not None


def test_feed_after_close_is_an_error() -> None:
    parser = MultipartParser(b"B")
    parser.feed(b"--B--")
    parser.close()
    with pytest.raises(StreamClosed):
        parser.feed(b"")
    with pytest.raises(StreamClosed):
        parser.close()
    parser = MultipartParser(b"B")
    for _ in range(2):
        with pytest.raises(MalformedBody, match="before its first delimiter"):
            parser.close()


@pytest.mark.parametrize(
    "boundary", [b"", b"x" * 71, b"a ", b"a\r\nb", b"\x00", b"\xff"]
)
def test_what_is_no_boundary_is_refused(boundary: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 70"):
        MultipartParser(boundary)


@pytest.mark.parametrize(
    "boundary", [b"x" * 70, b"'()+_,-./:=? x", b"--", b"-", b"\\/", b"$", b".*+[a]"]
)
def test_boundaries_of_every_kind(boundary: bytes) -> None:
    body = form((A, b"1"), (A, b"\r\n--"), boundary=boundary)
    assert stable(boundary, body).values == [("a", b"1"), ("a", b"\r\n--")]


def test_a_whole_chunk_of_content_is_passed_through_as_it_is() -> None:
    parser = MultipartParser(b"B")
    parser.feed(b"--B\r\n" + A + b"\r\n\r\nx")
    for chunk in (b"y", b"y" * 5000, b"\n" * 70_000):
        (event,) = parser.feed(chunk)
        assert event is chunk


def test_large_slices_are_not_copied() -> None:
    parser = MultipartParser(b"B", form_data=False)
    chunk = b"--B\r\n" + A + b"\r\n\r\n" + b"x" * 5000 + b"\r\n--B--"
    _, data, *_ = parser.feed(chunk)
    assert isinstance(data, memoryview)
    assert data.obj is chunk


def test_chunks_that_may_change_are_copied() -> None:
    body = form((A, b"1" * 5000))
    parser = MultipartParser(b"B")
    chunk = bytearray(body)
    events = parser.feed(chunk)
    chunk[:] = bytes(len(chunk))
    assert events[1] == b"1" * 5000
    assert MultipartParser(b"B").feed(memoryview(body)) == MultipartParser(b"B").feed(
        body
    )


# Limits: n passes, n + 1 does not, the same in all pieces.


def limited(body: bytes, limits: Limits, *, form_data: bool = True) -> Outcome:
    return stable(b"B", body, limits=limits, form_data=form_data)


def test_max_parts() -> None:
    limits = Limits(max_parts=3)
    assert limited(form(*[(A, b"1")] * 3), limits).error is None
    result = limited(form(*[(A, b"1")] * 4), limits)
    assert result.error == (LimitExceeded, "the body has at least 4 parts, limit 3")
    assert len(result.parts) == 3
    assert limited(b"--B--", Limits(max_parts=0)).error is None


def test_max_field_and_max_file() -> None:
    limits = Limits(max_field=5, max_file=9)
    for head, limit in ((A, 5), (A.lower(), 5), (plain("a", "f"), 9)):
        assert limited(form((head, b"x" * limit)), limits).error is None
        for content in (b"x" * (limit + 1), b"\r\n-" * limit):
            result = limited(form((head, content)), limits)
            assert result.error == (
                LimitExceeded,
                f"part 1 has at least {limit + 1} bytes, limit {limit}",
            )
            # What the limit allows was delivered, not a byte more.
            assert result.unfinished is not None
            assert result.unfinished[1] == content[:limit]
    assert limited(form((A, b"")), Limits(max_field=0)).error is None
    assert limited(form((A, b"x")), Limits(max_field=0)).error is not None


def test_parts_of_other_multiparts_may_be_as_long_as_files() -> None:
    limits = Limits(max_field=1, max_file=9)
    assert limited(form((A, b"x" * 9)), limits, form_data=False).error is None
    assert limited(form((A, b"x" * 10)), limits, form_data=False).error is not None


def test_a_declared_length_over_the_limit_is_refused_at_once() -> None:
    limits = Limits(max_field=5)
    head = A + b"\r\nContent-Length: "
    assert limited(form((head + b"5", b"12345")), limits).error is None
    result = limited(form((head + b"6", b"")), limits)
    assert result.error == (LimitExceeded, "part 1 has 6 bytes, limit 5")
    assert result.unfinished is None


def test_max_headers() -> None:
    limits = Limits(max_headers=3)
    assert limited(form((A + b"\r\nX: y" * 2, b"")), limits).error is None
    result = limited(form((A + b"\r\nX: y" * 3, b"")), limits)
    assert result.error == (LimitExceeded, "a part has 4 headers, limit 3")
    limits = Limits(max_headers=1)
    assert limited(form((A, b"")), limits).error is None
    body = form((A + b"\r\nContent-Type: a/b", b""))
    assert limited(body, limits).error is not None


@pytest.mark.parametrize("head", [A, A + b"\r\nX: y", A.lower()])
def test_max_header_size(head: bytes) -> None:
    size = len(head) + 2
    assert limited(form((head, b"1")), Limits(max_header_size=size)).error is None
    result = limited(form((head, b"1")), Limits(max_header_size=size - 1))
    assert result.error == (
        LimitExceeded,
        f"part 1 has at least {size} bytes of headers, limit {size - 1}",
    )


def test_headers_without_an_end_are_refused_at_the_limit() -> None:
    """After one chunk more than the limit at most, whatever the size of chunks."""
    for size in (1, 7, 64, 4096):
        parser = MultipartParser(b"B", limits=Limits(max_header_size=100))
        parser.feed(b"--B\r\n")
        fed = 0
        with pytest.raises(LimitExceeded) as caught:
            while True:
                parser.feed(b"x" * size)
                fed += size
        assert fed <= 104
        assert (caught.value.limit, caught.value.seen) == (100, 101)


def test_max_preamble() -> None:
    body = form((A, b"1"))
    limits = Limits(max_preamble=10)
    assert limited(b"x" * 10 + b"\r\n" + body, limits).error is None
    for preamble in (b"x" * 11 + b"\r\n", b"x" * 500, b"\r\n" * 9, b"\r\n-" * 6):
        result = limited(preamble + body, limits)
        assert result.error == (
            PreambleTooLong,
            "no delimiter in the first 10 bytes of the multipart body",
        )


def test_a_preamble_too_long_is_malformed_and_over_a_limit() -> None:
    with pytest.raises(PreambleTooLong) as caught:
        MultipartParser(b"B", limits=Limits(max_preamble=3)).feed(b"x" * 9)
    assert isinstance(caught.value, MalformedBody)
    assert isinstance(caught.value, LimitExceeded)
    assert (caught.value.status, caught.value.limit, caught.value.seen) == (400, 3, 4)


def test_memory_stays_flat_while_a_file_goes_through() -> None:
    parser = MultipartParser(b"B", limits=Limits(max_file=1 << 40))
    parser.feed(b"--B\r\n" + plain("f", "x") + b"\r\n\r\n")
    chunk = (b"\r\n--" * 20_000)[: 64 * 1024]
    tracemalloc.start()
    for _ in range(500):
        parser.feed(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(chunk)


def cpu(pieces: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> float:
    parser = MultipartParser(b"B" * 70, limits=limits, form_data=False)
    pieces = list(pieces)
    parser.feed(b"--" + b"B" * 70 + b"\r\n" + plain("f", "x") + b"\r\n\r\n")
    start = time.process_time()
    for piece in pieces:
        parser.feed(piece)
    return time.process_time() - start


@pytest.mark.parametrize(
    "unit",
    [
        b"\r\n",
        b"\r\n--",
        b"\r\n--" + b"B" * 69,
        b"\r\n--" + b"B" * 71,
        b"B",
        b"\r",
        b"-",
    ],
)
@pytest.mark.parametrize("size", [65_536, 1])
def test_time_is_linear_for_every_input(unit: bytes, size: int) -> None:
    total = 2_000_000 if size > 1 else 30_000

    def best(count: int) -> float:
        pieces = cut((unit * (count // len(unit) + 1))[:count], size)
        return min(cpu(pieces) for _ in range(3))

    assert best(4 * total) < 6 * best(total) + 0.005


def test_a_header_of_semicolons_takes_no_time() -> None:
    head = A + b";" * 8000
    start = time.process_time()
    for _ in range(50):
        assert outcome(b"B", [form((head, b"1"))]).error is None
    assert time.process_time() - start < 3


# The two ways to read a head agree.

head_bytes = st.lists(
    st.sampled_from(
        [
            b"Content-Disposition: form-data",
            b'; name="a"',
            b'; filename="b c"',
            b'"',
            b"\\",
            b"%22",
            b"%",
            b"; ",
            b"\xc3\xa4",
            b"\xff",
            b"\r\n",
            b"\r\nContent-Type: text/plain",
            b"; charset=x",
            b" ",
            b"\x00",
            b"\n",
            b"X: y",
        ]
    ),
    max_size=8,
).map(b"".join)


@given(head_bytes)
@example(b'Content-Disposition: form-data; name="a"; filename="b c"')
def test_a_plain_head_reads_as_any_head(head: bytes) -> None:
    head += b"\r\n"
    match = re.fullmatch(PLAIN_HEAD, head + b"\r\n")
    if match is not None:
        quick = plain_part(head, match)
        slow = parse_head(head, DEFAULT_LIMITS, form_data=True)
        assert quick == slow
        assert quick.headers == slow.headers


# Any bytes: an outcome, the same for each way to cut them, or a StreamError.

fragments = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"--B",
                b"\r\n--B",
                b"\r\n--B\r\n",
                b"\r\n--B--",
                b"--B\r\n" + A + b"\r\n\r\n",
                b"\r\n",
                b"\r",
                b"\n",
                b"-",
                b" " * 33,
                A,
                b"\r\nContent-Length: 3",
                b"\r\nX: y",
                b"\r\n\r\n",
            ]
        ),
        st.binary(max_size=5),
    ),
    max_size=14,
).map(b"".join)
small = Limits(max_parts=3, max_field=40, max_preamble=20, max_header_size=90)


@settings(max_examples=300)
@given(fragments, st.lists(st.integers(1, 30), min_size=1), st.booleans())
def test_any_bytes_have_one_outcome(
    body: bytes, sizes: list[int], form_data: bool
) -> None:
    whole = outcome(b"B", [body], limits=small, form_data=form_data)
    pieces, at, turn = [], 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        pieces.append(body[at : at + size])
        at, turn = at + size, turn + 1
    assert outcome(b"B", pieces, limits=small, form_data=form_data) == whole
    assert outcome(b"B", cut(body, 1), limits=small, form_data=form_data) == whole
    assert (whole.error is None) == whole.ended


# Round trips through our own formatter.

texts = st.text(
    st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from('\r\n"%;\\'),
    max_size=12,
)


def formattable(text: str | None) -> bool:
    try:
        format_disposition(text)
    except ValueError:
        return False
    return True


names = texts.filter(formattable)
part_lists = st.lists(
    st.tuples(names, st.none() | names, st.binary(max_size=30)), max_size=5
)


def write(parts: list[tuple[str, str | None, bytes]], boundary: bytes) -> bytes:
    return form(
        *(
            (b"Content-Disposition: " + format_disposition(n, f).encode(), data)
            for n, f, data in parts
        ),
        boundary=boundary,
    )


@given(part_lists, st.integers(1, 40))
def test_what_we_write_reads_back_the_same(
    parts: list[tuple[str, str | None, bytes]], size: int
) -> None:
    boundary = b"Boundary-that-is-nowhere-else"
    body = write(parts, boundary)
    for pieces in ([body], cut(body, size)):
        result = outcome(boundary, pieces)
        assert result.error is None
        assert [(b.name, b.filename, data) for b, data in result.parts] == parts


# Other parsers, on bodies that our writer makes: the same parts. multipart drops the
# folders of a filename that begins as a Windows path, so those are left out;
# python-multipart leaves names to its caller, so its header bytes are compared.


@settings(max_examples=100)
@given(part_lists)
def test_multipart_reads_what_we_read(
    parts: list[tuple[str, str | None, bytes]],
) -> None:
    parts = [p for p in parts if (p[1] or "")[1:3] != ":\\"]
    body = write(parts, b"Boundary-here")
    found: list[list[object]] = []
    with defnull.PushMultipartParser(b"Boundary-here", strict=True) as parser:
        for event in [*parser.parse(body), *parser.parse(b"")]:
            if isinstance(event, defnull.MultipartSegment):
                found.append([event.name, event.filename, b""])
            elif event:
                last = found[-1][2]
                assert isinstance(last, bytes)
                found[-1][2] = last + event
    assert [tuple(part) for part in found] == parts


@settings(max_examples=100)
@given(part_lists)
def test_python_multipart_reads_what_we_read(
    parts: list[tuple[str, str | None, bytes]],
) -> None:
    body = write(parts, b"Boundary-here")
    heads: list[bytes] = []
    contents: list[bytes] = []

    def on_part_begin() -> None:
        heads.append(b"")
        contents.append(b"")

    def on_header_value(data: bytes, start: int, end: int) -> None:
        heads[-1] += data[start:end]

    def on_part_data(data: bytes, start: int, end: int) -> None:
        contents[-1] += data[start:end]

    parser = python_multipart.MultipartParser(
        b"Boundary-here",
        {
            "on_part_begin": on_part_begin,
            "on_header_value": on_header_value,
            "on_part_data": on_part_data,
        },
    )
    parser.write(body)
    parser.finalize()
    assert contents == [data for _, _, data in parts]
    assert heads == [format_disposition(n, f).encode() for n, f, _ in parts]


# Whether each takes a body, where we differ on purpose from multipart 2.0.1 (strict)
# or python-multipart 0.0.34, and why. What they do may change: then this list does.

GOOD = form((A, b"1"))
DIFFERENCES: dict[str, tuple[bytes, bool, bool, bool]] = {
    # case: body, ours, multipart, python-multipart
    # RFC 2046 allows both; proxies and old clients send them.
    "preamble": (b"x\r\n" + GOOD, True, True, False),
    "padding": (GOOD.replace(b"B\r\n", b"B \r\n", 1), True, False, False),
    # RFC 2046's grammar for an empty body; python-multipart reads "--B--" as content.
    "no line": (b"--B\r\n" + A + b"\r\n\r\n--B--", True, False, True),
    # Half an upload is no upload.
    "truncated": (GOOD[:-5], False, False, True),
    # Two readers would see two different bodies.
    "look-alike": (form((A, b"\r\n--Bx")), False, False, True),
    "bare LF": (form((A + b"\nX: y", b"1")), False, True, True),
    "duplicate name": (form((A + b"; name=b", b"1")), False, True, True),
    "duplicate header": (form((A + b"\r\n" + A, b"1")), False, True, True),
    "blank before colon": (form((A + b"\r\nX : y", b"1")), False, True, False),
    "NUL": (form((A + b"\r\nX: \0", b"1")), False, True, True),
    "wrong length": (form((A + b"\r\nContent-Length: 9", b"1")), False, False, True),
    "no name": (form((b"Content-Disposition: form-data", b"")), False, False, True),
    # Bytes are kept: whoever wants text says what to do about the others.
    "name not UTF-8": (
        form((b'Content-Disposition: form-data; name="\xff"', b"")),
        True,
        False,
        True,
    ),
}


def takes_multipart(body: bytes) -> bool:
    try:
        with defnull.PushMultipartParser(b"B", strict=True) as parser:
            for _ in [*parser.parse(body), *parser.parse(b"")]:
                pass
    except defnull.MultipartError:
        return False
    return True


def takes_python_multipart(body: bytes) -> bool:
    try:
        parser = python_multipart.MultipartParser(b"B", {})
        parser.write(body)
        parser.finalize()
    except python_multipart.exceptions.MultipartParseError:
        return False
    return True


@pytest.mark.parametrize("case", DIFFERENCES)
def test_differences_to_other_parsers_are_these(case: str) -> None:
    body, ours, multipart, python = DIFFERENCES[case]
    assert (stable(b"B", body).error is None) is ours
    assert takes_multipart(body) is multipart
    assert takes_python_multipart(body) is python
