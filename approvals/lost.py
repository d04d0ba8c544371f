"""A run that was lost, asked for again: what ended stale with it can be decided once more, in the same transaction.

Nothing is known by it. A provider that still does not know the run loses it again, and the new versions end stale; what
its stream or a reading shows settles them by the rules of every run. A replay adds nothing to what is stored, so that
no request would come back by it.
"""

from collections.abc import Sequence
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.db.models import Exists, OuterRef

from approvals import answers, batches, deadlines, decisions, endings, outbox, requests
from approvals.audit import Record
from approvals.models import ApprovalRequest, RequestStatus
from streams import runs
from streams.models import Run

S = RequestStatus
ALERT = "The run was lost and is asked for again: it may have gone on meanwhile."


class NotAskedAgain(Exception):
    """Nothing was changed; the message says why, in words."""


@transaction.atomic
def ask_again(run_id: UUID, *, by: AbstractUser, via: str = "page", origin: str = "") -> list[ApprovalRequest]:
    """Have a lost run taken up again, and offer again what it was lost with. Raises NotAskedAgain.

    Returns the new versions. Not offered: what was answered, or is not known to be; what nobody could answer in time.
    """
    outbox.hold_still(run_id)
    run = Run.objects.select_related("provider").get(pk=run_id)
    if why := runs.why_not_again(run):
        raise NotAskedAgain(why)
    ended = _ended_with(run_id)
    for batch_id in sorted({one.batch_id for one in ended if one.batch_id}):
        batches.lock(batch_id)
    record = Record(deadlines.now(), actor=by.get_username(), origin=f"{via} {origin}".strip())
    due = [asked for asked in _together(ended) if any(_can_be_answered(one, record) for one in asked)]
    if not runs.ask_again(run_id, at=record.at, waits=bool(due)):
        raise NotAskedAgain("somebody else asked for it at this very moment")
    made = [one for asked in due for one in _offer(asked, record)]
    record.note("run.asked_again", f"run:{run_id}", offered=len(made))
    record.write()
    return made


def _ended_with(run_id: UUID) -> list[ApprovalRequest]:
    """The newest version of each question that nobody can answer any more because the run was lost."""
    newer = ApprovalRequest.objects.filter(
        run=OuterRef("run"), call_id=OuterRef("call_id"), version__gt=OuterRef("version")
    )
    stale = ApprovalRequest.objects.filter(run=run_id, status=S.STALE, ended_why__in=endings.WITH_A_LOST_RUN)
    return list(stale.filter(~Exists(newer)).order_by("pk"))


def _together(ended: Sequence[ApprovalRequest]) -> list[list[ApprovalRequest]]:
    """Each alone, or with all that one answer must cover; no batch of which a part has left."""
    found = [[one] for one in ended if one.batch_id is None]
    for batch_id in sorted({one.batch_id for one in ended if one.batch_id}):
        members = batches.members(batch_id)
        if all(one.status in (S.STALE, *answers.BY_NOBODY) for one in members):
            found.append(members)
    return found


def _can_be_answered(asked: ApprovalRequest, record: Record) -> bool:
    in_time = asked.deadline is None or asked.deadline > record.at + deadlines.margin()
    return in_time and asked.status == S.STALE


def _offer(found: Sequence[ApprovalRequest], record: Record) -> list[ApprovalRequest]:
    batch = decisions.next_round(found[0], len(found))
    made = [requests.offer_again(one, batch, record, alert=ALERT) for one in found]
    if batch is not None:
        batches.reschedule(batch.pk, record)
        for one in made:
            endings.expire_late(one, record)
    return made
