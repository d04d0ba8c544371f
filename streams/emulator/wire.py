"""What the emulated providers share: the world they live in, one connection's sender, and faults on answers."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.emulator import scenarios
from streams.emulator.faults import STREAM_FAULTS, Board, Fault
from streams.emulator.http import Connection, Hangup, Request
from streams.emulator.script import Script
from streams.emulator.state import Run, State

PIECE_CHARS = 24  # a language model's piece of text, or of arguments


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast agents are: like a language model, or without any wait."""

    real: bool

    async def piece(self) -> None:
        """Between two pieces of text."""
        await asyncio.sleep(random.uniform(0.02, 0.06) if self.real else 0)  # noqa: S311 - a rhythm, not a secret

    async def work(self, seconds: float) -> None:
        """While a tool runs."""
        await asyncio.sleep(seconds if self.real else 0)


@dataclass(slots=True)
class World:
    """Everything that the providers of one emulator have in common."""

    state: State
    pace: Pace
    seed: int
    scenario: str = ""  # forced on every run whose provider has it
    api_key: str = ""  # any, where empty
    approval_timeout_s: float | None = None
    webhook: str = ""  # where Middesk's events go from the start
    webhook_secret: str = ""
    board: Board = field(default_factory=Board)
    refused_starts: dict[str, list[Fault]] = field(default_factory=dict)  # what is left of a text's faults

    def take(self, run: Run, name: str, on: str) -> Fault | None:
        """One turn of a fault for this run; what is used up stays so after a restart."""

        def used(index: int) -> None:
            left = run.faults[index].left
            self.state.record("fault", kind=run.kind, run=run.id, index=index, left=left, sync=False)

        return self.board.take(name, kind=run.kind, run=run.id, on=on, own=run.faults, used=used)

    def choose(self, kind: str, *, wanted: str, text: str) -> tuple[scenarios.Scenario, int]:
        """The scenario of a new run, and the seed of its words."""
        turn = sum(1 for run in self.state.of_kind(kind) if not run.continues)
        forced = self.scenario if self.scenario in scenarios.SCENARIOS else ""
        chosen = scenarios.choose(kind, wanted=forced or wanted, text=text, turn=turn + self.seed)
        return chosen, self.seed * 1_000_003 + turn

    def script(self, run: Run) -> Script:
        """The run's story, from its beginning; the same words each time."""
        return scenarios.SCENARIOS[run.scenario].play(random.Random(run.seed))  # noqa: S311 - words, not secrets


class Wire(Protocol):
    """One provider's side: what its paths answer. A further provider is one more of these, in server.py's table."""

    kind: str

    async def handle(self, request: Request, path: str, connection: Connection) -> None:
        """Answer a request; `path` is what follows the provider's prefix."""

    def offers(self) -> Sequence[dict[str, object]]:
        """This provider's part of `GET /_scenarios`."""

    def go_on(self) -> None:
        """After a restart: take the open runs up again."""

    async def stop(self) -> None:
        """End all background work."""


def pieces(text: str) -> list[str]:
    """A text as a language model would stream it."""
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


async def answer_fault(
    take: Callable[[str], Fault | None], request: Request, connection: Connection, *, refusal: Callable[[int], object]
) -> bool:
    """Answer with an armed fault in place of the right answer; whether one did. `refusal` builds an error's body."""
    if fault := take("status"):
        after = fault.text("retry_after")
        headers = {"retry-after": after} if after else {}
        await connection.answer_json(fault.whole("code"), refusal(fault.whole("code")), headers)
    elif fault := take("redirect"):
        to = fault.text("to") or request.path
        await connection.answer(fault.whole("code"), content_type="text/plain", headers={"location": to})
    elif fault := take("wrong-type"):
        page = b"<!doctype html><title>Sign in to the network</title><p>event: done</p>\n"
        await connection.answer(200, page, content_type=fault.text("type"))
    elif take("drop-before-effect"):
        connection.reset()
        raise Hangup
    else:
        return False
    return True


def first_frame(world: World, run: Run) -> int | None:
    """Index of the first frame that a new connection gets, as the faults say; None: it gets none and ends."""
    if run.connections <= 1 or world.take(run, "replay-all", "stream"):
        return 0
    if world.take(run, "replay-none", "stream"):
        return None
    if world.take(run, "replay-tail", "stream"):
        return len(run.frames)
    if fault := world.take(run, "replay-overlap", "stream"):
        return max(0, len(run.frames) - fault.whole("n"))
    return 0


class Sender:
    """Puts frames on one stream, with the faults that are armed for it."""

    def __init__(
        self,
        connection: Connection,
        take: Callable[[str], Fault | None],
        *,
        big_frame: Callable[[int], bytes],
        comment_s: float | None = None,
        comment: bytes = b": keepalive\n\n",
    ) -> None:
        self._connection, self._take, self._big_frame = connection, take, big_frame
        self._active: dict[str, Fault] = {}
        self._comment, self._comment_s = comment, comment_s
        self.sent = 0
        self.bytes_sent = 0

    async def send(self, frame: bytes, *, last: bool = False) -> None:
        """One frame. Raises Hangup where the connection is over, by a fault or by the client."""
        self._look_for_faults()
        await self._stall()
        cut = self._active.get("cut")
        if cut and not cut.whole("bytes") and self.sent >= cut.whole("after"):
            await self._cut(frame[: len(frame) // 2] if cut.flag("mid") else b"", reset=cut.flag("reset"))
        if last and "missing-terminal" in self._active:
            await self._connection.end()
            raise Hangup
        if (big := self._active.get("oversize")) and self.sent == big.whole("after"):
            del self._active["oversize"]
            await self._write(self._big_frame(big.whole("size")))
        await self._write(frame)
        self.sent += 1
        if (twice := self._active.get("duplicate")) and self.sent == twice.whole("at"):
            await self._write(frame)

    async def wait(self, news: asyncio.Event) -> None:
        """Wait for news, with a comment now and then; a cut that was armed meanwhile bites at once."""
        fresh = self._look_for_faults()
        await self._stall()
        cut = self._active.get("cut")
        if cut and "cut" in fresh and self.sent >= max(1, cut.whole("after")):
            await self._cut(b"", reset=cut.flag("reset"))
        keep = self._active.get("keepalive")
        seconds = keep.number("seconds") if keep else self._comment_s
        try:
            await asyncio.wait_for(news.wait(), seconds)
        except TimeoutError:
            await self._write(b": keepalive\r\n\r\n" if keep and keep.flag("crlf") else self._comment)

    async def rest(self, seconds: float) -> None:
        """Say nothing for so long, but for comments."""
        over = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(seconds, over.set)
        try:
            while not over.is_set():
                await self.wait(over)
        finally:
            timer.cancel()

    def _look_for_faults(self) -> set[str]:
        """Take what was armed for this stream; the names that are new."""
        fresh = set()
        for name in STREAM_FAULTS:
            if name not in self._active and (fault := self._take(name)):
                self._active[name] = fault
                fresh.add(name)
        return fresh

    async def _stall(self) -> None:
        stall = self._active.get("stall")
        if stall and self.sent >= stall.whole("after"):
            del self._active["stall"]
            seconds = stall.number("seconds")
            await (asyncio.sleep(seconds) if seconds else asyncio.Event().wait())

    async def _cut(self, rest: bytes, *, reset: bool) -> None:
        await self._connection.write(rest)
        if reset:
            self._connection.reset()
        raise Hangup

    async def _write(self, frame: bytes) -> None:
        if style := self._active.get("line-end"):
            frame = frame.replace(b"\n", b"\r" if style.text("style") == "cr" else b"\r\n")
        cut = self._active.get("cut")
        if cut and cut.whole("bytes") and self.bytes_sent + len(frame) >= cut.whole("bytes"):
            await self._cut(frame[: cut.whole("bytes") - self.bytes_sent], reset=cut.flag("reset"))
        self.bytes_sent += len(frame)
        slow = self._active.get("slow")
        if slow is None:
            await self._connection.write(frame)
            return
        size = max(1, slow.whole("size"))
        for start in range(0, len(frame), size):
            await self._connection.write(frame[start : start + size])
            await asyncio.sleep(slow.number("delay_ms") / 1000)
