"""One HTTP exchange with a provider: its limits, whether a byte left, which redirects we follow, what answers mean."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import httpx

from streams import backoff
from streams.errors import StreamError
from streams.faults import fault
from streams.network import Transport
from streams.providers.base import Call

CONNECT_S = 9.0  # for name and TCP, and once more for TLS: a black hole is left within 10 s
HEADERS_S = 9.0  # for the head of an answer to a repeatable call
ANSWER_S = 60.0  # the same where the call makes an agent begin to work
WRITE_S = 30.0
REDIRECTS = 3
BODY_BYTES = 1024 * 1024  # of an answer that is no stream
SHOWN_CHARS = 300
CLOSE_S = 2.0
LOCATION = "location"  # of a redirect, among a response's extensions
TOO_LATE = "there was no connection in time"

STREAM_HEADERS = {"accept": "text/event-stream", "cache-control": "no-store"}
KEEP_ALIVE: list[tuple[int, int, int]] = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
    if hasattr(socket, name)
]


class CallFailed(StreamError):
    """No answer came. The text says why and holds no secret."""


class CallUnsent(CallFailed):
    """Provably no byte of the request left: DNS, connect, TLS, or a request that cannot be written down."""


class CallUnanswered(CallFailed):
    """The request may have arrived, and no HTTP answer came."""


class RedirectRefused(StreamError):
    """A redirect that we do not follow: elsewhere, to plain http, nowhere, or one too many."""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """One for all streams: loading the certificates costs milliseconds and memory each time."""
    return httpx.create_ssl_context(trust_env=False)


class _TooLate(Exception):
    """The connection is there, and the moment to use it is over."""


class _Headers(dict[str, str]):
    """A request's headers, which hold the secret: whoever writes an error down with its frames sees their names."""

    def __repr__(self) -> str:
        return f"headers {', '.join(self)}"


class Exchange:
    """A client of its own for one stream (or one call), so that thousands of them do not share one pool's lock."""

    def __init__(self, *, secret: str = "") -> None:
        self._secret = secret
        self._client = httpx.AsyncClient(
            transport=Transport(tls_context(), KEEP_ALIVE),
            timeout=httpx.Timeout(None),  # each request has its own
            follow_redirects=False,
            trust_env=False,
            event_hooks={"response": [_keep_location]},
        )

    async def send(self, call: Call, *, last_event_id: str = "") -> httpx.Response:
        """Make the call; the answer's body is unread. Raises CallUnsent, CallUnanswered, RedirectRefused."""
        headers = _Headers({name.lower(): value for name, value in call.headers.items()})
        headers["accept-encoding"] = "identity"
        if call.streams:
            headers |= STREAM_HEADERS
        if last_event_id:
            headers.setdefault("last-event-id", last_event_id)  # an adapter may want all of it again
        url = call.url
        for _ in range(REDIRECTS + 1):
            response = await self._once(call, url, headers)
            if not call.repeatable or response.status_code not in (301, 302, 303, 307, 308):
                return response
            await response.aclose()
            try:
                url = redirect_target(url, response.extensions.get(LOCATION, ""))
            except RedirectRefused as exc:
                raise RedirectRefused(str(exc)) from None  # not its frames, where the address may repeat our secret
        raise RedirectRefused(f"more than {REDIRECTS} redirects")

    async def _once(self, call: Call, url: str, headers: Mapping[str, str]) -> httpx.Response:
        left, loop = False, asyncio.get_running_loop()
        answer_s = HEADERS_S if call.repeatable else ANSWER_S
        try:
            async with asyncio.timeout(2 * CONNECT_S + 1) as limit:  # httpx, which cleans up better, is first

                async def trace(event: str, info: Mapping[str, Any]) -> None:
                    nonlocal left
                    if event == "http11.send_request_headers.started":
                        if loop.time() >= call.leave_by:
                            raise _TooLate
                        left = True
                        limit.reschedule(loop.time() + answer_s)
                    elif event == "http11.send_request_body.complete" and not call.repeatable:
                        fault("call.sent")

                connect_s = min(CONNECT_S, max(call.leave_by - loop.time(), 0.001))
                request = self._client.build_request(
                    call.method,
                    url,
                    headers=_sendable(headers),
                    content=call.body,
                    extensions={"trace": trace},
                    timeout=httpx.Timeout(None, connect=connect_s, write=WRITE_S),
                )
                return await self._client.send(request, stream=True)
        except _TooLate:
            raise CallUnsent(TOO_LATE) from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as exc:
            if not left and loop.time() >= call.leave_by:
                raise CallUnsent(TOO_LATE) from None
            raise (CallUnanswered if left else CallUnsent)(self.why(exc)) from None  # its cause could hold the request

    def why(self, exc: BaseException) -> str:
        """An error in words, without the secret."""
        if isinstance(exc, TimeoutError | httpx.TimeoutException):
            return "no answer in time"
        return self.without_secret(f"{type(exc).__name__}: {exc}"[:SHOWN_CHARS].rstrip(": "))

    def without_secret(self, text: str) -> str:
        """A provider (or a library's error) may repeat the key that it was given."""
        return text.replace(self._secret, "***") if self._secret else text

    async def read(
        self,
        response: httpx.Response,
        *,
        most_bytes: int = BODY_BYTES,
        enough: Callable[[bytes], bool] | None = None,
    ) -> bytes:
        """The body of an answer, as far as it is of interest: `enough` of one that goes on. Raises CallUnanswered."""
        body = bytearray()
        try:
            async with asyncio.timeout(ANSWER_S):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > most_bytes or (enough and enough(bytes(body))):
                        break
        except (httpx.HTTPError, TimeoutError, OSError) as exc:
            raise CallUnanswered(self.why(exc)) from None
        return bytes(body[:most_bytes])

    async def aclose(self) -> None:
        """Close the connection, whatever state it is in."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._client.aclose()
        except (TimeoutError, httpx.HTTPError, OSError, RuntimeError):
            pass  # it is gone then


async def _keep_location(response: httpx.Response) -> None:
    """Put the Location away: httpx reads it even where it follows nothing, and takes a broken one for no answer."""
    if "location" in response.headers:
        response.extensions[LOCATION] = response.headers.pop("location")


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Refuse what no header can carry, before the library does so in words that quote it."""
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"the header {name} has characters that cannot be sent")
    return _Headers(headers)


def redirect_target(url: str, location: str) -> str:
    """Where a redirect leads, if we follow it: the same host and port, and never from https to http."""
    if not location.strip():
        raise RedirectRefused("a redirect without a Location")
    try:
        target = urljoin(url, location.strip())
        old, new = urlsplit(url), urlsplit(target)
        old_at, new_at = (old.hostname, old.port), (new.hostname, new.port)
    except ValueError as exc:
        raise RedirectRefused("a redirect to an address that is none") from exc
    upgraded = (old.scheme, new.scheme) == ("http", "https") and old.port in (None, 80) and new.port in (None, 443)
    if old.hostname != new.hostname or not (upgraded or (old.scheme == new.scheme and old_at == new_at)):
        raise RedirectRefused("a redirect to another host or protocol")
    if new.username or new.password:
        raise RedirectRefused("a redirect with credentials in it")
    return target


@dataclass(frozen=True, slots=True)
class Reading:
    """What the head of an answer to a GET means for whoever holds the run."""

    means: Literal["stream", "body", "no_content", "credential", "gone", "later", "wrong"]
    why: str = ""
    retry_after_s: float | None = None


def read_head(status: int, headers: Mapping[str, str], *, now: datetime) -> Reading:
    """Of a stream: WHATWG HTML "server-sent events", stricter and more patient: nobody watches this consumer."""
    head = read_plain_head(status, headers, now=now)
    if head.means != "body":
        return head
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        return Reading("wrong", f"its type is {kind[:80] or 'unsaid'}, not text/event-stream")
    return Reading("stream")


def read_plain_head(status: int, headers: Mapping[str, str], *, now: datetime) -> Reading:
    """Of an answer whose body is wanted whole."""
    if status == 204:
        return Reading("no_content", "HTTP 204")
    if status in (401, 403):
        return Reading("credential", f"HTTP {status}")
    if status in (404, 410):
        return Reading("gone", f"HTTP {status}")
    if status in (408, 425, 429) or status >= 500:
        return Reading("later", f"HTTP {status}", backoff.retry_after_s(headers.get("retry-after"), now=now))
    if status != 200:
        return Reading("wrong", f"HTTP {status}")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return Reading("wrong", "it is compressed, although we refused that")
    return Reading("body")
