"""A reverse proxy: a request passed on, and its answer passed back, both as streams.

Nothing is held: a client that stops reading stops the upstream, one that leaves ends
the upstream's response, and an upstream that fails breaks the connection instead of
ending the body early. That is no fault of this application: it takes one line of the
log, and no traceback.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
import weakref
from typing import TYPE_CHECKING, ClassVar, Final

from aiohttp import ClientError, ClientPayloadError, hdrs, web
from multidict import CIMultiDict

from aiostreams.errors import ClientGone, InvalidContent, ObjectNotFound, StreamError
from aiostreams.files.replay import Replay
from aiostreams.limits import GiB, KiB
from aiostreams.sansio.caching import (
    KeptAnswer,
    cache_directives,
    is_somebodys,
    may_keep,
    may_use_cache,
)
from aiostreams.sansio.digest import DIGEST_ALGORITHMS, parse_digest
from aiostreams.sansio.forwarding import (
    CLAIMS,
    end_to_end,
    forwarded_for,
    is_trusted,
)
from aiostreams.streams.copy import copy
from aiostreams.streams.hashing import HashStream
from aiostreams.streams.http import HTTPStream, is_decoded
from aiostreams.streams.tasks import PendingCall, settle
from aiostreams.streams.transforms import Transform
from aiostreams.web.digests import CONTENT_DIGEST, REPR_DIGEST
from aiostreams.web.response import BodyResponse
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

    from aiostreams.storage.base import Storage
    from aiostreams.streams.base import Stream

__all__ = ["UpstreamBroken", "proxy"]

_logger = logging.getLogger("aiostreams.web")

_VIA: Final = "1.1 aiostreams"
# What aiohttp's client would say of itself, where the client has said nothing.
_NOT_OURS: Final = (
    hdrs.ACCEPT,
    hdrs.ACCEPT_ENCODING,
    hdrs.CONTENT_TYPE,
    hdrs.USER_AGENT,
)


async def proxy(
    request: web.BaseRequest,
    session: ClientSession,
    url: str | URL,
    *,
    headers: Mapping[str, str] | None = None,
    trusted: bool | Iterable[str] = False,
    store: Storage | None = None,
    max_size: int = 1 * GiB,
) -> web.StreamResponse:
    """Send ``request`` to ``url``, and give back what that answers.

    Method, body, and all header fields that may pass go both ways; so ranges,
    conditions and content codings are between the client and the upstream.
    Redirects are passed back. ``Via`` and ``X-Forwarded-For``, ``-Proto`` and
    ``-Host`` are added. The header section of the answer goes out as soon as it is
    there. A byte of a field that is no UTF-8, which aiohttp cannot write, goes as the
    character that it is in ISO-8859-1.

    With a ``store``, answers to GET are kept there as a shared cache may do (RFC 9111;
    the guide lists the rules) and given to those who ask later, with ranges. Nothing is
    kept that was cut off, differs from its digest, or may be one user's own. While an
    answer of known length is fetched, all who ask for it share that.

    Args:
        request: what to pass on; its limits hold for the body.
        session: a client session of the application; one without cookies of its
            own (``cookie_jar=aiohttp.DummyCookieJar()``).
        url: where to; query included.
        headers: fields for the upstream that win over the client's.
        trusted: whether the client is a gateway that tells the truth of those before
            it: ``True``, or the addresses and networks (``"10.0.0.0/8"``) of those
            that do. From others ``X-Forwarded-Host``, ``-Proto``, ``-Port``,
            ``-Prefix``, ``-Server``, ``Forwarded`` and ``X-Real-IP`` do not pass;
            to ``X-Forwarded-For`` their address is added in any case.
        store: where answers are kept, below ``http-cache/``.
        max_size: how many bytes of them; the oldest go. A larger one is not kept.

    Raises:
        ValueError: ``trusted`` has something that is no address or network.
        web.HTTPBadGateway: the upstream cannot be reached.
        web.HTTPGatewayTimeout: it does not answer in the session's time.
        StreamError: as raised by the request's body.
    """
    exchange = _Exchange(request, session, url, headers, trusted)
    if store is None:
        return exchange.response(await exchange.send())
    cache = _Cache.over(store, max_size)
    if request.method in _SAFE:
        if may_use_cache(request.method, exchange.headers) and not exchange.uploads:
            return await cache.answer(exchange)
        return exchange.response(await exchange.send())
    upstream = await exchange.send()
    if upstream.status < 400:
        await cache.forget(exchange)
    return exchange.response(upstream)


class _Exchange:
    """A request that is passed on, once or several times, and what comes back.

    Attributes:
        request: the client's.
        url: where to.
        headers: what goes there.
        uploads: whether it has a body.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        session: ClientSession,
        url: str | URL,
        headers: Mapping[str, str] | None,
        trusted: bool | Iterable[str],  # noqa: FBT001
    ) -> None:
        body = body_of(request)
        self.request = request
        self.url = url
        self.uploads: bool = request.can_read_body
        self._session = session
        self._upload: _Upload | None = None
        encoded = body.untouched
        if self.uploads:
            source = body.open_encoded() if encoded else body.source("proxy()")
            self._upload = _Upload(source)
            body.call_on_close(self._upload.close)
        self.headers = _request_headers(
            request, headers, trusted, encoded=encoded or not body.changed
        )

    async def send(
        self, headers: CIMultiDict[str] | None = None, method: str | None = None
    ) -> ClientResponse:
        """Send it, with other fields than the client's if some are given.

        Raises:
            web.HTTPBadGateway, web.HTTPGatewayTimeout, StreamError: see ``proxy``.
        """
        upload = self._upload
        try:
            upstream = await self._session.request(
                method or self.request.method,
                self.url,
                headers=self.headers if headers is None else headers,
                data=upload,
                allow_redirects=False,
                auto_decompress=False,
                skip_auto_headers=_NOT_OURS,
            )
        except (ClientError, TimeoutError) as error:
            if upload is not None and upload.failure is not None:
                raise upload.failure from error
            if isinstance(error, TimeoutError):
                raise web.HTTPGatewayTimeout from error
            raise web.HTTPBadGateway from error
        if upload is not None:
            upload.upstream = upstream
        return upstream

    def stream(self, upstream: ClientResponse) -> _Download:
        """Return the body of the answer."""
        stream = _Download.from_response(upstream)
        stream.request, stream.upload = self.request, self._upload
        return stream

    def response(
        self, upstream: ClientResponse, stream: Stream | None = None
    ) -> web.StreamResponse:
        """Return the answer, with this body in the place of its own, if one is given.

        Raises:
            web.HTTPBadGateway: it has a field that no parser should have let in.
        """
        fields = end_to_end(upstream.headers.items())
        body = stream or self.stream(upstream)
        try:
            return _passed(body, upstream.status, upstream.reason, fields, _Passed)
        except ValueError as error:
            upstream.close()
            raise web.HTTPBadGateway from error


class _Upload(Transform):
    """The client's body, which remembers why it failed: aiohttp would not tell.

    Nor would it wake who waits for more of the upstream's answer, when that in turn
    waits for the rest of the body.
    """

    failure: StreamError | None = None
    upstream: ClientResponse | None = None

    async def readany(self) -> bytes:
        # What the upstream has said by now is read before more is written: a write to
        # one that has closed already would lose it.
        await asyncio.sleep(0)
        try:
            return await super().readany()
        except StreamError as error:
            self.failure = error
            if self.upstream is not None and not self.upstream.content.is_eof():
                self.upstream.close()
            raise


class UpstreamBroken(ClientPayloadError, ConnectionError):
    """The rest of an answer will not come; it has been logged.

    aiohttp closes the connection to the client for a ``ConnectionError``, quietly.
    """


class _Download(HTTPStream):
    """The upstream's body; when it breaks off, one line says so."""

    # The client has the header section when it is there, and each piece.
    live = True
    request: web.BaseRequest
    upload: _Upload | None = None

    async def readany(self) -> bytes:
        try:
            return await super().readany()
        except (ClientError, OSError) as error:  # a timeout is an OSError
            failure = None if self.upload is None else self.upload.failure
            if isinstance(failure, ClientGone):
                raise failure from error
            cause = type(failure or error).__name__
            whole = "" if self.size is None else f" of {self.size}"
            seen = f"{cause} after {self.position}{whole} bytes"
            request = self.request
            path = request.path[:200].encode("unicode_escape").decode()
            # No traceback: it would be aiohttp's, and the same each time.
            _logger.error(  # noqa: TRY400
                "upstream broke off: %s %s: %s", request.method, path, seen
            )
            raise UpstreamBroken(f"the upstream broke off: {seen}") from error


def _request_headers(
    request: web.BaseRequest,
    more: Mapping[str, str] | None,
    trusted: bool | Iterable[str],  # noqa: FBT001
    *,
    encoded: bool,
) -> CIMultiDict[str]:
    """Return the fields that go upstream; ``encoded``: with the client's bytes."""
    drop: list[str] = [hdrs.HOST, hdrs.CONTENT_LENGTH, hdrs.EXPECT]
    if not encoded or is_decoded(body_of(request).reader):
        drop += [hdrs.CONTENT_ENCODING, CONTENT_DIGEST, REPR_DIGEST]
    elif request.content_length is not None:
        drop.remove(hdrs.CONTENT_LENGTH)
    if not is_trusted(request.remote, trusted):
        drop += CLAIMS
    headers = CIMultiDict(end_to_end(request.headers.items(), *drop))
    headers.add(hdrs.VIA, _VIA)
    headers[hdrs.X_FORWARDED_FOR] = forwarded_for(
        headers.getall(hdrs.X_FORWARDED_FOR, ()), request.remote
    )
    headers.setdefault(hdrs.X_FORWARDED_PROTO, request.scheme)
    headers.setdefault(hdrs.X_FORWARDED_HOST, request.host)
    headers.update(more or {})
    return headers


def _passed(
    stream: Stream,
    status: int,
    reason: str | None,
    fields: Iterable[tuple[str, str]],
    kind: type[BodyResponse],
) -> BodyResponse:
    """Make a response with these fields, and none that they have not."""
    headers = CIMultiDict(fields)
    headers.add(hdrs.VIA, _VIA)
    response = kind(stream, status=status, headers=headers)
    if hdrs.CONTENT_TYPE not in headers:
        response.headers.popall(hdrs.CONTENT_TYPE, None)
    if reason:
        response.set_status(status, reason)
    return response


class _Passed(BodyResponse):
    """Somebody else's answer: nothing about it is decided here."""

    evaluates = False


# -- the cache -----------------------------------------------------------------------

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_HEADS: Final = "http-cache/heads/"
_BODIES: Final = "http-cache/bodies/"
# Of one URL so many answers are kept, which differ by what `Vary` names.
_MOST_VARIANTS: Final = 8
# A head of more bytes is none that was written here.
_MOST_HEAD: Final = 512 * KiB
# So many URLs are remembered, and for so many seconds, whose answers may not be kept:
# nobody shall wait to share one.
_MOST_ALONE: Final = 4096
_WHILE: Final = 60.0
# What is evicted at once, beyond what is too much.
_MARGIN: Final = 0.1
# What a request for the whole must not say.
_OF_A_PART: Final = (
    hdrs.RANGE,
    hdrs.IF_RANGE,
    hdrs.IF_MATCH,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_UNMODIFIED_SINCE,
)


class _Cache:
    """Answers that are kept in a storage, and those that are being fetched for it."""

    _caches: ClassVar[weakref.WeakKeyDictionary[Storage, _Cache]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, store: Storage) -> None:
        self._store = weakref.ref(store)
        self._fetches: dict[str, _Fetch] = {}
        # Whose answers cannot be shared, and until when that is believed.
        self._alone: dict[str, float] = {}
        # How many bytes are kept; unknown before somebody has looked.
        self._total: int | None = None
        self._evicting: asyncio.Task[None] | None = None
        self.max_size = 0

    @classmethod
    def over(cls, store: Storage, max_size: int) -> _Cache:
        """Return the one of this storage."""
        cache = cls._caches.get(store)
        if cache is None:
            cache = cls._caches[store] = cls(store)
        cache.max_size = max_size
        return cache

    @property
    def store(self) -> Storage:
        store = self._store()
        assert store is not None
        return store

    async def answer(self, exchange: _Exchange) -> web.StreamResponse:
        """Answer a GET or HEAD without a body, from here or from the upstream."""
        request, asked = exchange.request, exchange.headers
        key = _key(exchange)
        kept = await self.find(key, asked)
        if kept is not None and kept.is_fresh(asked, time.time()):
            response = await self._given(kept)
            if response is not None:
                return response
            kept = None
        if "only-if-cached" in cache_directives(asked.getall(hdrs.CACHE_CONTROL, ())):
            raise web.HTTPGatewayTimeout
        # Somebody's own answer is no reason for others to have theirs alone.
        place = f"{key} {is_somebodys(asked)}"
        alone = request.method != "GET" or (hdrs.RANGE in asked and kept is None)
        if alone or self._alone.get(place, 0.0) > time.monotonic():
            return exchange.response(await exchange.send())
        fetch = self._fetches.get(place)
        if fetch is None or not fetch.may_be_joined(asked):
            fetch = self._fetches[place] = _Fetch(self, exchange, key, place, kept)
            try:
                await fetch.begun()
            except BaseException:
                fetch.leave()
                raise
            upstream = fetch.take()
            if upstream is not None:
                return exchange.response(upstream, fetch.alone)
        else:
            await fetch.begun()
        response = None
        if fetch.kept is not None and fetch.kept.matches(asked):
            response = await self._given(fetch.kept, fetch.replay)
        return response or exchange.response(await exchange.send())

    async def _given(
        self, kept: KeptAnswer, replay: Replay | None = None
    ) -> web.StreamResponse | None:
        """Return what is kept, or on its way; ``None`` if it is not there any more."""
        if replay is not None:
            stream: Stream = replay.open()
        else:
            try:
                stream = _Kept(await self.store.open(kept.body))
            except StreamError:
                return None
        headers = kept.headers
        headers[hdrs.AGE] = str(kept.age(time.time()))
        if replay is not None and kept.status == 200:
            # The replay does not know it yet.
            headers[hdrs.CONTENT_LENGTH] = str(kept.size)
        return _passed(stream, kept.status, kept.reason, headers.items(), _FromCache)

    # -- heads -------------------------------------------------------------------------

    async def find(self, key: str, asked: CIMultiDict[str]) -> KeptAnswer | None:
        """Find the answer that is kept for requests like this one."""
        for kept in await self._read(key):
            if kept.matches(asked):
                return kept
        return None

    async def _read(self, key: str) -> list[KeptAnswer]:
        try:
            async with await self.store.open(_HEADS + key) as stream:
                data = await stream.read(_MOST_HEAD)
            return [KeptAnswer.from_json(value) for value in json.loads(data)]
        except ObjectNotFound:
            return []
        except (StreamError, TypeError, ValueError, KeyError) as error:
            # Cut, of another version, or out of reach: as if there were none.
            _logger.warning("cache: a head cannot be read: %r", error)
            return []

    async def keep(self, key: str, kept: KeptAnswer) -> None:
        """Keep an answer, whose bytes are there, in the place of others."""
        before = await self._read(key)
        # What is for the same requests is replaced; else the oldest goes.
        others = [one for one in before if one.varied != kept.varied]
        variants = [kept, *others][:_MOST_VARIANTS]
        data = json.dumps([one.to_json() for one in variants]).encode()
        await self.store.put(_HEADS + key, data, overwrite=True)
        bodies = {one.body for one in variants}
        for one in before:
            if one.body not in bodies:
                await self.store.delete(one.body)

    async def forget(self, exchange: _Exchange) -> None:
        """Forget what is kept for this URL (section 4.4)."""
        try:
            key = _key(exchange)
            before = await self._read(key)
            await self.store.delete(_HEADS + key)
            for one in before:
                await self.store.delete(one.body)
        except StreamError as error:
            _logger.warning("cache: an answer cannot be forgotten: %r", error)

    # -- what a fetch tells ------------------------------------------------------------

    def ended(self, place: str, fetch: _Fetch) -> None:
        """Stop: there is nothing to share any more."""
        if self._fetches.get(place) is fetch:
            del self._fetches[place]

    def cannot_share(self, place: str) -> None:
        """Let no request wait for an answer to share, for a while."""
        self._alone.pop(place, None)
        self._alone[place] = time.monotonic() + _WHILE
        if len(self._alone) > _MOST_ALONE:
            del self._alone[next(iter(self._alone))]

    def grown(self, size: int) -> None:
        """So many bytes more are kept: look whether these are too many."""
        if self._total is not None:
            self._total += size
        over = self._total is None or self._total > self.max_size
        if over and (self._evicting is None or self._evicting.done()):
            self._evicting = asyncio.create_task(self._evict())

    async def _evict(self) -> None:
        """Count what is there, other processes' too, and remove the oldest."""
        store = self.store
        try:
            found = [
                (one.modified or 0.0, one.size, one.key)
                async for one in store.list(_BODIES)
            ]
            total = sum(size for _, size, _ in found)
            if total > self.max_size:
                for _, size, body in sorted(found):
                    if total <= self.max_size * (1 - _MARGIN):
                        break
                    await store.delete(_HEADS + body.removeprefix(_BODIES)[:64])
                    await store.delete(body)
                    total -= size
            self._total = total
        except StreamError as error:
            _logger.warning("cache: the oldest answers cannot be removed: %r", error)


_ADDRESS: Final = "X-Real-IP"


def _key(exchange: _Exchange) -> str:
    """Return the key of an answer: the URL, and what the upstream takes for it.

    The address of the client is no part of it. With ``X-Real-IP``, clients behind a
    gateway would not share what is kept.
    """
    claims = [exchange.headers.get(name, "") for name in CLAIMS if name != _ADDRESS]
    text = "\n".join([str(exchange.url), *claims])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class _Fetch:
    """An answer on its way from the upstream, for all who ask for it meanwhile.

    Attributes:
        kept: what it is, once it is known that it may be shared.
        replay: its bytes, while they come; ``None`` when they are kept already.
        alone: the body for the one who asked first, if it is not shared.
    """

    def __init__(
        self,
        cache: _Cache,
        exchange: _Exchange,
        key: str,
        place: str,
        known: KeptAnswer | None,
    ) -> None:
        self.kept: KeptAnswer | None = None
        self.replay: Replay | None = None
        self.alone: Stream | None = None
        self._cache = cache
        self._exchange = exchange
        self._key = key
        self._place = place
        self._known = known
        self._upstream: ClientResponse | None = None
        self._left = False
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def begun(self) -> None:
        """Wait until it is known what becomes of it.

        Raises:
            web.HTTPBadGateway, web.HTTPGatewayTimeout: the upstream has no answer.
        """
        await settle(self._begun)
        error = self._begun.exception()
        if isinstance(error, web.HTTPException):
            raise type(error) from error  # which is a response, to one request
        self._begun.result()

    def may_be_joined(self, asked: CIMultiDict[str]) -> bool:
        """Return whether this is an answer to who asks now.

        What has come already was asked for before: then it must be fresh.
        """
        if not self._begun.done():
            return True
        return self.kept is not None and self.kept.is_fresh(asked, time.time())

    def take(self) -> ClientResponse | None:
        """Take what only the one who asked first may have."""
        upstream, self._upstream = self._upstream, None
        return upstream

    def leave(self) -> None:
        """Note that the one who asked first is not there any more."""
        self._left = True
        upstream = self.take()
        if upstream is not None:
            upstream.close()

    async def _run(self) -> None:
        try:
            await self._fetch()
        except web.HTTPException as error:
            self._begun.set_exception(error)
            self._begun.exception()  # seen: perhaps nobody waits any more
        except Exception as error:  # noqa: BLE001 - logged; clients see it break
            _logger.warning("cache: an answer was not kept: %r", error)
            if not self._begun.done():
                self._begun.set_exception(web.HTTPBadGateway())
                self._begun.exception()
        finally:
            if not self._begun.done():
                self._begun.cancel()
            self._cache.ended(self._place, self)

    async def _fetch(self) -> None:
        exchange, cache = self._exchange, self._cache
        asked = CIMultiDict(
            field
            for field in exchange.headers.items()
            if field[0].title() not in {name.title() for name in _OF_A_PART}
        )
        requested = time.time()
        whole = CIMultiDict(asked)
        if self._known is not None:
            whole.update(self._known.conditions)
        upstream = await exchange.send(whole)
        fields = CIMultiDict(end_to_end(upstream.headers.items()))
        received = time.time()
        if upstream.status == 304 and self._known is not None:
            upstream.release()
            self.kept = self._known.renewed(
                fields, requested=requested, received=received
            )
            self._begin()
            await cache.keep(self._key, self.kept)
            return
        stream = exchange.stream(upstream)
        size = stream.size
        may = may_keep(asked, upstream.status, fields)
        if not may or (size or 0) > cache.max_size:
            if upstream.status < 500:
                cache.cannot_share(self._place)
            self._pass(upstream, stream)
            return
        kept = KeptAnswer.of(
            asked,
            upstream.status,
            upstream.reason or "",
            fields,
            requested=requested,
            received=received,
            body=f"{_BODIES}{self._key}-{secrets.token_hex(8)}",
            size=size or 0,
        )
        keeping = _Keeping(stream, cache, self._key, kept)
        if size is None:
            # It may be longer than what is kept; so nothing holds it for others.
            self._pass(upstream, keeping)
            return
        self.kept = kept
        self.replay = Replay(max_size=size)
        self._begin()
        async with keeping, self.replay:
            await copy(keeping, self.replay)

    def _begin(self) -> None:
        if not self._begun.done():
            self._begun.set_result(None)

    def _pass(self, upstream: ClientResponse, stream: Stream) -> None:
        self._upstream, self.alone = upstream, stream
        if self._left:
            self.leave()
        self._begin()


class _Keeping(Transform):
    """An answer, which is put into the storage as it passes.

    What goes wrong with that is logged, and the answer passes all the same.
    """

    def __init__(
        self, source: Stream, cache: _Cache, key: str, kept: KeptAnswer
    ) -> None:
        self._expected = _digests(kept.headers)
        names = {DIGEST_ALGORITHMS[name] for name in self._expected}
        self._hashed = HashStream(source, *names) if names else None
        super().__init__(self._hashed or source)
        self._cache = cache
        self._key = key
        self._kept = kept
        self._sink: Stream | None = None
        self._gone = False
        self._seen = 0
        self._piece: bytes | None = None
        self._storing: PendingCall[None] = PendingCall()

    @property
    def live(self) -> bool:  # type: ignore[override] # it is no attribute here
        return True

    async def readany(self) -> bytes:
        # One that is cancelled while the storage works comes back for the same piece.
        if self._piece is None:
            self._piece = await self.source.readany()
        await self._storing.run(self._store)
        piece, self._piece = self._piece, None
        return piece

    async def _store(self) -> None:
        piece = self._piece
        assert piece is not None
        if self._gone:
            return
        try:
            await (self._add(piece) if piece else self._finish())
        except Exception as error:  # noqa: BLE001 - the answer passes all the same
            _logger.warning("cache: an answer was not kept: %r", error)
            await self._give_up()

    async def _add(self, piece: bytes) -> None:
        cache, kept = self._cache, self._kept
        self._seen += len(piece)
        if self._seen > cache.max_size:
            await self._give_up()
            return
        if self._sink is None:
            self._sink = await cache.store.create(kept.body)
        await self._sink.write(piece)

    async def _finish(self) -> None:
        cache = self._cache
        if self._hashed is not None:
            found = self._hashed.digests
            for name, digest in self._expected.items():
                if bytes.fromhex(found[DIGEST_ALGORITHMS[name]]) != digest:
                    raise InvalidContent(f"the {name} digest of the answer differs")
        if self._sink is None:
            await cache.store.put(self._kept.body, b"")
        else:
            sink, self._sink = self._sink, None
            await sink.close()
        self._gone = True
        await cache.keep(self._key, self._kept._replace(size=self._seen))
        cache.grown(self._seen)

    async def _give_up(self) -> None:
        self._gone = True
        sink, self._sink = self._sink, None
        if sink is not None:
            await sink.abort()

    async def close(self) -> None:
        """Close the answer; one that is incomplete is not kept."""
        try:
            await self._storing.cancel()
            await self._give_up()
        finally:
            await super().close()


def _digests(headers: CIMultiDict[str]) -> dict[str, bytes]:
    """Return the digests that an answer says it has, of its content."""
    lines = [*headers.getall(CONTENT_DIGEST, ()), *headers.getall(REPR_DIGEST, ())]
    try:
        return dict(parse_digest(lines)) if lines else {}
    except StreamError:
        return {}


class _Kept(Transform):
    """The bytes of an answer that is kept, without the storage's own validators."""

    @property
    def seekable(self) -> bool:
        return self.source.seekable

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        return await self.source.slice(offset, length)


class _FromCache(BodyResponse):
    """An answer that is kept: conditions and ranges are answered here."""
