"""One journal batch: events, what they mean for requests and runs, checkpoints, in one transaction.

A function of (connection, batch): the journal's thread calls it, and tests do in their own. SQL of its own, as in
standing.py and progress.py, is for the sake of speed: one read, one insert, one announcement, however many events. What
costs something for every event is in _commit(), _stored() and _insert(); the rest is once a run or batch.
"""

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from streams import announce, events, progress, standing
from streams.errors import StaleEpoch
from streams.events import Fact
from streams.faults import fault
from streams.models import Checkpoint, Event, Source
from streams.standing import RunNow

KIND_CHARS = 100
CACHE_KIB = (
    2000  # SQLite's own default, four times what our other connections have: each event goes into several places
)
HOUSE = Source.HOUSE  # in Python 3.11 the member costs a call each time it is asked for by its class


class Entry(NamedTuple):  # as Stored: one is made for every event, and a frozen dataclass takes three times as long
    """One event as a holder hands it over; the texts are raw."""

    run_id: UUID
    epoch: int
    source: Source
    kind: str
    payload: str
    received_at: datetime
    ordinal: int | None = None
    own_id: str = ""
    marked: bool = False
    facts: tuple[Fact, ...] = ()
    state: str | None = None  # the fold state after this event, for the checkpoint
    durable: bool = False  # must survive a power cut, whatever its facts say
    advances: bool = True  # a provider's frame shows that its run goes on; not one behind the run's last word


class Stored(NamedTuple):
    """One event as project() gets it: in commit order, inside the transaction."""

    run_id: UUID
    seq: int
    source: Source
    kind: str
    payload: str
    sha256: str
    marked: bool
    received_at: datetime
    facts: tuple[Fact, ...]
    ordinal: int | None = None
    own_id: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What the house has to say of a run because of what was stored: an event of its own behind the batch's."""

    run_id: UUID
    kind: str
    text: str


Project = Callable[[Sequence[Stored]], Sequence[Remark] | None]
Result = int | StaleEpoch  # the event's seq, or why it was dropped
New = tuple[RunNow, Entry, Stored]  # what goes into the table


@dataclass(slots=True)
class Attempt:
    """What a repeated batch must know of the try before, whose commit may have succeeded without our hearing of it.

    With it the repeat numbers its events as that try did, and so finds those that are stored already.
    """

    last_seqs: dict[UUID, int] = field(default_factory=dict)
    looks_up_ids: bool = False


def is_durable(entries: Iterable[Entry]) -> bool:
    """Whether this batch must survive a power cut: it may open, change or settle a request."""
    return any(
        entry.durable or (entry.facts and any(isinstance(fact, events.SETTLING) for fact in entry.facts))
        for entry in entries
    )


def commit(entries: Sequence[Entry], project: Project, attempt: Attempt | None = None) -> list[Result]:
    """Store a batch in one transaction, and return what became of each entry, in order.

    Entries of a stale epoch are dropped. An event whose `own_id` is stored already gets the seq it has.
    """
    attempt = attempt if attempt is not None else Attempt()
    _set_synchronous(full=is_durable(entries))
    first = not attempt.last_seqs
    try:
        return _commit(entries, project, attempt)
    except _RepeatedId:  # so nothing of it was stored
        attempt.looks_up_ids = True
        if first:
            attempt.last_seqs.clear()
        return _commit(entries, project, attempt)


class _RepeatedId(Exception):
    """An id came twice: the cheap insert, which does not look, must be done again by the one that does."""


def _commit(entries: Sequence[Entry], project: Project, attempt: Attempt) -> list[Result]:
    moved: Collection[UUID] | None = ()
    with transaction.atomic():
        runs = standing.read(entries)
        for run_id, now in runs.items():
            now.next_seq = attempt.last_seqs.setdefault(run_id, now.last_seq) + 1
        if attempt.looks_up_ids:
            _look_up_ids(entries, runs)
        results: list[Result] = []
        new: list[New] = []
        for entry in entries:
            if (run := runs.get(entry.run_id)) is None or run.epoch != entry.epoch:
                results.append(StaleEpoch(entry.run_id, entry.epoch))
                continue
            stored = _stored(entry, run.next_seq)
            if stored.own_id:
                seq, sha256 = run.ids.setdefault(stored.own_id, (stored.seq, stored.sha256))
                if seq != stored.seq and sha256 == stored.sha256:
                    results.append(seq)
                    continue
                if seq != stored.seq:  # another event under an id that is taken: kept, without the id
                    stored = stored._replace(own_id="")
            run.next_seq += 1
            results.append(stored.seq)
            if stored.seq > run.last_seq:  # else an earlier try had been committed after all
                new.append((run, entry, stored))
        if new:
            moved = _write(new, runs, project)
    if moved is not None:
        standing.remember(runs, moved=moved)
    return results


def _write(new: list[New], runs: Mapping[UUID, RunNow], project: Project) -> Collection[UUID] | None:
    """Returns the runs that had more than text to tell; None where any run may be another now."""
    _insert(new)
    fault("journal.inserted")
    changes = standing.changes()
    remarks = project([stored for _, _, stored in new])
    untouched = standing.changes() == changes
    if remarks:
        said = _remarks(remarks, new, runs)
        _insert(said)
        new += said
    _checkpoint(new)
    told = progress.apply([(run, entry) for run, entry, _ in new])
    grown = [run_id for run_id, run in runs.items() if run.next_seq > run.last_seq + 1]
    topics = [announce.run_topic(run_id) if run_id in told else announce.text_topic(run_id) for run_id in grown]
    announce.changed(*topics, *((announce.INBOX,) if told else ()))
    fault("journal.projected")
    return told if untouched else None


def _stored(entry: Entry, seq: int) -> Stored:
    payload, marked = events.text(entry.payload)
    return Stored(
        entry.run_id,
        seq,
        entry.source,
        events.text(entry.kind)[0][:KIND_CHARS],
        payload,
        events.sha256(payload),
        marked or entry.marked,
        entry.received_at,
        entry.facts,
        entry.ordinal,
        events.text(entry.own_id)[0],
    )


def _remarks(remarks: Sequence[Remark], new: Sequence[New], runs: Mapping[UUID, RunNow]) -> list[New]:
    """Remarks as events behind their runs' own; a try whose commit went unheard has stored them with its events."""
    at = {entry.run_id: entry.received_at for _, entry, _ in new}
    made: list[New] = []
    for one in remarks:
        run = runs[one.run_id]
        entry = Entry(
            run_id=one.run_id,
            epoch=run.epoch,
            source=HOUSE,
            kind=one.kind,
            payload=json.dumps({"text": one.text}),
            received_at=at[one.run_id],
        )
        made.append((run, entry, _stored(entry, run.next_seq)))
        run.next_seq += 1
    return made


# --- SQL ------------------------------------------------------------------------------------------------------------

_COLUMNS = "run_id, seq, source, kind, ordinal, own_id, payload, sha256, marked, received_at"
_ROW = f"({', '.join('?' * len(_COLUMNS.split(', ')))})"
_ROWS_SQLITE = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)  # of one statement: any batch is a few of these
_INSERTS_SQLITE = {
    rows: f"INSERT INTO streams_event ({_COLUMNS}) VALUES {', '.join([_ROW] * rows)} ON CONFLICT DO NOTHING"  # noqa: S608
    for rows in _ROWS_SQLITE
}
_COPY_POSTGRESQL = f"COPY streams_event ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_TYPES_POSTGRESQL = ["uuid", "int8", "varchar", "varchar", "int8", "text", "text", "varchar", "bool", "timestamptz"]


_own = threading.local()  # synchronous: which connection was told so last, and what


def _set_synchronous(*, full: bool) -> None:
    """SQLite only, and not possible inside a transaction."""
    db = connections[DEFAULT_DB_ALIAS]
    if db.vendor != "sqlite" or db.in_atomic_block:
        return
    db.ensure_connection()
    raw, told = getattr(_own, "synchronous", (None, False))
    if raw is db.connection and told == full:
        return
    with db.wrap_database_errors:
        if raw is not db.connection:
            db.connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        db.connection.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
    _own.synchronous = db.connection, full


def _insert(new: Sequence[New]) -> None:
    """Insert, or raise _RepeatedId where some rows were there."""
    db = connections[DEFAULT_DB_ALIAS]
    insert = _insert_sqlite if db.vendor == "sqlite" else _insert_postgresql
    with db.wrap_database_errors:
        # By run and seq, as three of the table's indexes are: neighbours share pages, which are then visited once.
        if insert(db.connection, sorted(new, key=_place)) != len(new):
            raise _RepeatedId


def _place(one: New) -> tuple[str, int]:
    return one[0].key, one[2].seq


def _insert_sqlite(raw: Any, new: Sequence[New]) -> int:
    """Many rows a statement: behind each step the interpreter's lock is let go, and with a busy loop that costs 5 ms.

    Values are of exactly the types that sqlite3 takes as they are: for any other it asks its adapters, each time.
    """
    values: list[str | int | None] = []
    moments = progress.spelled([stored.received_at for _, _, stored in new])
    for at, (run, _, (_, seq, source, kind, payload, sha256, marked, _, _, ordinal, own_id)) in zip(
        moments, new, strict=True
    ):
        values += (
            run.key,
            seq,
            "house" if source is HOUSE else "provider",
            kind,
            ordinal,
            own_id,
            payload,
            sha256,
            1 if marked else 0,
            at,
        )
    inserted, start, width = 0, 0, len(values) // len(new)
    for rows in _ROWS_SQLITE:
        while start + rows <= len(new):
            part = values[start * width : (start + rows) * width]
            inserted += raw.execute(_INSERTS_SQLITE[rows], part).rowcount
            start += rows
    return inserted


def _insert_postgresql(raw: Any, new: Sequence[New]) -> int:
    """COPY knows no ON CONFLICT, and needs none: a repeated id has to undo the transaction anyway."""
    try:
        with psycopg.Cursor(raw) as cursor:  # Django's own has no binary COPY
            with cursor.copy(_COPY_POSTGRESQL) as copy:
                copy.set_types(_TYPES_POSTGRESQL)
                for _, _, (run_id, seq, source, kind, payload, sha256, marked, at, _, ordinal, own_id) in new:
                    name = "house" if source is HOUSE else "provider"
                    copy.write_row((run_id, seq, name, kind, ordinal, own_id, payload, sha256, marked, at))
            return cursor.rowcount
    except psycopg.errors.UniqueViolation as exc:
        raise _RepeatedId from exc


def _look_up_ids(entries: Sequence[Entry], runs: Mapping[UUID, RunNow]) -> None:
    """Tell the runs which ids of this batch were stored before it; a try whose commit went unheard is not before it."""
    wanted: dict[UUID, set[str]] = {}
    for entry in entries:
        if entry.own_id and entry.run_id in runs:
            wanted.setdefault(entry.run_id, set()).add(events.text(entry.own_id)[0])
    for run_id, ids in wanted.items():
        known = Event.objects.filter(run_id=run_id, own_id__in=ids, seq__lt=runs[run_id].next_seq)
        runs[run_id].ids = {own_id: (seq, sha) for own_id, seq, sha in known.values_list("own_id", "seq", "sha256")}


def _checkpoint(new: Sequence[New]) -> None:
    newest = {entry.run_id: (stored.seq, entry.state) for _, entry, stored in new if entry.state is not None}
    if newest:
        Checkpoint.objects.bulk_create(
            [Checkpoint(run_id=key, seq=seq, state=events.text(state)[0]) for key, (seq, state) in newest.items()],
            update_conflicts=True,
            unique_fields=["run"],
            update_fields=["seq", "state"],
        )
