"""Middesk's outgoing webhooks: signed events about runs, sent again a few times, to this machine only.

Source: docs.middesk.com work-with-agents/webhooks, build/webhooks, build/secure-webhooks, read 2026-11. Middesk tries
up to ten times over three days; here the tries are few and close together.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import uuid4

from streams.emulator.faults import Fault
from streams.emulator.middesk_objects import Dress, Portrait, compact, iso, run_text
from streams.emulator.state import Run
from streams.emulator.wire import World

logger = logging.getLogger(__name__)

KIND = "middesk"
EVENTS = ("run.created", "run.completed", "run.interrupted")
SIGNATURE = "X-Middesk-Signature-256"
RETRY_S = (1.0, 2.0, 4.0, 8.0)
FAST = 0.02  # how much of a wait is left without pace
ANSWER_S = 10.0
LATE_S = 5.0  # a held-back event goes out after so long even if nothing follows it


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where events go; `enabled_events` holds names or `*`. `include` "identifiers" leaves only scalar fields."""

    id: str
    url: str
    enabled_events: tuple[str, ...] = ("*",)
    secret: str = ""
    include: str = ""
    created_at: str = ""

    def wants(self, type: str) -> bool:
        return "*" in self.enabled_events or type in self.enabled_events

    def shown(self) -> dict[str, object]:
        """The webhook object; its secret is not told."""
        return {"object": "webhook", **{name: value for name, value in asdict(self).items() if name != "secret"}}


@dataclass(frozen=True, slots=True)
class Event:
    """One event for one endpoint; its body is the same each time it is sent."""

    id: str
    type: str
    run: str
    endpoint: str
    body: str


def refuse_url(url: str) -> str:
    """Why an address may not be called; empty if it may. An emulator reaches nothing but its own machine."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "The URL cannot be read."
    if parts.scheme != "http" or not host or port == 0 or parts.username is not None or not url.isascii():
        return "The URL begins with http:// and names a host, without a user."
    if any(character <= " " for character in url):
        return "The URL holds no spaces or control characters."
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return "" if local else "Only this machine's own addresses are called."


def body_text(event_id: str, type: str, run: Run, portrait: Portrait, dress: Dress, *, include: str) -> str:
    """An event's JSON; the run inside has an empty list of steps, as the pages show it."""
    if include == "identifiers":
        fields = json.loads(run_text(run, portrait, replace(dress, shape="no-interrupts"), steps=False))
        text = compact({name: value for name, value in fields.items() if not isinstance(value, dict | list)})
    else:
        text = run_text(run, replace(portrait, steps=()), dress, steps=True)
    head = f'"object":"event","id":"{event_id}","type":"{type}"'
    return f'{{{head},"data":{{"object":{text}}},"created_at":"{iso(time.time())}"}}'


def sign(secret: str, body: bytes) -> str:
    """The signature header's value: the bare hex digest."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhooks:
    """Registers endpoints and carries events to them: the first try of each in order, further tries by themselves."""

    def __init__(self, world: World, dress: Callable[[Run], Dress]) -> None:
        self._world, self._dress = world, dress
        self._queues: dict[str, asyncio.Queue[Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        at_start = Endpoint("at-start", world.webhook, secret=world.webhook_secret)
        self._fixed = {at_start.id: at_start} if world.webhook else {}

    # -- endpoints

    def endpoints(self) -> dict[str, Endpoint]:
        """All of them by id."""
        kept = self._world.state.collection(KIND, "webhooks")
        return {**self._fixed, **{id: Endpoint(**_tupled(fields)) for id, fields in kept.items()}}

    def register(self, url: str, events: tuple[str, ...], *, secret: str, include: str) -> Endpoint:
        """A further endpoint, which outlives the process."""
        endpoint = Endpoint(str(uuid4()), url, events, secret, include, iso(time.time()))
        self._world.state.keep(KIND, "webhooks", endpoint.id, asdict(endpoint))
        return endpoint

    def remove(self, endpoint_id: str) -> bool:
        """Forget an endpoint that was registered; whether there was one."""
        known = endpoint_id in self._world.state.collection(KIND, "webhooks")
        if known:
            self._world.state.keep(KIND, "webhooks", endpoint_id, None)
        return known

    # -- events

    def emit(self, run: Run, type: str, portrait: Portrait) -> None:
        """Send an event about a run to whoever wants it."""
        for endpoint in self.endpoints().values():
            if not endpoint.wants(type):
                continue
            id = str(uuid4())
            body = body_text(id, type, run, portrait, self._dress(run), include=endpoint.include)
            event = Event(id, type, run.id, endpoint.id, body)
            self._world.state.keep(KIND, "events", id, asdict(event), sync=False)
            self._queue(event)

    def go_on(self) -> None:
        """After a restart: what had not arrived is sent again."""
        for fields in list(self._world.state.collection(KIND, "events").values()):
            self._queue(Event(**fields))

    async def stop(self) -> None:
        """End all sending."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _queue(self, event: Event) -> None:
        if event.endpoint not in self._queues:
            self._queues[event.endpoint] = asyncio.Queue()
            self._begin(self._carry(self._queues[event.endpoint]), f"webhooks {event.endpoint}")
        self._queues[event.endpoint].put_nowait(event)

    def _begin(self, job: Coroutine[Any, Any, None], name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            logger.error("%s failed", task.get_name(), exc_info=problem)

    # -- carrying

    def _take(self, event: Event, name: str) -> Fault | None:
        run = self._world.state.runs.get((KIND, event.run))
        return self._world.take(run, name, "webhook") if run else None

    async def _carry(self, queue: asyncio.Queue[Event]) -> None:
        """One endpoint's events, each tried once in its turn."""
        while True:
            event = await queue.get()
            if self._take(event, "webhook-disorder"):
                try:
                    await self._first(await asyncio.wait_for(queue.get(), LATE_S))
                except TimeoutError:
                    logger.info("nothing overtook event %s", event.id)
            await self._first(event)

    async def _first(self, event: Event) -> None:
        if self._take(event, "webhook-lost"):
            self._arrived(event)
        elif not await self._send(event):
            self._begin(self._again(event), f"webhook event {event.id}")
        elif self._take(event, "webhook-duplicate"):
            await self._send(event)

    async def _again(self, event: Event) -> None:
        for seconds in RETRY_S:
            await asyncio.sleep(seconds if self._world.pace.real else seconds * FAST)
            if await self._send(event):
                return
        self._arrived(event)  # given up

    def _arrived(self, event: Event) -> None:
        if event.id in self._world.state.collection(KIND, "events"):
            self._world.state.keep(KIND, "events", event.id, None, sync=False)

    async def _send(self, event: Event) -> bool:
        """One try; whether it need not be repeated."""
        endpoint = self.endpoints().get(event.endpoint)
        if endpoint is None:  # removed meanwhile
            self._arrived(event)
            return True
        body = event.body.encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/json", "X-Correlation-Id": event.run}
        headers |= self._signature(event, endpoint, body)
        try:
            status = await asyncio.wait_for(_post(endpoint.url, headers, body), ANSWER_S)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as exc:
            logger.info("webhook event %s: %s", event.id, type(exc).__name__)
            return False
        if 200 <= status < 300:
            self._arrived(event)
            return True
        return False

    def _signature(self, event: Event, endpoint: Endpoint, body: bytes) -> Mapping[str, str]:
        if not endpoint.secret:
            return {}
        digest, fault = sign(endpoint.secret, body), self._take(event, "webhook-signature")
        match fault.text("how") if fault else "":
            case "none":
                return {}
            case "wrong":
                digest = sign(endpoint.secret + "?", body)
            case "prefix":
                digest = f"sha256={digest}"
        return {SIGNATURE: digest}


async def _post(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """POST to this machine, and the status; no redirect is followed. Raises OSError, ValueError or what streams do."""
    parts = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        fields = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close", **headers}
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        writer.write("\r\n".join(lines).encode("ascii") + body)
        await writer.drain()
        words = (await reader.readuntil(b"\r\n")).split(b" ")
        return int(words[1]) if len(words) > 1 else 0
    finally:
        writer.close()


def _tupled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, "enabled_events": tuple(fields["enabled_events"])}
