"""The journal: one writer thread that stores what the holders read, many events a commit."""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db import DatabaseError, connection

from streams import announce
from streams.commit import Attempt, Entry, Project, Remark, Result, Stored, commit
from streams.errors import NotStored, StaleEpoch
from streams.faults import fault

__all__ = ["Entry", "Journal", "Project", "Remark", "StaleEpoch", "Stored", "commit"]

logger = logging.getLogger(__name__)

BATCH_ROWS = 1000
BATCH_BYTES = 4 * 1024 * 1024
ROOM_ROWS = 20_000  # what may wait; whoever brings more waits with it, and so does its provider
ROOM_BYTES = 64 * 1024 * 1024
UNBROKEN_S = 0.005  # so long the journal commits without a rest; then
PAUSE_S = 0.001  # it pauses, so that the pages' writes get in
AWAY_S = 1.0  # the longest wait before a database that is away is tried again
ROW_BYTES = 300  # what a row costs besides its payload
CLOSE_S = 4.0

AWAY_SQLSTATES = ("08", "40", "53", "55P03", "57")  # connection, rollback, resources, lock, operator
AWAY_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")

Outcome = list[int] | Exception  # of a parcel: the seqs, or why nothing behind the first failure counts as stored


@dataclass(slots=True)
class Line:
    """What is handed in one behind the other: once something was not stored, nothing behind it is."""

    on_failure: Callable[[], object] = lambda: None  # called on the loop
    failure: Exception | None = None  # the journal's thread alone writes it


@dataclass(slots=True)
class _Parcel:
    """What one hand_in() brought: stored together, answered together."""

    entries: Sequence[Entry]
    size_bytes: int
    stored: "asyncio.Future[list[int]]"
    line: Line | None
    at: float  # when it was handed in, by the loop's clock
    answered: bool = False

    @property
    def run_id(self) -> UUID:
        return self.entries[0].run_id


class Load(NamedTuple):
    """How the journal keeps up."""

    queued: int  # events handed in and not committed yet
    lag_s: float  # the longest that one of them waited for its commit, since it was asked last


@dataclass(slots=True)
class _Turn:
    """A hand_in() that waits for room."""

    rows: int
    size_bytes: int
    granted: "asyncio.Future[None]"


class Journal:
    """Appends are stored in order, per run without gaps. Room is limited: append() waits for it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._rows = self._bytes = 0
        self._lag_s = 0.0
        self._answered_at = 0.0  # by the loop's clock
        self._waiting: deque[_Turn] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the writer thread; it answers on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    async def append(self, entries: Sequence[Entry], line: Line | None = None) -> Sequence[int]:
        """Store entries of one run and return their seqs once they are committed.

        Raises StaleEpoch (somebody else holds the run) or NotStored. Cancelled, it waits a moment for the commit first.
        """
        if not entries:
            return []
        parcel = await self._put(entries, line)
        try:
            return (
                await parcel.stored
            )  # a shield around it would be a second future, and two callbacks, for each append
        except asyncio.CancelledError:
            if not parcel.answered:
                parcel.stored = asyncio.get_running_loop().create_future()  # instead of the one that was cancelled
                await asyncio.wait([parcel.stored], timeout=CLOSE_S)
            raise

    async def hand_in(self, entries: Sequence[Entry], line: Line | None = None) -> "asyncio.Future[list[int]]":
        """Put entries of one run on their way, once there is room; what append() returns or raises comes later.

        Whoever hands in several without waiting gives them one line, and does not hand in two of them at once.
        """
        return (await self._put(entries, line)).stored

    async def _put(self, entries: Sequence[Entry], line: Line | None) -> _Parcel:
        if self._loop is None or self._closing.is_set():
            raise NotStored(entries[0].run_id, "the journal is closed")
        at = self._loop.time()
        size_bytes = sum([len(entry.payload) + ROW_BYTES for entry in entries])
        if self._waiting or not self._has_room(len(entries), size_bytes):
            await self._take_room(len(entries), size_bytes)
        else:
            if not self._rows:
                self._answered_at = at  # from here on somebody waits
            self._rows += len(entries)
            self._bytes += size_bytes
        parcel = _Parcel(entries, size_bytes, self._loop.create_future(), line, at)
        self._parcels.put(parcel)
        return parcel

    def load(self) -> Load:
        """What waits now, and the longest wait since the call before."""
        assert self._loop is not None
        # Whatever waits now came behind the last answer, or was too much for that batch.
        waiting_s = self._loop.time() - self._answered_at if self._rows else 0.0
        load = Load(self._rows, max(self._lag_s, waiting_s))
        self._lag_s = 0.0
        return load

    async def close(self) -> None:
        """Store what waits, then end the thread."""
        if self._ended is None or self._closing.is_set():
            return
        self._closing.set()
        self._parcels.put(None)
        await asyncio.wait([self._ended], timeout=CLOSE_S)

    async def watch(self) -> None:
        """Return when the thread has ended, which before close() it must not."""
        assert self._ended is not None
        await asyncio.shield(self._ended)
        if not self._closing.is_set():
            raise RuntimeError("the journal's thread ended by itself")

    def _has_room(self, rows: int, size_bytes: int) -> bool:
        return self._rows == 0 or (self._rows + rows <= ROOM_ROWS and self._bytes + size_bytes <= ROOM_BYTES)

    async def _take_room(self, rows: int, size_bytes: int) -> None:
        """Wait for room, first come first served."""
        assert self._loop is not None
        turn = _Turn(rows, size_bytes, self._loop.create_future())
        self._waiting.append(turn)
        self._grant()
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._give_back(rows, size_bytes)
            raise

    def _grant(self) -> None:
        while self._waiting and self._has_room(self._waiting[0].rows, self._waiting[0].size_bytes):
            turn = self._waiting.popleft()
            self._rows += turn.rows
            self._bytes += turn.size_bytes
            if not turn.granted.done():
                turn.granted.set_result(None)

    def _give_back(self, rows: int, size_bytes: int) -> None:
        self._rows -= rows
        self._bytes -= size_bytes
        self._grant()

    def _answer(self, answers: Sequence[tuple[_Parcel, Outcome]], hints: Sequence[announce.OnLoop]) -> None:
        """On the loop: tell whoever waits, and the pages, once a batch. To wake the loop costs as much as an insert."""
        assert self._loop is not None
        self._answered_at = self._loop.time()
        self._lag_s = max(self._lag_s, self._answered_at - answers[0][0].at)
        self._give_back(
            sum([len(parcel.entries) for parcel, _ in answers]), sum([parcel.size_bytes for parcel, _ in answers])
        )
        for parcel, outcome in answers:
            parcel.answered = True
            if parcel.stored.done():
                continue
            if isinstance(outcome, Exception):
                parcel.stored.set_exception(outcome)
                parcel.stored.exception()  # nobody may be waiting any more
                if parcel.line is not None:
                    parcel.line.on_failure()
            else:
                parcel.stored.set_result(outcome)
        for hint in hints:
            hint()

    # -- the thread

    def _write(self) -> None:
        assert self._loop is not None
        assert self._ended is not None
        unbroken_s = 0.0
        try:
            while (parcels := self._next()) is not None:
                began = time.monotonic()
                with announce.gathered() as hints:
                    answers = self._store_in_line(parcels)
                self._loop.call_soon_threadsafe(self._answer, answers, hints)
                unbroken_s += time.monotonic() - began
                if self._parcels.empty():  # waiting for the next one is pause enough
                    unbroken_s = 0.0
                elif unbroken_s >= UNBROKEN_S:
                    time.sleep(PAUSE_S)
                    unbroken_s = 0.0
        except RuntimeError:
            if not self._loop.is_closed():
                raise  # else nobody waits for answers any more
        finally:
            connection.close()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_end, self._ended)

    def _next(self) -> list[_Parcel] | None:
        """Everything that waits, up to a batch; None at the end."""
        first = self._parcels.get()
        if first is None:
            return None
        parcels, rows, size_bytes = [first], len(first.entries), first.size_bytes
        while rows < BATCH_ROWS and size_bytes < BATCH_BYTES:
            try:
                parcel = self._parcels.get_nowait()
            except queue.Empty:
                break
            if parcel is None:
                self._parcels.put(None)  # the end is for the next round
                break
            parcels.append(parcel)
            rows += len(parcel.entries)
            size_bytes += parcel.size_bytes
        return parcels

    def _store_in_line(self, parcels: Sequence[_Parcel]) -> list[tuple[_Parcel, Outcome]]:
        """Store what is not behind something that was not stored."""
        answers: list[tuple[_Parcel, Outcome]] = []
        good = []
        for parcel in parcels:
            if parcel.line is None or parcel.line.failure is None:
                good.append(parcel)
            else:
                answers.append((parcel, parcel.line.failure))
        for parcel, outcome in self._store(good) if good else ():
            if parcel.line is not None and isinstance(outcome, Exception):
                parcel.line.failure = parcel.line.failure or outcome
            answers.append((parcel, outcome))
        return answers

    def _store(self, parcels: Sequence[_Parcel]) -> list[tuple[_Parcel, Outcome]]:
        """One commit for all; where that fails, one for each run, so that a run's poison stays its own."""
        try:
            attempt = Attempt()
            answers = self._commit(parcels, attempt)
        except Exception as exc:  # the boundary: whatever the database or project() raises
            logger.warning("journal: a batch of %d runs is repeated run by run: %s", len(parcels), _why(exc))
            connection.close()
        else:
            return answers
        by_run: dict[UUID, list[_Parcel]] = {}
        for parcel in parcels:
            by_run.setdefault(parcel.run_id, []).append(parcel)
        return [answer for run_id, own in by_run.items() for answer in self._store_run(run_id, own, attempt)]

    def _store_run(self, run_id: UUID, parcels: Sequence[_Parcel], attempt: Attempt) -> list[tuple[_Parcel, Outcome]]:
        wait_s = 0.05
        while True:
            try:
                return self._commit(parcels, attempt)
            except Exception as exc:  # the boundary, as above
                connection.close()
                if _is_away(exc) and not self._closing.wait(wait_s):
                    logger.warning("journal: the database is away, trying again: %s", _why(exc))
                    wait_s = min(wait_s * 2, AWAY_S)
                    continue
                logger.error("run %s: its events cannot be stored, it is parked: %s", run_id, _why(exc))
                refusal = NotStored(run_id, _why(exc))
                return [(parcel, refusal) for parcel in parcels]

    def _commit(self, parcels: Sequence[_Parcel], attempt: Attempt) -> list[tuple[_Parcel, Outcome]]:
        fault("journal.batch")
        results = commit([entry for parcel in parcels for entry in parcel.entries], self._project, attempt)
        fault("journal.committed")
        answers: list[tuple[_Parcel, Outcome]] = []
        start = 0
        for parcel in parcels:
            end = start + len(parcel.entries)
            answers.append((parcel, _outcome(results[start:end])))
            start = end
        return answers


def _end(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


def _outcome(results: list[Result]) -> Outcome:
    seqs = []
    for result in results:
        if isinstance(result, Exception):
            return result
        seqs.append(result)
    return seqs


def _why(exc: Exception) -> str:
    """The kind of failure and the database's first line; never values (a DETAIL line would quote them)."""
    return f"{type(exc).__name__}: {next(iter(str(exc).splitlines()), '')[:200]}"


def _is_away(exc: Exception) -> bool:
    """Whether the database as a whole does not take writes now, so that waiting helps."""
    if not isinstance(exc, DatabaseError):
        return False
    cause = exc.__cause__
    name = getattr(cause, "sqlite_errorname", None)
    if name is not None:
        return str(name).startswith(AWAY_SQLITE)
    if not type(exc).__name__.startswith(("OperationalError", "InterfaceError", "InternalError")):
        return False
    state = getattr(cause, "sqlstate", None)
    return state is None or str(state).startswith(AWAY_SQLSTATES)
