"""What a batch need not ask again: where runs stand that nobody wrote to since the batch before."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import commit as committing
from streams import standing
from streams.commit import Attempt, Entry, Remark, Stored, commit
from streams.errors import StaleEpoch
from streams.events import Paused
from streams.models import Event, Lease, Run, RunStatus, Source
from tests.long_form import examples
from tests.streams.test_journal import Told, held, ignore
from tests.streams.test_journal import entry as text

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL lease and status are read each time")


@pytest.fixture
def run() -> Run:
    return held(status=RunStatus.STREAMING, last_event_at=timezone.now())


def elsewhere(change: Callable[[], object]) -> None:
    """Another connection commits it."""

    def work() -> None:
        change()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)


@contextmanager
def asked() -> Iterator[list[bool]]:
    """Whether the leases were asked for, one entry a batch that did."""
    connection.ensure_connection()
    questions: list[bool] = []

    def look(statement: str) -> None:
        if "json_each" in statement and statement.startswith("SELECT"):
            questions.append(True)

    connection.connection.set_trace_callback(look)
    try:
        yield questions
    finally:
        connection.connection.set_trace_callback(None)


def seqs(run: Run) -> list[int]:
    return list(Event.objects.filter(run=run).order_by("seq").values_list("seq", flat=True))


@pytest.mark.one_engine
@pytest.mark.usefixtures("sqlite")
def test_batches_of_text_ask_once(run: Run) -> None:
    with asked() as questions:
        assert [commit([text(run), text(run)], ignore) for _ in range(3)] == [[1, 2], [3, 4], [5, 6]]
    assert len(questions) == 1
    assert seqs(run) == [1, 2, 3, 4, 5, 6]


@pytest.mark.one_engine
@pytest.mark.usefixtures("sqlite")
def test_a_run_that_was_not_in_the_batches_before_is_asked_for_alone(run: Run) -> None:
    other = held(status=RunStatus.STREAMING)
    with asked() as questions:
        commit([text(run)], ignore)
        assert commit([text(run), text(other)], ignore) == [2, 1]
        assert commit([text(other), text(run)], ignore) == [2, 3]
    assert len(questions) == 2


@pytest.mark.parametrize("by", [elsewhere, lambda change: change()], ids=["another connection", "this connection"])
def test_a_lease_that_somebody_took_over_is_seen(run: Run, by: Callable[[Callable[[], object]], None]) -> None:
    commit([text(run)], ignore)
    by(lambda: Lease.objects.filter(run=run).update(epoch=2, owner="other"))
    assert isinstance(commit([text(run)], ignore)[0], StaleEpoch)
    assert seqs(run) == [1]


@pytest.mark.parametrize("by", [elsewhere, lambda change: change()], ids=["another connection", "this connection"])
@pytest.mark.one_engine
@pytest.mark.usefixtures("sqlite")
def test_a_seq_that_somebody_used_is_seen(run: Run, by: Callable[[Callable[[], object]], None]) -> None:
    commit([text(run)], ignore)
    row = {"kind": "note", "payload": "{}", "sha256": "", "received_at": timezone.now(), "own_id": ""}
    by(lambda: Event.objects.create(run=run, seq=2, source=Source.HOUSE, **row))
    assert commit([text(run)], ignore) == [3]


def test_a_run_that_somebody_moved_is_seen(run: Run) -> None:
    commit([text(run)], ignore)
    elsewhere(lambda: Run.objects.filter(pk=run.pk).update(status=RunStatus.WAITING))
    commit([text(run)], ignore)
    assert Run.objects.get(pk=run.pk).status == RunStatus.STREAMING


def test_the_next_owner_goes_on_behind_what_another_stored(run: Run) -> None:
    commit([text(run)], ignore)

    def take_over() -> None:
        Lease.objects.filter(run=run).update(epoch=2, owner="other")
        assert commit([text(run, epoch=2), text(run, epoch=2)], ignore) == [2, 3]
        Lease.objects.filter(run=run).update(epoch=3, owner="me")

    elsewhere(take_over)
    assert commit([text(run, epoch=3)], ignore) == [4]
    assert seqs(run) == [1, 2, 3, 4]


def test_events_that_another_stored_under_our_epoch_cost_a_second_try(run: Run) -> None:
    """Nobody does; but nothing would be lost by it."""
    commit([text(run)], ignore)
    elsewhere(lambda: commit([text(run)], ignore))
    assert commit([text(run)], ignore) == [3]
    assert seqs(run) == [1, 2, 3]


def test_a_run_that_is_gone_is_seen(run: Run) -> None:
    commit([text(run)], ignore)
    elsewhere(lambda: (Event.objects.filter(run=run).delete(), Lease.objects.filter(run=run).delete()))
    assert isinstance(commit([text(run)], ignore)[0], StaleEpoch)


def test_what_was_undone_is_not_remembered(run: Run) -> None:
    commit([text(run)], ignore)
    with transaction.atomic():
        assert commit([text(run)], ignore) == [2]
        transaction.set_rollback(True)
    assert commit([text(run)], ignore) == [2]
    assert seqs(run) == [1, 2]


@pytest.mark.one_engine
@pytest.mark.usefixtures("sqlite")
def test_a_batch_that_failed_leaves_nothing_known(run: Run) -> None:
    commit([text(run)], ignore)

    def fail(stored: Sequence[Stored]) -> None:
        raise RuntimeError("the projector failed")

    with pytest.raises(RuntimeError):
        commit([text(run)], fail)
    with asked() as questions:
        assert commit([text(run)], ignore) == [2]
    assert len(questions) == 1


def test_a_batch_that_failed_before_it_wrote_leaves_nothing_known(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    commit([text(run)], ignore)
    one, two = text(run, "a", own_id="7"), text(run, "b", own_id="8")
    real = committing._stored

    def fail(entry: Entry, seq: int) -> Stored:
        if entry is two:
            raise RuntimeError("a value that cannot be stored")
        return real(entry, seq)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(committing, "_stored", fail)
        commit([one, two], ignore)
    assert commit([two, one], ignore) == [2, 3]
    assert seqs(run) == [1, 2, 3]


@pytest.mark.one_engine
@pytest.mark.usefixtures("sqlite")
def test_what_told_more_than_text_is_asked_for_again(run: Run) -> None:
    commit([text(run)], ignore)
    with asked() as questions:
        assert commit([text(run, facts=(Paused(),))], ignore) == [2]
        assert Run.objects.get(pk=run.pk).status == RunStatus.WAITING
        assert commit([text(run)], ignore) == [3]
    assert len(questions) == 1
    assert Run.objects.get(pk=run.pk).status == RunStatus.STREAMING


def test_a_projector_that_changed_something_leaves_nothing_known(run: Run) -> None:
    def take_over(stored: Sequence[Stored]) -> None:
        Lease.objects.filter(run=run).update(epoch=2)

    commit([text(run)], take_over)
    assert isinstance(commit([text(run)], ignore)[0], StaleEpoch)


def test_remarks_take_their_seqs(run: Run) -> None:
    said = [Remark(run.pk, "note", "said")]
    assert commit([text(run)], lambda stored: said) == [1]
    assert commit([text(run)], ignore) == [3]


def test_a_repeat_after_a_commit_that_nobody_heard_of_goes_on_behind_it(run: Run) -> None:
    attempt, told = Attempt(), [text(run), text(run)]
    said = [Remark(run.pk, "note", "said")]
    assert commit(told, lambda stored: said, attempt) == [1, 2]
    assert commit(told, lambda stored: said, attempt) == [1, 2]
    assert commit([text(run)], ignore) == [4]
    assert seqs(run) == [1, 2, 3, 4]


def test_an_id_that_came_in_an_earlier_batch_is_still_found(run: Run) -> None:
    commit([text(run, "a", own_id="7")], ignore)
    assert commit([text(run, "a", own_id="7"), text(run, "b", own_id="8")], ignore) == [1, 2]
    assert commit([text(run, "a", own_id="7")], ignore) == [1]


def test_the_date_of_the_last_event_lags_a_second_at_most(run: Run) -> None:
    began = timezone.now() + timedelta(minutes=1)

    def dated(after_s: float) -> datetime | None:
        commit([text(run, received_at=began + timedelta(seconds=after_s))], ignore)
        return Run.objects.get(pk=run.pk).last_event_at

    assert dated(0.0) == began
    assert dated(0.4) == began
    assert dated(0.8) == began
    assert dated(1.2) == began + timedelta(seconds=1.2)
    assert dated(1.9) == began + timedelta(seconds=1.2)


@pytest.mark.one_engine
@pytest.mark.usefixtures("sqlite")
def test_more_runs_than_are_remembered_are_asked_for_each_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "KNOWN_RUNS", 0)
    with asked() as questions:
        assert [commit([text(run)], ignore) for _ in range(2)] == [[1], [2]]
    assert len(questions) == 2


# --- whatever comes in between --------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(st.sampled_from([0, 0, 1]), st.sampled_from(["", "id 1", "id 2"]), st.sampled_from(["a", "b", "paused"])),
    min_size=1,
    max_size=4,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["ours", "ours", "ours", "undone", "taken over", "moved"]), EVENTS),
    min_size=2,
    max_size=8,
)


def _extend(found: list[Any], make: Callable[[], list[Any]]) -> None:
    found += make()


@settings(max_examples=examples(90), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_what_is_remembered_is_what_would_be_read(steps: list[tuple[str, list[tuple[int, str, str]]]]) -> None:
    runs, told, epoch = [held(status=RunStatus.STREAMING) for _ in range(2)], [Told(), Told()], 1

    def store(batch: list[tuple[int, str, str]], project: Any = ignore) -> list[Any]:
        entries = [
            text(runs[at], payload, own_id=own_id, epoch=epoch, facts=(Paused(),) if payload == "paused" else ())
            for at, own_id, payload in batch
        ]
        return list(commit(entries, project))

    def fail(stored: Sequence[Stored]) -> None:
        raise ZeroDivisionError

    for what, batch in steps:
        if what == "undone":
            with suppress(ZeroDivisionError):
                store([(at, "", payload) for at, _, payload in batch], fail)
            continue
        if what == "moved":
            elsewhere(lambda: Run.objects.filter(pk=runs[0].pk).update(status=RunStatus.WAITING))
            continue
        before = [len(one.rows) for one in told]
        expected = [told[at].hear(own_id, payload) for at, own_id, payload in batch]
        if what == "ours":
            assert store(batch) == expected
        else:
            found: list[Any] = []
            epoch += 1
            elsewhere(partial(Lease.objects.update, epoch=epoch, owner="another"))
            elsewhere(partial(_extend, found, partial(store, batch)))
            epoch += 1
            elsewhere(partial(Lease.objects.update, epoch=epoch, owner="me"))
            assert found == expected
        for at in {at for at, _, _ in batch}:
            stored = [payload for place, _, payload in batch if place == at]
            if what == "ours" and all(payload != "paused" for payload in stored) and len(told[at].rows) > before[at]:
                assert Run.objects.get(pk=runs[at].pk).status == RunStatus.STREAMING
    for run, model in zip(runs, told, strict=True):
        rows = Event.objects.filter(run=run).order_by("seq").values_list("seq", "payload", "own_id")
        assert list(rows) == [(seq, *row) for seq, row in enumerate(model.rows, 1)]
