"""What a journal batch keeps: order, epochs, ids, the run's moves, durability; and how the writer thread survives."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from channels.db import database_sync_to_async
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import commit as committing
from streams import faults
from streams import journal as journals
from streams.commit import Attempt, Entry, Remark, Stored, commit
from streams.errors import NotStored, StaleEpoch
from streams.events import Asked, Ended, MovedOn, Paused, Started
from streams.journal import Journal
from streams.models import Checkpoint, Event, Lease, Run, RunStatus, Source
from tests import factories
from tests.long_form import examples

LIMIT_S = 20


def held(epoch: int = 1, **fields: Any) -> Run:
    run = factories.run(**fields)
    Lease.objects.create(run=run, owner="me", epoch=epoch, expires_at=timezone.now())
    return run


def entry(run: Run, payload: str = "{}", **fields: Any) -> Entry:
    fields = {"epoch": 1, "source": Source.PROVIDER, "kind": "chunk", "received_at": timezone.now(), **fields}
    return Entry(run_id=run.pk, payload=payload, **fields)


def ignore(stored: Sequence[Stored]) -> None:
    pass


def payloads(run: Run) -> list[str]:
    return list(Event.objects.filter(run=run).order_by("seq").values_list("payload", flat=True))


# --- commit ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_seqs_are_dense_per_run_in_commit_order() -> None:
    one, two = held(), held()
    assert commit([entry(one, "a"), entry(two, "x"), entry(one, "b")], ignore) == [1, 1, 2]
    assert commit([entry(two, "y"), entry(one, "c")], ignore) == [2, 3]
    assert payloads(one) == ["a", "b", "c"]
    assert payloads(two) == ["x", "y"]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 1000, 1023])  # a statement holds so many rows, or so many
def test_a_batch_of_any_size_is_stored_whole_and_in_order(count: int) -> None:
    runs = [held() for _ in range(3)]
    told = [entry(runs[at % 3], f"{at}", own_id=f"id {at}" if at % 5 else "") for at in range(count)]
    assert commit(told, ignore) == [at // 3 + 1 for at in range(count)]
    for place, run in enumerate(runs):
        assert payloads(run) == [f"{at}" for at in range(place, count, 3)]
    assert commit([told[-1]], ignore) == [(count - 1) // 3 + 1 if (count - 1) % 5 else (count - 1) // 3 + 2]


@pytest.mark.django_db
@pytest.mark.one_engine
def test_a_large_batch_takes_few_statements_on_sqlite() -> None:
    """Around each step its driver lets go of the interpreter's lock, and waits for it again."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's driver lets go of it while it waits for the server")
    told = [entry(held(last_event_at=None), f"{at}") for at in range(300)]
    connection.ensure_connection()
    ran: list[str] = []
    connection.connection.set_trace_callback(ran.append)
    try:
        commit(told, ignore)
    finally:
        connection.connection.set_trace_callback(None)
    assert Event.objects.count() == 300
    assert Run.objects.filter(last_event_at=None).count() == 0
    words = [one.split()[0] for one in ran]
    assert words == ["SAVEPOINT", "PRAGMA", "SELECT", *["INSERT"] * 4, "UPDATE", "RELEASE"]  # 256, 32, 8 and 4 rows


@pytest.mark.django_db
def test_rows_of_a_stale_epoch_are_dropped_and_the_others_stored() -> None:
    old, good = held(epoch=2), held()
    results = commit([entry(old, "late"), entry(good, "kept"), entry(old, "new owner", epoch=2)], ignore)
    assert isinstance(results[0], StaleEpoch)
    assert results[1:] == [1, 1]
    assert payloads(old) == ["new owner"]


@pytest.mark.django_db
def test_a_run_without_a_lease_takes_nothing() -> None:
    assert isinstance(commit([entry(factories.run())], ignore)[0], StaleEpoch)
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_an_event_with_a_stored_id_is_not_stored_again() -> None:
    run = held()
    commit([entry(run, "a", own_id="7"), entry(run, "b", own_id="8")], ignore)
    assert commit([entry(run, "b", own_id="8"), entry(run, "c", own_id="9")], ignore) == [2, 3]
    assert payloads(run) == ["a", "b", "c"]


@pytest.mark.django_db
def test_another_event_under_a_taken_id_is_kept_without_the_id() -> None:
    run = held()
    commit([entry(run, "a", own_id="7")], ignore)
    assert commit([entry(run, "changed", own_id="7")], ignore) == [2]
    assert list(Event.objects.filter(run=run).order_by("seq").values_list("payload", "own_id")) == [
        ("a", "7"),
        ("changed", ""),
    ]


@pytest.mark.django_db
def test_an_id_that_comes_twice_in_one_batch_is_treated_as_if_it_had_come_in_two() -> None:
    run, other = held(), held()
    batch = [entry(run, "a", own_id="7"), entry(other, "x", own_id="7"), entry(run, "a", own_id="7")]
    batch += [entry(run, "changed", own_id="7"), entry(run, "b", own_id="8")]
    assert commit(batch, ignore) == [1, 1, 1, 2, 3]
    assert list(Event.objects.filter(run=run).order_by("seq").values_list("payload", "own_id")) == [
        ("a", "7"),
        ("changed", ""),
        ("b", "8"),
    ]


@pytest.mark.django_db
def test_a_batch_whose_first_commit_had_succeeded_is_not_stored_twice() -> None:
    run = held()
    batch, attempt = [entry(run, "a"), entry(run, "b")], Attempt()
    projected: list[int] = []

    def project(stored: Sequence[Stored]) -> None:
        projected.extend(one.seq for one in stored)

    assert commit(batch, project, attempt) == [1, 2]
    assert commit(batch, project, attempt) == [1, 2]
    assert payloads(run) == ["a", "b"]
    assert projected == [1, 2]


@pytest.mark.django_db
def test_a_repeated_batch_that_brought_a_stored_id_as_well_is_not_stored_twice() -> None:
    run = held()
    commit([entry(run, "a", own_id="7")], ignore)
    batch, attempt = [entry(run, "a", own_id="7"), entry(run, "b", own_id="8"), entry(run, "c")], Attempt()
    assert commit(batch, ignore, attempt) == [1, 2, 3]
    assert commit(batch, ignore, attempt) == [1, 2, 3]
    assert payloads(run) == ["a", "b", "c"]


@pytest.mark.django_db
@pytest.mark.parametrize("hostile", ["nul \x00 in", "lone \ud800 surrogate", '{"n": 1e400}', "[" * 2000])
def test_hostile_payloads_are_stored(hostile: str) -> None:
    run = held()
    commit([entry(run, hostile, kind=f"kind {hostile}"[:50], own_id=hostile[:60])], ignore)
    event = Event.objects.get(run=run)
    assert event.marked == ("\x00" in hostile or "\ud800" in hostile)
    assert event.payload.encode()


@pytest.mark.django_db
def test_project_sees_the_stored_rows_with_their_facts_inside_the_transaction() -> None:
    run = held()
    fact = Asked(call_id="apr_1", tool="send", arguments="{}")
    seen: list[Stored] = []

    def project(stored: Sequence[Stored]) -> None:
        assert connection.in_atomic_block
        assert Event.objects.filter(run=run).count() == 1
        seen.extend(stored)

    commit([entry(run, "?", facts=(fact,))], project)
    assert [(one.seq, one.payload, one.facts) for one in seen] == [(1, "?", (fact,))]


@pytest.mark.django_db
def test_what_project_refuses_is_not_stored() -> None:
    run = held()

    def project(stored: Sequence[Stored]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        commit([entry(run)], project)
    assert not Event.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("before", "entries", "after"),
    [
        (RunStatus.CONNECTING, [{}], RunStatus.STREAMING),
        (RunStatus.CONNECTING, [{"source": Source.HOUSE, "kind": "stalled"}], RunStatus.CONNECTING),
        (RunStatus.STREAMING, [{"facts": (Paused(),)}], RunStatus.WAITING),
        (RunStatus.WAITING, [{}], RunStatus.STREAMING),
        (RunStatus.WAITING, [{"advances": False}], RunStatus.WAITING),
        (RunStatus.WAITING, [{"facts": (Paused(),)}], RunStatus.WAITING),
        (RunStatus.CONNECTING, [{"facts": (Started(),)}, {"facts": (Ended("finished"),)}], RunStatus.FINISHED),
        (RunStatus.STREAMING, [{"facts": (Ended("finished"),)}, {"facts": (Ended("failed"),)}], RunStatus.FAILED),
        (RunStatus.CANCELLED, [{"facts": (Ended("finished"),)}], RunStatus.CANCELLED),
        (RunStatus.LOST, [{"facts": (Started(),)}], RunStatus.LOST),
    ],
)
def test_events_move_their_run(before: RunStatus, entries: list[dict[str, Any]], after: RunStatus) -> None:
    ended_at = timezone.now() if before in {RunStatus.CANCELLED, RunStatus.LOST} else None
    run = held(status=before, ended_at=ended_at)
    commit([entry(run, **fields) for fields in entries], ignore)
    run.refresh_from_db()
    assert run.status == after
    assert (run.ended_at is not None) == (after in {"finished", "failed", "cancelled", "lost"})


@pytest.mark.django_db
def test_the_last_word_is_kept_on_the_run() -> None:
    run = held()
    commit([entry(run, facts=(Ended("failed", outcome="error", error="no \x00 disk"),))], ignore)
    run.refresh_from_db()
    assert (run.outcome, run.error) == ("error", "no \\u0000 disk")


@pytest.mark.django_db
def test_started_fills_in_ids_that_were_not_known() -> None:
    run = held(external_id=None)
    commit([entry(run, facts=(Started(external_id="run-1", thread_id="t-1"),))], ignore)
    commit([entry(run, facts=(Started(external_id="run-2", thread_id="t-2"),))], ignore)
    run.refresh_from_db()
    assert (run.external_id, run.thread_id) == ("run-1", "t-1")


@pytest.mark.django_db
def test_an_id_that_is_another_runs_is_left_out() -> None:
    taken = held(external_id="run-1")
    run = held(provider=taken.provider, external_id=None)
    assert commit([entry(run, facts=(Started(external_id="run-1"),))], ignore) == [1]
    run.refresh_from_db()
    assert run.external_id is None


@pytest.mark.django_db
def test_the_newest_state_becomes_the_checkpoint() -> None:
    run = held()
    commit([entry(run, "a", state="s1"), entry(run, "b"), entry(run, "c", state="s3")], ignore)
    commit([entry(run, "d", state="s4")], ignore)
    assert (Checkpoint.objects.get().seq, Checkpoint.objects.get().state) == (4, "s4")


@pytest.mark.django_db
def test_the_connection_is_noted_on_the_run() -> None:
    run, at = held(), datetime(2026, 11, 3, 12, tzinfo=UTC)
    commit([entry(run, '{"reconnects": 3}', source=Source.HOUSE, kind="connected", received_at=at)], ignore)
    run.refresh_from_db()
    assert (run.connected_at, run.reconnects, run.last_event_at) == (at, 3, None)
    commit([entry(run, "{}", source=Source.HOUSE, kind="disconnected")], ignore)
    run.refresh_from_db()
    assert run.connected_at is None


@pytest.mark.django_db
def test_the_last_event_is_dated() -> None:
    run, at = held(), datetime(2026, 11, 3, 12, tzinfo=UTC)
    commit([entry(run, received_at=at)], ignore)
    run.refresh_from_db()
    assert run.last_event_at == at


@pytest.mark.django_db
@pytest.mark.parametrize("fact", [Asked("c", "t", "{}"), MovedOn("x"), Paused(), Ended("finished"), None])
def test_a_batch_that_may_touch_a_request_is_durable(fact: Any) -> None:
    run = Run(pk=uuid4())
    assert committing.is_durable([entry(run), entry(run, facts=(fact,) if fact else ())]) == (fact is not None)
    assert committing.is_durable([entry(run, durable=True)])


@pytest.mark.django_db(transaction=True)
def test_sqlite_commits_text_with_normal_and_questions_with_full_synchronous() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has no such pragma")
    run, seen = held(), []

    def project(stored: Sequence[Stored]) -> None:
        with connection.cursor() as cursor:
            seen.append(cursor.execute("PRAGMA synchronous").fetchone()[0])

    commit([entry(run)], project)
    commit([entry(run, facts=(Asked("c", "t", "{}"),))], project)
    commit([entry(run)], project)
    assert seen == [1, 2, 1]
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA cache_size").fetchone() == (-committing.CACHE_KIB,)


# --- repeats and crashes, whatever the order ------------------------------------------------------------------------

RUNS, IDS, TEXTS = (
    st.sampled_from([0, 0, 1]),
    st.sampled_from(["", "id 1", "id 2"]),
    st.sampled_from(["a", "a", "b", "?"]),
)
EVENTS = st.lists(st.tuples(RUNS, IDS, TEXTS), min_size=1, max_size=5)
FATES = ["heard", "unheard", "unheard, then run by run", "undone, then again", "undone, then run by run", "lost"]
BATCHES = st.lists(st.tuples(EVENTS, st.sampled_from(FATES)), min_size=2, max_size=6)


class Told:
    """What a run's history is to be: by the rules alone, without a database."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.ids: dict[str, tuple[int, str]] = {}

    def hear(self, own_id: str, payload: str) -> int:
        """The seq of an event that comes next."""
        twin = self.ids.get(own_id) if own_id else None
        if twin and twin[1] == payload:
            return twin[0]
        self.rows.append((payload, "" if twin else own_id))
        if own_id and not twin:
            self.ids[own_id] = len(self.rows), payload
        return len(self.rows)


class Undone(Exception):
    """Where the process would have died before its commit."""


@pytest.mark.django_db
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_every_event_is_stored_once_and_in_order_however_often_its_batch_is_tried(
    batches: list[tuple[list[tuple[int, str, str]], str]],
) -> None:
    runs, told = [held(), held()], [Told(), Told()]

    def project(stored: Sequence[Stored]) -> list[Remark]:
        asking = dict.fromkeys(one.run_id for one in stored if one.payload == "?")
        return [Remark(run_id, "remark", "!") for run_id in asking]

    def die(stored: Sequence[Stored]) -> None:
        project(stored)
        raise Undone

    for batch, fate in batches:
        entries = [entry(runs[number], payload, own_id=own_id) for number, own_id, payload in batch]
        attempt = Attempt()
        if fate.startswith("unheard"):
            commit(entries, project, attempt)
        elif fate.startswith(("undone", "lost")):
            # Where nothing of it is new, nothing is projected, and the batch was committed before anybody died.
            try:
                commit(entries, die, attempt)
            except Undone:
                pass
        if fate == "lost":  # the process is gone, and with it what it had read
            continue
        parts = [entries]
        if fate.endswith("run by run"):
            parts = [part for run in runs if (part := [one for one in entries if one.run_id == run.pk])]
        results = [commit(part, project, attempt) for part in parts]

        before = [len(one.rows) for one in told]
        seqs = [told[number].hear(own_id, payload) for number, own_id, payload in batch]
        for one, start in zip(told, before, strict=True):
            if any(payload == "?" for payload, _ in one.rows[start:]):
                one.rows.append(('{"text": "!"}', ""))
        if len(parts) == 1:
            assert results == [seqs]
        else:
            assert results == [
                [seq for seq, one in zip(seqs, entries, strict=True) if one.run_id == part[0].run_id] for part in parts
            ]
    for run, one in zip(runs, told, strict=True):
        stored = Event.objects.filter(run=run).order_by("seq").values_list("seq", "payload", "own_id")
        assert list(stored) == [(seq, *row) for seq, row in enumerate(one.rows, 1)]


@pytest.mark.django_db
def test_a_repeat_that_another_holder_was_quicker_than_stores_nothing() -> None:
    run, attempt = held(), Attempt()
    batch = [entry(run, "a"), entry(run, "b")]
    commit(batch, ignore, attempt)
    Lease.objects.filter(run=run).update(epoch=2)
    commit([entry(run, "c", epoch=2)], ignore)
    assert all(isinstance(result, StaleEpoch) for result in commit(batch, ignore, attempt))
    assert payloads(run) == ["a", "b", "c"]


@pytest.mark.django_db
def test_times_are_spelled_as_django_spells_them() -> None:
    at = [
        datetime(2026, 11, 3, 12, tzinfo=UTC),
        datetime(2026, 11, 3, 12, 0, 0, 5, tzinfo=timezone.get_fixed_timezone(90)),
    ]
    run = held()
    commit([entry(run, received_at=one) for one in at], ignore)
    assert list(Event.objects.filter(run=run).order_by("seq").values_list("received_at", flat=True)) == at
    assert Event.objects.filter(run=run, received_at__in=at).count() == 2  # which compares the spellings on SQLite


# --- the thread -----------------------------------------------------------------------------------------------------


async def in_database(call: Any, *args: Any) -> Any:
    return await database_sync_to_async(call)(*args)


@pytest.mark.django_db(transaction=True)
async def test_appends_are_answered_with_their_seqs_and_close_stores_what_waits() -> None:
    async with asyncio.timeout(LIMIT_S):
        runs = [await in_database(held) for _ in range(5)]
        journal = Journal(ignore)
        journal.start()
        first = await asyncio.gather(*(journal.append([entry(run, "a"), entry(run, "b")]) for run in runs))
        assert first == [[1, 2]] * 5
        waiting = [asyncio.create_task(journal.append([entry(run, "c")])) for run in runs]
        await asyncio.sleep(0)
        await journal.close()
        assert await asyncio.gather(*waiting) == [[3]] * 5
        with pytest.raises(NotStored):
            await journal.append([entry(runs[0])])
        assert await in_database(payloads, runs[0]) == ["a", "b", "c"]


@pytest.mark.django_db(transaction=True)
async def test_a_runs_poison_parks_that_run_alone() -> None:
    async with asyncio.timeout(LIMIT_S):
        good, bad = await in_database(held), await in_database(held)

        def project(stored: Sequence[Stored]) -> None:
            if any(one.payload == "poison" for one in stored):
                raise ValueError("secret detail\nsecond line")

        journal = Journal(project)
        journal.start()
        one, two, three = await asyncio.gather(
            journal.append([entry(good, "a")]),
            journal.append([entry(bad, "poison")]),
            journal.append([entry(good, "b")]),
            return_exceptions=True,
        )
        await journal.close()
        assert (one, three) == ([1], [2])
        assert isinstance(two, NotStored)
        assert await in_database(payloads, good) == ["a", "b"]
        assert await in_database(payloads, bad) == []


@pytest.mark.django_db(transaction=True)
async def test_a_stale_holder_hears_that_it_is_stale() -> None:
    async with asyncio.timeout(LIMIT_S):
        run = await in_database(held, 2)
        journal = Journal(ignore)
        journal.start()
        with pytest.raises(StaleEpoch):
            await journal.append([entry(run)])
        await journal.close()


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(LIMIT_S):
        run, failures = await in_database(held), iter([OperationalError("away")] * 3)

        def flaky(*args: Any) -> list[committing.Result]:
            if failure := next(failures, None):
                raise failure
            return commit(*args)

        monkeypatch.setattr(journals, "commit", flaky)
        journal = Journal(ignore)
        journal.start()
        assert await journal.append([entry(run, "a")]) == [1]
        await journal.close()


@pytest.mark.django_db(transaction=True)
async def test_room_is_limited_and_given_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "ROOM_ROWS", 2)
    async with asyncio.timeout(LIMIT_S):
        run, gate = await in_database(held), threading.Event()

        def project(stored: Sequence[Stored]) -> None:
            assert gate.wait(LIMIT_S)

        journal = Journal(project)
        journal.start()
        tasks = [asyncio.create_task(journal.append([entry(run, str(n))])) for n in range(6)]
        await asyncio.sleep(0)
        assert journal._rows == 2  # the other four wait, and so would their providers
        cancelled = tasks.pop(3)
        cancelled.cancel()
        gate.set()
        await asyncio.gather(*tasks)
        await journal.close()
        assert await in_database(payloads, run) == ["0", "1", "2", "4", "5"]
        assert (journal._rows, journal._bytes) == (0, 0)


@pytest.mark.django_db(transaction=True)
async def test_it_tells_what_waits_and_for_how_long() -> None:
    async with asyncio.timeout(LIMIT_S):
        run, gate = await in_database(held), threading.Event()

        def project(stored: Sequence[Stored]) -> None:
            assert gate.wait(LIMIT_S)

        journal = Journal(project)
        journal.start()
        assert journal.load() == (0, 0.0)
        began = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(journal.append([entry(run, str(n))])) for n in range(3)]
        await asyncio.sleep(0.05)
        stuck = journal.load()
        assert (stuck.queued, stuck.lag_s >= 0.05) == (3, True)
        gate.set()
        await asyncio.gather(*tasks)
        assert 0.05 <= journal.load().lag_s <= asyncio.get_running_loop().time() - began
        assert journal.load() == (0, 0.0)  # nobody waited since
        await journal.close()


@pytest.mark.django_db(transaction=True)
async def test_a_cancelled_append_is_stored_before_the_cancellation_goes_on() -> None:
    async with asyncio.timeout(LIMIT_S):
        run: Run = await in_database(held)
        journal = Journal(ignore)
        journal.start()
        task = asyncio.create_task(journal.append([entry(run, "a")]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await in_database(payloads, run) == ["a"]
        await journal.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["journal.batch", "journal.inserted", "journal.projected", "journal.committed"])
async def test_a_batch_that_fails_anywhere_is_stored_once_when_it_is_tried_again(point: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        one, two = await in_database(held), await in_database(held)
        journal = Journal(ignore)
        journal.start()
        with faults.on(f"{point}:raise@1") as hits:
            batch = [entry(one, "a", own_id="1"), entry(one, "b")]
            appends = [journal.append(batch), journal.append([entry(two, "c")])]
            assert await asyncio.gather(*appends) == [[1, 2], [1]]
            assert hits[point] > 1
        await journal.close()
        assert (await in_database(payloads, one), await in_database(payloads, two)) == (["a", "b"], ["c"])


@pytest.mark.django_db(transaction=True)
async def test_an_append_that_is_cancelled_while_its_answer_comes_does_not_wait_for_another() -> None:
    async with asyncio.timeout(LIMIT_S):
        run: Run = await in_database(held)
        journal = Journal(ignore)
        journal.start()
        answer, answered = journal._answer, asyncio.Event()

        def cancel_first(answers: Any, hints: Any) -> None:
            task.cancel()
            answer(answers, hints)
            answered.set()

        journal._answer = cancel_first  # type: ignore[method-assign]
        task = asyncio.create_task(journal.append([entry(run, "a")]))
        await answered.wait()
        async with asyncio.timeout(journals.CLOSE_S / 2):
            with pytest.raises(asyncio.CancelledError):
                await task
        await journal.close()
        assert await in_database(payloads, run) == ["a"]
