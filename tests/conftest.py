"""What every test runs under: no blocking call on the event loop goes unseen.

And hypothesis without deadlines: a busy machine is no finding.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from hypothesis import settings

from tests.storage.seaweed import bucket, proxy, seaweed

__all__ = ["bucket", "proxy", "seaweed"]  # one server for all that ask for it

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

# Those that take longest, the longest first. Where several processes share the files,
# one of these that began last would be waited for by all others.
LONGEST = (
    "docs/test_pages.py",
    "web/resumable/test_service_storm.py",
    "uploads/test_receiver_faults.py",
    "resumable/test_log_bucket.py",
    "storage/test_promises.py",
    "storage/test_base_servers.py",
    "test_shipped.py",
    "storage/test_object_store.py",
    "resumable/test_engine_kills.py",
    "browser/test_example_resumable.py",
    "uploads/test_receiver_bucket.py",
    "web/resumable/test_service_workers.py",
    "browser/test_resumable.py",
    "browser/test_direct.py",
    "browser/test_example_app.py",
    "browser/test_example_live.py",
    "browser/test_codings.py",
    "browser/test_forms.py",
    "peers/test_peers.py",
    "resumable/test_engine.py",
    "storage/test_quota.py",
    "web/test_middleware_refusals.py",
    "web/resumable/test_route_clients.py",
    "example_app/test_command.py",
    "web/test_setup_other_packages.py",
    "uploads/test_receiver_soak.py",
    "docs/test_resumable.py",
    "content/test_zip_readers.py",
    "browser/test_example_safety.py",
    "docs/test_style.py",
    "web/resumable/test_tus_server.py",
)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Order the files for pytest-xdist: by what they take, or how many tests there are.

    By itself it goes by the latter alone: `make test` tells it not to.
    """
    if not hasattr(config, "workerinput"):
        return
    here = Path(__file__).parent
    ranks = {here / name: rank for rank, name in enumerate(LONGEST)}
    if missing := [str(path) for path in ranks if not path.exists()]:
        raise pytest.UsageError(f"LONGEST names {', '.join(missing)}")
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (ranks.get(item.path, len(ranks)), -tests[item.path]))


if os.environ.get("AIOSTREAMS_LOOP") == "uvloop":

    @pytest.hookimpl
    def pytest_asyncio_loop_factories() -> Mapping[
        str, Callable[[], asyncio.AbstractEventLoop]
    ]:
        """Run all tests on the other event loop: `python -m tests.matrix uvloop`."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def buster() -> BlockBuster:
    """What raises where aiostreams blocks the event loop."""
    made = BlockBuster("aiostreams")
    # coverage.py holds a lock for a moment whenever a function of ours is entered;
    # to raise there, where a thread holds it, is to break whatever is measured.
    acquire = made.functions["threading.Lock.acquire"]
    acquire.can_block_in("coverage/collector.py", "lock_data")
    # aiohttp asks for the size of a body where nothing can be awaited.
    made.functions["os.stat"].can_block_in("aiostreams/files/file.py", "measure")
    return made


@pytest.fixture(autouse=True)
def blockbuster(buster: BlockBuster) -> Iterator[BlockBuster]:
    """Blocking calls from aiostreams on the event loop raise."""
    buster.activate()
    try:
        yield buster
    finally:
        buster.deactivate()


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
