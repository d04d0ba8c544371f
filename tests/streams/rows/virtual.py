"""The follower, listener and reader in time that passes only when all of them wait; the wire is a script.

No socket, no thread and no database: hours go by in milliseconds, and every delay is exact.
"""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import httpx
import pytest

from streams import credential, folding, follow, openings
from streams.client import CallUnsent, Exchange
from streams.folding import Held
from streams.follow import Follower
from streams.journal import Entry, Journal
from streams.listen import Listener
from streams.models import RunStatus
from streams.pace import Pace
from streams.providers.base import Account, Call, RunView
from streams.providers.fake import Fake
from streams.reader import Reader
from streams.replay import Past
from streams.tools import Tools

T = TypeVar("T")
BEGAN = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
PROVIDER = UUID(int=7)


class _Jump(selectors.DefaultSelector):
    """Never waits: what would have been waited is added to the loop's time."""

    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and for nothing that time brings")
            self._loop.now_s += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


Step = float | bytes | Exception  # wait so long, send, break
Answer = httpx.Response | Exception


class _Body(httpx.AsyncByteStream):
    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                yield step
            else:
                await asyncio.sleep(step)


def answer(status: int, *steps: Step, **headers: str) -> httpx.Response:
    """An answer whose body comes as the steps say, then ends. Underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=_Body(steps))


def stream(*steps: Step) -> httpx.Response:
    return answer(200, *steps, content_type="text/event-stream")


FOREVER = 1e9


@dataclass
class Wire:
    """What answers each connect, by its number; and when each came."""

    answers: Callable[[int], Answer]
    connects: list[float] = field(default_factory=list)
    last_ids: list[str] = field(default_factory=list)

    async def send(self, call: Call, *, last_event_id: str = "") -> httpx.Response:
        self.connects.append(now())
        self.last_ids.append(last_event_id)
        given = self.answers(len(self.connects) - 1)
        if isinstance(given, Exception):
            raise given
        return given

    def why(self, exc: BaseException) -> str:
        return type(exc).__name__


def refused() -> CallUnsent:
    return CallUnsent("connection refused")


class Kept:
    """A journal that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Entry]] = []

    async def hand_in(self, entries: Sequence[Entry], line: Any = None) -> "asyncio.Future[list[int]]":
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        begin = len(self.entries)
        self.entries += [(now(), entry) for entry in entries]
        done.set_result(list(range(begin, len(self.entries))))
        return done

    async def append(self, entries: Sequence[Entry], line: Any = None) -> list[int]:
        return await (await self.hand_in(entries, line))

    def said(self, *kinds: str) -> list[float]:
        """When remarks of these kinds were made."""
        return [at for at, entry in self.entries if entry.source == "house" and entry.kind in kinds]


def held(**capabilities: Any) -> Held:
    return Held(
        adapter=Fake("virtual", **capabilities),
        account=Account("http://provider.test"),
        view=RunView(uuid4(), external_id="ext-1"),
        status=RunStatus.CONNECTING,
        opened=False,
        ended=False,
        reconnects=0,
        provider_id=PROVIDER,
        secret_sealed="",
        blocked=False,
    )


@dataclass
class Stream:
    """One followed run: its wire and what was kept of it."""

    wire: Wire
    held: Held
    kept: Kept
    follower: Follower
    listener: Listener
    reader: Reader

    async def follow(self, *, most_s: float = FOREVER) -> None:
        """Follow it to its end, or for so long."""
        try:
            async with asyncio.timeout(most_s):
                await self.follower.follow(self.held)
        except TimeoutError:
            pass

    async def read(self, response: httpx.Response) -> str:
        """Read one connection, as whoever opened it by a call that acts."""
        return await self.listener.read(self.held, cast(Exchange, self.wire), response)


class Stage:
    """Makes streams whose database is what the stage says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chance: Callable[[], float]) -> None:
        self.pace, self.chance = Pace(), chance
        self.helds: dict[UUID, Held] = {}
        self.refusals = 0
        for module in (follow, credential):
            monkeypatch.setattr(module, "holding", self)

    async def run(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the database would say."""
        if call is folding.past_of:
            return Past()
        if call is folding.load:
            return self.helds[args[0]]
        assert call is openings.refuse_credential
        self.refusals += 1
        return True

    def stream(self, answers: Callable[[int], Answer], **capabilities: Any) -> Stream:
        made, kept, wire = held(**capabilities), Kept(), Wire(answers)
        self.helds[made.view.id] = made
        reader = Reader(made.view.id, 1, made, cast(Journal, kept), made.adapter.initial(made.account, made.view))
        listener = Listener(made.view.id, reader)
        tools = Tools("me", cast(Journal, kept), self.pace, self.chance, lambda: BEGAN + timedelta(seconds=now()))
        follower = Follower(made.view.id, reader, listener, cast(Exchange, wire), tools, None)
        return Stream(wire, made, kept, follower, listener, reader)
