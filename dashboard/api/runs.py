"""Start a run, follow one, read it and its events."""

from uuid import UUID

from django.db.models.functions import Length
from ninja import Query, Router, Status

from dashboard import access
from dashboard.api import pages, schemas, shapes
from dashboard.api.bearer import ApiRequest, Bearer
from dashboard.api.errors import Forbidden, Invalid
from streams import runs
from streams.models import Provider

router = Router(tags=["runs"])
READ, WRITE = Bearer("runs:read"), Bearer("runs:write")
REFUSALS = {401: schemas.Problem, 403: schemas.Problem, 404: schemas.Problem, 422: schemas.Problem}


@router.post("/runs", auth=WRITE, response={201: schemas.Run, 400: schemas.Problem, **REFUSALS}, summary="Start a run")
def start(request: ApiRequest, body: schemas.StartIn) -> Status[schemas.Run]:
    """Store a queued run; the supervisor sends the start. Scope `runs:write`."""
    run = runs.start(
        _provider(request, body.provider),
        task=body.task,
        workflow=body.workflow,
        options=body.options,
        by=request.auth.user,
    )
    return Status(201, shapes.run(run))


@router.post(
    "/runs/watch", auth=WRITE, response={201: schemas.Run, 400: schemas.Problem, **REFUSALS}, summary="Follow a run"
)
def watch(request: ApiRequest, body: schemas.WatchIn) -> Status[schemas.Run]:
    """Follow a run that somebody else started; asking twice finds the same one. Scope `runs:write`."""
    run = runs.watch(_provider(request, body.provider), body.external_id, by=request.auth.user)
    return Status(201, shapes.run(run))


@router.get("/runs/{uuid:run_id}", auth=READ, response={200: schemas.Run, **REFUSALS}, summary="Read a run")
def show(request: ApiRequest, run_id: UUID) -> schemas.Run:
    """One run. Scope `runs:read`."""
    return shapes.run(access.run_or_404(request.auth.user, run_id))


@router.get(
    "/runs/{uuid:run_id}/events", auth=READ, response={200: schemas.Events, **REFUSALS}, summary="Read a run's events"
)
def events(request: ApiRequest, run_id: UUID, filters: Query[schemas.EventFilters]) -> schemas.Events:
    """The run's events after `after`, oldest first; go on from the last `seq` you have read. Scope `runs:read`."""
    pages.refuse_unknown(request, schemas.EventFilters.model_fields)
    later = access.run_or_404(request.auth.user, run_id).events.order_by("seq")
    sizes = list(later.filter(seq__gt=filters.after).values_list("seq", Length("payload"))[: filters.limit + 1])
    count = min(pages.fitting(size for _, size in sizes), filters.limit)
    if not count:
        return schemas.Events(items=[], next=None)
    last = sizes[count - 1][0]
    rows = later.filter(seq__gt=filters.after, seq__lte=last)
    more = pages.next_url(request, after=last) if len(sizes) > count else None
    return schemas.Events(items=[shapes.event(row) for row in rows], next=more)


def _provider(request: ApiRequest, name: str) -> Provider:
    if not access.may_start(request.auth.user):
        raise Forbidden("not_permitted", f"{request.auth.user.get_username()} may not start runs")
    found = Provider.objects.filter(name=name).first()
    if found is None:
        raise Invalid({"provider": "there is none of this name"})
    return found
