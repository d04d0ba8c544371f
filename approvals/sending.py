"""One HTTP request that carries a decision: whether it left, and what was answered."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any

import httpx

from streams.faults import fault
from streams.holder import NoAnswer, Unsent
from streams.providers.base import Call

TOTAL_S = 15.0
CONNECT_S = 10.0
BODY_MAX_BYTES = 64 * 1024
HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "Countersign"}
TOO_LATE = "there was no connection in time"
PAGES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole HTTP answer, as far as it was worth reading."""

    status: int
    body: bytes
    retry_after: str | None
    page: bool = False  # a web page, as a captive portal or a gateway shows it: not the agent spoke


class _TooLate(Exception):
    """The connection is there, and the moment to use it is over."""


def client() -> httpx.AsyncHTTPTransport:
    """The way out for decisions. No connection is used twice: one that dropped while idle would look like no answer.

    A bare transport: httpx's client reads a redirect's Location even where it does not follow it, and takes an answer
    whose Location is no address for none at all.
    """
    return httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0), trust_env=False
    )


async def send(
    http: httpx.AsyncBaseTransport, call: Call, *, leave_by: float = math.inf
) -> Answered | Unsent | NoAnswer:
    """Let one call out, once. Errors come back without anything of the request: it holds the provider's secret.

    `leave_by`: the last moment (the loop's time) for its first byte; a connection that comes later is not used.
    """
    loop, left = asyncio.get_running_loop(), False
    ends_at = loop.time() + TOTAL_S

    async def trace(event: str, info: Any) -> None:
        nonlocal left
        if event.endswith("send_request_headers.started"):
            if loop.time() >= leave_by:
                raise _TooLate
            left = True
        elif event.endswith("send_request_body.complete"):
            fault("courier.sent")

    try:
        async with asyncio.timeout_at(ends_at):
            # The library's own limit ends a connection that takes too long; it cleans up better than a cancellation.
            connect_s = min(CONNECT_S, max(leave_by - loop.time(), 0.001))
            response = await http.handle_async_request(_request(call, trace, connect_s))
    except httpx.LocalProtocolError:
        return Unsent("the request is no valid HTTP: its secret may hold forbidden characters")
    except _TooLate:
        return Unsent(TOO_LATE)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, TypeError) as exc:  # OSError: TimeoutError too
        if left:
            return NoAnswer(_why(exc))
        return Unsent(TOO_LATE if loop.time() >= leave_by else _why(exc))
    retry_after, kind = response.headers.get("retry-after"), response.headers.get("content-type", "")
    page = kind.partition(";")[0].strip().lower() in PAGES
    return Answered(response.status_code, await _body(response, ends_at), retry_after, page)


def _request(call: Call, trace: Any, connect_s: float) -> httpx.Request:
    headers = {**HEADERS, **{name.lower(): value for name, value in call.headers.items()}}
    limits = httpx.Timeout(TOTAL_S, connect=connect_s).as_dict()
    request = httpx.Request(
        call.method, call.url, headers=headers, content=call.body, extensions={"trace": trace, "timeout": limits}
    )
    if not request.url.host:
        raise httpx.InvalidURL("an address without a host")
    return request


async def _body(response: httpx.Response, ends_at: float) -> bytes:
    """The beginning of the body. The status has said what counts: a body that breaks off changes nothing.

    Of a stream its first piece: what it is part of has begun by then, and goes on without us.
    """
    body, streams = b"", response.headers.get("content-type", "").lower().startswith("text/event-stream")
    try:
        async with asyncio.timeout_at(ends_at):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= BODY_MAX_BYTES or (streams and body):
                    break
    except (httpx.HTTPError, httpx.StreamError, OSError):
        pass
    finally:
        await response.aclose()
    return body[:BODY_MAX_BYTES]


def _why(exc: Exception) -> str:
    """What went wrong, by its kind; only connection errors have words that never quote a header."""
    if isinstance(exc, TimeoutError | httpx.TimeoutException):
        return "connecting took too long" if isinstance(exc, httpx.ConnectTimeout) else "no answer in time"
    if isinstance(exc, httpx.ConnectError):
        return f"cannot connect: {exc}"[:300]
    return type(exc).__name__
