"""Word that a run may have changed: written into its row by anybody, passed on by whoever holds the run."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models.functions import Now

from streams import announce
from streams.models import ENDED, Run

LATE = timedelta(minutes=1)  # how long after its time a nudge may be committed and is still seen


def mark(run_id: UUID) -> bool:
    """Note that a run is to be read, by the database's clock. False: there is no such run that goes on."""
    marked = Run.objects.filter(pk=run_id).exclude(status__in=ENDED).update(nudged_at=Now())
    if marked:
        announce.stream_wake(run_id)
    return bool(marked)


def told(owner: str, since: datetime | None) -> dict[UUID, datetime]:
    """When the runs that this owner holds were nudged last: of all of them, or of those nudged since about then."""
    nudged = Run.objects.filter(lease__owner=owner, nudged_at__isnull=False)
    if since is not None:
        nudged = nudged.filter(nudged_at__gt=since - LATE)
    return {run_id: at for run_id, at in nudged.values_list("pk", "nudged_at") if at is not None}
