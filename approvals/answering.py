"""The run that an answer opens where it is a stream (AG-UI): made before its first byte, unmade where none left."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from streams import announce, lifecycle
from streams.models import Lease, Run, RunStatus

EPOCH = 1  # a new run's first lease


def make(asking: Run, *, external_id: str, owner: str, at: datetime) -> Run:
    """The continuing run, opened in the same commit that says `sent`: it may be let out once, by this owner."""
    run = Run.objects.create(
        provider_id=asking.provider_id,
        external_id=external_id,
        thread_id=asking.thread_id,
        title=asking.title,
        task=asking.task,
        workflow=asking.workflow,
        options=asking.options,
        started_by_id=asking.started_by_id,
        status=RunStatus.CONNECTING,
        opened_at=at,
        opened_by=owner,
        opened_epoch=EPOCH,
    )
    Lease.objects.create(run=run, owner=owner, epoch=EPOCH, expires_at=at + timedelta(seconds=settings.LEASE_TTL_S))
    return run


def unmake(run_id: UUID, *, why: str, at: datetime) -> None:
    """Its call never left, or was turned away before it began: the next attempt is another run with another id."""
    run = Run.objects.filter(pk=run_id)
    if not run.filter(events__isnull=False).exists():
        run.delete()
    else:
        lifecycle.try_move(run_id, to=RunStatus.CANCELLED, at=at, outcome="never began", error=why)
        Lease.objects.filter(run=run_id).update(owner="", expires_at=at)
        announce.changed(announce.run_topic(run_id))


def fail(run_id: UUID, *, why: str, at: datetime) -> None:
    """The provider refused to open it."""
    lifecycle.try_move(run_id, to=RunStatus.FAILED, at=at, outcome="refused", error=why)
    Lease.objects.filter(run=run_id).update(owner="", expires_at=at)
    announce.changed(announce.run_topic(run_id))
