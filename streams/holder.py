"""Hold one run to its end: start it or answer for its start, then read. One way in, one way to stop it: cancel it."""

import asyncio
import logging
from datetime import datetime
from functools import partial
from uuid import UUID

import httpx

from streams import credential, folding, openings
from streams.backoff import Backoff
from streams.client import CallUnanswered, CallUnsent, Exchange
from streams.errors import WireError
from streams.events import Ended
from streams.faults import fault
from streams.folding import Held
from streams.follow import Bell, follow
from streams.knock import Answered, Declined, NoAnswer, Opened, Unsent, knock
from streams.listen import Listener
from streams.models import RunStatus
from streams.offload import holding
from streams.pace import Pace, Urgency
from streams.providers.base import Call
from streams.reader import Reader
from streams.tools import Tools

__all__ = ["Answered", "Declined", "Holder", "NoAnswer", "Opened", "Pace", "Tools", "Unsent", "knock"]

logger = logging.getLogger(__name__)

MAY_HAVE_STARTED = "It may have started: check at the provider."
WE_STOPPED = "Our server stopped while the agent was at work, and this stream cannot be joined again."


def _tells_the_run(held: Held, body: bytes) -> bool:
    """Whether so much of a stream that began with a run names it: the rest is joined by another call."""
    try:
        held.adapter.read_start(held.account, body)
    except WireError:
        return False
    return True


class Holder:
    """The holder of one run under one epoch of its lease. Raises StaleEpoch where another one took over."""

    def __init__(self, run_id: UUID, epoch: int, tools: Tools) -> None:
        self._run_id, self._epoch, self._tools = run_id, epoch, tools
        self._bell = Bell()

    async def hold(self) -> None:
        """Follow the run to its end, from wherever it is."""
        held = await holding.run(folding.load, self._run_id)
        if held.ended:
            return
        if not held.reenters:
            await self._open_stream(held)
        elif held.view.external_id or (not held.blocked and await self._start(held)):
            held = await holding.run(folding.load, self._run_id)
            if not (held.ended or held.blocked):
                await follow(self._run_id, self._epoch, held, self._tools, self._bell)

    @property
    def reads(self) -> bool:
        """Whether its run is one that is read beside its stream, and a nudge would be heard now."""
        return self._bell.heard is not None

    def nudge(self, at: datetime) -> None:
        """Somebody wants the run to be read, since then. Said twice it counts once."""
        self._bell.ring(at)

    async def read_opened(self, held: Held, call: Call, exchange: Exchange, response: httpx.Response) -> None:
        """Read the one stream that a call opened; it cannot be opened again."""
        state = held.adapter.initial(held.account, held.view, call)
        reader = Reader(self._run_id, self._epoch, held, self._tools.journal, state)
        await reader.note("connected", "Connected.", reconnects=0)  # not waited for, as in follow()
        why = await Listener(self._run_id, reader).read(held, exchange, response)
        if not (reader.ended or reader.closed):
            eof = reader.at_eof() if not why else ()
            told = any(isinstance(fact, Ended) for fact in eof)
            text = f"The stream ended without a last word. {why}".strip()
            await reader.say("truncated", text, *(eof if told else (*eof, Ended("truncated", error=text))))
        else:
            await reader.say("disconnected", "The stream is over.")

    # -- calls that act

    def _plain_reader(self, held: Held) -> Reader:
        return Reader(self._run_id, self._epoch, held, self._tools.journal, None)

    async def _open_stream(self, held: Held) -> None:
        """A start whose answer is the run."""
        if held.opened:
            if held.status != RunStatus.WAITING:
                await self._plain_reader(held).say("truncated", WE_STOPPED, Ended("truncated", error=WE_STOPPED))
            return
        delays = Backoff(self._tools.chance)
        while held.status == RunStatus.QUEUED and not held.blocked and await self._mark_opened():
            exchange = Exchange(secret=held.account.secret)
            try:
                async with self._tools.pace.turn(held.provider_id, urgency=Urgency.START):
                    call = held.adapter.start_call(held.account, held.view)
                    answered, response = await knock(held, call, exchange)
                match answered:
                    case Opened() if response is not None:
                        await self.read_opened(held, call, exchange, response)
                        return
                    case Unsent(why=why):
                        await self._put_back(why)
                    case _:
                        await self._not_opened(held, answered)
                        return
            finally:
                await exchange.aclose()
            await asyncio.sleep(delays.next_s())
            held = await holding.run(folding.load, self._run_id)

    async def _not_opened(self, held: Held, answered: Answered) -> None:
        reader = self._plain_reader(held)
        match answered:
            case Declined(status=status, refusal=refusal):
                if status in (401, 403):
                    await credential.refused(held, reader)
                said = f"HTTP {status} {refusal.text}".rstrip(" .")
                if status < 300 or status >= 500:  # it may have acted before it failed, or before it said so wrongly
                    text = f"The agent answered the start with {said}. {MAY_HAVE_STARTED}"
                    await reader.say("truncated", text, Ended("truncated", error=text))
                    return
                text = f"The agent did not take the start: {said}"
                await reader.say("disconnected", text, Ended("failed", error=text))
            case NoAnswer(why=why):
                text = f"The start was sent and no answer came ({why}). {MAY_HAVE_STARTED}"
                await reader.say("truncated", text, Ended("truncated", error=text))

    async def _start(self, held: Held) -> bool:
        """Start a run whose stream is another call. Whether there is now a stream to follow."""
        reader = self._plain_reader(held)
        if held.opened:
            await reader.say("lost", MAY_HAVE_STARTED, Ended("lost", error=MAY_HAVE_STARTED))
            return False
        delays = Backoff(self._tools.chance)
        while held.status == RunStatus.QUEUED and not held.blocked and await self._mark_opened():
            exchange = Exchange(secret=held.account.secret)
            try:
                async with self._tools.pace.turn(held.provider_id, urgency=Urgency.START):
                    call = held.adapter.start_call(held.account, held.view)
                    response = await exchange.send(call)
                    enough = partial(_tells_the_run, held) if call.streams else None
                    body = await exchange.read(response, enough=enough)
                return await self._begun(held, reader, exchange, response.status_code, body)
            except CallUnsent as exc:
                await self._put_back(str(exc))
            except CallUnanswered as exc:
                text = f"The start was sent and no answer came ({exc}). {MAY_HAVE_STARTED}"
                await reader.say("lost", text, Ended("lost", error=text))
                return False
            finally:
                await exchange.aclose()
            await asyncio.sleep(delays.next_s())
            held = await holding.run(folding.load, self._run_id)
        return False

    async def _begun(self, held: Held, reader: Reader, exchange: Exchange, status: int, body: bytes) -> bool:
        """Read the answer to a start."""
        fault("start.answered")
        if 200 <= status < 300:
            try:
                begun = held.adapter.read_start(held.account, body)
            except WireError as exc:
                problem = exchange.without_secret(str(exc))
            else:
                owner, epoch = self._tools.owner, self._epoch
                problem = await holding.run(openings.store_begun, self._run_id, begun, owner=owner, epoch=epoch)
                fault("start.stored")
            if problem:
                text = f"The start was taken, but cannot be followed: {problem}. {MAY_HAVE_STARTED}"
                await reader.say("lost", text, Ended("lost", error=text))
            return not problem
        if status in (401, 403):
            await credential.refused(held, reader)
        refusal = held.adapter.read_refusal(status, body)
        said = exchange.without_secret(f"HTTP {status} {refusal.text}".rstrip())
        if status >= 500:  # it may have acted before it failed
            text = f"The provider answered the start with {said}. {MAY_HAVE_STARTED}"
            await reader.say("lost", text, Ended("lost", error=text))
        else:
            text = f"The provider did not take the start: {said}"
            await reader.say("disconnected", text, Ended("failed", error=text))
        return False

    async def _mark_opened(self) -> bool:
        owner, epoch = self._tools.owner, self._epoch
        marked = await holding.run(openings.mark_opened, self._run_id, owner=owner, epoch=epoch)
        fault("open.marked")
        return marked

    async def _put_back(self, why: str) -> None:
        logger.warning("run %s: its start did not leave, it will be tried again: %s", self._run_id, why)
        await holding.run(openings.clear_opened, self._run_id, epoch=self._epoch, requeue=True)
