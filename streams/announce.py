"""Hints after a commit: "these rows changed", ids only. Any of them may be lost; the database is the truth."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

LIVE = "live"  # group of the hubs: live.changed with topics
INBOX = "inbox"
WAITING_MOST = 1000  # hints for a layer that does not take them: what comes then is lost, as any hint may be

Hear = Callable[[Sequence[str]], None]
Make = Callable[[], Coroutine[Any, Any, None]]
OnLoop = Callable[[], None]

_loop: asyncio.AbstractEventLoop | None = None
_listening: "WeakKeyDictionary[asyncio.AbstractEventLoop, list[Hear]]" = WeakKeyDictionary()


_own = threading.local()  # gathering: what this thread announced, while somebody gathers it


def use_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Publish from this loop. `serve` and `hold` say it once: from another thread, a layer call of its own is slow."""
    global _loop
    _loop = loop


def run_topic(run_id: UUID) -> str:
    """The topic of one run's page."""
    return f"run.{run_id.hex}"


def text_topic(run_id: UUID) -> str:
    """The topic of one run's page where the run only told more text: all else on the page is as it was."""
    return f"text.{run_id.hex}"


def request_topic(request_id: UUID) -> str:
    """The topic of one request's page."""
    return f"request.{request_id.hex}"


def changed(*topics: str) -> None:
    """Tell the pages, once the surrounding transaction is committed, that these topics changed."""
    told = sorted(set(topics))
    transaction.on_commit(lambda: _publish(lambda: _tell(told), lambda: _send(told)), robust=True)


def listen(hear: Hear) -> None:
    """Call it with the topics that changed, on the running loop, where no other process has to hear of them."""
    _listening.setdefault(asyncio.get_running_loop(), []).append(hear)


def unlisten(hear: Hear) -> None:
    """Call it no longer. Called on the loop that listen() was called on."""
    listening = _listening.get(asyncio.get_running_loop(), [])
    if hear in listening:
        listening.remove(hear)


@contextmanager
def gathered() -> Iterator[list[OnLoop]]:
    """Leave what this thread announces meanwhile to the caller, who wakes the loop anyway: to be called there."""
    _own.gathering = gathering = list[OnLoop]()
    try:
        yield gathering
    finally:
        _own.gathering = None


def stream_wake(run_id: UUID) -> None:
    """A run has something to hold."""
    _tell_streams({"type": "stream.wake", "run_id": str(run_id)})


def stream_stop(run_id: UUID) -> None:
    """A run is to be held no longer."""
    _tell_streams({"type": "stream.stop", "run_id": str(run_id)})


def delivery_wake(delivery_id: UUID) -> None:
    """A delivery may be due."""
    _tell_streams({"type": "delivery.wake", "delivery_id": str(delivery_id)})


def _tell_streams(hint: dict[str, str]) -> None:
    _after_commit(lambda: _layer().send(settings.STREAMS_CHANNEL, hint))


def _layer() -> Any:
    return get_channel_layer()  # type: ignore[no-untyped-call]


def _send(topics: Sequence[str]) -> Coroutine[Any, Any, None]:
    sent: Coroutine[Any, Any, None] = _layer().group_send(LIVE, {"type": "live.changed", "topics": topics})
    return sent


def _tell(topics: Sequence[str]) -> None:
    """On the loop. A layer that reaches nobody else is left out: it costs more than all else of a hint."""
    listening = _listening.get(asyncio.get_running_loop())
    if listening and type(_layer()) is InMemoryChannelLayer:
        for hear in listening:
            hear(topics)
    else:
        _spawn(lambda: _send(topics))


def _after_commit(make: Make) -> None:
    transaction.on_commit(lambda: _publish(lambda: _spawn(make), make), robust=True)


def _publish(on_loop: OnLoop, make: Make) -> None:
    if (gathering := getattr(_own, "gathering", None)) is not None:
        gathering.append(on_loop)
        return
    loop = _loop if _loop is not None and not _loop.is_closed() else _running_loop()
    if loop is None:  # a command: nobody else will turn a loop for us
        async_to_sync(_carry)(make)
    else:
        loop.call_soon_threadsafe(on_loop)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_tasks: set[asyncio.Task[None]] = set()


def _spawn(make: Make) -> None:
    if len(_tasks) >= WAITING_MOST:
        return
    task = asyncio.get_running_loop().create_task(_carry(make))
    _tasks.add(task)  # the loop itself keeps only weak references
    task.add_done_callback(_tasks.discard)


async def _carry(make: Make) -> None:
    try:
        await make()
    except Exception as exc:  # a lost hint is allowed; whoever needs it looks at the rows
        logger.warning("announce: hint lost: %s: %s", type(exc).__name__, exc)
