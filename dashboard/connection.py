"""One honest try at a provider's address: what answers there, in plain words, and what looks wrong besides."""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from django.utils import timezone

from dashboard import diagnosis
from streams import providers
from streams.client import tls_context
from streams.errors import StreamError
from streams.models import Provider
from streams.providers.base import Account, Call, RunView
from streams.providers.base import Provider as Adapter

TIMEOUT_S = 10.0  # for each step: name, connection, TLS, head of the answer
WHOLE_S = 25.0  # for all of it: a slow dripping answer must not hold whoever asked
BODY_MAX_BYTES = 65_536
NO_SUCH_RUN: Final = "countersign-connection-check"
LISTS: Final[Mapping[str, str]] = {  # kinds whose API has a list that shows nothing but what an account may start
    "middesk": "/agents",  # GET /v1/agents, `{"data": [Agent]}` (Middesk's OpenAPI description, read 2026-11)
}


@dataclass(frozen=True, slots=True)
class Found:
    """What the try showed. `code` is for programs: ok, dns, refused, tls, timeout, credential, redirect, ..."""

    code: str
    detail: str
    warnings: tuple[str, ...] = ()  # what looks wrong, and may be right all the same

    @property
    def ok(self) -> bool:
        return self.code == "ok"


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and its body where that was asked for."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    location: str = ""


def check(provider: Provider) -> Found:
    """Send one GET that starts and changes nothing, with the account's credential, and read what comes.

    Not from a running event loop: it takes up to WHOLE_S.
    """
    try:
        adapter = providers.get(provider.kind)
        account = Account(provider.base_url, provider.secret, provider.dialect, provider.options)
        call = _harmless(adapter, account)
    except (StreamError, LookupError) as exc:
        return Found("configuration", str(exc))
    noted = diagnosis.doubts(provider.kind, account.base_url, account.secret)
    found, answer = _try(adapter, account, call)
    if answer is not None:
        noted += diagnosis.clock_doubt(answer.headers.get("date", ""), timezone.now())
    elif found.code != "configuration":
        noted += diagnosis.proxy_doubt(urlsplit(call.url).scheme, urllib.request.getproxies_environment())
    return replace(found, warnings=noted)


def _try(adapter: Adapter, account: Account, call: Call) -> tuple[Found, Answer | None]:
    lists = adapter.kind in LISTS
    try:
        answer = asyncio.run(_ask(call, wants_body=lists))
    except (httpx.TransportError, TimeoutError) as exc:
        return Found(*diagnosis.unreached(exc, call.url, timeout_s=TIMEOUT_S, whole_s=WHOLE_S)), None
    except (httpx.InvalidURL, ValueError) as exc:
        return Found("configuration", f"the address or a header cannot be sent: {type(exc).__name__}"), None
    return Found(*_read(adapter, account, answer)), answer


def _harmless(adapter: Adapter, account: Account) -> Call:
    """A list where there is one; else the stream of a run that does not exist; else the agent's own URL, with GET."""
    nowhere = RunView(uuid4(), external_id=NO_SUCH_RUN, task="connection check")
    if adapter.kind in LISTS and (read := adapter.read_back_call(account, nowhere)):
        return replace(read, url=read.url.rpartition("/runs/")[0] + LISTS[adapter.kind])
    if adapter.capabilities.watch:
        return adapter.stream_call(account, nowhere, "")
    started = adapter.start_call(account, nowhere)
    headers = {name: value for name, value in started.headers.items() if not name.lower().startswith("content-")}
    return Call("GET", started.url, headers)


async def _ask(call: Call, *, wants_body: bool) -> Answer:
    """Past any proxy that the environment names, as every call of ours; no redirect is followed."""
    location = ""

    async def put_away(response: httpx.Response) -> None:
        nonlocal location  # httpx reads it even where it follows nothing, and takes a broken one for no answer
        location = response.headers.pop("location", "")

    async with (
        asyncio.timeout(WHOLE_S),
        httpx.AsyncClient(
            verify=tls_context(), trust_env=False, timeout=TIMEOUT_S, event_hooks={"response": [put_away]}
        ) as client,
        client.stream("GET", call.url, headers={**call.headers, "accept-encoding": "identity"}) as response,
    ):
        body = bytearray()
        if wants_body and response.status_code == 200:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    break
        return Answer(response.status_code, dict(response.headers), bytes(body[:BODY_MAX_BYTES]), location)


def _read(adapter: Adapter, account: Account, answer: Answer) -> tuple[str, str]:
    status, has_secret = answer.status, bool(account.secret)
    if told := diagnosis.refused(status, answer.headers, answer.location, has_secret=has_secret):
        return told
    kind = diagnosis.content_type(answer.headers)
    lists, follows = adapter.kind in LISTS, adapter.capabilities.watch
    if (status in (404, 405, 410) or kind == "text/html") and (
        told := diagnosis.too_long(adapter.kind, account.base_url)
    ):
        return told
    if kind == "text/html":
        return "wrong_path", f"a web page answers there ({status}): the base URL is wrong, or a proxy answers"
    if status == 429:
        return "ok", "it answers, and wants fewer calls (429)"
    if lists:
        return _listed(adapter.label, status, kind, answer.body)
    if 200 <= status < 300 and kind != "text/event-stream":
        return "not_a_stream", f"it answers {status} with {kind}, where an event stream belongs"
    return _followed(status, has_secret=has_secret) if follows else _agent(status)


def _listed(label: str, status: int, kind: str, body: bytes) -> tuple[str, str]:
    """The list of what may be started."""
    if status in (404, 410):
        return "wrong_path", (
            f"the server answers, but has no list of agents there ({status}): the base URL is wrong, "
            "or agents are not switched on for this account"
        )
    if status != 200:
        return "not_the_api", f"it answers {status} with {kind}, where {label} lists its agents"
    try:
        read: Any = json.loads(body)
    except (ValueError, RecursionError):
        read = None
    agents = read.get("data") if isinstance(read, dict) else None
    if not isinstance(agents, list):
        return "not_the_api", f"it answers 200 with {kind}, but not as {label} lists its agents: what is this server?"
    return "ok", diagnosis.agents_told(agents)


def _followed(status: int, *, has_secret: bool) -> tuple[str, str]:
    """The stream of a run that does not exist."""
    if status in (404, 410):
        secret = "the secret was not refused" if has_secret else "no secret was asked for"
        return "ok", f"it answers as it should for a run that does not exist ({status}); {secret}"
    return "ok", f"it answers ({status})"


def _agent(status: int) -> tuple[str, str]:
    """An agent's own URL, which wants POST."""
    if status == 404:
        return "wrong_path", "the server answers, but has nothing at this path (404)"
    if status == 405:
        return "ok", "it answers and wants POST, as an AG-UI agent does (405); the secret shows at the first run"
    return "ok", f"it answers ({status}); whether it is an agent shows at the first run"
