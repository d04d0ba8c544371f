"""Who may see a run, who may decide: one function per question, asked by pages, API and sockets alike."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet
from django.http import Http404

from approvals import decisions
from approvals.models import ApprovalRequest
from dashboard.models import User
from streams.models import Run

START = "streams.add_run"
Viewer = User | AnonymousUser

# Groups are made once; what an operator changes in them later is theirs and stays.
_VIEW = Q(codename__startswith="view_", content_type__app_label__in=["streams", "approvals"])
_DECIDE = Q(codename="decide_request", content_type__app_label="approvals")
_OPERATE = (
    Q(codename__in=["add_provider", "change_provider", "add_run"], content_type__app_label="streams")
    | Q(codename__in=["view_apitoken", "change_apitoken"], content_type__app_label="dashboard")
    | Q(
        codename__in=["withdraw_request", "add_webhookendpoint", "change_webhookendpoint", "change_delivery"],
        content_type__app_label="approvals",
    )
)
_AUDIT = Q(codename__in=["view_user", "view_apitoken"], content_type__app_label="dashboard") | Q(
    codename="view_group", content_type__app_label="auth"
)
GROUPS = {"Reviewer": _VIEW | _DECIDE, "Operator": _VIEW | _OPERATE, "Auditor": _VIEW | _AUDIT}


def may_see(user: Viewer) -> bool:
    """Whether this person sees anything at all: today everybody who is signed in and active."""
    return user.is_authenticated and user.is_active


def visible_runs(user: Viewer) -> QuerySet[Run]:
    """The runs that this person may see."""
    return Run.objects.all() if may_see(user) else Run.objects.none()


def visible_requests(user: Viewer) -> QuerySet[ApprovalRequest]:
    """The requests that this person may see."""
    return ApprovalRequest.objects.all() if may_see(user) else ApprovalRequest.objects.none()


def run_or_404(user: Viewer, run_id: UUID) -> Run:
    """The run with its provider; a foreign one is as unknown as one that never was."""
    run = visible_runs(user).select_related("provider").filter(pk=run_id).first()
    if run is None:
        raise Http404("no such run")
    return run


def request_or_404(user: Viewer, request_id: UUID) -> ApprovalRequest:
    """The request with its run and provider; a foreign one is as unknown as one that never was."""
    asked = visible_requests(user).select_related("run__provider", "batch").filter(pk=request_id).first()
    if asked is None:
        raise Http404("no such request")
    return asked


def may_decide(user: Viewer, asked: ApprovalRequest | None = None) -> bool:
    """Whether this person may decide the request, or any at all (None). decide() itself asks the same."""
    if not isinstance(user, User) or not may_see(user):
        return False
    return decisions.may_decide(user, asked) if asked is not None else user.has_perm(decisions.PERMISSION)


def may_withdraw(user: Viewer) -> bool:
    """Whether this person may end requests that nobody should answer any more. withdraw() itself asks the same."""
    return isinstance(user, User) and may_see(user) and decisions.may_withdraw(user)


def may_start(user: Viewer) -> bool:
    """Whether this person may start or watch runs, and have a lost one asked for again."""
    return may_see(user) and user.has_perm(START)


def create_groups(**_: Any) -> None:
    """After every migrate: the groups that a new installation begins with."""
    from django.contrib.auth.models import Group, Permission

    for name, permissions in GROUPS.items():
        group, made = Group.objects.get_or_create(name=name)
        if made:
            group.permissions.set(Permission.objects.filter(permissions))
