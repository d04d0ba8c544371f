"""Who may hold a run: one at a time, by the database's clock, with an epoch that only grows."""

import os
import threading
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.utils import timezone

from streams import leases
from streams.leases import AlreadyServed, ServeLock
from streams.models import HolderProcess, Lease, Run, RunStatus
from tests import factories


def run_out(run: Run) -> None:
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_a_free_run_is_taken_and_a_held_one_is_not() -> None:
    run = factories.run()
    assert leases.acquire([run.pk], owner="a") == {run.pk: 1}
    assert leases.acquire([run.pk], owner="b") == {}
    assert leases.acquire([run.pk], owner="a") == {}
    assert Lease.objects.get().owner == "a"


@pytest.mark.django_db
def test_a_lease_that_ran_out_is_taken_over_with_the_next_epoch() -> None:
    run = factories.run(connected_at=timezone.now())
    leases.acquire([run.pk], owner="a")
    run_out(run)
    assert leases.acquire([run.pk], owner="b") == {run.pk: 2}
    assert leases.renew(owner="a") == {}
    run.refresh_from_db()
    assert run.connected_at is None


@pytest.mark.django_db
def test_a_released_lease_is_free_at_once_and_keeps_its_epoch() -> None:
    one, two = factories.run(), factories.run()
    leases.acquire([one.pk, two.pk], owner="a")
    leases.release({one.pk: 1}, owner="b")
    assert leases.acquire([one.pk], owner="b") == {}
    leases.release({one.pk: 1}, owner="a")
    assert leases.acquire([one.pk, two.pk], owner="b") == {one.pk: 2}
    leases.release_all(owner="a")
    assert leases.acquire([two.pk], owner="b") == {two.pk: 2}


@pytest.mark.django_db
def test_a_release_that_comes_late_leaves_the_next_lease_alone() -> None:
    """It waited for a database that was away, and we hold the run again by now."""
    run = factories.run(connected_at=timezone.now())
    leases.acquire([run.pk], owner="a")
    leases.release({run.pk: 1}, owner="a")
    assert leases.acquire([run.pk], owner="a") == {run.pk: 2}
    Run.objects.filter(pk=run.pk).update(connected_at=timezone.now())
    leases.release({run.pk: 1}, owner="a")
    assert leases.unowned([run.pk]) == set()
    run.refresh_from_db()
    assert run.connected_at is not None
    leases.release({run.pk: 2}, owner="a")
    assert leases.unowned([run.pk]) == {run.pk}


@pytest.mark.django_db
def test_no_more_is_taken_than_was_asked_for() -> None:
    runs = [factories.run().pk for _ in range(5)]
    first = leases.acquire(runs, owner="a", most=2)
    assert len(first) == 2
    assert leases.acquire(runs, owner="b", most=0) == {}
    assert set(leases.acquire(runs, owner="b", most=9)) == set(runs) - set(first)


@pytest.mark.django_db
def test_shares_are_those_of_who_lives_by_the_databases_clock() -> None:
    runs = [factories.run().pk for _ in range(4)]
    for owner in ("a", "b", "gone"):
        leases.sign_of_life(owner=owner, streams=0, slots=10)
    HolderProcess.objects.filter(owner="gone").update(seen_at=timezone.now() - timedelta(seconds=16))
    leases.acquire(runs[:3], owner="a")
    leases.acquire(runs[3:], owner="gone")
    Lease.objects.filter(run=runs[0]).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert [(share.owner, share.streams, share.slots) for share in leases.shares()] == [("a", 2, 10), ("b", 0, 10)]
    assert all(-1 < share.silent_s < 15 for share in leases.shares())


@pytest.mark.django_db(transaction=True)
def test_who_takes_waits_for_nobody_who_is_taking() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one process that takes")
    runs = [factories.run().pk for _ in range(4)]
    leases.release(leases.acquire(runs, owner="a"), owner="a")
    got: dict[UUID, int] = {}

    def take() -> None:
        try:
            got.update(leases.acquire(runs, owner="b"))
        finally:
            connections.close_all()

    with transaction.atomic():
        mine = leases.acquire(runs, owner="a", most=2)
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(30)  # while our transaction is still open
        assert not thread.is_alive()
    assert set(got) == set(runs) - set(mine)


@pytest.mark.django_db
def test_a_process_stopped_within_a_transaction_blocks_nobody_for_longer_than_its_leases_live() -> None:
    """Its rows stay locked, and nothing but the server can tell that it is idle."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one process that takes")
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
        assert 0 < cursor.fetchone()[0] < settings.LEASE_TTL_S * 1000


@pytest.mark.django_db
def test_one_update_renews_everything_an_owner_has() -> None:
    runs = [factories.run() for _ in range(5)]
    leases.acquire([run.pk for run in runs], owner="a")
    for run in runs:
        run_out(run)
    assert leases.renew(owner="a") == {run.pk: 1 for run in runs}
    assert leases.acquire([run.pk for run in runs], owner="b") == {}


@pytest.mark.django_db
def test_the_only_process_owns_everything_at_once() -> None:
    run = factories.run()
    leases.acquire([run.pk], owner="dead")
    leases.seize_all()
    assert leases.acquire([run.pk], owner="b") == {run.pk: 3}  # and whatever the dead one still writes is stale


@pytest.mark.django_db
def test_runs_that_ended_meanwhile_are_named() -> None:
    run, over = factories.run(), factories.run(status=RunStatus.CANCELLED, ended_at=timezone.now())
    leases.acquire([run.pk, over.pk], owner="a")
    assert leases.ended_runs(owner="a") == {over.pk}


@pytest.mark.django_db
def test_signs_of_life() -> None:
    leases.sign_of_life(owner="a", streams=0, slots=10)
    leases.sign_of_life(owner="a", streams=3, slots=10, queued=7, lag_s=0.0316)
    said = HolderProcess.objects.get()
    assert (said.streams, said.slots, said.queued, said.lag_ms) == (3, 10, 7, 32)
    leases.release_all(owner="a")
    assert not HolderProcess.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_owners_at_once_never_get_the_same_run() -> None:
    runs = [factories.run().pk for _ in range(40)]
    got: dict[str, dict[UUID, int]] = {}
    start = threading.Barrier(4)

    def take(owner: str) -> None:
        try:
            start.wait(10)
            got[owner] = dict(leases.acquire(runs, owner=owner))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=take, args=(f"owner{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, (run for mine in got.values() for run in mine))) == sorted(map(str, runs))


def test_the_lock_is_one_processs_and_names_it(tmp_path: Path) -> None:
    lock, second = ServeLock(tmp_path), ServeLock(tmp_path)
    lock.take()
    with pytest.raises(AlreadyServed, match=f"process {os.getpid()} "):
        second.take()
    lock.release()
    second.take()
    second.release()


@pytest.mark.django_db
def test_the_databases_clock_is_what_counts() -> None:
    run = factories.run()
    leases.acquire([run.pk], owner="a")
    with connection.cursor() as cursor:
        cursor.execute("SELECT expires_at > CURRENT_TIMESTAMP FROM streams_lease")
        assert cursor.fetchone()[0]
