"""The admin's front: one sign-in, its lists under headings of ours, what needs a look; own passwords are audited."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from approvals import audit
from approvals.models import ApprovalRequest, Delivery, DeliveryState, Ran, RequestStatus, WebhookEndpoint
from streams.admin import acts
from streams.admin.tables import listed
from streams.models import Provider, Run, RunStatus

SLOW = timedelta(minutes=10)
COUNTED = 100
SECTIONS = (
    ("What agents ask", ("ApprovalRequest", "Decision", "Vote", "Batch")),
    ("What runs did", ("Run", "Event")),
    ("What left here", ("Delivery", "WebhookEndpoint")),
    ("Proof", ("AuditEntry", "AuditHead")),
    ("Accounts", ("Provider", "ApiToken", "User", "Group")),
    ("Machinery", ("HolderProcess", "Lease", "Checkpoint", "ProviderHook", "FieldKey")),
)


@dataclass(frozen=True, slots=True)
class Look:
    """Something that needs a look: how many, in words, and the list of them."""

    count: int
    words: str
    url: str
    tone: str = ""

    @property
    def shown(self) -> str:
        """The number, as far as anybody counted."""
        return f"{COUNTED}+" if self.count > COUNTED else str(self.count)


def looks(request: HttpRequest) -> list[Look]:
    """What needs a look by somebody who may see it; each counted only so far."""
    before = timezone.now() - SLOW
    slow = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, requested_at__lt=before)
    unknown = ApprovalRequest.objects.filter(status=RequestStatus.UNKNOWN)
    otherwise = ApprovalRequest.objects.filter(ran=Ran.OTHERWISE)
    parked = Delivery.objects.filter(state=DeliveryState.PARKED)
    lost = Run.objects.filter(
        status__in=(RunStatus.LOST, RunStatus.TRUNCATED), ended_at__gt=timezone.now() - timedelta(days=1)
    )
    refused = Provider.objects.filter(credential_refused_at__isnull=False)
    disabled = WebhookEndpoint.objects.filter(disabled_at__isnull=False)
    found: Sequence[tuple[QuerySet[Any], str, str, dict[str, str]]] = (
        (otherwise, "calls ran with other arguments than were approved", "stop", {"attention": "otherwise"}),
        (unknown, "requests of which nobody knows what came", "doubt", {"attention": "unknown"}),
        (slow, "requests pending for more than 10 minutes", "look", {"attention": "slow"}),
        (parked, "deliveries parked", "look", {"attention": "parked"}),
        (refused, "providers refuse their secret", "stop", {"credential_refused_at__isnull": "False"}),
        (lost, "runs lost or cut short within a day", "doubt", {"attention": "lost"}),
        (disabled, "webhook endpoints disabled", "", {"disabled_at__isnull": "False"}),
    )
    return [
        Look(count, words, listed(rows.model, **chosen), tone)
        for rows, words, tone, chosen in found
        if _may_view(request, rows.model) and (count := rows.order_by().values("pk")[: COUNTED + 1].count())
    ]


def _may_view(request: HttpRequest, model: type[Model]) -> bool:
    return bool(request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


def furnish() -> None:
    """Make Django's site ours."""
    site = admin.site
    site.site_header = site.site_title = "Countersign"
    site.enable_nav_sidebar = False  # the lists need the width; the front page is one press away
    site.index_title = "Records and accounts"
    site.index_template = "admin/front.html"
    plain_list, plain_front, plain_password = site.get_app_list, site.index, site.password_change

    def app_list(request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps = plain_list(request, app_label)
        return apps if app_label else _sections(apps)

    def front(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return plain_front(request, {"looks": looks(request), **(extra_context or {})})

    site.login = login_required(site.login)  # type: ignore[method-assign]  # who is no staff is told so there
    site.get_app_list = app_list  # type: ignore[method-assign]
    site.index = front  # type: ignore[method-assign]
    site.password_change = _audited(plain_password)  # type: ignore[method-assign]


def _sections(apps: list[Any]) -> list[Any]:
    """The same models under our headings; one that we forgot stands under its app's own."""
    models = {model["object_name"]: (app, model) for app in apps for model in app["models"]}
    made = []
    for heading, names in SECTIONS:
        found = [models.pop(name) for name in names if name in models]
        if found:
            made.append({**found[0][0], "name": heading, "models": [model for _, model in found]})
    return made + [{**app, "models": [model]} for app, model in models.values()]


def _audited(change: Callable[..., Any]) -> Callable[..., Any]:
    def password_change(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        user: Any = request.user
        with transaction.atomic():
            before = user.password
            answer = change(request, extra_context)
            if user.password != before:
                who = acts.doer(request)
                audit.append(action="person.password_set", actor=who.name, target=f"user:{user.pk}", origin=who.origin)
        return answer

    return password_change
