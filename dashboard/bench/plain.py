"""The ordinary way to show a stream's events on pages, as one process: `python -m dashboard.bench.plain URL`.

httpx and httpx-sse, `json.loads`, one `save()` an event through `sync_to_async`, one `group_send` an event, and a
template that each socket renders for itself, all on Daphne; without sign-in, reconnects or a state machine. Prints the
port of its sockets.
"""

import asyncio
import json
import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
django.setup()

import httpx  # noqa: E402
from asgiref.sync import sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from daphne.server import Server, twisted_loop  # noqa: E402
from django.template import Context, Template  # noqa: E402
from django.urls import re_path  # noqa: E402
from django.utils import timezone  # noqa: E402
from httpx_sse import EventSource  # noqa: E402

from dashboard import server  # noqa: E402
from dashboard.bench import stores  # noqa: E402
from streams import events  # noqa: E402
from streams.models import Event, Provider, Run, RunStatus, Source  # noqa: E402

GROUP = "events"
ROW = Template(
    '<li id="e-{{ seq }}" class="is-{{ kind }}" data-last="{{ seq }}"><span class="when"><time datetime="{{ at }}">'
    '{{ shown_at }}</time><small>{{ seq }}</small></span><figure class="agent"><figcaption>{{ label }}</figcaption>'
    '<div class="body text">{{ text }}</div></figure></li>'
)


class Page(AsyncWebsocketConsumer):
    """One socket."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()  # type: ignore[no-untyped-call]

    async def event_came(self, message: dict[str, Any]) -> None:
        """Render it and pass it on."""
        await self.send(text_data=ROW.render(Context(message["row"])))  # type: ignore[no-untyped-call]


async def follow(url: str, run: Run) -> None:
    """Read, store, tell."""
    layer: Any = get_channel_layer()  # type: ignore[no-untyped-call]
    seq = 0
    async with (
        httpx.AsyncClient(timeout=None, trust_env=False) as client,  # noqa: S113
        client.stream("GET", url, headers={"accept": "text/event-stream"}) as response,
    ):
        async for event in EventSource(response).aiter_sse():
            seq += 1
            said, at = json.loads(event.data), timezone.now()
            row = Event(
                run=run, seq=seq, source=Source.PROVIDER, kind=event.event, ordinal=seq, payload=event.data,
                sha256=events.sha256(event.data), received_at=at,
            )  # fmt: skip
            await sync_to_async(row.save)(force_insert=True)
            shown = {
                "seq": seq, "kind": event.event, "at": at.isoformat(), "shown_at": f"{at:%H:%M:%S}", "label": "Text",
                "text": said["content"],
            }  # fmt: skip
            await layer.group_send(GROUP, {"type": "event.came", "row": shown})


def main(url: str) -> None:
    """Serve until killed."""
    with stores.sqlite():
        provider = Provider.objects.create(name="plain", kind="mindra", base_url=url)
        run = Run.objects.create(provider=provider, status=RunStatus.STREAMING, external_id="plain")
        socket = server.bind("127.0.0.1", 0)
        sys.stdout.write(f"{socket.getsockname()[1]}\n")
        sys.stdout.flush()
        page = URLRouter([re_path("", Page.as_asgi())])  # type: ignore[no-untyped-call]
        routed = ProtocolTypeRouter({"websocket": page})  # type: ignore[no-untyped-call]
        task = twisted_loop.create_task(follow(f"{url}/execute/plain-00000/stream", run))
        task.add_done_callback(_end)
        Server(routed, endpoints=[f"fd:fileno={socket.detach()}"], verbosity=0).run()  # type: ignore[no-untyped-call]


def _end(task: "asyncio.Task[None]") -> None:
    sys.stderr.write(f"the stream of the ordinary way ended: {task.exception()!r}\n")
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
