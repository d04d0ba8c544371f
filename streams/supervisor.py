"""The holders of one process: as many as its slots and the leases allow, each in a task of its own."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError

from streams import announce, candidates, client, folding, holder, leases, nudges, openings
from streams.balance import Scale, Share
from streams.errors import StaleEpoch, StreamError
from streams.events import Ended
from streams.faults import fault
from streams.holder import Answered, Declined, Holder, NoAnswer, Opened, Tools, Unsent
from streams.journal import Journal
from streams.offload import holding, leasing
from streams.providers.base import Call
from streams.reader import Reader
from streams.renewing import keep_renewing

logger = logging.getLogger(__name__)

OTHER_FILES = 256  # descriptors that are not streams: database, pages, sockets
MOST_FILES = 65_536
TAKE_AT_ONCE = 200
REST_S = 5.0  # before a run whose holder failed is taken up again; doubled each time, to at most:
REST_MOST_S = 120.0
RELEASE_S = 3.0
STAY_S = 10.0  # a stream stays at least so long where it was taken up

P = ParamSpec("P")
T = TypeVar("T")


def raise_file_limit() -> int:
    """Allow this process as many files as it may have; returns how many streams that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or wanted > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (ValueError, OSError):
            pass  # what we have is enough to begin with
    return max(1, soft - OTHER_FILES)


@dataclass(slots=True)
class _Held:
    """One run that is held here. `provider_id`: where a pause may cut it, for it can be joined again."""

    epoch: int
    since: float
    task: "asyncio.Task[None]"
    provider_id: UUID | None = None
    reader: Holder | None = None  # of a run that can be read, which somebody may want at any time


class Supervisor:
    """Looks every second, and at once when it hears a hint. `delivery_due` is set for the courier beside it."""

    def __init__(
        self,
        journal: Journal,
        *,
        alone: bool,
        slots: int,
        tools: Tools | None = None,
        busy: candidates.Busy = lambda run_ids: set(),
    ) -> None:
        self.owner = tools.owner if tools else leases.new_owner()
        self.slots = slots
        self.delivery_due = asyncio.Event()
        self._tools = tools or Tools(self.owner, journal)
        self._journal = journal
        self._alone = alone  # the only process there is: no lease has to run out, none can be lost
        self._busy = busy  # which runs must stay where they are for now
        self._awake = asyncio.Event()
        self._held: dict[UUID, _Held] = {}
        self._nudged_at: datetime | None = None  # the newest nudge that was passed on
        self._resting: dict[UUID, tuple[float, float]] = {}  # run -> (until, how long next time)
        self._unheld: Mapping[UUID, int] = {}  # run -> epoch: ours by name at the last renewal, and held by nobody here
        self._owed: dict[UUID, int] = {}  # run -> epoch: to be given back as soon as the database hears us
        self._declined: set[UUID] = set()  # runs whose answer was declined: the courier says what becomes of them
        self._asking: set[asyncio.Task[Any]] = set()  # calls about leases that are under way, waited for or not
        self._draining = False
        self._adrift = False  # our leases were not renewed in time: nothing is held until they are
        self._full = False
        self._scale = Scale(self.owner, settled_after_s=1.5 * settings.LEASE_RENEW_S)

    @property
    def streams(self) -> int:
        """How many runs are held now."""
        return len(self._held)

    def wake(self) -> None:
        """Look now. Safe to call any number of times."""
        self._awake.set()

    def stop_holding(self, run_id: UUID) -> None:
        """A run is not to be held any longer (it was cancelled, or its provider paused): look at it."""
        self._resting.pop(run_id, None)
        self.wake()

    async def begin(self) -> None:
        """Before anything else of this process runs: fence what went before it. The courier makes leases of its own."""
        if self._alone:
            await leasing.run(leases.seize_all)
        await leasing.run(leases.sign_of_life, owner=self.owner, streams=0, slots=self.slots)
        logger.info("holder %s: room for %d streams", self.owner, self.slots)

    async def run(self) -> None:
        """Hold until cancelled; begin() comes before it, drain() after."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_looking(), name="look")
            group.create_task(keep_renewing(self._renew, self._heed, self._stop_by_itself), name="renew")

    async def drain(self) -> None:
        """Stop reading, let what was read be committed, give the leases back."""
        self._draining = True
        await self._cancel(list(self._held))
        await self._journal.close()
        if self._asking:  # what is being taken this very moment is to be given back too
            await asyncio.wait(set(self._asking), timeout=RELEASE_S)
        try:
            async with asyncio.timeout(RELEASE_S):
                await leasing.run(leases.release_all, owner=self.owner)
        except Exception as exc:  # the end comes anyway, and the leases run out by themselves
            logger.warning("holder %s: its leases were not given back: %s", self.owner, type(exc).__name__)

    async def open(self, run_id: UUID, epoch: int, call: Call) -> Answered:
        """Make the one call that opens a run which the courier prepared (opened_at, lease of `owner`), and hold it.

        Unsent clears opened_at and gives the lease back; Declined leaves the run to the courier; NoAnswer truncates it.
        """
        if self._draining or self._adrift:
            await self._unsent(run_id, epoch)
            return Unsent("the server is stopping" if self._draining else "the database was away")
        opening = asyncio.get_running_loop().create_future()
        task = self._hold(run_id, epoch, partial(self._open, run_id, epoch, call, opening)).task
        done, _ = await asyncio.wait({task, opening}, return_when=asyncio.FIRST_COMPLETED)
        if opening in done:
            answered: Answered = opening.result()
            return answered
        return NoAnswer("the server was interrupted")

    # -- the work of open()

    async def _open(self, run_id: UUID, epoch: int, call: Call, opening: "asyncio.Future[Answered]") -> None:
        held = await holding.run(folding.load, run_id)
        exchange = client.Exchange(secret=held.account.secret)
        reader = Reader(run_id, epoch, held, self._journal, None)
        try:
            # Without waiting for a turn: `sent` is committed, and deadlines were looked at before that.
            answered, response = await holder.knock(held, call, exchange)
            match answered:
                case Opened() if response is not None:
                    await holding.run(openings.continued, run_id)
                    opening.set_result(answered)
                    await Holder(run_id, epoch, self._tools).read_opened(held, call, exchange, response)
                    return
                case Unsent():
                    await holding.run(openings.clear_opened, run_id, epoch=epoch, requeue=False)
                case Declined(status=status):
                    self._tools.pace.heard(held.provider_id, status)
                    self._declined.add(run_id)
                case NoAnswer(why=why):
                    text = f"The answer was sent and no stream came back ({why})."
                    await reader.say("truncated", text, Ended("truncated", error=text))
            if not opening.done():
                opening.set_result(answered)
        finally:
            await exchange.aclose()

    async def _unsent(self, run_id: UUID, epoch: int) -> None:
        await holding.run(openings.clear_opened, run_id, epoch=epoch, requeue=False)
        await self._ask(leases.release, {run_id: epoch}, owner=self.owner)

    # -- looking

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
            except DatabaseError as exc:
                logger.warning("holder %s: the database is away, it looks again: %s", self.owner, type(exc).__name__)
            except Exception:  # the boundary: the next look tells
                logger.exception("holder %s: a look failed", self.owner)
            try:
                async with asyncio.timeout(settings.LOOK_EVERY_S):
                    await self._awake.wait()
            except TimeoutError:
                pass
            self._awake.clear()

    async def _look(self) -> None:
        if self._draining or self._adrift:
            return
        paused = await holding.run(candidates.paused_providers)
        if blocked := [run_id for run_id, held in self._held.items() if held.provider_id in paused]:
            starting = await holding.run(candidates.starting, blocked)  # cut off now, nobody would know what it started
            await self._cancel([run_id for run_id in blocked if run_id not in starting])
        await self._pass_on_nudges()
        shares = [] if self._alone else await self._ask(leases.shares)
        await self._take(shares)
        await self._give(shares)

    async def _take(self, shares: Sequence[Share]) -> None:
        """Take up runs that nobody holds: our share of them at once, the rest when the others leave it."""
        free = self.slots - len(self._held)
        if free <= 0 and not self._full:
            logger.error("holder %s: all %d slots are taken; more streams need another holder", self.owner, self.slots)
        self._full = free <= 0
        if self._full:
            return
        now = asyncio.get_running_loop().time()
        self._resting = {run: rest for run, rest in self._resting.items() if rest[0] > now - REST_MOST_S}
        skip = {run_id for run_id, (until, _) in self._resting.items() if until > now} | set(self._held)
        found = await holding.run(candidates.find, skip | self._scale.left_to_others(now), min(free, TAKE_AT_ONCE))
        wanted, most = (list(found), len(found)) if self._alone else self._scale.take(shares, found, now)
        epochs = await self._ask(leases.acquire, wanted, owner=self.owner, most=most)
        late = asyncio.get_running_loop().time() - now >= settings.LEASE_SELF_STOP_S
        if self._draining or self._adrift or (late and not self._alone):
            self._owed |= epochs  # they may have run out by now
            return
        for run_id, epoch in epochs.items():
            fault("lease.taken")
            if run_id in self._held:  # the courier was quicker, with a lease of its own making
                continue
            reader = Holder(run_id, epoch, self._tools)
            held = self._hold(run_id, epoch, reader.hold)
            held.reader, held.provider_id = reader, found[run_id]
        if epochs and len(found) == TAKE_AT_ONCE:
            self.wake()

    async def _pass_on_nudges(self) -> None:
        """Who holds a run that somebody wants to be read hears of it. Told twice it counts once."""
        if not any(held.reader is not None and held.reader.reads for held in self._held.values()):
            return
        for run_id, at in (await holding.run(nudges.told, self.owner, self._nudged_at)).items():
            self._nudged_at = max(at, self._nudged_at or at)
            held = self._held.get(run_id)
            if held is not None and held.reader is not None:
                held.reader.nudge(at)

    def _hold(self, run_id: UUID, epoch: int, work: Callable[[], Awaitable[None]]) -> _Held:
        task = asyncio.create_task(self._guard(run_id, epoch, work), name=f"hold {run_id}")
        self._held[run_id] = _Held(epoch, asyncio.get_running_loop().time(), task)
        return self._held[run_id]

    async def _guard(self, run_id: UUID, epoch: int, work: Callable[[], Awaitable[None]]) -> None:
        """The boundary around one holder: whatever ends it, its siblings go on and its lease is given back."""
        try:
            await work()
            self._rest(run_id, failed=False)
        except StaleEpoch:
            logger.info("run %s: another holder has it now", run_id)
        except StreamError as exc:
            logger.error("run %s: its holder gave up: %s", run_id, exc)
            self._rest(run_id, failed=True)
        except Exception:
            logger.exception("run %s: its holder failed", run_id)
            self._rest(run_id, failed=True)
        finally:
            if run_id in self._held and self._held[run_id].epoch == epoch:
                del self._held[run_id]
            if run_id in self._declined:
                # Kept until the courier has written it, or for two renewals: another process must not find an opened
                # run that nobody holds, and say that its answer was lost.
                self._declined.discard(run_id)
            elif not self._draining:  # then all are given back together, after the last commit
                await self._give_back(run_id, epoch)

    async def _give_back(self, run_id: UUID, epoch: int) -> None:
        self._owed[run_id] = epoch
        if not self._adrift:  # else all at once, when all have stopped
            await self._pay({run_id: epoch})

    async def _pay(self, owed: Mapping[UUID, int]) -> None:
        if not owed:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._ask(leases.release, owed, owner=self.owner)
        except Exception as exc:  # again with the next renewal
            logger.warning("holder %s: %d leases not given back yet: %s", self.owner, len(owed), type(exc).__name__)
            return
        for run_id, epoch in owed.items():
            if self._owed.get(run_id) == epoch:
                del self._owed[run_id]

    async def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A call about leases. Whoever is cancelled while it waits leaves it to itself; drain() waits for it."""
        task = asyncio.create_task(leasing.run(call, *args, **kwargs))
        self._asking.add(task)
        task.add_done_callback(self._answered)
        return await asyncio.shield(task)

    def _answered(self, task: "asyncio.Task[Any]") -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting any more

    # -- balance

    async def _give(self, shares: Sequence[Share]) -> None:
        """Give some streams back where others hold far less. One lot at a time: the next when the last was taken."""
        now = asyncio.get_running_loop().time()
        if self._scale.given:
            self._scale.still_free(await self._ask(leases.unowned, self._scale.given), now)
            return  # the shares were counted before this was
        count = self._scale.give(shares, most=TAKE_AT_ONCE, now=now)
        if not count:
            return
        stay = {run_id for run_id, held in self._held.items() if held.reader is None or now - held.since < STAY_S}
        given = await holding.run(candidates.movable, self.owner, stay, count, self._busy)
        given = [run_id for run_id in given if run_id in self._held]
        if given:
            logger.info("holder %s: gives %d of %d streams back", self.owner, len(given), len(self._held))
            self._scale.gave(given, now)
            await self._cancel(given)
            await holding.run(announce.stream_wake, given[0])

    def _rest(self, run_id: UUID, *, failed: bool) -> None:
        """A run that is still not over is not taken up again at once."""
        _, next_s = self._resting.get(run_id, (0.0, REST_S))
        wait_s = next_s if failed else settings.LOOK_EVERY_S
        self._resting[run_id] = (
            asyncio.get_running_loop().time() + wait_s,
            min(2 * next_s, REST_MOST_S) if failed else REST_S,
        )

    async def _cancel(self, run_ids: Iterable[UUID]) -> None:
        tasks = [self._held[run_id].task for run_id in run_ids if run_id in self._held]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=RELEASE_S)

    # -- leases

    async def _renew(self) -> tuple[Mapping[UUID, int], Mapping[UUID, int]]:
        """Run -> epoch: what was held before the renewal, and what it found to be ours."""
        before = {run_id: held.epoch for run_id, held in self._held.items()}
        return before, await self._ask(leases.renew, owner=self.owner)

    async def _heed(self, renewed: tuple[Mapping[UUID, int], Mapping[UUID, int]]) -> None:
        """Let go what is ours no more, and give back what is ours and held by nobody here."""
        before, mine = renewed
        await self._pay(dict(self._owed))  # the renewal has made them longer
        if self._adrift:
            logger.warning("holder %s: its leases are renewed again, it goes on", self.owner)
            self._adrift = False
            self.wake()
        over = await self._ask(leases.ended_runs, owner=self.owner)
        await self._cancel(
            run_id
            for run_id, epoch in before.items()
            if run_id in self._held
            and self._held[run_id].epoch == epoch  # else it was taken up again meanwhile
            and (mine.get(run_id) != epoch or (run_id in over and self._held[run_id].provider_id is not None))
        )
        # Ours by name but held by nobody here, twice in a row: whatever was to hold it never came.
        unheld = {run_id: epoch for run_id, epoch in mine.items() if run_id not in self._held}
        twice = {run_id: epoch for run_id, epoch in unheld.items() if self._unheld.get(run_id) == epoch}
        if twice:
            await self._ask(leases.release, twice, owner=self.owner)
        self._unheld = unheld
        load = self._journal.load()
        signed = partial(leases.sign_of_life, owner=self.owner, streams=len(self._held), slots=self.slots)
        await self._ask(signed, queued=load.queued, lag_s=load.lag_s)

    async def _stop_by_itself(self) -> None:
        """Without leases nothing is read. Where nobody else can take them, none is lost."""
        if self._alone:
            return
        self._adrift = True
        logger.error("holder %s: no renewal for %d s, it stops reading", self.owner, settings.LEASE_SELF_STOP_S)
        await self._cancel(list(self._held))
        await self._pay(dict(self._owed))
