"""From frames to entries of one run: what is new, what it means, and the house's own remarks in between."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from streams import events, gaps
from streams.commit import KIND_CHARS
from streams.events import Asked, Broken, Ended, Fact, Gone, Paused, ReadBack
from streams.faults import fault
from streams.folding import Held
from streams.journal import CLOSE_S, Entry, Journal, Line
from streams.models import RunStatus, Source
from streams.providers.base import MISREAD, READ_BACK
from streams.replay import Covered, Divergence, Gap, Matcher, New, Past, Replayed
from streams.sse import Frame

CHECKPOINT_EVENTS = 1000
PROVIDER = Source.PROVIDER  # in Python 3.11 the member costs a call each time it is asked for by its class
AHEAD_FRAMES = 256  # how far reading may be ahead of the journal: that many, or
AHEAD_CHARS = 256 * 1024
ASIDE_FRAMES = 64  # of one connection: a provider may date its snapshots anew with every replay

CHECK = "A request may have been missed here: check at the provider."
GAP_CERTAIN = f"Events are missing here: the provider's numbering jumps. {CHECK}"
GAP_POSSIBLE = f"Events may be missing here: the connection was down, and the provider did not replay. {CHECK}"
COVERED_BY = {
    gaps.BY_REPLAY: "The provider has now shown again what may have been missed above: nothing is missing.",
    gaps.BY_READING: "The run itself was read: whatever it still asks is here, although events may be missing above.",
}
DIVERGENCE = "The provider replayed this run with a past that differs from what was stored. Both are kept."
ASIDE = ReadBack("a replay shows what was not seen before")


@dataclass(frozen=True, slots=True)
class Took:
    """What a read-back was worth. `changed`: we know more than before; `moved`: the run itself went on."""

    usable: bool
    changed: bool = False
    moved: bool = False


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What was handed in together and may not be stored yet."""

    stored: "asyncio.Future[list[int]]"
    frames: int
    chars: int


class Reader:
    """Holds a run's fold state between connections. What it says or takes is committed when it returns.

    A stream's frames alone may be handed in ahead of that, in order and not too many: see `hand_in` and `settled`.
    A stream's frames and the run's own body are folded here alone, one after the other up to the journal: so what is
    stored folds to the same state again.
    """

    def __init__(self, run_id: UUID, epoch: int, held: Held, journal: Journal, state: Any) -> None:
        self._run_id, self._epoch, self._journal = run_id, epoch, journal
        self._adapter = held.adapter
        self._exact = held.adapter.capabilities.replay_exact
        self._state = state
        self._matcher: Matcher[Frame] = Matcher(Past(), held.adapter.capabilities.replay)
        self._since_checkpoint = self._aside = 0
        self._turn = asyncio.Lock()
        self._line = Line()
        self._ahead: deque[_Ahead] = deque()
        self._ahead_frames = self._ahead_chars = 0
        self._last_read = ""  # hash of the last body that was stored
        self._missing_since: datetime | None = None  # something may be missing that nothing has shown yet
        self.on_read_back: Callable[[], object] = lambda: None  # called when what came says that the run must be read
        self.connected = False  # a stream is open
        self.heard_at = 0.0  # the loop's time of the last frame
        self.placed_id = ""  # of the last frame to which the adapter gave its id
        self.ended = False  # the provider said its last word on the run
        self.closed = False  # it waits for a person, and going on is another run's stream
        self.waiting = held.status == RunStatus.WAITING
        self._asked_last = self.waiting  # the stream's own last word is a question
        self._closing = False  # its last frame was one behind which a stream says nothing more

    @property
    def told_all(self) -> bool:
        """Whether the stream itself told how its run ended, as far as it would: a reading may know that before it."""
        return not self._asked_last and (self._closing or not self._adapter.capabilities.last_kinds)

    def connect(self, past: Past) -> None:
        """A new connection begins: it may replay."""
        capabilities = self._adapter.capabilities
        self._matcher = Matcher(past, capabilities.replay, exact=capabilities.replay_exact)
        self._missing_since = past.missing_since
        self._aside = 0
        self._closing = False

    async def take(self, frames: Sequence[Frame]) -> None:
        """Store what is new in these frames. Raises StaleEpoch or NotStored."""
        await self.hand_in(frames)
        await self.settled()

    async def hand_in(self, frames: Sequence[Frame]) -> None:
        """Fold these frames and let what is new in them be stored; waits only while too much is not stored yet.

        Raises StaleEpoch or NotStored for what was handed in before. From then on nothing is stored any more.
        """
        if frames:
            self.heard_at = asyncio.get_running_loop().time()
        async with self._turn:
            entries = self._entries(frames)
            if entries:
                await self._let_out(entries)
                if any(isinstance(fact, ReadBack) for entry in entries if entry.facts for fact in entry.facts):
                    self.on_read_back()
        self._forget_stored()
        while self._ahead_frames > AHEAD_FRAMES or self._ahead_chars > AHEAD_CHARS:
            await asyncio.wait([self._ahead[0].stored])
            self._forget_stored()

    async def _let_out(self, entries: Sequence[Entry]) -> None:
        stored = await self._journal.hand_in(entries, self._line)
        chars = sum([len(entry.payload) for entry in entries])
        self._ahead.append(_Ahead(stored, len(entries), chars))
        self._ahead_frames += len(entries)
        self._ahead_chars += chars

    async def settled(self) -> None:
        """Return once what was handed in is stored. Raises StaleEpoch or NotStored."""
        if self._ahead:
            await asyncio.wait([self._ahead[-1].stored])
        self._forget_stored()

    async def let_go(self) -> None:
        """However the reading ended: wait a moment for what is on its way."""
        if self._ahead:
            await asyncio.wait([self._ahead[-1].stored], timeout=CLOSE_S)

    def on_failure(self, call: Callable[[], object]) -> None:
        """What to call when something handed in could not be stored; settled() says what it was."""
        self._line.on_failure = call

    def _forget_stored(self) -> None:
        while self._ahead and self._ahead[0].stored.done():
            one = self._ahead.popleft()
            self._ahead_frames -= one.frames
            self._ahead_chars -= one.chars
            one.stored.result()  # raises what it was
            fault("stream.stored")

    def _entries(self, frames: Sequence[Frame]) -> list[Entry]:
        entries: list[Entry] = []
        for told in frames:
            frame = self._adapter.placed(told)
            if frame is None:
                continue
            if frame is not told:
                self.placed_id = frame.own_id
            kind = self._adapter.kind_of(frame)
            self._closing = kind in self._adapter.capabilities.last_kinds
            if self._matcher.live:  # nearly every frame there is
                entries.append(self._entry(frame, kind, self._matcher.place(), frame.own_id))
            else:
                entries += self._matched(frame, kind)
        return entries

    def _matched(self, frame: Frame, kind: str) -> list[Entry]:
        """What of a frame that may be a replay is new, or worth a remark."""
        entries: list[Entry] = []
        name, sha256 = events.text(kind)[0][:KIND_CHARS], events.sha256(events.text(frame.data)[0])
        identity = self._adapter.identity(name, sha256)
        for found in self._matcher.feed(frame, identity, frame.own_id, f"{name} {sha256}"):
            match found:
                case New(item=new, ordinal=ordinal, own_id=own_id):
                    behind = not self._exact and ordinal < self._matcher.end
                    new_kind = self._adapter.kind_of(new)
                    entries += self._beside(new, ordinal) if behind else [self._entry(new, new_kind, ordinal, own_id)]
                case Replayed(item=other, ordinal=ordinal):
                    entries += self._beside(other, ordinal)
                case Gap(certain=certain, ordinal=ordinal):
                    text = GAP_CERTAIN if certain else GAP_POSSIBLE
                    entries.append(self._missing(gaps.GAP, text, place=ordinal, certain=certain))
                case Covered():
                    entries.append(self._covered(gaps.BY_REPLAY))
                case Divergence(ordinal=ordinal):
                    entries.append(self.remark("divergence", DIVERGENCE, place=ordinal))
        return entries

    async def take_run(self, body: str, *, asked_at: datetime, keep: bool) -> Took:
        """Fold the run as it was read, asked for at `asked_at`; stored if it is news, or wanted for itself (`keep`).

        It is dated by when it was asked for, so that it proves nothing about an answer that left after that.
        """
        entries: list[Entry] = []
        async with self._turn:
            before, waited = self._adapter.dump(self._state), self.waiting
            self._state, facts = self._adapter.read_run(self._state, body)
            usable = not any(isinstance(fact, Broken) and fact.useless for fact in facts)
            if usable:
                self.waiting = any(isinstance(fact, Paused) for fact in facts)
                self.ended = self.ended or any(isinstance(fact, Ended) for fact in facts)
            changed = self._adapter.dump(self._state) != before or self.waiting != waited
            sha256 = events.sha256(events.text(body)[0])
            if changed or keep or sha256 != self._last_read:
                self._last_read = sha256
                advances = usable and waited
                entries = [self._body(body, facts, usable, advances, asked_at)]
            if usable and self._missing_since is not None and self._missing_since < asked_at:
                entries.append(self._covered(gaps.BY_READING))
            if entries:
                await self._journal.append(entries, self._line)
        if any(isinstance(fact, ReadBack) for fact in facts):
            self.on_read_back()
        moved = self.waiting != waited or any(isinstance(fact, Asked | Gone | Ended) for fact in facts)
        return Took(usable, changed, moved)

    def _body(self, body: str, facts: tuple[Fact, ...], usable: bool, advances: bool, asked_at: datetime) -> Entry:
        return Entry(
            run_id=self._run_id,
            epoch=self._epoch,
            source=Source.PROVIDER,
            kind=READ_BACK if usable else MISREAD,
            payload=body,
            received_at=asked_at,
            marked=any(isinstance(fact, Broken) for fact in facts),
            facts=facts,
            state=self._checkpoint(facts),
            durable=True,  # it may prove an answer
            advances=advances,
        )

    def knows(self, sha256: str) -> None:
        """The hash of the last stored read-back, from an earlier holder."""
        self._last_read = sha256

    async def say(self, kind: str, text: str, *facts: Fact, **more: Any) -> None:
        """Store a remark of the house."""
        self.ended = self.ended or any(isinstance(fact, Ended) for fact in facts)
        await self._journal.append([self.remark(kind, text, *facts, **more)], self._line)

    async def note(self, kind: str, text: str, **more: Any) -> None:
        """A remark in front of the frames that follow, which is not waited for: see hand_in()."""
        async with self._turn:
            await self._let_out([self.remark(kind, text, **more)])

    async def say_missing(self, kind: str, text: str) -> None:
        """Store a remark that something may be missing from here on."""
        await self._journal.append([self._missing(kind, text)], self._line)

    def _missing(self, kind: str, text: str, *, place: int | None = None, certain: bool = False) -> Entry:
        made = self.remark(kind, text, **({} if place is None else {"place": place, "certain": certain}))
        self._missing_since = made.received_at
        return made

    def _covered(self, by: str) -> Entry:
        """What may have been missing is here after all."""
        self._missing_since = None
        return self.remark(gaps.COVERED, COVERED_BY[by], by=by)

    def remark(self, kind: str, text: str, *facts: Fact, ordinal: int | None = None, **more: Any) -> Entry:
        return Entry(
            run_id=self._run_id,
            epoch=self._epoch,
            source=Source.HOUSE,
            kind=kind,
            payload=json.dumps({"text": text, **more}),
            received_at=timezone.now(),
            ordinal=ordinal,
            facts=facts,
        )

    def at_eof(self) -> tuple[Fact, ...]:
        """What the end of the body means to the adapter."""
        return self._adapter.at_eof(self._state)

    def _entry(self, frame: Frame, kind: str, ordinal: int, own_id: str) -> Entry:
        """Fold a new frame."""
        advances = not (self.ended or self.closed)
        self._state, facts = self._adapter.step(self._state, frame)
        state = self._checkpoint(facts)
        self.waiting = self.waiting and not advances
        self._asked_last = marked = False
        for fact in facts:
            match fact:
                case Paused(closed=closed):
                    self.waiting, self.closed, self._asked_last = True, self.closed or closed, True
                case Ended():
                    self.ended = True
                case Broken():
                    marked = True
        return self._framed(frame, kind, ordinal, own_id, facts, state, advances=advances, marked=marked)

    def _beside(self, frame: Frame, ordinal: int) -> list[Entry]:
        """A frame that a replay brought in another form: it may be older than what was folded, so it is only kept."""
        self._aside += 1
        if self._aside > ASIDE_FRAMES:
            return []
        facts = () if self.ended else (ASIDE,)
        return [self._framed(frame, self._adapter.kind_of(frame), ordinal, "", facts, advances=False)]

    def _framed(
        self, frame: Frame, kind: str, ordinal: int, own_id: str, facts: tuple[Fact, ...], state: str | None = None,
        *, advances: bool, marked: bool = False,
    ) -> Entry:  # fmt: skip
        return Entry(  # by position: by name it takes twice as long
            self._run_id, self._epoch, PROVIDER, kind, frame.data, datetime.now(UTC), ordinal, own_id, marked, facts,
            state, False, advances,
        )  # fmt: skip

    def _checkpoint(self, facts: Sequence[Fact]) -> str | None:
        """The fold state, where it is to be saved with the event that made it."""
        self._since_checkpoint += 1
        if self._since_checkpoint < CHECKPOINT_EVENTS and not (
            facts and any(isinstance(fact, Asked) for fact in facts)
        ):
            return None
        self._since_checkpoint = 0
        return self._adapter.dump(self._state)
