"""One plan for one response: what nginx would answer, decided before any I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.conditions import Conditions
from aiostreams.sansio.plan import ResponsePlan, plan_response
from aiostreams.sansio.ranges import ByteRange
from aiostreams.sansio.validators import EntityTag, Validators, format_http_date

CHANGED = 1_700_000_000
SAME, EARLIER = format_http_date(CHANGED), format_http_date(CHANGED - 10)
VALIDATORS = Validators(etag=EntityTag("now"), last_modified=CHANGED)
TOLD = {"ETag": '"now"', "Last-Modified": SAME}
SEEKABLE = TOLD | {"Accept-Ranges": "bytes"}


def plan(method: str = "GET", /, **fields: str) -> ResponsePlan:
    return plan_response(method, Conditions(**fields), VALIDATORS, size=100)


def test_plan_when_plain_get() -> None:
    assert plan() == ResponsePlan(200, SEEKABLE)


def test_plan_when_head() -> None:
    assert plan("HEAD") == ResponsePlan(200, SEEKABLE)


def test_plan_when_one_range() -> None:
    assert plan(range="bytes=10-19") == ResponsePlan(
        206,
        SEEKABLE | {"Content-Range": "bytes 10-19/100"},
        (ByteRange(10, 10),),
    )


def test_plan_when_several_ranges() -> None:
    """Content-Range goes into the parts; as many as there are."""
    assert plan(range="bytes=0-0,-1") == ResponsePlan(
        206, SEEKABLE, (ByteRange(0, 1), ByteRange(99, 1))
    )


def test_plan_when_only_one_of_several_ranges_is_left() -> None:
    answer = plan(range="bytes=0-0,200-")
    assert answer.ranges == (ByteRange(0, 1),)
    assert answer.headers["Content-Range"] == "bytes 0-0/100"


def test_plan_when_range_is_unsatisfiable() -> None:
    """No validators: they would describe the error document."""
    assert plan(range="bytes=100-") == ResponsePlan(
        416, {"Content-Range": "bytes */100"}
    )


@pytest.mark.parametrize(
    "value", ["bytes=9-0", "items=0-1", "bytes=" + "0-0," * 200, "junk", ""]
)
def test_plan_when_range_is_ignored(value: str) -> None:
    assert plan(range=value) == plan()


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=100-", "bytes=0-0,2-2"])
def test_plan_when_head_has_a_range(value: str) -> None:
    assert plan("HEAD", range=value) == plan("HEAD")


def test_plan_when_range_meets_a_source_that_cannot_seek() -> None:
    asked = Conditions(range="bytes=0-0")
    whole = ResponsePlan(200, TOLD)
    assert (
        plan_response("GET", asked, VALIDATORS, size=100, accept_ranges=False) == whole
    )
    assert plan_response("GET", asked, VALIDATORS, size=None) == whole


def test_plan_when_representation_is_empty() -> None:
    answer = plan_response("GET", Conditions(range="bytes=0-"), VALIDATORS, size=0)
    assert answer == ResponsePlan(200, SEEKABLE)


def test_plan_when_not_modified() -> None:
    """304 guides the cache by ETag; by Last-Modified only where there is none."""
    for method in ("GET", "HEAD"):
        assert plan(method, if_none_match='W/"now"') == ResponsePlan(
            304, {"ETag": '"now"'}
        )
    dated = Validators(last_modified=CHANGED)
    asked = Conditions(if_modified_since=SAME)
    assert plan_response("GET", asked, dated, size=100) == ResponsePlan(
        304, {"Last-Modified": SAME}
    )
    tagged = Validators(etag=EntityTag("now"))
    asked = Conditions(if_none_match="*")
    assert plan_response("GET", asked, tagged, size=100) == ResponsePlan(
        304, {"ETag": '"now"'}
    )


def test_plan_when_precondition_failed() -> None:
    for method in ("GET", "HEAD"):
        assert plan(method, if_match='"old"') == ResponsePlan(412, {})
        assert plan(method, if_unmodified_since=EARLIER) == ResponsePlan(412, {})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_plan_when_method_has_done_its_work(method: str) -> None:
    """What was done cannot be refused any more, nor be sent in part."""
    for fields in (
        {"if_match": '"old"'},
        {"if_none_match": "*"},
        {"range": "bytes=0-"},
    ):
        assert plan(method, **fields) == ResponsePlan(200, TOLD)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        # conditions go before Range, and Range before nothing
        ({"if_match": '"old"', "range": "bytes=100-"}, 412),
        ({"if_none_match": '"now"', "range": "bytes=0-9"}, 304),
        ({"if_none_match": '"now"', "range": "bytes=100-"}, 304),
        ({"if_none_match": '"old"', "range": "bytes=0-9"}, 206),
        ({"if_match": '"now"', "range": "bytes=0-9"}, 206),
        ({"if_unmodified_since": SAME, "range": "bytes=0-9"}, 206),
        # If-Range
        ({"if_range": '"now"', "range": "bytes=0-9"}, 206),
        ({"if_range": '"old"', "range": "bytes=0-9"}, 200),
        ({"if_range": '"old"', "range": "bytes=100-"}, 200),
        ({"if_range": '"now"', "range": "bytes=100-"}, 416),
        ({"if_range": 'W/"now"', "range": "bytes=0-9"}, 200),
        ({"if_range": SAME, "range": "bytes=0-9"}, 206),
        ({"if_range": EARLIER, "range": "bytes=0-9"}, 200),
        ({"if_range": "junk", "range": "bytes=0-9"}, 200),
        ({"if_range": '"now"'}, 200),
        ({"if_range": '"old"'}, 200),
        # If-Range fails, but a condition before it decides
        ({"if_range": '"old"', "range": "bytes=0-9", "if_none_match": '"now"'}, 304),
        ({"if_range": '"old"', "range": "bytes=0-9", "if_match": '"old"'}, 412),
    ],
)
def test_plan_when_conditions_meet_ranges(fields: dict[str, str], status: int) -> None:
    assert plan(**fields).status == status


def test_plan_when_the_clock_is_known() -> None:
    """Last-Modified is never in the future; a date of this second is not trusted."""
    now = CHANGED - 100
    asked = Conditions(range="bytes=0-9", if_range=SAME)
    early = plan_response("GET", asked, VALIDATORS, size=100, now=now)
    assert early.status == 200
    assert early.headers["Last-Modified"] == format_http_date(now)
    later = plan_response("GET", asked, VALIDATORS, size=100, now=CHANGED + 1)
    assert later.status == 206
    assert later.headers["Last-Modified"] == SAME


def test_plan_when_the_file_is_older_than_the_calendar() -> None:
    """A time that HTTP cannot write is not told, and breaks nothing."""
    odd = Validators(last_modified=1e15)
    answer = plan_response("GET", Conditions(), odd, size=1)
    assert answer.headers == {"Accept-Ranges": "bytes"}
    asked = Conditions(if_modified_since=SAME)
    assert plan_response("GET", asked, odd, size=1).status == 200


texts = (
    st.none() | st.text() | st.text(alphabet='bytes=0123456789-,W/"now*', max_size=30)
)


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.tuples(texts, texts, texts, texts, texts, texts),
    st.none() | st.integers(0, 10**15),
    st.sampled_from([VALIDATORS, Validators(), Validators(last_modified=-1e18)]),
)
def test_plan_when_fed_anything_is_one_that_can_be_carried_out(
    method: str,
    values: tuple[str | None, ...],
    size: int | None,
    validators: Validators,
) -> None:
    conditions = Conditions(*values)
    answer = plan_response(method, conditions, validators, size=size)
    assert answer.status in {200, 206, 304, 412, 416}
    assert bool(answer.ranges) is (answer.status == 206)
    for one in answer.ranges:
        assert size is not None
        assert one.stop <= size
    for name, value in answer.headers.items():
        assert f"{name}: {value}".isascii()
        assert f"{name}: {value}".isprintable()
