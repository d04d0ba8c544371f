"""One knock at an address whose answer is a run's stream, and what may come of it."""

from dataclasses import dataclass

import httpx
from django.utils import timezone

from streams.client import CallFailed, CallUnanswered, CallUnsent, Exchange, read_head
from streams.folding import Held
from streams.providers.base import Call, Refusal


@dataclass(frozen=True, slots=True)
class Opened:
    """200 and an event stream: it is held now."""


@dataclass(frozen=True, slots=True)
class Declined:
    """An HTTP answer that is no stream."""

    status: int
    refusal: Refusal
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unsent:
    """Provably no byte left (DNS, connect, TLS): the call may be made again."""

    why: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """It left, and no HTTP answer came."""

    why: str


Answered = Opened | Declined | Unsent | NoAnswer


async def knock(held: Held, call: Call, exchange: Exchange) -> tuple[Answered, httpx.Response | None]:
    """Make a call whose answer is a run's stream, once."""
    try:
        response = await exchange.send(call)
    except CallUnsent as exc:
        return Unsent(str(exc)), None
    except CallFailed as exc:
        return NoAnswer(str(exc)), None
    head = read_head(response.status_code, response.headers, now=timezone.now())
    if head.means == "stream":
        return Opened(), response
    try:
        body = await exchange.read(response)
    except CallUnanswered as exc:
        if response.status_code < 300:  # it was taken, and what it said is lost
            return NoAnswer(str(exc)), None
        body = b""
    if response.status_code < 300:
        return Declined(
            response.status_code, Refusal("not_a_stream", f"The agent's answer is no stream: {head.why}")
        ), None
    refusal = held.adapter.read_refusal(response.status_code, body)
    refusal = Refusal(exchange.without_secret(refusal.code), exchange.without_secret(refusal.text))
    return Declined(response.status_code, refusal, head.retry_after_s), None
