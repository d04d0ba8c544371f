"""One set of sockets a room in each process; one message a flush from the layer, one render a flush and room.

A room is flushed at once when it is idle, and under load every 8 ms. What is slow to render pauses longer between two
flushes, for other rooms' sake, but never more than 25 ms.
The layer's hints may be lost, so every room is looked at again every 10 s, each in its turn; who falls behind gets
everything anew. A page asks for everything every few seconds, to be sure: no fault of ours keeps it wrong for longer.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.utils import timezone
from django.utils.html import format_html

from dashboard.rooms import OWED, Room
from dashboard.wire import Frame
from streams import announce, offload
from streams.faults import fault

logger = logging.getLogger(__name__)

FLUSH_S = 0.025  # the longest pause between two flushes of a room
LEAST_S = 0.008  # and the least from one to the next
BEAT_S = 5.0
LOOK_AGAIN_BEATS = 2
SIGNED_OUT_S = 0.25
HEARING_S = 5.0  # a layer that cannot be joined holds up no page: the beat looks at every room
AGAIN_S = 1.0  # those who ask for everything in this time are told together
TRY_AGAIN_S = 1.0  # after a room could not be rendered
OWED_S = 1.0  # until a room is asked for what it left for later
TURN = 128  # sockets written to before the loop may do something else
REJOIN_S = 3600  # a group membership ends after a day
GONE = 4401  # the session is over: the page must not come back by itself
COME_LATER = 1013  # "try again later": it says nothing, so that nobody knows what it has
SESSIONS = "sessions"  # topic: somebody signed out, or lost a right


class Watcher(Protocol):
    """A socket, as the hub knows it."""

    after: int  # seq of the last event that its page has

    @property
    def key(self) -> Hashable:
        """Session and user."""
        ...

    @property
    def silent(self) -> bool:
        """Whether it has long not said that it has what it was sent."""
        ...

    async def deliver(self, frame: Frame) -> bool:
        """Send it; False where the socket is so far behind that it must get everything later."""
        ...

    async def shut(self, code: int) -> None: ...


Render = Callable[..., Awaitable[Any]]
Admit = Callable[[Iterable[Hashable]], set[Hashable]]


@dataclass(eq=False, slots=True)
class Audience:
    """A room with those who watch it."""

    make: Callable[[], Room]
    room: Room | None = None
    in_step: set[Watcher] = field(default_factory=set)
    behind: set[Watcher] = field(default_factory=set)
    asking: set[Watcher] = field(default_factory=set)  # in step as far as we know, and want everything all the same
    wanted: bool = False
    told: set[str] | None = None  # topics announced since the last flush; None: whatever there is
    owed: asyncio.TimerHandle | None = None
    looking: asyncio.TimerHandle | None = None
    flushing: "asyncio.Task[None] | None" = None
    idle_from: float = 0.0
    rendering_s: float = 0.0  # of the flush under way
    renders: int = 0

    def put_behind(self, watchers: Iterable[Watcher]) -> None:
        """These get everything with the next flush."""
        for watcher in watchers:
            self.in_step.discard(watcher)
            self.behind.add(watcher)

    def remove(self, watcher: Watcher) -> None:
        for watching in (self.in_step, self.behind, self.asking):
            watching.discard(watcher)

    @property
    def empty(self) -> bool:
        return not self.in_step and not self.behind


class Hub:
    """All rooms of one event loop."""

    def __init__(
        self, admit: Admit, *, render: Render = offload.rendering.run, beat_s: float = BEAT_S, flush_s: float = FLUSH_S
    ) -> None:
        self._admit, self._render, self._beat_s, self._flush_s = admit, render, beat_s, flush_s
        self._look_s = LOOK_AGAIN_BEATS * beat_s
        self._audiences: dict[Hashable, Audience] = {}
        self._watchers: dict[Watcher, set[Hashable]] = {}
        self._admitted: set[Hashable] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._check_now = asyncio.Event()
        self._hearing = asyncio.Event()

    # --- who watches what -----------------------------------------------------------------------------------------

    async def enter(self, watcher: Watcher) -> None:
        """A socket that was let in. From now on it is asked for at every beat. Returns once hints are heard."""
        self._watchers.setdefault(watcher, set())
        self._admitted.add(watcher.key)
        if not self._tasks:
            announce.listen(self.hear)
            self._hearing.clear()
            self._tasks = [
                asyncio.create_task(self._listen(), name="hub listener"),
                asyncio.create_task(self._beat(), name="hub beat"),
            ]
        try:
            await asyncio.wait_for(self._hearing.wait(), HEARING_S)
        except TimeoutError:
            logger.warning("hub: hints are not heard yet")

    def watch(self, watcher: Watcher, name: Hashable, make: Callable[[], Room]) -> None:
        """Let a socket watch a room; it gets everything first."""
        if watcher not in self._watchers:
            return
        audience = self._audiences.get(name)
        if audience is None:
            audience = self._audiences[name] = Audience(make)
            first_s = random.uniform(self._look_s / 2, self._look_s)  # noqa: S311 (so that rooms take turns)
            audience.looking = asyncio.get_running_loop().call_later(first_s, self._look, name, audience)
        audience.put_behind([watcher])
        self._watchers[watcher].add(name)
        self._wake(name, audience)

    def unwatch(self, watcher: Watcher, name: Hashable) -> None:
        self._watchers.get(watcher, set()).discard(name)
        audience = self._audiences.get(name)
        if audience is None:
            return
        audience.remove(watcher)
        if audience.empty:
            del self._audiences[name]
            if audience.looking is not None:
                audience.looking.cancel()

    def leave(self, watcher: Watcher) -> None:
        """A socket is closed. The last one takes the hub's tasks with it."""
        for name in list(self._watchers.pop(watcher, ())):
            self.unwatch(watcher, name)
        if not self._watchers:
            announce.unlisten(self.hear)
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    def catch_up(self, watcher: Watcher) -> None:
        """A socket that fell behind can take something again."""
        for name in self._watchers.get(watcher, ()):
            audience = self._audiences[name]
            if watcher in audience.behind:
                self._wake(name, audience)

    def again(self, watcher: Watcher) -> None:
        """A page wants everything, to be sure. Who asks within a second is told by one render."""
        for name in self._watchers.get(watcher, ()):
            audience = self._audiences[name]
            if not audience.asking:
                asyncio.get_running_loop().call_later(AGAIN_S, self._tell_again, name, audience)
            audience.asking.add(watcher)

    def _tell_again(self, name: Hashable, audience: Audience) -> None:
        asking, audience.asking = audience.asking, set()
        if asking:
            audience.put_behind(asking)
            self._wake(name, audience)

    def renders(self, name: Hashable) -> int:
        """How often a room was rendered for those in step."""
        return self._audiences[name].renders

    # --- flushing -------------------------------------------------------------------------------------------------

    def hear(self, topics: Iterable[str]) -> None:
        """These topics changed."""
        fault("hub.heard")
        told = set(topics)
        if SESSIONS in told:  # said just before the session is gone
            asyncio.get_running_loop().call_later(SIGNED_OUT_S, self._check_now.set)
        for name, audience in list(self._audiences.items()):
            if audience.room is None or not told.isdisjoint(audience.room.topics):
                self._wake(name, audience, told)

    def _wake(self, name: Hashable, audience: Audience, told: Collection[str] | None = ()) -> None:
        """Flush a room soon. `told`: what was announced; None: look at everything."""
        audience.wanted = True
        if told is None:
            audience.told = None
        elif audience.told is not None:
            audience.told |= set(told)
        if audience.flushing is None or audience.flushing.done():
            audience.flushing = asyncio.create_task(self._flush(name, audience), name=f"flush {name}")

    async def _flush(self, name: Hashable, audience: Audience) -> None:
        while audience.wanted and not audience.empty:
            if (pause := audience.idle_from - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            audience.wanted, audience.rendering_s = False, 0.0
            started = time.monotonic()
            try:
                await self._render_and_send(audience)
            except Exception:  # one room that cannot be rendered must not silence the others
                logger.exception("hub: %s cannot be rendered", name)
                audience.put_behind(list(audience.in_step))
                asyncio.get_running_loop().call_later(TRY_AGAIN_S, self._wake, name, audience, None)
                return
            finally:
                # A long wait for a thread is no reason to wait still longer.
                rested = started + max(min(LEAST_S, self._flush_s), 3 * audience.rendering_s)
                audience.idle_from = min(rested, time.monotonic() + self._flush_s)
            if audience.room is not None and audience.room.owes and audience.owed is None:
                audience.owed = asyncio.get_running_loop().call_later(OWED_S, self._ask_owed, name, audience)

    def _ask_owed(self, name: Hashable, audience: Audience) -> None:
        audience.owed = None
        self._wake(name, audience, (OWED,))

    def _look(self, name: Hashable, audience: Audience) -> None:
        """Whatever the hints say. All rooms at once would hold up everything else that is told."""
        audience.looking = asyncio.get_running_loop().call_later(self._look_s, self._look, name, audience)
        self._wake(name, audience, None)

    async def _render_and_send(self, audience: Audience) -> None:
        if audience.room is None:
            audience.room = await self._rendered(audience, audience.make)
        if audience.in_step:
            told, audience.told = audience.told, set()
            html = await self._rendered(audience, audience.room.news, told)
            audience.renders += 1
            if html:
                await self._send(audience, Frame(html), list(audience.in_step))
        waiting: dict[int, set[Watcher]] = {}
        for watcher in audience.behind:
            waiting.setdefault(watcher.after, set()).add(watcher)
        for after, watchers in waiting.items():
            html = await self._rendered(audience, audience.room.everything, after)
            still = watchers & audience.behind
            audience.behind -= still
            audience.in_step |= still
            await self._send(audience, Frame(html + beat(whole=audience.room.kind)), still)

    async def _rendered(self, audience: Audience, call: Callable[..., Any], *args: Any) -> Any:
        """Its result; its own time counts, and not how long it waited for a thread."""

        def timed() -> Any:
            began = time.monotonic()
            try:
                return call(*args)
            finally:
                audience.rendering_s += time.monotonic() - began

        return await self._render(timed)

    async def _send(self, audience: Audience, frame: Frame, watchers: Collection[Watcher]) -> None:
        fault("hub.pushing")
        for count, watcher in enumerate(watchers, 1):
            if watcher not in self._watchers:
                continue
            told = watcher.key in self._admitted and await watcher.deliver(frame)
            if not told and watcher in audience.in_step:
                audience.put_behind([watcher])
            if count % TURN == 0:
                await asyncio.sleep(0)

    # --- hints and beats ------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as exc:
                logger.warning("hub: hints cannot be heard: %s: %s", type(exc).__name__, exc)
                self._hearing.set()  # pages are served all the same: every room is looked at again with the beat
                await asyncio.sleep(1)

    async def _listen_once(self) -> None:
        layer: Any = get_channel_layer()  # type: ignore[no-untyped-call]
        channel = await layer.new_channel("hub")
        await layer.group_add(announce.LIVE, channel)
        self._hearing.set()
        for name, audience in list(self._audiences.items()):  # what was said while nobody listened
            self._wake(name, audience, None)
        joined = time.monotonic()
        try:
            while True:
                message = await layer.receive(channel)
                self.hear(message.get("topics", ()))
                if time.monotonic() - joined > REJOIN_S:
                    await layer.group_add(announce.LIVE, channel)
                    joined = time.monotonic()
        finally:
            await layer.group_discard(announce.LIVE, channel)

    async def _beat(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._check_now.wait(), self._beat_s)
            except TimeoutError:
                pass
            self._check_now.clear()
            try:
                await self._check()
            except Exception as exc:  # the database is away: nobody is thrown out for that, nothing new is let through
                logger.warning("hub: sessions cannot be checked: %s: %s", type(exc).__name__, exc)

    async def _check(self) -> None:
        """Who may still watch; the others are shown out. One look at the database for all of them."""
        keys = {watcher.key for watcher in self._watchers}
        self._admitted = await self._render(self._admit, keys)
        self._admitted |= {watcher.key for watcher in self._watchers} - keys  # came meanwhile, was let in
        frame = Frame(beat())
        for count, watcher in enumerate(list(self._watchers), 1):
            if watcher.key not in self._admitted:
                await watcher.shut(GONE)
            elif watcher.silent:
                await watcher.shut(COME_LATER)
            else:
                await watcher.deliver(frame)
            if count % TURN == 0:
                await asyncio.sleep(0)


def beat(*, whole: str = "") -> str:
    """A sign of life with our clock, the same for everybody; `whole`: this part of the page was told anew."""
    said = format_html(' data-whole="{}"', whole) if whole else ""
    return format_html(
        '<time id="beat" hx-swap-oob="true" hidden datetime="{}"{}></time>', timezone.now().isoformat(), said
    )


_hubs: "WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = WeakKeyDictionary()


def here(admit: Admit) -> Hub:
    """The hub of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(admit)
    return _hubs[loop]
