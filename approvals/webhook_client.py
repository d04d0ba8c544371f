"""One POST to a webhook's receiver: its name is resolved once, and only a checked address is connected to."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import httpcore

from approvals import targets
from approvals.targets import Target, TargetRefused
from streams.client import tls_context

TOTAL_S = 15.0  # Standard Webhooks 1.0.0, "Request timeouts": 15 to 30 s
CONNECT_S = 5.0  # for each address, and once more for TLS
BODY_S = 5.0  # the head has said what counts
BODY_MAX_BYTES = 64 * 1024
ADDRESSES_TRIED = 4
RETRY_AFTER_CHARS = 100
LOOKUP, LOOKUPS = "webhook-lookup", 128  # at once

BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds."""

    total_s: float = TOTAL_S
    connect_s: float = CONNECT_S
    body_s: float = BODY_S


@dataclass(frozen=True, slots=True)
class Posted:
    """What came of one attempt. Without a status no HTTP answer came, and `why` says the reason without any secret."""

    status: int | None = None
    body: bytes = b""  # the beginning of what the receiver said: its words, not ours
    retry_after: str | None = None
    why: str = ""
    refused: bool = False  # by our guard: nothing was connected to


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name. Raises OSError where there is none.

    Each look-up has a thread of its own that dies with the process: one that hangs delays neither others nor a stop.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(answer: list[str] | OSError) -> None:
        if found.done():
            return  # nobody waits any more
        if isinstance(answer, OSError):
            found.set_exception(answer)
        else:
            found.set_result(answer)

    def look() -> None:
        answer = _look_up(host, port)
        try:
            loop.call_soon_threadsafe(tell, answer)
        except RuntimeError:
            pass  # the loop is closed

    if sum(one.name == LOOKUP for one in threading.enumerate()) >= LOOKUPS:
        raise socket.gaierror(socket.EAI_AGAIN, "too many look-ups hang")
    threading.Thread(target=look, name=LOOKUP, daemon=True).start()
    return await found


def _look_up(host: str, port: int) -> list[str] | OSError:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as exc:
        return exc
    except ValueError as exc:  # a name that cannot be encoded
        return socket.gaierror(socket.EAI_NONAME, type(exc).__name__)
    return list(dict.fromkeys(str(address[0]) for *_, address in rows))


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    resolve: Resolve = resolve,
    tls: ssl.SSLContext | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Posted:
    """Post once. Nothing that a receiver does raises; redirects are answers like others, proxies are not asked."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + limits.total_s
    try:
        async with asyncio.timeout_at(ends_at):
            target = targets.read(url)
            network = CheckedNetwork(await _addresses(target, resolve))
    except TargetRefused as exc:
        return Posted(why=str(exc), refused=True)
    except (OSError, ValueError) as exc:  # TimeoutError is an OSError
        return Posted(why=_why(exc))
    origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
    connection = httpcore.AsyncHTTPConnection(origin, ssl_context=tls or tls_context(), network_backend=network)
    try:
        async with asyncio.timeout_at(ends_at):
            response = await connection.handle_async_request(_request(target, body, headers, limits))
        beginning = await _beginning(response, min(ends_at, loop.time() + limits.body_s))
    except (*BROKEN, OSError, ValueError) as exc:
        return Posted(why=_why(exc))
    finally:
        await network.aclose()
    said = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    return Posted(response.status, beginning, said.decode("latin-1")[:RETRY_AFTER_CHARS] or None)


async def _addresses(target: Target, resolve: Resolve) -> Sequence[str]:
    """What may be connected to. One address of the inside spoils the whole answer: who controls it is no friend."""
    if target.address is not None:
        return [target.host]
    found = await resolve(target.host, target.port)
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    for address in found if not target.permitted else ():
        refused = targets.refuse_address(address)
        if refused is not None:
            raise TargetRefused(f"{target.host} leads to an address that may not be called: {refused}")
    return found[:ADDRESSES_TRIED]


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses, whatever host the connection is for: that one is for Host, SNI and certificate."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._inner = httpcore.AnyIOBackend()
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try one address after the other; nothing leaves before one is connected to."""
        failed: Exception = httpcore.ConnectError()
        for address in self._addresses:
            try:
                self._stream = await self._inner.connect_tcp(address, port, timeout)
                return self._stream
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
        raise failed

    async def aclose(self) -> None:
        """Close the connection, in whatever state. httpcore does not when it is cancelled in a TLS handshake."""
        if self._stream is not None:
            await self._stream.aclose()


def _request(target: Target, body: bytes, headers: Mapping[str, str], limits: Limits) -> httpcore.Request:
    given = {
        "host": target.authority,
        "user-agent": "Countersign",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        "content-type": "application/json",
        **headers,
        "content-length": str(len(body)),
    }
    return httpcore.Request(
        "POST",
        httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        ),
        headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in given.items()],
        content=body,
        extensions={"timeout": {"connect": limits.connect_s}},  # the rest is the whole's
    )


async def _beginning(response: httpcore.Response, ends_at: float) -> bytes:
    """The beginning of the body; one that breaks off, or never ends, changes nothing."""
    body = b""
    try:
        pieces = cast(AsyncGenerator[bytes, None], response.aiter_stream())
        async with asyncio.timeout_at(ends_at), contextlib.aclosing(pieces) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) >= BODY_MAX_BYTES:
                    break
    except (*BROKEN, OSError):
        pass
    return body[:BODY_MAX_BYTES]


def _why(exc: BaseException) -> str:
    """An error in our words: libraries' own may quote the URL or a header."""
    if isinstance(exc, httpcore.ConnectTimeout):
        return "connecting took too long"
    if isinstance(exc, TimeoutError | httpcore.TimeoutException):
        return "no answer in time"
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'it failed'}"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, OSError) and cause.errno is not None:
            return f"connection failed: {os.strerror(cause.errno)}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, httpcore.ConnectError):
        return "cannot connect"
    if isinstance(exc, httpcore.RemoteProtocolError):
        return "what answered is not HTTP, or broke off"
    return f"the request failed: {type(exc).__name__}"
