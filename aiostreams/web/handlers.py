"""Typed handlers: functions that return a Content or a Stream, as aiohttp takes them.

aiohttp's own types know handlers that return a ``StreamResponse``. ``RouteTableDef``
and ``handler`` take those that return any ``Result``, for type checkers and at run
time: what they register makes the response itself. Under the middleware that is all;
without it, the middleware is run around the handler, so that errors are answered and
everything is closed.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, overload

from aiohttp import hdrs, web
from aiohttp.abc import AbstractView

from aiostreams.content.base import Content
from aiostreams.content.file import File
from aiostreams.content.members import file_in
from aiostreams.content.models import model_of
from aiostreams.errors import UnsupportedContent
from aiostreams.streams.base import Stream
from aiostreams.uploads.formmodel import check_model
from aiostreams.web.middleware import inner_half, stream_middleware
from aiostreams.web.receive import receive
from aiostreams.web.request import read_form, read_json
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from aiohttp.typedefs import Handler

__all__ = ["Result", "RouteTableDef", "TypedBody", "handler"]

Result: TypeAlias = web.StreamResponse | Content | Stream
"""What a handler may return."""

H = TypeVar(
    "H", bound="Callable[[web.Request], Awaitable[Result]] | type[AbstractView]"
)
V = TypeVar("V", bound=AbstractView)
S = TypeVar("S")
M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)

_standalone: Final = stream_middleware()
_JSON: Final = "application/json"
_FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")


class TypedBody(Protocol[M_co]):
    """What ``handler(body=...)`` returns: a decorator."""

    @overload
    def __call__(
        self, function: Callable[[web.Request], Awaitable[Result]], /
    ) -> Handler: ...
    @overload
    def __call__(
        self, function: Callable[[web.Request, M_co], Awaitable[Result]], /
    ) -> Handler: ...
    @overload
    def __call__(
        self, function: Callable[[S, web.Request, M_co], Awaitable[Result]], /
    ) -> Callable[[S, web.Request], Awaitable[web.StreamResponse]]: ...
    def __call__(self, function: Any, /) -> Any:
        """Make a handler of the function."""
        ...


@overload
def handler(function: type[V], /) -> type[V]: ...
@overload
def handler(function: Callable[[web.Request], Awaitable[Result]], /) -> Handler: ...
@overload
def handler(
    function: Callable[[S, web.Request], Awaitable[Result]], /
) -> Callable[[S, web.Request], Awaitable[web.StreamResponse]]: ...
@overload
def handler(*, body: type[M]) -> TypedBody[M]: ...
@overload
def handler(*, body: Any) -> TypedBody[Any]: ...
def handler(function: Any = None, /, *, body: Any = None) -> Any:
    """Make a handler, as aiohttp has them, of one that returns any ``Result``.

        app.router.add_get("/report", handler(report))

        @handler(body=Order)
        async def create(request: web.Request, order: Order) -> JSON:
            return JSON(await save(order))

    Args:
        function: a coroutine function, a method, a partial, or a class-based view.
        body: the model of the body; looked at now, so that one which cannot be
            validated is found before any request. A function that takes one more
            argument gets the body as that: of JSON, of a form, or, with members of
            type :class:`StoredFile`, received, and undone if the handler fails.

    Raises:
        ImportError: the extra that ``body`` needs is missing.
        TypeError: no validator supports ``body``; or ``function`` cannot be
            called.
    """
    if function is None:
        reader = _BodyReader(body)
        return functools.partial(_handler, reader=reader)
    return _handler(function)


def _handler(function: Any, *, reader: _BodyReader | None = None) -> Any:
    if isinstance(function, type) and issubclass(function, AbstractView):
        return _view(function)
    if not callable(function):
        raise TypeError(f"a handler must be a function or a view, not {function!r}")
    room = 0 if reader is None else _most_arguments(function)

    @functools.wraps(function)
    async def answer(*args: Any) -> web.StreamResponse:
        call: Any = function
        if reader is not None and room > len(args):
            call = functools.partial(reader.call, function)
        return await _answer(args[-1], functools.partial(_called, call, args))

    return answer


def _called(call: Any, args: tuple[Any, ...], _request: web.Request) -> Any:
    return call(*args)


async def _answer(request: web.Request, call: Handler) -> web.StreamResponse:
    if body_of(request).managed:
        return await inner_half(request, call)
    return await _standalone(request, call)


def _most_arguments(function: Any) -> int:
    """Return how many positional arguments a function takes."""
    kinds = [
        parameter.kind for parameter in inspect.signature(function).parameters.values()
    ]
    return sum(
        kind
        in {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        for kind in kinds
    )


def _view(view: type[AbstractView]) -> type[AbstractView]:
    """Make a view class whose methods may return any ``Result``."""

    class Answering(view):  # type: ignore[valid-type, misc]
        _inside = False

        def __await__(self) -> Generator[None, None, web.StreamResponse]:
            # The middleware calls the view's method, or, of one that dispatches in a
            # way of its own, this again.
            if self._inside:
                inner: Generator[None, None, web.StreamResponse] = super().__await__()
                return inner
            self._inside = True
            answer = _answer(self.request, lambda _request: self)
            return answer.__await__()

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(Answering, name, getattr(view, name))
    return Answering


class _BodyReader:
    """Reads bodies of one model, for handlers that take them."""

    def __init__(self, model: Any) -> None:
        rules = check_model(model)
        self._model = model
        kind = file_in(model)
        self._stores = bool(rules) and not issubclass(File, kind)
        # A model with a file that has to be there cannot come as JSON.
        self._json = not any(rule.min_count for rule in rules.values())
        compiled = model_of(model)
        self._forms = compiled.opaque or compiled.members() is not None

    async def call(self, function: Any, *args: Any) -> Any:
        """Call ``function`` with the body as one more argument."""
        request: web.Request = args[-1]
        header = request.headers.get(hdrs.CONTENT_TYPE, "")
        media_type = header.partition(";")[0].strip().lower()
        if self._forms and media_type in _FORMS:
            if self._stores:
                async with receive(request, form=self._model) as received:
                    return await function(*args, received)
            return await function(*args, await read_form(request, self._model))
        if not self._json or (
            media_type not in {"", _JSON} and not media_type.endswith("+json")
        ):
            welcome = (_JSON,) * self._json + _FORMS * self._forms
            accept = ", ".join(welcome)
            raise UnsupportedContent(
                f"the body must be one of {accept}, not "
                f"{media_type[:80] or 'of no type'!r}",
                accept=accept,
            )
        return await function(*args, await read_json(request, type=self._model))


class RouteTableDef(web.RouteTableDef):
    """aiohttp's, with decorators that take handlers which return any ``Result``.

    routes = RouteTableDef()

    @routes.get("/report")
    async def report(request: web.Request) -> JSON:
        return JSON({"rows": 3})
    """

    def route(self, method: str, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route of that method; the others are short for this."""
        register: Any = super().route(method, path, **kwargs)

        def decorate(function: H) -> H:
            register(_handler(function))
            return function

        return decorate

    def head(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for HEAD."""
        return self.route(hdrs.METH_HEAD, path, **kwargs)

    def get(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for GET, and for HEAD as aiohttp has it."""
        return self.route(hdrs.METH_GET, path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for POST."""
        return self.route(hdrs.METH_POST, path, **kwargs)

    def put(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for PUT."""
        return self.route(hdrs.METH_PUT, path, **kwargs)

    def patch(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for PATCH."""
        return self.route(hdrs.METH_PATCH, path, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for DELETE."""
        return self.route(hdrs.METH_DELETE, path, **kwargs)

    def options(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for OPTIONS."""
        return self.route(hdrs.METH_OPTIONS, path, **kwargs)

    def view(self, path: str, **kwargs: Any) -> Callable[[H], H]:
        """Add a route for a class-based view."""
        return self.route(hdrs.METH_ANY, path, **kwargs)
