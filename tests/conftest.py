"""What every test runs under: no blocking call on the event loop goes unseen.

And hypothesis without deadlines: a busy machine is no finding.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import os
from collections.abc import Callable, Iterator, Mapping

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from tests.storage.seaweed import bucket, proxy, seaweed

__all__ = ["bucket", "proxy", "seaweed"]  # one server for all that ask for it

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


if os.environ.get("AIOSTREAMS_LOOP") == "uvloop":

    @pytest.hookimpl
    def pytest_asyncio_loop_factories() -> Mapping[
        str, Callable[[], asyncio.AbstractEventLoop]
    ]:
        """Run all tests on the other event loop: `python -m tests.matrix uvloop`."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def blockbuster(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """Blocking calls from aiostreams on the event loop raise."""
    with blockbuster_ctx("aiostreams") as buster:
        # coverage.py holds a lock for a moment whenever a function of ours is entered;
        # to raise there, where a thread holds it, is to break whatever is measured.
        acquire = buster.functions["threading.Lock.acquire"]
        acquire.can_block_in("coverage/collector.py", "lock_data")
        # aiohttp asks for the size of a body where nothing can be awaited.
        buster.functions["os.stat"].can_block_in("aiostreams/files/file.py", "measure")
        yield buster


@pytest.fixture(autouse=True, scope="session")
def sources_stay_as_they_are() -> Iterator[None]:
    """Look at the times of source files no more, once their lines are known.

    In its debug mode asyncio notes the stack of each future and each callback, and
    asks for the time of every file in it: half of what that mode costs.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linecache, "checkcache", lambda _filename=None: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_stores() -> Iterator[None]:
    """Keep what the machine says of its own object stores from clients of ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="module")
def only_what_is_new_is_collected() -> None:
    """Take what is there already out of the garbage collector's sight.

    Tests that look for leaks call ``gc.collect()``, some of them hundreds of times. It
    takes 0.1 to 0.2 s where thousands of tests, and what pytest and hypothesis keep of
    them, have to be gone through: half of the CPU time of all tests.
    """
    gc.collect()
    gc.freeze()
