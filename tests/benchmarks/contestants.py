"""A contestant: an application, and how to serve it.

Area modules define each as a handler under one of the decorators. The server process
imports the same module and finds the contestant by its name. One that needs something
that is not there, a library or a name that ``aiostreams`` does not have yet, says so
and stands in its row with the reason.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiostreams
from tests import node

__all__ = [
    "FOLDER",
    "Contestant",
    "aiohttp_app",
    "aiostreams_app",
    "starlette_app",
]

Handler = Callable[[Any], Awaitable[Any]]

# Set for the server processes: whose files are in it.
FOLDER_VARIABLE = "AIOSTREAMS_BENCH_FOLDER"
# Names of modules that are not to be found, separated by commas.
WITHOUT_VARIABLE = "AIOSTREAMS_BENCH_WITHOUT"
# The event loop, where it is not asyncio's.
LOOP_VARIABLE = "AIOSTREAMS_BENCH_LOOP"
FOLDER = Path(os.environ.get(FOLDER_VARIABLE, tempfile.gettempdir()))


@dataclass(frozen=True)
class Contestant:
    """One server.

    Attributes:
        module, name: where the server process finds it.
        kind: ``"aiohttp"``, ``"asgi"`` or ``"command"``.
        make: builds the application, in the server process; or the command line of a
            server that prints its port.
        needs: modules, ``aiostreams.<name>``, or ``npm:<package>``, that have to be
            there.
        auto_decompress: whether aiohttp undoes content codings.
        env: more environment for the process.
    """

    module: str
    name: str
    kind: str
    make: Callable[[], Any]
    needs: tuple[str, ...] = ()
    auto_decompress: bool = True
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> str | None:
        """What it needs and is not there, or ``None``."""
        for need in self.needs:
            package, _, name = need.partition(".")
            if package == "aiostreams" and name:
                if not hasattr(aiostreams, name):
                    return f"{need} is not there yet"
            elif need.startswith("npm:"):
                if (reason := node.missing(need.removeprefix("npm:"))) is not None:
                    return reason
            elif importlib.util.find_spec(need) is None:
                return f"{need} is not installed"
        return None

    def without(self, *modules: str) -> Contestant:
        """The same server on a machine that does not have ``modules``."""
        return self.under(**{WITHOUT_VARIABLE: ",".join(modules)})

    def under(self, **env: str) -> Contestant:
        """The same server with more environment."""
        return dataclasses.replace(self, env={**self.env, **env})

    def on_uvloop(self) -> Contestant:
        """The same server on uvloop."""
        on = self.under(**{LOOP_VARIABLE: "uvloop"})
        return dataclasses.replace(on, needs=(*self.needs, "uvloop"))


def aiohttp_app(
    *needs: str, auto_decompress: bool = True, zlib: str | None = None
) -> Callable[[Handler], Contestant]:
    """aiohttp alone, with no limit in the way.

    Args:
        needs: see :class:`Contestant`.
        auto_decompress: likewise.
        zlib: the module that aiohttp is told to compress and decompress with.
    """
    if zlib is not None:
        needs = (*needs, zlib.partition(".")[0])

    def decorate(handler: Handler) -> Contestant:
        def make() -> Any:
            import aiohttp
            from aiohttp import web

            if zlib is not None:
                aiohttp.set_zlib_backend(importlib.import_module(zlib))
            app = web.Application(client_max_size=2**40)
            app.router.add_route("*", "/{path:.*}", handler)
            return app

        return Contestant(
            handler.__module__,
            handler.__name__,
            "aiohttp",
            make,
            needs,
            auto_decompress,
        )

    return decorate


def aiostreams_app(*needs: str, **options: Any) -> Callable[[Handler], Contestant]:
    """aiohttp with ``aiostreams.setup()``, served as ``aiostreams.run_app`` does.

    Args:
        needs: see :class:`Contestant`; names of ``aiostreams`` without the prefix.
        options: for ``setup()``.
    """
    options.setdefault(
        "limits", aiostreams.Limits(max_body=2**40, max_memory=2**30, max_file=2**40)
    )

    def decorate(handler: Handler) -> Contestant:
        def make() -> Any:
            from aiohttp import web

            # The limit is of aiohttp's own calls, which a row may make under setup().
            app = aiostreams.setup(web.Application(client_max_size=2**40), **options)
            app.router.add_route("*", "/{path:.*}", handler)
            return app

        return Contestant(
            handler.__module__,
            handler.__name__,
            "aiohttp",
            make,
            tuple(f"aiostreams.{need}" for need in needs),
            auto_decompress=False,
        )

    return decorate


def starlette_app(
    *needs: str, middleware: Callable[[], list[Any]] = list
) -> Callable[[Handler], Contestant]:
    """Starlette under uvicorn."""

    def decorate(handler: Handler) -> Contestant:
        def make() -> Any:
            from starlette.applications import Starlette
            from starlette.routing import Route

            methods = ["GET", "POST", "PUT"]
            return Starlette(
                routes=[Route("/{path:path}", handler, methods=methods)],
                middleware=middleware(),
            )

        return Contestant(
            handler.__module__,
            handler.__name__,
            "asgi",
            make,
            ("starlette", "uvicorn", *needs),
        )

    return decorate
