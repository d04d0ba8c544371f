"""Read a run itself, beside its stream: where the stream does not tell how it stands, after a nudge, now and then.

A stream that ends says nothing of its run, a waiting run's stream may be closed or silent for hours, and a nudge (a
webhook, an answer of ours) says only that something changed. Only what the run itself says concludes.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from streams import credential, folding
from streams.backoff import Backoff, ConnectRate
from streams.client import CallFailed, Exchange, Reading, RedirectRefused, read_plain_head
from streams.events import Ended
from streams.folding import Held, LastRead
from streams.listen import LINGER_S
from streams.offload import holding
from streams.pace import Urgency
from streams.reader import Reader, Took
from streams.tools import Tools

logger = logging.getLogger(__name__)

SPACE_S = 1.0  # between two readings of one run, whoever wants them
READ_S = 30.0  # for one answer, to its last byte
POLL_GROWTH, POLL_MOST_S = 1.5, 60.0  # while nothing changes
AFTER_NUDGE_S = (1.5, 3.0, 4.0)  # readings after a nudge that shows nothing yet, within `confirm_s` of it
GONE_S = 2.0  # a run that was not there at two readings, so far apart, is lost: a new one may take a moment to appear
AWAY_S = 60.0  # the same for a run that was there before: a gateway may answer so while what is behind it restarts
UNREAD = 5  # failures in a row that are worth a remark
CLOCKS = timedelta(seconds=5)  # whoever nudged may have another clock than we
RECENT = timedelta(minutes=1)  # an older nudge, found by who takes a run up, is no reason to hurry

GONE = "The provider no longer knows this run ({why})."
CANNOT = "The run itself cannot be read ({why}). What it asks may be missing here."


class ReadBacks:
    """The readings of one held run. One task keeps them; everybody else asks for them, or waits for what they bring."""

    def __init__(self, run_id: UUID, held: Held, reader: Reader, exchange: Exchange, tools: Tools) -> None:
        self._run_id, self._reader, self._exchange, self._tools = run_id, reader, exchange, tools
        self._provider_id = held.provider_id
        self._can = held.adapter.capabilities
        self._delays = Backoff(tools.chance)
        self._poked, self._came = asyncio.Event(), asyncio.Event()
        self._wishes = self._done = self._nudges = self._unread = self._polls = 0
        self._nudged_at: datetime | None = None
        self._keeps = False  # the next readings are wanted for themselves
        self._again: list[float] = []  # waits before the readings that follow a nudge
        self._read_at = self._free_at = self._not_before = self._asked_until = 0.0
        self._gone_at: float | None = None
        self._was_there = False  # this run could be read before
        self._in_line: asyncio.Timeout | None = None  # while a turn is waited for
        self._urgency_in_line = Urgency.ROUTINE
        self.moves = 0  # how often a reading showed that the run had gone on
        self.lost = False  # the run itself is gone
        reader.on_read_back = self.ask

    def begin(self, last: LastRead) -> None:
        """What earlier holders stored."""
        self._reader.knows(last.sha256)
        self._was_there = bool(last.sha256)
        # A process that takes up many runs at once does not read them all at once.
        self._read_at = _now() - (0.0 if last.fresh else self._tools.chance() * self._poll_s)
        self._nudged_at = last.nudged_at
        if last.nudged_at and (last.at is None or last.nudged_at > last.at - CLOCKS):
            if self._tools.now() - last.nudged_at < RECENT:
                self._heed_nudge()
            else:  # whoever nudged has long been waiting for the next reading, and so have many others perhaps
                self._keeps = True

    def ask(self) -> int:
        """The run is to be read soon. Returns the number of this wish."""
        self._wishes += 1
        self._poked.set()
        if self._in_line is not None and self._urgency < self._urgency_in_line:
            self._in_line.reschedule(_now())
            self._urgency_in_line = Urgency.HURRY  # it is on its way to another place
        return self._wishes

    def nudge(self, at: datetime) -> None:
        """Somebody says that the run changed, at this time; said twice it counts once."""
        if at != self._nudged_at:
            self._nudged_at = at
            self._heed_nudge()

    def has_read(self, wish: int) -> bool:
        """Whether the run was read after that wish."""
        return self._done >= wish

    async def until(self, fits: Callable[[], bool], *, most_s: float) -> None:
        """Wait for a reading that makes it true, so long at most."""
        try:
            async with asyncio.timeout(most_s):
                while not fits():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            pass

    async def keep(self) -> None:
        """Read whenever it is due. Returns when nothing of the run is to be held any longer."""
        while not self._reader.ended:
            await self._until_due()
            if not await self.read():
                return
        silent_since = _now()  # so long the stream may still tell of that end, and is joined for it
        while (left_s := silent_since + LINGER_S - _now()) > 0:
            await asyncio.sleep(left_s)
            silent_since = max(silent_since, self._reader.heard_at)

    async def read(self) -> bool:
        """Read once. Whether the run is to be held on."""
        async with AsyncExitStack() as turn:
            rate = await self._turn(turn)
            held = await holding.run(folding.load, self._run_id)
            if held.ended or held.blocked:
                return False
            wish, nudges, keeps = self._wishes, self._nudges, self._keeps
            answer, body, asked_at = await self._get(held, rate, turn)
        self._read_at = _now()
        self._free_at = self._read_at + SPACE_S
        try:
            if answer.means == "body":
                took = await self._reader.take_run(body, asked_at=asked_at, keep=keeps)
                if took.usable:
                    self._brought(wish, nudges, took)
                    return True
                answer = Reading("wrong", "what came is not this run")
            return await self._failed(answer, held)
        finally:
            self._came.set()

    # -- when

    @property
    def _poll_s(self) -> float:
        return poll_s(self._can.poll_s or POLL_MOST_S, unchanged=self._polls, chance=self._tools.chance())

    def _heed_nudge(self) -> None:
        self._keeps, self._again, self._polls = True, list(AFTER_NUDGE_S), 0
        self._nudges += 1
        self._delays = Backoff(self._tools.chance)
        self._not_before = self._asked_until
        self.ask()

    async def _until_due(self) -> None:
        poll_s = self._poll_s
        while (due_at := max(self._due_at(poll_s), self._not_before)) > _now():
            self._poked.clear()
            try:
                async with asyncio.timeout_at(due_at):
                    await self._poked.wait()
            except TimeoutError:
                pass

    def _due_at(self, poll_s: float) -> float:
        if self._wishes > self._done:
            return self._free_at
        if self._again:
            return self._read_at + self._again[0]
        silent = self._reader.waiting or not self._reader.connected
        return (self._read_at if silent else max(self._read_at, self._reader.heard_at)) + poll_s

    # -- what came of it

    async def _turn(self, turn: AsyncExitStack) -> ConnectRate:
        """Wait for a turn; what becomes urgent meanwhile does not stay in the line of what can wait."""
        while True:
            self._urgency_in_line, per_s = self._urgency, self._can.calls_per_s
            taken = self._tools.pace.turn(self._provider_id, per_s=per_s, urgency=self._urgency_in_line)
            try:
                async with asyncio.timeout(None) as self._in_line:
                    return await turn.enter_async_context(taken)
            except TimeoutError:
                continue
            finally:
                self._in_line = None

    @property
    def _urgency(self) -> Urgency:
        if self._keeps and self._nudges:
            return Urgency.HURRY
        return Urgency.WANTED if self._wishes > self._done else Urgency.ROUTINE

    async def _get(self, held: Held, rate: ConnectRate, turn: AsyncExitStack) -> tuple[Reading, str, datetime]:
        """The answer to one GET in its turn; where it means `body`, the run as text. And when it was asked for."""
        call = held.adapter.read_back_call(held.account, held.view)
        assert call is not None  # or it would not say `read_back`
        call = replace(call, headers={**call.headers, "connection": "close"})  # the next one is seconds away
        most_bytes, asked_at = settings.EVENT_MAX_BYTES, self._tools.now()
        try:
            async with turn:
                response = await self._exchange.send(call)
                rate.heard(response.status_code, at=_now())
            try:
                answer = read_plain_head(response.status_code, response.headers, now=self._tools.now())
                if answer.means != "body":
                    return answer, "", asked_at
                async with asyncio.timeout(READ_S):
                    body = await self._exchange.read(response, most_bytes=most_bytes + 1)
            finally:
                await response.aclose()
        except RedirectRefused as exc:
            return Reading("wrong", str(exc)), "", asked_at
        except CallFailed as exc:
            return Reading("later", str(exc)), "", asked_at
        except TimeoutError:
            return Reading("later", f"its answer took longer than {READ_S:.0f} s"), "", asked_at
        if len(body) > most_bytes:
            return Reading("wrong", f"its answer has more than {most_bytes} bytes"), "", asked_at
        return answer, body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"), asked_at

    def _brought(self, wish: int, nudges: int, took: Took) -> None:
        if nudges == self._nudges:  # else there is a newer one, for which nothing was read yet
            self._again = self._again[1:] if wish == self._done else self._again
            if took.moved and not self._reader.waiting:
                self._again = []
            self._keeps = bool(self._again) and not took.moved
        self._done, self._unread, self._gone_at, self._was_there = max(self._done, wish), 0, None, True
        self._delays = Backoff(self._tools.chance)
        self._polls = 0 if took.changed else self._polls + 1
        self.moves += took.moved

    async def _failed(self, answer: Reading, held: Held) -> bool:
        """Whether to go on after an answer that tells nothing of the run."""
        now = _now()
        logger.warning("run %s: it cannot be read: %s", self._run_id, answer.why)
        if answer.means == "credential":
            await credential.refused(held, self._reader)
            return False
        self._not_before = now + self._delays.next_s(asked_s=answer.retry_after_s or 0.0)
        if answer.retry_after_s:
            self._asked_until = self._not_before
        if answer.means == "gone" and not (self._reader.connected and self._can.stream_proves):
            if self._gone_at is not None and now - self._gone_at >= (AWAY_S if self._was_there else GONE_S):
                self.lost, text = True, GONE.format(why=answer.why)
                await self._reader.say("lost", text, Ended("lost", error=text))
                return True
            self._gone_at = now if self._gone_at is None else self._gone_at
            self._not_before = max(self._not_before, self._gone_at + GONE_S)
        self._unread += 1
        if self._unread == UNREAD:
            logger.error("run %s: it could not be read %d times: %s", self._run_id, UNREAD, answer.why)
            await self._reader.say("unread", CANNOT.format(why=answer.why))
        return True


def poll_s(least_s: float, *, unchanged: int, chance: float) -> float:
    """How long until a run is read again of which so many readings in a row brought nothing new."""
    return min(POLL_MOST_S, least_s * POLL_GROWTH ** min(unchanged, 16)) * (1 + chance / 4)


def _now() -> float:
    return asyncio.get_running_loop().time()
