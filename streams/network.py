"""The way out for streams: httpx and httpcore as they are, over connections that cost little while nothing comes.

httpcore's own backend stops and resumes reading around every read: two more system calls, a timer and two turns of the
loop for each event. Here a connection reads on into a small buffer, and TLS is the standard library's, in memory.

Of an answer h11 is given the head and no byte more. So a chunked body, as every stream's is, can be read straight from
its connection (`reading`): through h11 and five generators, one inside the other, an event costs almost twice as much.
"""

import asyncio
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from streams.chunked import Chunked, Malformed

HIGH_BYTES = 128 * 1024  # unread: from here on nothing is read from the socket
TLS_READ_BYTES = 16 * 1024  # a TLS record has no more
EYEBALLS_S = 0.25  # before an address's next family is tried as well
HEAD_END = re.compile(rb"\n\r?\n")  # where h11 ends the head of an answer
BODY = "countersign.body"  # among a response's extensions
CUT_OFF = "the connection was closed before the body's end"


class _Pipe(asyncio.Protocol):
    """What has come and was not read yet. One reader, one writer."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.failure: Exception | None = None
        self.at_eof = False
        self._came: list[bytes] = []
        self._came_bytes = 0
        self._resting = False
        self._awaited: asyncio.Future[None] | None = None  # more, or the end
        self._full: asyncio.Future[None] | None = None  # the peer does not take what we write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._came.append(data)
        self._came_bytes += len(data)
        if self._came_bytes > HIGH_BYTES and not self._resting:
            self._resting = True
            self.transport.pause_reading()
        _wake(self._awaited)

    def eof_received(self) -> bool:
        self.at_eof = True
        _wake(self._awaited)
        return True  # what we are writing may still be taken; aclose() closes

    def connection_lost(self, exc: Exception | None) -> None:
        self.at_eof, self.failure = True, exc
        _wake(self._awaited)
        _wake(self._full)

    def pause_writing(self) -> None:
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._full)
        self._full = None

    @property
    def readable(self) -> bool:
        return bool(self._came) or self.at_eof

    async def read(self) -> bytes:
        """All that is there, at least one byte; empty at the end. Raises what broke the connection."""
        while not self._came:
            if self.at_eof:
                if self.failure is not None:
                    raise self.failure
                return b""
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
        data = self._came[0] if len(self._came) == 1 else b"".join(self._came)
        self._came.clear()
        self._came_bytes = 0
        if self._resting:
            self._resting = False
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Hand over, and wait while the peer takes nothing. Raises OSError where the connection is lost."""
        if self.transport.is_closing():
            raise self.failure or ConnectionResetError("the connection is closed")
        self.transport.write(data)
        if self._full is not None:
            await self._full
            if self.transport.is_closing():
                raise self.failure or ConnectionResetError("the connection was lost")


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


@contextmanager
def _as(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """httpcore's names for what goes wrong."""
    try:
        yield
    except TimeoutError as exc:
        raise late(str(exc)) from exc
    except OSError as exc:  # ssl.SSLError too
        raise broken(str(exc)) from exc


class _Stream(httpcore.AsyncNetworkStream):
    """One connection as httpcore wants it."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._left = b""  # of what was read, beyond what was asked for
        self._last = b""  # bytes of the head that comes: its end may be in two pieces
        self.in_head = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore's)
        """What comes next, but nothing behind the end of a head."""
        try:
            data = await (self.take() if timeout is None else asyncio.wait_for(self.take(), timeout))
        except TimeoutError as exc:
            raise httpcore.ReadTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore.ReadError(str(exc)) from exc
        most = min(max_bytes, self._to_the_end_of_the_head(data)) if self.in_head else max_bytes
        if len(data) > most:
            data, self._left = data[:most], data[most:]
        return data

    def _to_the_end_of_the_head(self, data: bytes) -> int:
        found = HEAD_END.search(self._last + data)
        end = found.end() - len(self._last) if found else len(data)
        self._last = b"" if found else (self._last + data)[-2:]  # a head may follow one that was only provisional
        return end

    async def take(self) -> bytes:
        """All that is there, at least one byte; empty at the end. Raises OSError."""
        if self._left:
            data, self._left = self._left, b""
            return data
        return await self._more()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.in_head = True
        if buffer:
            with _as(httpcore.WriteTimeout, httpcore.WriteError):
                async with asyncio.timeout(timeout):
                    await self._put(buffer)

    async def aclose(self) -> None:
        self._pipe.transport.abort()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        stream = _TlsStream(self._pipe, ssl_context, server_hostname)
        try:
            with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
                async with asyncio.timeout(timeout):
                    await stream.shake_hands()
        except BaseException:
            await self.aclose()
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return bool(self._left) or self._pipe.readable
        named = {"client_addr": "sockname", "server_addr": "peername"}
        return self._pipe.transport.get_extra_info(named.get(info, info))

    async def _more(self) -> bytes:
        return await self._pipe.read()

    async def _put(self, data: bytes) -> None:
        await self._pipe.write(data)


class _TlsStream(_Stream):
    """The same inside TLS, whose records pass through memory: no second protocol, no second buffer."""

    def __init__(self, pipe: _Pipe, context: ssl.SSLContext, hostname: str | None) -> None:
        super().__init__(pipe)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=hostname)

    async def shake_hands(self) -> None:
        """Raises OSError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._turn()
            except ssl.SSLError:
                await self._flush()  # the alert says why
                raise
            else:
                await self._flush()
                return

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._tls
        if info == "is_readable":
            return super().get_extra_info(info) or self._tls.pending() > 0 or self._in.pending > 0
        return super().get_extra_info(info)

    async def _more(self) -> bytes:
        while True:
            try:
                return self._tls.read(TLS_READ_BYTES)
            except ssl.SSLWantReadError:
                await self._turn()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # HTTP itself says whether something is missing
                return b""

    async def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
            await self._flush()

    async def _turn(self) -> None:
        """Say what TLS has to say, and hear more."""
        await self._flush()
        data = await self._pipe.read()
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        if self._out.pending:
            await self._pipe.write(self._out.read())


class _Backend(httpcore.AsyncNetworkBackend):
    """Makes connections for httpcore."""

    async def connect_tcp(
        self, host: str, port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None, socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                # A race leaks the winner's socket if it is called off in the same turn; an address needs none.
                racing = None if _is_address(host) else EYEBALLS_S
                loop = asyncio.get_running_loop()
                _, pipe = await loop.create_connection(_Pipe, host, port, happy_eyeballs_delay=racing)
        for option in socket_options or ():
            pipe.transport.get_extra_info("socket").setsockopt(*option)
        return _Stream(pipe)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Transport(httpx.AsyncBaseTransport):
    """httpx's own transport but for the backend, which it has no argument for."""

    def __init__(self, context: ssl.SSLContext, options: Iterable[Any]) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, keepalive_expiry=5.0, socket_options=options, network_backend=_Backend()
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = await self._pool.handle_async_request(asked)
        connection = answer.extensions.get("network_stream")
        if isinstance(connection, _Stream):
            connection.in_head = False
            if _is_chunked(answer):
                answer.extensions[BODY] = _ChunkedBody(connection)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


def _is_chunked(answer: httpcore.Response) -> bool:
    """Whether a body follows, and nothing but the chunked coding says where it ends."""
    told = [value.lower() for name, value in answer.headers if name.lower() == b"transfer-encoding"]
    return answer.status == 200 and told == [b"chunked"]


class _ChunkedBody:
    """A body read without h11, which is not asked any more; closing the response closes the connection."""

    def __init__(self, connection: _Stream) -> None:
        self._connection, self._coding = connection, Chunked()

    async def read(self) -> bytes:
        try:
            while not self._coding.ended:
                came = await self._connection.take()
                if not came:
                    raise httpx.RemoteProtocolError(CUT_OFF)
                if data := self._coding.feed(came):
                    return data
        except Malformed as exc:
            raise httpx.RemoteProtocolError(str(exc)) from exc
        except OSError as exc:
            raise httpx.ReadError(str(exc)) from exc
        return b""


def reading(response: httpx.Response) -> Callable[[], Awaitable[bytes]]:
    """What reads the next bytes of a body, empty at its end: use this or the response's own ways, never both.

    It raises httpx.HTTPError. Where the body cannot be read straight from the connection, it is httpx that reads.
    """
    body = response.extensions.get(BODY)
    if isinstance(body, _ChunkedBody):
        return body.read
    chunks = response.aiter_raw()

    async def read() -> bytes:
        return await anext(chunks, b"")

    return read


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """httpx calls its errors as httpcore does."""
    try:
        yield
    except (
        httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as exc:  # fmt: skip
        raise getattr(httpx, type(exc).__name__)(str(exc)) from exc
