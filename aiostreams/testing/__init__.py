"""The laws of a Stream as a test kit, and streams that behave badly on purpose.

    from aiostreams.testing import LAWS

    @pytest.mark.parametrize("law", LAWS)
    async def test_my_stream_keeps_the_law(law):
        await law(lambda: MyStream("some data"))

``check_stream(make)`` runs them all. ``make`` is either

* ``make()``: a new stream over the same bytes at every call; or
* ``make(source)``: a new stream that reads from the stream ``source``. Then the
  laws also decide how the bytes arrive: whole, one at a time, in sevens, with
  pauses, failing midway, never ending.

Either may be a coroutine function.

``check_storage(make)`` does the same for a ``Storage``, with its ``PROMISES``.
"""

from __future__ import annotations

from aiostreams.testing.fakes import (
    DripStream,
    FailStream,
    SinkStream,
    SpyStream,
    StallStream,
)
from aiostreams.testing.laws import (
    LAWS,
    check_stream,
    law_01_read_is_exact,
    law_02_readany_gives_bytes_until_the_end,
    law_03_reads_like_a_stream_reader,
    law_04_size_is_kept,
    law_05_content_type_is_text_or_none,
    law_06_write_is_refused_unless_writable,
    law_07_close_is_final,
    law_08_data_comes_before_the_error,
    law_09_cancelled_and_concurrent_reads_lose_nothing,
    law_10_the_event_loop_is_not_held,
    law_11_memory_is_bounded,
    law_12_repr_shows_no_bytes,
)
from aiostreams.testing.storages import PROMISES, check_storage

__all__ = [
    "LAWS",
    "PROMISES",
    "DripStream",
    "FailStream",
    "SinkStream",
    "SpyStream",
    "StallStream",
    "check_storage",
    "check_stream",
    "law_01_read_is_exact",
    "law_02_readany_gives_bytes_until_the_end",
    "law_03_reads_like_a_stream_reader",
    "law_04_size_is_kept",
    "law_05_content_type_is_text_or_none",
    "law_06_write_is_refused_unless_writable",
    "law_07_close_is_final",
    "law_08_data_comes_before_the_error",
    "law_09_cancelled_and_concurrent_reads_lose_nothing",
    "law_10_the_event_loop_is_not_held",
    "law_11_memory_is_bounded",
    "law_12_repr_shows_no_bytes",
]
