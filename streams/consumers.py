"""The background consumer: hears on a channel of its own that something is to be held, stopped or delivered.

It runs in a listener loop of our own inside `serve` and `hold`: Channels' worker goes on with a dead listener. Streams
live in the supervisor's tasks, never in a handler: a consumer's handlers are awaited one by one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict
from uuid import UUID

from channels.consumer import AsyncConsumer
from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

from streams.supervisor import Supervisor

logger = logging.getLogger(__name__)

AGAIN_S = 1.0
SAID_EVERY = 60  # tries of a layer that stays away


class StreamHint(TypedDict):
    type: str
    run_id: str


class DeliveryHint(TypedDict):
    type: str
    delivery_id: str


class StreamsConsumer(AsyncConsumer):
    """Passes hints on; whoever gets one reads the rows."""

    channel_layer_alias = (
        ""  # no channel of its own, for which the layer would have to be there: the listener brings all
    )

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Unknown and broken hints are ignored: Channels' own dispatch would end the consumer."""
        handlers: dict[object, Callable[[Any], Awaitable[None]]] = {
            "stream.wake": self.stream_wake,
            "stream.stop": self.stream_stop,
            "delivery.wake": self.delivery_wake,
        }
        handler = handlers.get(message.get("type"))
        if handler is None:
            logger.warning("hint of unknown type %.40r", message.get("type"))
            return
        try:
            await handler(message)
        except (KeyError, ValueError, TypeError):
            logger.warning("hint without a usable id: %.40r", message.get("type"))

    async def stream_wake(self, message: StreamHint) -> None:
        self._supervisor.wake()

    async def stream_stop(self, message: StreamHint) -> None:
        self._supervisor.stop_holding(UUID(message["run_id"]))

    async def delivery_wake(self, message: DeliveryHint) -> None:
        self._supervisor.delivery_due.set()


async def listen(supervisor: Supervisor) -> None:
    """Feed the consumer from its channel until cancelled. Raises what ends it: then the process must end too."""
    hints: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1000)

    async def send(message: dict[str, Any]) -> None:
        """A background consumer answers nobody."""

    consumer = StreamsConsumer.as_asgi(supervisor=supervisor)  # type: ignore[no-untyped-call]
    scope = {"type": "channel", "channel": settings.STREAMS_CHANNEL}
    async with asyncio.TaskGroup() as group:
        group.create_task(consumer(scope, hints.get, send), name="streams consumer")
        group.create_task(_receive(hints), name="streams listener")


async def _receive(hints: "asyncio.Queue[dict[str, Any]]") -> None:
    """Hints are for speed alone, so a layer that is away is waited for: whoever needs one looks every second anyway."""
    layer = get_channel_layer()  # type: ignore[no-untyped-call]
    failures = 0
    while True:
        try:
            message = await layer.receive(settings.STREAMS_CHANNEL)
        except (OSError, RedisError) as exc:
            if failures % SAID_EVERY == 0:
                logger.warning("streams listener: the layer is away, trying again: %s", type(exc).__name__)
            failures += 1
            await _forget(layer)
            await asyncio.sleep(AGAIN_S)
        else:
            failures = 0
            await hints.put(message)


async def _forget(layer: Any) -> None:
    """The Redis layer believes that it listens, although it could not subscribe; a cancelled receive() forgets that."""
    waiting = asyncio.ensure_future(layer.receive(settings.STREAMS_CHANNEL))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    if not waiting.cancelled():
        waiting.exception()
