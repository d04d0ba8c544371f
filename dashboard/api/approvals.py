"""Read what waits for a person, decide it, take a decision back."""

from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Length
from ninja import Query, Router, Status

from approvals import decisions
from dashboard import access
from dashboard.api import bodies, pages, schemas, shapes
from dashboard.api.bearer import ApiRequest, Bearer, origin
from dashboard.api.errors import Forbidden
from dashboard.models import User

router = Router(tags=["approvals"])
READ, DECIDE = Bearer("approvals:read"), Bearer("approvals:decide")
REFUSALS = {401: schemas.Problem, 403: schemas.Problem, 404: schemas.Problem, 422: schemas.Problem}


@router.get("/approvals", auth=READ, response={200: schemas.Approvals, **REFUSALS}, summary="List approval requests")
def listing(request: ApiRequest, filters: Query[schemas.ApprovalFilters]) -> schemas.Approvals:
    """Approval requests, oldest first. Follow `next` until it is null. Scope `approvals:read`."""
    pages.refuse_unknown(request, schemas.ApprovalFilters.model_fields)
    user = request.auth.user
    sizes = list(
        access.visible_requests(user)
        .filter(_matching(filters))
        .order_by("requested_at", "pk")
        .values_list("pk", "requested_at", 2 * Length("arguments") + Length("ran_arguments"))[: filters.limit + 1]
    )
    count = min(pages.fitting(size for _, _, size in sizes), filters.limit)
    shown = [pk for pk, _, _ in sizes[:count]]
    rows = list(shapes.with_parts(access.visible_requests(user).filter(pk__in=shown)).order_by("requested_at", "pk"))
    more = len(sizes) > count
    return schemas.Approvals(
        items=shapes.approvals(rows, reader_id=user.pk),
        next=pages.next_url(request, cursor=pages.cursor(sizes[count - 1][1], shown[-1])) if more else None,
    )


@router.get(
    "/approvals/{uuid:request_id}",
    auth=READ,
    response={200: schemas.Approval, **REFUSALS},
    summary="Read an approval request",
)
def show(request: ApiRequest, request_id: UUID) -> schemas.Approval:
    """One approval request with its decision and what came of it. Scope `approvals:read`."""
    return _shown(request.auth.user, request_id)


@router.post(
    "/approvals/{uuid:request_id}/decision",
    auth=DECIDE,
    response={202: schemas.Approval, 400: schemas.Problem, 409: schemas.Conflict, **REFUSALS},
    summary="Decide",
)
def decide(request: ApiRequest, request_id: UUID, body: schemas.DecisionIn) -> Status[schemas.Approval]:
    """Approve or reject. Taken is not delivered: watch `status` and `delivery`. Scope `approvals:decide`.

    403 says by its `code` why nothing was decided: `not_permitted` and `own_run` are about the person, `read_only`
    about the provider, which takes no decision from here; `detail` says where to decide instead.
    """
    user = request.auth.user
    access.request_or_404(user, request_id)
    decisions.decide(
        request_id,
        verdict=body.verdict,
        by=user,
        seen_sha256=body.input_sha256,
        reason=body.reason,
        edited=bodies.own_text(request, "edited_input"),
        answer=bodies.own_text(request, "answer"),
        undo_s=body.undo_s,
        via="api",
        origin=origin(request),
    )
    return Status(202, _shown(user, request_id))


@router.delete(
    "/approvals/{uuid:request_id}/decision",
    auth=DECIDE,
    response={200: schemas.Approval, 409: schemas.Conflict, **REFUSALS},
    summary="Undo a decision",
)
def undo(request: ApiRequest, request_id: UUID) -> schemas.Approval:
    """Take your decision back while nothing has left. Scope `approvals:decide`."""
    user = request.auth.user
    if not access.may_decide(user, access.request_or_404(user, request_id)):
        raise Forbidden("not_permitted", f"{user.get_username()} may not decide this request")
    decisions.undo(request_id, by=user, via="api", origin=origin(request))
    return _shown(user, request_id)


def _matching(filters: schemas.ApprovalFilters) -> Q:
    found = Q()
    if filters.status is not None:
        found &= Q(status=filters.status)
    if filters.provider is not None:
        found &= Q(run__provider__name=filters.provider)
    if filters.run_id is not None:
        found &= Q(run=filters.run_id)
    if filters.cursor:
        at, row_id = pages.read_cursor(filters.cursor)
        found &= Q(requested_at__gt=at) | Q(requested_at=at, pk__gt=row_id)
    return found


def _shown(user: User, request_id: UUID) -> schemas.Approval:
    access.request_or_404(user, request_id)
    rows = list(shapes.with_parts(access.visible_requests(user).filter(pk=request_id)))
    return shapes.approvals(rows, reader_id=user.pk)[0]
