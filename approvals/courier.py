"""The courier: an async loop that carries decisions to their providers, some at a time, none twice."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import httpx
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from approvals import answering, answers, confirming, deadlines, endings, outbox, replies, sending
from approvals.answers import Prepared, RunOver
from approvals.models import DeliveryState
from approvals.outbox import AnswersChanged, Claim, ClaimLost
from approvals.replies import Meaning
from approvals.sending import Answered
from streams import backoff, events, offload, providers
from streams.errors import SecretError, WireError
from streams.faults import fault
from streams.holder import Declined, NoAnswer, Opened, Unsent
from streams.providers.base import Call, Refusal

logger = logging.getLogger(__name__)

AT_ONCE = 32
AT_ONCE_PER_PROVIDER = 4  # a provider that never answers keeps only so many places
RETRY_CAP_S = 30.0  # so that a provider that comes back is served within a minute
DOUBTFUL_MAX = 5  # repeats of an answer that may have been taken, where a repeat cannot act twice
PREPARES_MAX = 3
DRAIN_S = 3.0
WRITE_AGAIN_S = (0.2, 1.0, 3.0)
PARKED_S = 30.0  # how long a secret that does not open is left alone
ANSWER_CHARS = 2_000
A_PAGE = "a web page came back, not the agent's answer: a proxy or a sign-in page may stand between"

Outcome = Answered | Opened | Declined | Unsent | NoAnswer


class Holding(Protocol):
    """What the courier needs of the supervisor that runs beside it: an answer may be a stream, which is then held."""

    owner: str

    async def open(self, run_id: UUID, epoch: int, call: Call) -> Opened | Declined | Unsent | NoAnswer: ...


async def carry(stop: asyncio.Event, holding: Holding, *, wake: asyncio.Event | None = None) -> None:
    """Carry until `stop`. `wake` is set by whoever hears that a delivery may be due; we look every second anyway."""
    async with sending.client() as http, asyncio.TaskGroup() as group:
        courier = Courier(holding, http, group, wake or asyncio.Event())
        await courier.run(stop)


@dataclass(slots=True)
class Courier:
    """One process's courier."""

    holding: Holding
    http: httpx.AsyncBaseTransport
    group: asyncio.TaskGroup
    wake: asyncio.Event
    chance: Callable[[], float] = random.random
    _in_flight: dict[asyncio.Task[None], Claim] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Look, carry, wait for the next reason to look; at the end let what is under way finish."""
        logger.info("courier: started as %s", self.holding.owner)
        every = connection.vendor == "sqlite"  # the one process of this database: every claim of before is nobody's
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self.wake.clear()
                wait_s = await self._look(every=every)
                every = False
                await self._until_something(stopped, wait_s)
        finally:
            stopped.cancel()
            await self._drain()
        logger.info("courier: stopped")

    async def _look(self, *, every: bool) -> float:
        """Do all that is due; returns how long there is nothing to do."""
        try:
            room = AT_ONCE - len(self._in_flight)
            busy = Counter(claim.provider_id for claim in self._in_flight.values())
            claims, due = await offload.courier.run(look, self.holding.owner, room, busy, every=every)
        except DatabaseError as exc:
            logger.warning("courier: the database is away, trying again: %s", type(exc).__name__)
            return float(settings.LOOK_EVERY_S)
        for claim in claims:
            self._start(claim)
        if claims:
            return 0.0  # there may be more, of providers that have room
        return self._wait_s(due)

    def _wait_s(self, due: datetime | None) -> float:
        """Until the next delivery is due by the database's clock; ours may differ, so never longer than usual."""
        longest = float(settings.LOOK_EVERY_S)
        if due is None:
            return longest
        return min(longest, max(0.01, (due - timezone.now()).total_seconds()))

    def _start(self, claim: Claim) -> None:
        task = self.group.create_task(self._carry_one(claim), name=f"carry {claim.delivery_id}")
        self._in_flight[task] = claim
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.pop(task, None)
        self.wake.set()  # the next one of its run, or of its provider, may go now

    async def _until_something(self, stopped: "asyncio.Task[bool]", wait_s: float) -> None:
        woken = asyncio.create_task(self.wake.wait())
        try:
            await asyncio.wait([woken, stopped], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _drain(self) -> None:
        """What is under way may end; what does not is `sent` without an end, and known as such after the restart."""
        if self._in_flight:
            await asyncio.wait(list(self._in_flight), timeout=DRAIN_S)
        for task in list(self._in_flight):
            task.cancel()

    async def _carry_one(self, claim: Claim) -> None:
        """The boundary around one delivery: whatever goes wrong here, the others go on."""
        try:
            ready = await offload.courier.run(make_ready, claim)
            if ready is not None:
                prepared, opened = ready
                await self._conclude(prepared, await self._send(prepared, opened))
                fault("courier.recorded")
        except ClaimLost:
            logger.info("delivery %s: somebody else settled it", claim.delivery_id)
        except Exception as exc:
            # Never the exception's own words: they may quote the call. Its row is found again when the claim runs out.
            logger.error("delivery %s: carrying failed: %s", claim.delivery_id, type(exc).__name__)

    async def _send(self, prepared: Prepared, opened: UUID | None) -> Outcome:
        fault("courier.leaving")
        if opened is None:
            return await sending.send(self.http, prepared.call, leave_by=prepared.leave_by)
        if asyncio.get_running_loop().time() >= prepared.leave_by:
            return Unsent(sending.TOO_LATE)
        return await self.holding.open(opened, answering.EPOCH, replace(prepared.call, leave_by=prepared.leave_by))

    async def _conclude(self, prepared: Prepared, outcome: Outcome) -> None:
        """Write what came of it. We alone know, so a database that is away for a moment is waited for."""
        fault("courier.answered")
        for wait_s in WRITE_AGAIN_S:
            try:
                return await offload.courier.run(conclude, prepared, outcome, chance=self.chance())
            except DatabaseError as exc:
                logger.warning(
                    "delivery %s: its end is written again: %s", prepared.claim.delivery_id, type(exc).__name__
                )
                await asyncio.sleep(wait_s)
        return await offload.courier.run(conclude, prepared, outcome, chance=self.chance())


# --- in the courier's threads ---------------------------------------------------------------------------------------


def look(
    owner: str, room: int, busy: Mapping[UUID, int], *, every: bool = False
) -> tuple[list[Claim], datetime | None]:
    """Everything that is due by the clock, then as many claims as there is room for, and when the next one is due."""
    at = deadlines.now()
    endings.expire_due()
    if not outbox.any_unfinished():  # one question instead of six, each second
        return [], None
    recover(every=every)
    confirming.end_due()
    outbox.release_due()
    claims = outbox.claim(owner, room=room, busy=busy, most_each=AT_ONCE_PER_PROVIDER) if room > 0 else []
    return claims, outbox.next_due(after=at)


def recover(*, every: bool = False) -> None:
    """Take up what a dead courier left: a claim is free again, `sent` without an end is unknown.

    Only where a repeat cannot act twice it is sent again.
    """
    for lost in outbox.lost_claims(every=every):
        try:
            if lost.state == DeliveryState.CLAIMED:
                outbox.give_back(lost.claim)
            elif lost.unsent:
                outbox.mark_later(lost.claim, why="no connection, and whoever tried stopped", wait_s=0)
            else:
                _no_answer(lost.claim, lost.kind, "whoever sent it stopped before an answer came", chance=0.5)
        except ClaimLost:
            continue


def make_ready(claim: Claim) -> tuple[Prepared, UUID | None] | None:
    """Build the call and commit that it is sent; the first byte may leave when this has returned something."""
    try:
        for _ in range(PREPARES_MAX):
            prepared = answers.prepare(claim)
            try:
                return prepared, outbox.mark_sent(
                    claim,
                    answered=prepared.answered,
                    body_sha256=prepared.body_sha256,
                    answering_id=prepared.answering_id,
                )
            except AnswersChanged as changed:
                for request_id in changed.late:
                    endings.expire(request_id)
        outbox.give_back(claim, why="its answers kept changing", wait_s=1.0)
    except RunOver as over:
        endings.end_open(over.run_id)
        outbox.cancel(claim)
    except WireError as exc:
        outbox.mark_unmakeable(claim, why=events.short(str(exc), ANSWER_CHARS))
    except (SecretError, LookupError) as exc:
        logger.error("delivery %s: parked: %s", claim.delivery_id, exc)
        outbox.mark_parked(claim, why=events.short(str(exc), ANSWER_CHARS), wait_s=PARKED_S)
    return None


def conclude(prepared: Prepared, outcome: Outcome, *, chance: float) -> None:
    """Write what came of it. Raises ClaimLost where somebody or something else has settled it."""
    claim = prepared.claim
    match outcome:
        case Opened():
            return  # its events will tell
        case Unsent(why=why):
            with _also_if_given_up(claim, why=why):
                outbox.mark_later(claim, why=why, wait_s=_wait_s(claim, chance))
        case NoAnswer(why=why):
            _no_answer(claim, prepared.provider.kind, why, chance=chance)
        case Answered(status=status, page=True) if replies.meaning(status) is Meaning.DELIVERED:
            _no_answer(claim, prepared.provider.kind, A_PAGE, chance=chance, status=status)
        case Answered(status=status, body=body, retry_after=retry_after):
            refusal = prepared.provider.read_refusal(status, body)
            asked_s = backoff.retry_after_s(retry_after, now=timezone.now())
            _answered(prepared, status, refusal, asked_s, chance)
        case Declined(status=status, refusal=refusal, retry_after_s=asked_s):
            _answered(prepared, status, refusal, asked_s, chance)


def _answered(prepared: Prepared, status: int, refusal: Refusal, asked_s: float | None, chance: float) -> None:
    claim, said = prepared.claim, _words(refusal)
    confirm_s = prepared.provider.capabilities.confirm_s
    match replies.meaning(status):
        case Meaning.DELIVERED if confirm_s is not None:
            confirming.begin(claim, status=status, answer="", confirm_s=confirm_s)
        case Meaning.REFUSED if confirm_s is not None and not outbox.maybe_taken(claim):
            confirming.begin(claim, status=status, answer=said, confirm_s=confirm_s)
        case Meaning.DELIVERED if prepared.answering_id:
            outbox.mark_unknown(claim, status=status, why="the answer was no event stream")
        case Meaning.DELIVERED:
            outbox.mark_delivered(claim, status=status)
        case Meaning.PARKED:
            with _also_if_given_up(claim, why=said, status=status, refused_secret=prepared.sealed):
                outbox.mark_parked(claim, status=status, why=said, refused_secret=prepared.sealed)
        case Meaning.LATER:
            wait_s = max(asked_s or 0.0, _wait_s(claim, chance))
            with _also_if_given_up(claim, why=said, status=status):
                outbox.mark_later(claim, status=status, why=said, wait_s=wait_s)
        case Meaning.REFUSED if outbox.maybe_taken(claim):
            outbox.mark_unknown(claim, status=status, why=f"an earlier attempt may have been taken: {said}")
        case Meaning.REFUSED:
            outbox.mark_refused(claim, status=status, answer=said)
        case Meaning.UNKNOWN:
            _no_answer(claim, prepared.provider.kind, said, chance=chance, status=status)


@contextmanager
def _also_if_given_up(claim: Claim, **said: Any) -> Iterator[None]:
    """Around what returns a delivery: where somebody gave it up as unknown meanwhile, that it did nothing still counts.

    It does not go back in place, for a person may have looked at the doubt by now.
    """
    try:
        yield
    except ClaimLost:
        outbox.mark_not_taken(claim, **said)


def _no_answer(claim: Claim, kind: str, why: str, *, chance: float, status: int | None = None) -> None:
    """It left, and nobody knows: unknown, unless a repeat cannot act twice."""
    adapter = providers.REGISTRY.get(kind)
    if adapter is None:  # its row outlived its adapter; it was sent, so it must not wait to be sent once more
        why = events.short(f"{why}; this version knows no provider of the kind {kind!r}", ANSWER_CHARS)
    repeatable = adapter is not None and adapter.capabilities.idempotent_decision
    if repeatable and outbox.attempts(claim) < DOUBTFUL_MAX:
        outbox.mark_later(claim, status=status, why=why, wait_s=_wait_s(claim, chance), maybe_taken=True)
    else:
        confirm_s = adapter.capabilities.confirm_s if adapter is not None else None
        outbox.mark_unknown(claim, status=status, why=why, confirm_s=confirm_s)
        if confirm_s is not None:
            confirming.look_back(claim)


def _wait_s(claim: Claim, chance: float) -> float:
    """Full jitter below a ceiling that doubles with every attempt."""
    return chance * min(RETRY_CAP_S, 2.0 ** min(outbox.attempts(claim), 8))


def _words(refusal: Refusal) -> str:
    code = f"{refusal.code}: " if refusal.code else ""
    return events.short(f"{code}{refusal.text}", ANSWER_CHARS)
