"""The journal against what stores the same rows without it: rows D1 to D5, and the cost as the table grows.

Both sides of a comparison write the same events into the same table of a database that the bench makes and drops, in
turns and with the same settings; the median of the rounds counts. After each turn the table is read: every event once,
in order, its text exact.
"""

import asyncio
import itertools
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from uuid import UUID

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, connections, transaction
from django.utils import timezone

from approvals import requests
from dashboard import memory
from dashboard.bench import stores
from dashboard.bench.rows import Row, judged, repeated, seconds
from streams import announce, events, wal
from streams.commit import Entry, commit
from streams.journal import PAUSE_S, Journal
from streams.models import Event, Lease, Provider, Run, RunStatus, Source

Values = tuple[Any, ...]

PRODUCERS = 1000
BATCH = 1000
PACE_S = 0.001
COLUMNS = ("run_id", "seq", "source", "kind", "ordinal", "own_id", "payload", "sha256", "marked", "received_at")
TYPES = ["uuid", "int8", "varchar", "varchar", "int8", "text", "text", "varchar", "bool", "timestamptz"]


# What is stored.


@cache  # the text is the provider's: making it is no part of what is measured
def payload(seq: int) -> str:
    """An event of about 800 bytes, as AG-UI's mixed streams have them."""
    word = "Grüße an alle " if seq % 4 == 0 else "lorem ipsum do "
    return json.dumps({"type": "TOOL_CALL_ARGS", "number": seq, "text": word * (20 + seq * 7 % 60)}, ensure_ascii=False)


class Streams:
    """Runs with a lease each, and how many events each has."""

    def __init__(self, count: int) -> None:
        provider = Provider.objects.create(name=f"bench-{Provider.objects.count()}", kind="agui")
        made = Run.objects.bulk_create(Run(provider=provider, status=RunStatus.STREAMING) for _ in range(count))
        until = timezone.now() + timedelta(days=1)
        Lease.objects.bulk_create(Lease(run=run, owner="bench", epoch=1, expires_at=until) for run in made)
        self.ids = [run.pk for run in made]
        self.seqs = dict.fromkeys(self.ids, 0)
        self.epoch = 1

    def next(self, run_id: UUID) -> int:
        self.seqs[run_id] += 1
        return self.seqs[run_id]

    def entry(self, run_id: UUID, seq: int, *, durable: bool = False) -> Entry:
        """An event as its holder hands it over."""
        now = datetime.now(UTC)
        return Entry(
            run_id, self.epoch, Source.PROVIDER, "TOOL_CALL_ARGS", payload(seq), now, ordinal=seq, durable=durable
        )

    def entries(self, count: int) -> list[Entry]:
        """The next events of the runs in turn, as holders hand them over."""
        runs = itertools.cycle(self.ids)
        return [self.entry(run_id, self.next(run_id)) for run_id in itertools.islice(runs, count)]

    def rows(self, count: int) -> list[Values]:
        """The same as values of COLUMNS."""
        runs = itertools.cycle(self.ids)
        return [values(run_id, self.next(run_id)) for run_id in itertools.islice(runs, count)]

    def fill(self, count: int) -> None:
        """History, so that there are `count` events; run after run, which is the quick way to write it."""
        last = count // len(self.ids)
        for run_id in self.ids:
            rows = [values(run_id, seq) for seq in range(self.seqs[run_id] + 1, last + 1)]
            by_executemany(for_sqlite(rows))
            self.seqs[run_id] = last

    def empty(self) -> None:
        """Away with all events. Under an epoch nobody but its owner changes them, so the next is another owner's."""
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM streams_event" if connection.vendor == "sqlite" else "TRUNCATE streams_event")
        self.seqs = dict.fromkeys(self.ids, 0)
        self.epoch += 1
        Lease.objects.filter(run__in=self.ids).update(epoch=self.epoch)

    def check(self) -> None:
        """Every event is there, once, in order, and its text is what was sent."""
        for run_id, last in self.seqs.items():
            stored = Event.objects.filter(run=run_id).order_by("seq").values_list("seq", "ordinal", "payload")
            if list(stored) != [(seq, seq, payload(seq)) for seq in range(1, last + 1)]:
                raise RuntimeError(f"run {run_id}: an event was lost, doubled, reordered or changed")


def values(run_id: UUID, seq: int) -> Values:
    text = payload(seq)
    sha256 = events.sha256(text)
    return (run_id, seq, "provider", "TOOL_CALL_ARGS", seq, "", text, sha256, False, datetime.now(UTC))


# Who stores it.


@asynccontextmanager
async def journalling() -> AsyncIterator[Journal]:
    """A journal as `serve` has it, with the product's own projector; its hints go to a layer nobody listens on."""
    announce.use_loop(asyncio.get_running_loop())
    journal = Journal(requests.project)
    journal.start()
    copying = asyncio.create_task(wal.keep_short())
    try:
        yield journal
    finally:
        await journal.close()
        copying.cancel()
        await asyncio.wait([copying])
        announce.use_loop(None)


async def by_journal(streams: Streams, count: int) -> None:
    """1000 producers, each of which waits for its event to be stored before it brings the next."""

    async def produce(run_id: UUID) -> None:
        for seq in range(1, count // len(streams.ids) + 1):
            await journal.append([streams.entry(run_id, seq)])
        streams.seqs[run_id] = seq

    async with journalling() as journal:
        await asyncio.gather(*(produce(run_id) for run_id in streams.ids))


async def by_save(streams: Streams, count: int) -> None:
    """The ordinary way: a row, saved in Django's thread, for each event."""

    async def produce(run_id: UUID) -> None:
        for seq in range(1, count // len(streams.ids) + 1):
            await save(run_id, seq)
        streams.seqs[run_id] = seq

    await asyncio.gather(*(produce(run_id) for run_id in streams.ids))
    await sync_to_async(connections.close_all)()


async def save(run_id: UUID, seq: int) -> None:
    text = payload(seq)
    event = Event(
        run_id=run_id, seq=seq, kind="TOOL_CALL_ARGS", ordinal=seq, payload=text, sha256=events.sha256(text),
        received_at=datetime.now(UTC),
    )  # fmt: skip
    await sync_to_async(event.save)(force_insert=True)


def by_executemany(rows: Sequence[Values]) -> None:
    """SQLite's floor: ready values, no question asked."""
    insert = f"INSERT INTO streams_event ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
    for start in range(0, len(rows), BATCH):
        with transaction.atomic():
            connection.connection.executemany(insert, rows[start : start + BATCH])


def by_copy(rows: Sequence[Values]) -> None:
    """PostgreSQL's floor."""
    for start in range(0, len(rows), BATCH):
        with (
            transaction.atomic(),
            psycopg.Cursor(connection.connection) as cursor,
            cursor.copy(f"COPY streams_event ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(TYPES)
            for row in rows[start : start + BATCH]:
                copy.write_row(row)


def by_commits(entries: Sequence[Entry]) -> None:
    """The journal's transaction alone: no queue, no second thread."""
    for start in range(0, len(entries), BATCH):
        commit(entries[start : start + BATCH], requests.project)


def for_sqlite(rows: Sequence[Values]) -> list[Values]:
    """What SQLite's driver takes without adapting anything."""
    adapt = connection.ops.adapt_datetimefield_value
    return [(row[0].hex, *row[1:-1], adapt(row[-1])) for row in rows]


# The rows.


Side = Callable[[Streams], Callable[[], object]]
"""Prepares, untimed, and returns what is timed."""


def rates(rounds: int, *sides: Side) -> list[float]:
    """The median seconds of each side, in turns."""
    streams = Streams(PRODUCERS)
    taken = [[timed(streams, side) for side in sides] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def timed(streams: Streams, side: Side) -> float:
    """What a side stored is read again, then the table is emptied: each begins with the same pages."""
    taken_s = seconds(side(streams))
    streams.check()
    streams.empty()
    return taken_s


def run_async(make: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(make())


def on_sqlite(rounds: int, count: int, quick: bool) -> Iterator[Row]:
    """D1 and D2: what a thousand producers get stored in a second."""
    saved = PRODUCERS  # it is slow, and its rate does not depend on how much there is
    journal_s, raw_s, save_s, commit_s = rates(
        rounds,
        lambda streams: partial(run_async, partial(by_journal, streams, count)),
        lambda streams: partial(by_executemany, for_sqlite(streams.rows(count))),
        lambda streams: partial(run_async, partial(by_save, streams, saved)),
        lambda streams: partial(by_commits, streams.entries(count)),
    )
    save_s *= count / saved
    yield judged(
        "ingest", "D1", count / journal_s, "events/s", n=count, baseline=count / raw_s, ratio=raw_s / journal_s,
        at_least=0.5, quick=quick, note=f"executemany x{BATCH}; the commits alone {raw_s / commit_s:.2f}",
    )  # fmt: skip
    yield judged(
        "ingest", "D2", count / journal_s, "events/s", n=count, baseline=count / save_s, ratio=save_s / journal_s,
        at_least=12, quick=quick, note=f"sync_to_async(save); executemany x{BATCH} itself {save_s / raw_s:.1f}",
    )  # fmt: skip


def on_postgresql(rounds: int, count: int, quick: bool) -> Iterator[Row]:
    """D3: the same on PostgreSQL."""
    journal_s, copy_s, commit_s = rates(
        rounds,
        lambda streams: partial(run_async, partial(by_journal, streams, count)),
        lambda streams: partial(by_copy, streams.rows(count)),
        lambda streams: partial(by_commits, streams.entries(count)),
    )
    yield judged(
        "ingest", "D3", count / journal_s, "events/s", n=count, baseline=count / copy_s, ratio=copy_s / journal_s,
        at_least=0.6, quick=quick, note=f"COPY x{BATCH}; the commits alone {copy_s / commit_s:.2f}",
    )  # fmt: skip


# How soon an event is stored.


async def pace(streams: Streams, count: int, store: Callable[[UUID, int], Awaitable[object]]) -> list[float]:
    """The seconds that each event takes; one comes every millisecond, whatever became of those before."""
    loop, taken = asyncio.get_running_loop(), []

    async def one(run_id: UUID, seq: int, came: float) -> None:
        await store(run_id, seq)
        taken.append(loop.time() - came)

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, run_id in enumerate(itertools.islice(itertools.cycle(streams.ids), count)):
            await asyncio.sleep(max(0.0, began + number * PACE_S - loop.time()))
            group.create_task(one(run_id, streams.next(run_id), loop.time()))
    return taken


async def pace_journal(streams: Streams, count: int, *, durable: bool) -> list[float]:
    async with journalling() as journal:
        return await pace(
            streams, count, lambda run_id, seq: journal.append([streams.entry(run_id, seq, durable=durable)])
        )


async def pace_saves(streams: Streams, count: int) -> list[float]:
    try:
        return await pace(streams, count, save)
    finally:
        await sync_to_async(connections.close_all)()


def fdatasyncs(folder: Path, count: int) -> list[float]:
    """The seconds of one page written and synchronised, over and over."""
    file = os.open(folder / "fdatasync", os.O_CREAT | os.O_WRONLY)
    try:
        return [seconds(partial(write_and_sync, file)) for _ in range(count)]
    finally:
        os.close(file)


def write_and_sync(file: int) -> None:
    os.write(file, bytes(4096))
    os.fdatasync(file)


def percentile(taken: Sequence[float], share: float) -> float:
    return sorted(taken)[int(len(taken) * share)]


def latency(turns: int, count: int, folder: Path, quick: bool) -> Iterator[Row]:
    """D4 and D5: from an event's coming to its being stored, at 1000 a second."""
    streams = Streams(PRODUCERS)
    ours: list[float] = []
    full: list[float] = []
    saved: list[float] = []
    synced: list[float] = []
    for _ in range(turns):
        ours += asyncio.run(pace_journal(streams, count, durable=False))
        saved += asyncio.run(pace_saves(streams, count))
        synced += fdatasyncs(folder, count)
        full += asyncio.run(pace_journal(streams, count, durable=True))
    streams.check()
    for name, share, goal in (("p50", 0.5, 0.5), ("p99", 0.99, 0.25)):
        value, base = percentile(ours, share), percentile(saved, share)
        yield judged(
            "ingest", "D4", value * 1e3, "ms", n=len(ours), baseline=base * 1e3, ratio=value / base, at_most=goal,
            quick=quick, note=f"{name}; sync_to_async(save)",
        )  # fmt: skip
    for taken, goal_or_none, what in ((ours, 2.0, "synchronous NORMAL"), (full, None, "synchronous FULL")):
        p99, sync = percentile(taken, 0.99), percentile(synced, 0.99)
        yield judged(
            "ingest", "D5", p99 * 1e3, "ms", n=len(taken), baseline=sync * 1e3, ratio=max(0.0, p99 - PAUSE_S) / sync,
            at_most=goal_or_none, quick=quick, note=f"p99 less the pause of {PAUSE_S * 1e3:g} ms; fdatasync; {what}",
        )  # fmt: skip


def growth(rounds: int, sizes: Sequence[int]) -> Iterator[Row]:
    """What an event costs when so many are stored. The table itself gets dearer, so executemany is told beside it."""
    streams, overheads = Streams(PRODUCERS), []
    for size in sizes:
        streams.fill(size)
        taken = []
        for _ in range(rounds):  # what is stored is made before the clock starts
            entries, rows = streams.entries(BATCH), for_sqlite(streams.rows(BATCH))
            taken.append((seconds(partial(by_commits, entries)), seconds(partial(by_executemany, rows))))
        ours_s, raw_s = (statistics.median(column) for column in zip(*taken, strict=True))
        overheads.append(ours_s / raw_s)
        yield judged(
            "ingest", "growth", ours_s / BATCH * 1e6, "us/event", n=rounds * BATCH, baseline=raw_s / BATCH * 1e6,
            ratio=overheads[-1] / overheads[0],
            note=f"{size:,} events stored; times executemany {overheads[-1]:.2f}, at first {overheads[0]:.2f}",
        )  # fmt: skip
    streams.check()


def run(quick: bool) -> Iterator[Row]:
    """Every row, as it is measured, in a process of its own: it changes which database is the default one.

    `quick` takes fewer events, judges at 0.7 and may measure a bad row again.
    """
    begin = f"import django; django.setup(); from dashboard.bench import ingest; ingest.tell(quick={quick!r})"
    command = [sys.executable, "-c", begin]
    with Popen(command, cwd=settings.BASE_DIR, stdout=PIPE, text=True) as child:  # noqa: S603 (ourselves)
        try:
            for line in child.stdout or ():
                yield Row(**json.loads(line))
            if child.wait():
                raise RuntimeError("the bench broke off: what it found is told above")
        finally:
            child.kill()


def tell(*, quick: bool) -> None:
    for row in measure(quick):
        sys.stdout.write(json.dumps(asdict(row)) + "\n")
        sys.stdout.flush()


def measure(quick: bool) -> Iterator[Row]:
    rounds, count, turns, sizes = (2, 2_000, 2, (10_000, 20_000)) if quick else (7, 20_000, 8, (10**4, 10**5, 10**6))
    memory.prepare()  # as the server does: else either side pays for walks through all of Django
    with stores.sqlite() as folder:
        yield from repeated(
            [
                lambda: on_sqlite(rounds, count, quick),
                lambda: latency(turns, 500, folder, quick),
                lambda: growth(rounds, sizes),
            ],
            quick=quick,
        )
    try:
        with stores.postgresql():
            yield from repeated([lambda: on_postgresql(rounds, count, quick)], quick=quick)
    except stores.NotThere as exc:
        yield judged("ingest", "D3", 0.0, "events/s", n=0, note=str(exc))
