"""How events move their run: fold the facts, write what changed."""

import json
import logging
from collections.abc import Collection, Container, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import psycopg
from django.db import IntegrityError, connection, transaction

from streams import events, lifecycle
from streams.events import Ended, Paused, Started
from streams.models import Run, RunStatus, Source
from streams.standing import RunNow

if TYPE_CHECKING:
    from streams.commit import Entry

logger = logging.getLogger(__name__)

ID_CHARS = 255
OUTCOME_CHARS = 60
ERROR_CHARS = 2000
TOUCH = timedelta(seconds=1)  # so far may last_event_at lag: one UPDATE a second and run instead of one an event

PROVIDER, HOUSE = Source.PROVIDER, Source.HOUSE  # in Python 3.11 a member costs a call each time it is asked for
STILL = (RunStatus.CONNECTING, RunStatus.WAITING)  # from here any frame of the provider moves a run

_TOUCH_SQLITE = (
    "UPDATE streams_run SET last_event_at = told.at FROM (SELECT json_extract(value, '$[0]') AS at, "
    "json_extract(value, '$[1]') AS id, json_extract(value, '$[2]') AS before FROM json_each(%s)) told "
    "WHERE streams_run.id = told.id AND (last_event_at IS NULL OR last_event_at < told.before)"
)
# Locked in one order, as everybody locks runs.
_TOUCH_POSTGRESQL = (
    "WITH told AS (SELECT run.id, asked.at FROM streams_run run JOIN "
    "unnest(%b::timestamptz[], %b::uuid[], %b::timestamptz[]) AS asked(at, run_id, before) ON run.id = asked.run_id "
    "WHERE run.last_event_at IS NULL OR run.last_event_at < asked.before ORDER BY run.id FOR NO KEY UPDATE OF run) "
    "UPDATE streams_run SET last_event_at = told.at FROM told WHERE streams_run.id = told.id"
)


def wanted(status: RunStatus, entry: "Entry") -> tuple[RunStatus, Ended | None]:
    """Where one event moves a run, and the last word that did it. Pure; refused moves leave the run where it is."""
    end: Ended | None = None
    targets: list[tuple[RunStatus, Ended | None]] = []
    if entry.source is PROVIDER and entry.advances and status in STILL:
        targets.append((RunStatus.STREAMING, None))
    for fact in entry.facts:
        match fact:
            case Started():
                targets.append((RunStatus.STREAMING, None))
            case Paused():
                targets.append((RunStatus.WAITING, None))
            case Ended(how=how):
                targets.append((RunStatus(how), fact))
    for target, word in targets:
        if target in lifecycle.MOVES[status]:
            status, end = target, word or end
    return status, end


def apply(new: Sequence[tuple[RunNow, "Entry"]]) -> Collection[UUID]:
    """Move and date the runs of these stored entries. Returns the runs that had more than text to tell."""
    told: dict[UUID, RunNow] = {}
    heard: list[RunNow] = []
    last: dict[UUID, tuple[RunNow, Ended | None, datetime]] = {}
    for run, entry in new:
        if entry.source is PROVIDER:
            if run.heard_at is None:
                heard.append(run)
            run.heard_at = entry.received_at
            if not entry.facts and run.reached not in STILL:
                continue  # most events: text of a run that is streaming
        before, (run.reached, end) = run.reached, wanted(run.reached, entry)
        if run.reached != before:
            last[run.run_id] = (run, end, entry.received_at)
        for fact in entry.facts:
            if isinstance(fact, Started):
                _name(run.run_id, fact)
        if entry.facts or entry.source is HOUSE:
            told[run.run_id] = run
        if entry.source is HOUSE and entry.kind in ("connected", "disconnected"):
            _connection(entry)
    for run_id, (run, end, at) in sorted(last.items()):
        told[run_id] = run
        if run.reached != run.status:
            lifecycle.try_move(run_id, to=run.reached, at=at, **_last_word(end))
    _touch(heard, told)
    return told.keys()


def spelled(moments: Iterable[datetime]) -> list[str]:
    """Moments as SQLite has them, as Django's own adapter spells each, at a tenth of its price."""
    text = orjson.dumps([at.astimezone(UTC) for at in moments]).decode()  # ["2026-11-03T12:00:00.000005+00:00",...]
    return text[2:-2].replace("T", " ").replace("+00:00", "").split('","')


def _touch(heard: Sequence[RunNow], told: Container[UUID]) -> None:
    """Date the runs' last event; at once where it had more than text to tell."""
    late = sorted([run for run in heard if _is_late(run) or run.run_id in told], key=_key)
    if not late:
        return
    for run in late:
        run.dated_at = run.heard_at
    newest = [run.heard_at for run in late if run.heard_at is not None]
    before = [at if run.run_id in told else at - TOUCH for run, at in zip(late, newest, strict=True)]
    if connection.vendor == "sqlite":
        values = zip(spelled(newest), [run.key for run in late], spelled(before), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(_TOUCH_SQLITE, [json.dumps(list(values))])
    else:
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as own_cursor:
            own_cursor.execute(_TOUCH_POSTGRESQL, [newest, [run.run_id for run in late], before])


def _key(run: RunNow) -> str:
    return run.key


def _is_late(run: RunNow) -> bool:
    return run.dated_at is None or run.heard_at is None or run.dated_at < run.heard_at - TOUCH


def _last_word(end: Ended | None) -> dict[str, Any]:
    if end is None:
        return {}
    outcome, error = events.text(end.outcome)[0], events.text(end.error)[0]
    return {"outcome": outcome[:OUTCOME_CHARS], "error": error[:ERROR_CHARS], "connected_at": None}


def _connection(entry: "Entry") -> None:
    """The house's own note on a connection, kept on the run as well."""
    run = Run.objects.filter(pk=entry.run_id)
    if entry.kind == "disconnected":
        run.update(connected_at=None)
    else:
        run.update(connected_at=entry.received_at, reconnects=json.loads(entry.payload).get("reconnects", 0))


def _name(run_id: UUID, started: Started) -> None:
    """Fill in the ids that were not known. An id that another run has is left out: two rows cannot be one run."""
    external_id, thread_id = (
        events.text(started.external_id)[0][:ID_CHARS],
        events.text(started.thread_id)[0][:ID_CHARS],
    )
    if thread_id:
        Run.objects.filter(pk=run_id, thread_id="").update(thread_id=thread_id)
    if external_id:
        try:
            with transaction.atomic():
                Run.objects.filter(pk=run_id, external_id=None).update(external_id=external_id)
        except IntegrityError:
            logger.error("run %s: its provider's id is another run's already", run_id)
