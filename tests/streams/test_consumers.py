"""The listener of hints, where the layer that brings them is away."""

import asyncio
import os
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisSingleShardConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from streams import consumers
from streams.journal import Journal
from streams.supervisor import Supervisor
from tests.streams.holding import ignore

pytestmark = pytest.mark.redis
LIMIT_S = 60


async def test_a_listener_that_began_without_redis_hears_hints_when_it_is_there(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis' own client waits long before it says that nobody is there: here it says so at once."""
    subscribe, refusals = RedisSingleShardConnection.subscribe, 3

    async def refused_at_first(self: Any, channel: str) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise RedisConnectionError("nobody there")
        await subscribe(self, channel)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(RedisSingleShardConnection, "subscribe", refused_at_first)
    monkeypatch.setattr(consumers, "AGAIN_S", 0.01)
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["COUNTERSIGN_TEST_REDIS_URL"]], "prefix": f"listener-{os.getpid()}"},
        }
    }
    layer = get_channel_layer()  # type: ignore[no-untyped-call]
    supervisor = Supervisor(Journal(ignore), alone=False, slots=1)
    listening = asyncio.create_task(consumers.listen(supervisor))
    async with asyncio.timeout(LIMIT_S):
        while not supervisor.delivery_due.is_set():
            assert not listening.done()
            await layer.send(settings.STREAMS_CHANNEL, {"type": "delivery.wake", "delivery_id": "1"})
            await asyncio.sleep(0.05)
    assert refusals < 0
    listening.cancel()
    await asyncio.wait([listening])
    await layer.flush()
