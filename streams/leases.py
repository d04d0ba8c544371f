"""The right to hold a run: acquire, renew, release by conditional UPDATE and the database's clock; who runs beside us.

Taking a run over makes its epoch grow, and every write of events asks for the epoch: a holder that slept through its
lease writes nothing. On SQLite one process holds everything, which a lock on a file makes sure of.
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, Now

from streams.balance import Share
from streams.faults import fault
from streams.models import ENDED, HolderProcess, Lease, Run

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
FORGET_AFTER = timedelta(days=1)


def new_owner() -> str:
    """A name that no other process has or had: host, pid, chance."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


def free() -> Q:
    """As a condition on runs: nobody has the lease, or its time ran out."""
    return Q(lease=None) | Q(lease__owner="") | Q(lease__expires_at__lt=Now())


def acquire(run_ids: Collection[UUID], *, owner: str, most: int | None = None) -> dict[UUID, int]:
    """Take what is free of these, `most` of it, and return the new epochs. Somebody else's live lease is left alone.

    Who asks at the same moment gets others of them, instead of waiting for us and then getting nothing.
    """
    if not run_ids or most == 0:
        return {}
    with transaction.atomic():
        wanted = Lease.objects.filter(run__in=run_ids)
        # Only what is missing: to find that a row is there, an insert would wait for whoever is taking it.
        missing = sorted(set(run_ids) - set(wanted.values_list("run_id", flat=True)))
        made = [Lease(run_id=run_id, epoch=0, expires_at=LONG_AGO) for run_id in missing]
        Lease.objects.bulk_create(made, ignore_conflicts=True)
        free = _locked(wanted.filter(Q(owner="") | Q(expires_at__lt=Now())), most=most, skip_locked=True)
        Lease.objects.filter(pk__in=free).update(owner=owner, epoch=F("epoch") + 1, expires_at=_until())
        Run.objects.filter(pk__in=free, connected_at__isnull=False).update(connected_at=None)  # by whoever had it
        return dict(wanted.filter(pk__in=free).values_list("run_id", "epoch"))


def renew(*, owner: str) -> dict[UUID, int]:
    """Extend everything this owner still has, by one UPDATE, and return it."""
    with transaction.atomic():
        mine = _locked(Lease.objects.filter(owner=owner))
        Lease.objects.filter(pk__in=mine).update(expires_at=_until())
        fault("lease.renewing")
        return dict(Lease.objects.filter(pk__in=mine).values_list("run_id", "epoch"))


def release(held: Mapping[UUID, int], *, owner: str) -> None:
    """Give back (run -> epoch), so that the next owner need not wait for the time to run out. The epoch stays.

    A release that comes late, when we hold the run again under another epoch, changes nothing.
    """
    with transaction.atomic():
        mine = _locked(Lease.objects.filter(run__in=held, owner=owner))
        epochs = dict(Lease.objects.filter(pk__in=mine).values_list("run_id", "epoch"))
        same = [run_id for run_id in mine if epochs[run_id] == held[run_id]]
        Lease.objects.filter(pk__in=same).update(owner="", expires_at=Now())
        Run.objects.filter(pk__in=same, connected_at__isnull=False).update(connected_at=None)


def release_all(*, owner: str) -> None:
    """At the end of a process."""
    with transaction.atomic():
        mine = _locked(Lease.objects.filter(owner=owner))
        Lease.objects.filter(pk__in=mine).update(owner="", expires_at=Now())
        Run.objects.filter(pk__in=mine, connected_at__isnull=False).update(connected_at=None)
        HolderProcess.objects.filter(pk=owner).delete()


def seize_all() -> None:
    """The only process there is (ServeLock) owns every lease at once: nobody's time has to run out first."""
    with transaction.atomic():
        Lease.objects.exclude(owner="").update(owner="", epoch=F("epoch") + 1, expires_at=Now())
        Run.objects.filter(connected_at__isnull=False).update(connected_at=None)
        HolderProcess.objects.all().delete()
        fault("lease.seizing")


def unowned(run_ids: Collection[UUID]) -> set[UUID]:
    """Which of these nobody has."""
    return set(Lease.objects.filter(run__in=run_ids, owner="").values_list("run_id", flat=True))


def ended_runs(*, owner: str) -> set[UUID]:
    """Runs this owner holds although they have ended (somebody cancelled them)."""
    return set(Lease.objects.filter(owner=owner, run__status__in=ENDED).values_list("run_id", flat=True))


def sign_of_life(*, owner: str, streams: int, slots: int, queued: int = 0, lag_s: float = 0.0) -> None:
    """Tell the other processes, and readiness, that we are there, and how our journal keeps up."""
    said = {"streams": streams, "slots": slots, "queued": queued, "lag_ms": round(1000 * lag_s)}
    if not HolderProcess.objects.filter(pk=owner).update(seen_at=Now(), **said):
        HolderProcess.objects.create(owner=owner, started_at=Now(), seen_at=Now(), **said)
        HolderProcess.objects.filter(seen_at__lt=Now() - FORGET_AFTER).delete()


def shares() -> list[Share]:
    """Every process that lives, by its sign of life, and how many leases it has."""
    alive = HolderProcess.objects.filter(seen_at__gt=Now() - timedelta(seconds=settings.LEASE_TTL_S))
    leases = Lease.objects.filter(owner=OuterRef("owner"), expires_at__gt=Now()).order_by().values("owner")
    rows = alive.annotate(
        held=Coalesce(Subquery(leases.annotate(count=Count("pk")).values("count")), 0),
        silent=ExpressionWrapper(Now() - F("seen_at"), output_field=DurationField()),
    )
    return [
        Share(owner, held, slots, silent.total_seconds())
        for owner, held, slots, silent in rows.order_by("owner").values_list("owner", "held", "slots", "silent")
    ]


def _until() -> CombinedExpression:
    return Now() + timedelta(seconds=settings.LEASE_TTL_S)


def _locked(leases: QuerySet[Lease], *, most: int | None = None, skip_locked: bool = False) -> list[UUID]:
    """The keys of these rows, locked in one order: the journal locks leases too, and two orders would be a deadlock."""
    rows = leases.order_by("run_id")
    if connection.vendor == "postgresql":
        rows = rows.select_for_update(skip_locked=skip_locked)
    return list(rows.values_list("run_id", flat=True)[:most])


class AlreadyServed(Exception):
    """Another process works on this data folder."""


class ServeLock:
    """DATA_DIR/serve.lock: on SQLite there is one process that serves and holds. It goes with its process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "serve.lock"
        self._fd = -1

    def take(self) -> None:
        """Raises AlreadyServed, naming the process that has it."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._fd, 20).decode("ascii", "replace").strip()
            self.release()
            raise AlreadyServed(
                f"process {pid or 'unknown'} already serves {self._path.parent}; "
                "on SQLite there can be one (with DATABASE_URL, as many as you like)"
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give it back before the process ends."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
