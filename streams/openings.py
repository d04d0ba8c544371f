"""What the database must know around a call that acts: let out at most once, and what came of it."""

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from streams import announce, events, lifecycle
from streams.faults import fault
from streams.models import Lease, Provider, Run, RunStatus
from streams.providers.base import Begun


def mark_opened(run_id: UUID, *, owner: str, epoch: int) -> bool:
    """Commit, before the first byte can leave, that a queued run's start is let out. False: it is not ours to send."""
    with transaction.atomic():
        if not _holds(run_id, owner, epoch):
            return False
        now = timezone.now()
        marked = Run.objects.filter(pk=run_id, status=RunStatus.QUEUED, opened_at=None).update(
            opened_at=Now(), opened_by=owner, opened_epoch=epoch
        )
        if marked:
            lifecycle.move(run_id, to=RunStatus.CONNECTING, at=now)
            announce.changed(announce.run_topic(run_id), announce.INBOX)
        fault("open.marking")
        return bool(marked)


def clear_opened(run_id: UUID, *, epoch: int, requeue: bool) -> None:
    """The call provably never left, so it may be made again: by the supervisor (requeue) or by the courier."""
    with transaction.atomic():
        cleared = Run.objects.filter(pk=run_id, opened_epoch=epoch).update(
            opened_at=None, opened_by="", opened_epoch=None
        )
        if cleared and requeue:
            lifecycle.try_move(run_id, to=RunStatus.QUEUED, at=timezone.now())
            announce.changed(announce.run_topic(run_id), announce.INBOX)


def store_begun(run_id: UUID, begun: Begun, *, owner: str, epoch: int) -> str:
    """Keep what the answer to a start told. Returns what is wrong with it, or nothing.

    A webhook about the new run may have been quicker than this answer, and made a row that nobody has read yet: ours
    takes its place.
    """
    external_id, thread_id = events.text(begun.external_id)[0], events.text(begun.thread_id)[0]
    if not 0 < len(external_id) <= 255:
        return "its id is empty or too long"
    try:
        with transaction.atomic():
            if not _holds(run_id, owner, epoch):
                return "somebody else holds the run now"
            _take_over(run_id, external_id)
            Run.objects.filter(pk=run_id).update(
                external_id=external_id,
                stream_url=events.text(begun.stream_url)[0][:1000],
                thread_id=thread_id[:255],
            )
            announce.changed(announce.run_topic(run_id))
    except IntegrityError:
        return f"its id {external_id!r} is followed as another run already"
    return ""


def _take_over(run_id: UUID, external_id: str) -> None:
    """Remove the row of the same run that was made while its start was under way, if nothing came of it yet."""
    provider_id = Run.objects.values_list("provider", flat=True).get(pk=run_id)
    queued = Run.objects.select_for_update(of=("self",)).filter(status=RunStatus.QUEUED, opened_at=None, events=None)
    twin = queued.filter(provider=provider_id, external_id=external_id).exclude(pk=run_id).first()
    if twin is not None:
        nudged_at = twin.nudged_at
        twin.delete()
        Run.objects.filter(pk=run_id).update(nudged_at=nudged_at)


def connecting(run_id: UUID) -> None:
    """A run that somebody else started is being joined."""
    with transaction.atomic():
        if Run.objects.filter(pk=run_id, status=RunStatus.QUEUED).exists():
            lifecycle.try_move(run_id, to=RunStatus.CONNECTING, at=timezone.now())
            announce.changed(announce.run_topic(run_id), announce.INBOX)


def refuse_credential(provider_id: UUID, *, sealed: str) -> bool:
    """A provider did not take its secret: nothing is sent until it has a new one. True for whoever says so first."""
    told = Provider.objects.filter(pk=provider_id, secret_sealed=sealed, credential_refused_at=None)
    return bool(told.update(credential_refused_at=timezone.now()))


def continued(run_id: UUID) -> UUID | None:
    """A run that carries an answer opened: what it continues is finished. Returns the older run."""
    with transaction.atomic():
        run = Run.objects.get(pk=run_id)
        old_id = run.continues_id
        if old_id is None and run.thread_id:
            waiting = Run.objects.filter(
                provider=run.provider_id, thread_id=run.thread_id, status=RunStatus.WAITING, continued_by=None
            )
            old_id = waiting.exclude(pk=run_id).order_by("-started_at").values_list("pk", flat=True).first()
            if old_id is not None:
                Run.objects.filter(pk=run_id).update(continues=old_id)
        if old_id is not None:
            lifecycle.try_move(old_id, to=RunStatus.FINISHED, at=timezone.now(), outcome="continued")
            announce.changed(announce.run_topic(old_id), announce.run_topic(run_id), announce.INBOX)
        return old_id


def _holds(run_id: UUID, owner: str, epoch: int) -> bool:
    return Lease.objects.select_for_update().filter(run=run_id, owner=owner, epoch=epoch).exists()
