"""Follow a run whose stream can be joined again: join, read, rest, and read the run itself beside it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from uuid import UUID

import httpx

from streams import credential, folding, openings
from streams.backoff import Backoff
from streams.client import CallFailed, Exchange, Reading, RedirectRefused, read_head
from streams.events import Ended
from streams.faults import fault
from streams.folding import Held
from streams.listen import Listener
from streams.offload import holding
from streams.readback import ReadBacks
from streams.reader import Reader
from streams.tools import Tools

logger = logging.getLogger(__name__)

WRONG_TYPES = 3  # in a row: an alert
AGAIN_PER_S = 50.0  # at one provider: streams that were lost together do not come back in the same second
UNREAD_S = 60.0  # how long a stream that is over waits for its run to be read, before it is joined again
QUIET_S = 300.0  # how often a waiting run's stream is joined that its provider closes; the run is read meanwhile

OVER = "The stream is over. Whether its run is, the run itself says."


class Follower:
    """One run's connections, until its last word. `reads`: None where a provider has no run to read."""

    def __init__(
        self,
        run_id: UUID,
        reader: Reader,
        listener: Listener,
        exchange: Exchange,
        tools: Tools,
        reads: ReadBacks | None,
    ) -> None:
        self._run_id, self._reader, self._listener = run_id, reader, listener
        self._exchange, self._tools, self._reads = exchange, tools, reads

    async def follow(self, held: Held) -> None:
        """Join the stream again and again. Returns when nothing of the run is to be held any longer."""
        reader, wrong, connects, again = self._reader, 0, held.reconnects, False
        delays = Backoff(self._tools.chance)
        while True:
            behind = reader.ended  # only to hear what the stream tells of an end that we know of
            reader.connect(await holding.run(folding.past_of, self._run_id, held.adapter))
            answer, response = await self._join(held, again=again)
            again = True
            why, over = answer.why, answer.means in ("gone", "no_content")
            told_all = over
            if response is not None:
                wrong = 0
                # Not waited for: whoever must let go while the database is away closes the connection at once.
                await reader.note("connected", "Connected again." if connects else "Connected.", reconnects=connects)
                connects += 1
                began = asyncio.get_running_loop().time()
                why = await self._listener.read(held, self._exchange, response)
                delays.lived(asyncio.get_running_loop().time() - began)
                await self._note_end(why)
                over, told_all = not why, not why and reader.told_all
            elif answer.means == "wrong":
                wrong += 1
                if wrong == WRONG_TYPES:
                    logger.error("run %s: no event stream at its address: %s", self._run_id, answer.why)
                    await reader.say("misconfigured", f"There is no event stream at this address: {answer.why}.")
            elif not await self._goes_on(answer, held):
                return
            if reader.ended and (behind or told_all or self._reads is None):
                return
            asked_s = max(self._listener.retry_s, answer.retry_after_s or 0.0)
            if not await self._rest(delays.next_s(asked_s=asked_s), over=over, told_all=told_all):
                return
            held = await holding.run(folding.load, self._run_id)
            if held.blocked or (held.ended and not reader.ended):
                return

    async def _join(self, held: Held, *, again: bool) -> tuple[Reading, httpx.Response | None]:
        """Knock once at the stream; a response only where it is one."""
        last_id = self._listener.last_event_id
        per_s = held.adapter.capabilities.calls_per_s
        if again:
            per_s = min(per_s or AGAIN_PER_S, AGAIN_PER_S)
        try:
            async with self._tools.pace.turn(held.provider_id, per_s=per_s) as rate:
                call = held.adapter.stream_call(held.account, held.view, last_id)
                fault("stream.connecting")
                response = await self._exchange.send(call, last_event_id=last_id)
        except RedirectRefused as exc:
            return Reading("wrong", str(exc)), None
        except CallFailed as exc:
            logger.warning("run %s: no connection: %s", self._run_id, exc)
            return Reading("later", str(exc)), None
        answer = read_head(response.status_code, response.headers, now=self._tools.now())
        rate.heard(response.status_code, at=asyncio.get_running_loop().time())
        if answer.means == "stream":
            return answer, response
        logger.warning("run %s: its stream was refused: %s", self._run_id, answer.why)
        await response.aclose()
        return answer, None

    async def _goes_on(self, answer: Reading, held: Held) -> bool:
        """Whether to ask again after an answer that is no stream and will not become one by asking again at once."""
        if answer.means == "credential":
            await credential.refused(held, self._reader)
        elif answer.means != "later" and self._reads is not None:
            return True  # its events are no longer kept, perhaps: the run itself is read
        elif answer.means == "gone":
            text = f"The provider no longer knows this run ({answer.why})."
            await self._reader.say("lost", text, Ended("lost", error=text))
        elif answer.means == "no_content":
            text = "The provider ended the stream without saying how the run ended (HTTP 204)."
            await self._reader.say("truncated", text, Ended("truncated", error=text))
        return answer.means == "later"

    async def _note_end(self, why: str) -> None:
        if self._reader.ended:
            return
        if self._reads is not None and not why:
            await self._reader.say("disconnected", OVER, *self._reader.at_eof())
            return
        eof = self._reader.at_eof() if not why else ()
        await self._reader.say("disconnected", f"The connection was lost. {why}".strip(), *eof)

    async def _rest(self, delay_s: float, *, over: bool, told_all: bool) -> bool:
        """Between two connections. Where a stream is over, its run is read first. Whether there is more to be heard."""
        reads, reader = self._reads, self._reader
        if reads is None:
            await asyncio.sleep(delay_s)
            return True
        if not over:
            await reads.until(lambda: reader.ended, most_s=delay_s)
            return not reads.lost
        wish, moves = reads.ask(), reads.moves
        await reads.until(lambda: reader.ended or reads.has_read(wish), most_s=max(delay_s, UNREAD_S))
        if reader.ended and told_all:
            return False
        if reader.waiting and reads.has_read(wish):  # nothing will be on the stream before somebody answers
            quiet_s = QUIET_S * (1 - self._tools.chance() / 2)
            await reads.until(lambda: reader.ended or reads.moves != moves, most_s=quiet_s)
        else:
            await reads.until(lambda: reader.ended, most_s=delay_s)
        return not reads.lost


class Bell:
    """Where the supervisor rings when somebody wants a run to be read; rung in vain where nobody reads it."""

    def __init__(self) -> None:
        self.heard: Callable[[datetime], None] | None = None

    def ring(self, nudged_at: datetime) -> None:
        """Pass on what the run's row says."""
        if self.heard is not None:
            self.heard(nudged_at)


async def follow(run_id: UUID, epoch: int, held: Held, tools: Tools, bell: Bell) -> None:
    """Follow one run to its end, from wherever it is."""
    await holding.run(openings.connecting, run_id)
    state, last_event_id = await holding.run(folding.resume, run_id, held.adapter)
    reader = Reader(run_id, epoch, held, tools.journal, state)
    listener = Listener(run_id, reader, last_event_id=last_event_id)
    exchange = Exchange(secret=held.account.secret)
    try:
        if not held.adapter.capabilities.read_back:
            await Follower(run_id, reader, listener, exchange, tools, None).follow(held)
            return
        reads = ReadBacks(run_id, held, reader, exchange, tools)
        bell.heard = reads.nudge
        last = await holding.run(folding.last_read, run_id)
        reads.begin(last)
        if last.fresh and not held.opened:
            # Somebody else's run: its stream begins with questions that were answered long ago.
            reads.ask()
            if not await reads.read():
                return
        follower = Follower(run_id, reader, listener, exchange, tools, reads)
        await _until_one_ends(follower.follow(held), reads.keep())
    finally:
        bell.heard = None
        await exchange.aclose()


async def _until_one_ends(*work: Coroutine[None, None, None]) -> None:
    """Side by side until one is done or fails; the others end with it."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    failures = [task.exception() for task in tasks if not task.cancelled()]
    for failure in failures:
        if failure is not None:
            raise failure
