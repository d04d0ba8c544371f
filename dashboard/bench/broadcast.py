"""A server that tells its sockets numbered messages in one of three ways, as its parent says: `python -m` this module.

- `hub`: Daphne as we start it, `PageSocket` and `Hub` as they are, with a room that reads no database.
- `group`: the same Daphne, a consumer a socket in a group, and one `group_send` a message, rendered once.
- `raw`: asyncio alone, one WebSocket frame built a message and written to each transport.

Says its ports and then answers each line on stdin, a JSON object, with one on stdout. Each way renders one message with
the same template once, so what differs is what happens after it.
"""

import asyncio
import base64
import hashlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

PIECE = """<li id="e-{{ number }}" class="ev {{ kind }}" data-n="{{ number }}">
  <span class="when">{{ when }}</span><b class="what">{{ tool }}</b><span class="by">{{ by }}</span>
  {% if text %}<pre class="exhibit" translate="no">{{ text }}</pre>{% else %}<p class="none">nothing</p>{% endif %}
</li>"""
TEXT = "Please refund the order & tell the customer <today>. " * 9
TOPIC = "log"
NEVER_S = 86_400
CAPACITY = 1_000_000  # so many may wait for one consumer: the ordinary way loses nothing for lack of room
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def prepare() -> None:
    """Django with the settings of an empty environment, and a channel layer that drops nothing."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    import django
    from channels.layers import InMemoryChannelLayer, channel_layers

    django.setup()
    channel_layers.set("default", InMemoryChannelLayer(capacity=CAPACITY))  # type: ignore[no-untyped-call]


class Renderer:
    """One message as HTML; counts how often."""

    def __init__(self) -> None:
        from django.template import engines

        self._template = engines["django"].from_string(PIECE)
        self.renders = 0

    def __call__(self, number: int) -> str:
        self.renders += 1
        context = {"number": number, "kind": "tool", "when": "12:00:00", "tool": "refund", "by": "agent", "text": TEXT}
        return self._template.render(context)


@dataclass(slots=True, eq=False)
class Log:
    """A room in which numbered messages come; `told` is called in a rendering thread after each look."""

    render: Renderer
    loop: asyncio.AbstractEventLoop
    topics: frozenset[str] = frozenset({TOPIC})
    kind: str = "log"
    owes: bool = False
    count: int = 0
    upto: int = 0
    looks: int = 0
    told: asyncio.Event = field(default_factory=asyncio.Event)
    made: dict[int, str] = field(default_factory=dict)

    def news(self, told: Collection[str] | None = None) -> str:
        first, self.upto = self.upto, self.count
        html = self._pieces(first, self.upto)
        if html:
            self.loop.call_soon_threadsafe(self.told.set)
        return html

    def everything(self, after: int) -> str:
        self.loop.call_soon_threadsafe(self.told.set)
        return self._pieces(after, self.count)

    def _pieces(self, first: int, end: int) -> str:
        # A look at what is rendered already is none.
        self.looks += any(number not in self.made for number in range(first, end))
        return "".join(self._piece(number) for number in range(first, end))

    def _piece(self, number: int) -> str:
        if number not in self.made:
            self.made[number] = self.render(number)
        return self.made[number]


class Raw(asyncio.Protocol):
    """A WebSocket of nothing but asyncio: it answers the handshake and is written to."""

    open: "set[asyncio.Transport]" = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._head = transport, b""

    def data_received(self, data: bytes) -> None:
        if self._transport in self.open:
            return
        self._head += data
        if found := re.search(rb"(?i)sec-websocket-key: (\S+)", self._head):
            accept = base64.b64encode(hashlib.sha1(found[1] + GUID, usedforsecurity=False).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open.discard(self._transport)


class Teller:
    """Tells so many messages in one way."""

    def __init__(self, hubs: Any, layer: Any) -> None:
        self.hubs, self.layer = hubs, layer
        self.render = Renderer()
        self.at: list[float] = []  # when each message was told

    async def by_hub(self, count: int, gap_s: float, flush: str) -> None:
        """`flush`: `each` message is a flush of its own, or `held` in our own time, many together."""
        from streams import announce

        log, _ = self.hubs[flush]
        started = time.monotonic()
        for number in range(count):
            log.told.clear()
            log.count += 1
            self.at.append(time.monotonic())
            await self.layer.group_send(announce.LIVE, {"type": "live.changed", "topics": [TOPIC]})
            if gap_s:
                await asyncio.sleep(max(0.0, started + (number + 1) * gap_s - time.monotonic()))
            elif flush == "each":
                await log.told.wait()
            else:
                await asyncio.sleep(0)

    async def by_group(self, count: int, gap_s: float, first: int) -> None:
        started = time.monotonic()
        for number in range(first, first + count):
            self.at.append(time.monotonic())
            await self.layer.group_send("group", {"type": "told", "html": self.render(number)})
            wait_s = started + (number - first + 1) * gap_s - time.monotonic() if gap_s else 0.0
            await asyncio.sleep(max(0.0, wait_s))

    async def raw(self, count: int, first: int) -> None:
        from dashboard.wire import Frame

        for number in range(first, first + count):
            frame = Frame(self.render(number)).bytes
            for transport in Raw.open:
                transport.write(frame)
            await asyncio.sleep(0)


def serve() -> None:
    """Run until stdin ends."""
    prepare()
    from channels.generic.websocket import AsyncWebsocketConsumer
    from channels.layers import get_channel_layer
    from channels.routing import URLRouter
    from daphne.server import twisted_loop
    from django.urls import path

    from dashboard import hub, server
    from dashboard.live import Key, PageSocket

    layer: Any = get_channel_layer()  # type: ignore[no-untyped-call]
    teller = Teller({}, layer)
    for name, flush_s in (("each", 0.0), ("held", hub.FLUSH_S)):
        teller.hubs[name] = Log(teller.render, twisted_loop), hub.Hub(set, flush_s=flush_s)

    class Told(PageSocket):
        """A page's socket, for anybody."""

        def __init__(self, flush: str) -> None:
            super().__init__()
            self.flush = flush

        def who(self) -> Key:
            return "bench", 1

        def find_hub(self) -> hub.Hub:
            found: hub.Hub = teller.hubs[self.flush][1]
            return found

        async def begin(self) -> None:
            log = teller.hubs[self.flush][0]
            self.after = log.count
            self.hub.watch(self, TOPIC, lambda: log)

    class InGroup(AsyncWebsocketConsumer):
        groups = ["group"]  # noqa: RUF012 (the base class says so)

        async def told(self, message: Any) -> None:
            await self.send(text_data=message["html"])  # type: ignore[no-untyped-call]

    routes: Any = URLRouter(
        [
            path("each/", Told.as_asgi(flush="each")),  # type: ignore[no-untyped-call]
            path("held/", Told.as_asgi(flush="held")),  # type: ignore[no-untyped-call]
            path("group/", InGroup.as_asgi()),  # type: ignore[no-untyped-call]
        ]
    )
    listener = server.bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    daphne = server.Daphne(routes, f"fd:fileno={listener.detach()}")
    for limit in ("websocket_timeout", "ping_timeout", "websocket_connect_timeout", "websocket_handshake_timeout"):
        setattr(daphne, limit, NEVER_S)  # a machine that is busy elsewhere closes nothing here
    daphne.application_close_timeout = NEVER_S

    async def obey() -> None:
        await daphne.accepts.wait()
        raw = await twisted_loop.create_server(Raw, "127.0.0.1", 0)
        reader = asyncio.StreamReader()
        await twisted_loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        answer({"daphne": port, "raw": raw.sockets[0].getsockname()[1]})
        told = {"group": 0, "raw": 0}
        while line := await reader.readline():
            asked = json.loads(line)
            match asked.pop("do"):
                case "tell":
                    way, count, gap_s = asked["way"], asked["count"], asked.get("gap_s", 0.0)
                    if way == "group":
                        await teller.by_group(count, gap_s, told[way])
                        told[way] += count
                    elif way == "raw":
                        await teller.raw(count, told[way])
                        told[way] += count
                    else:
                        await teller.by_hub(count, gap_s, way)
            flushes = {name: one[0].looks for name, one in teller.hubs.items()}
            counted = {"renders": teller.render.renders, "flushes": flushes, "at": teller.at}
            answer({"cpu_s": time.process_time(), "rss": rss(), **counted})
            teller.at = []
        os._exit(0)

    task = twisted_loop.create_task(obey())
    task.add_done_callback(fail)
    daphne.run()  # type: ignore[no-untyped-call]


def fail(task: "asyncio.Task[None]") -> None:
    """It obeys no more: the reactor would run on without it."""
    traceback.print_exception(task.exception())
    os._exit(1)


def answer(said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def rss() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    serve()
