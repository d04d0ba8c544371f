"""Settings: webhook endpoints and what was sent to them."""

from dataclasses import dataclass
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from approvals import webhook, webhooks
from approvals.models import Delivery, DeliveryKind, DeliveryState, WebhookEndpoint
from approvals.webhooks import EndpointRefused, NotResendable
from dashboard.desk.pages import DeskForm, confirm, line, need, sentence, settings_page, shown_once, staff_only, who
from dashboard.views import PageRequest
from dashboard.words import Word
from streams.errors import SecretError

ADD, CHANGE = "approvals.add_webhookendpoint", "approvals.change_webhookendpoint"
LOG = 50
EVENTS = {
    webhook.PENDING: "a request waits for a person",
    webhook.SETTLED: "a request is settled",
}
WORDS = {
    DeliveryState.WAITING: Word("Waiting", "clock"),
    DeliveryState.READY: Word("Queued", "clock"),
    DeliveryState.CLAIMED: Word("Sending", "send"),
    DeliveryState.SENT: Word("Sending", "send"),
    DeliveryState.DELIVERED: Word("Delivered", "check", "ok"),
    DeliveryState.REFUSED: Word("Given up", "ban", "stop"),
    DeliveryState.UNKNOWN: Word("Unknown", "q", "doubt"),
    DeliveryState.PARKED: Word("Parked", "pause"),
    DeliveryState.CANCELLED: Word("Cancelled", "dash", "off"),
}
AGAIN = Word("Tries again", "clock", "look")
USE_IT = (
    "Whoever receives these webhooks checks their signature with it, as the Standard Webhooks specification says. "
    "Copy it now: it is kept encrypted and not shown again."
)


class AddForm(DeskForm):
    """Where to, and of what."""

    url = line(
        "Address", most=500, hint="It is called with POST, over https, and must not lead into this network.",
        error_messages={"required": "Without an address nobody can be told."},
        attrs={"inputmode": "url", "placeholder": "https://"},
    )  # fmt: skip
    events = forms.MultipleChoiceField(
        label="Tell it when",
        choices=[(name, EVENTS.get(name, name)) for name in webhook.EVENTS],
        initial=list(webhook.EVENTS),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One delivery in the log."""

    row: Delivery
    word: Word
    resendable: bool


@never_cache
@require_GET
@staff_only
def listing(request: PageRequest) -> HttpResponse:
    """All endpoints, those that are told of something first."""
    return _list(request, AddForm())


def _list(request: PageRequest, form: AddForm) -> HttpResponse:
    rows = sorted(WebhookEndpoint.objects.order_by("created_at"), key=lambda row: row.disabled_at is not None)
    found = [(row, [EVENTS.get(name, name) for name in row.events or webhook.EVENTS]) for row in rows]
    context = {"endpoints": found, "form": form, "may_add": request.user.has_perm(ADD)}
    status = 422 if form.is_bound else 200
    return settings_page(request, "settings_webhooks.html", context, tab="webhooks", status=status)


@sensitive_variables("secret")
@never_cache
@require_POST
@staff_only
def add(request: PageRequest) -> HttpResponse:
    """Keep an endpoint; its secret is shown here and never again."""
    need(request.user, ADD)
    form = AddForm(request.POST)
    if not form.is_valid():
        return _list(request, form)
    try:
        row, secret = webhooks.add(form.cleaned_data["url"], events=form.cleaned_data["events"], **who(request))
    except EndpointRefused as wrong:
        form.refuse(wrong.problems)
    except SecretError as wrong:
        form.add_error(None, str(wrong))
    else:
        return _secret(request, row, "The endpoint is added. This is its secret.", secret)
    return _list(request, form)


def _secret(request: PageRequest, row: WebhookEndpoint, title: str, secret: str) -> HttpResponse:
    back = reverse("settings-webhook", args=[row.pk])
    return shown_once(request, tab="webhooks", title=title, says=USE_IT, secret=secret, back=back)


@never_cache
@require_GET
@staff_only
def page(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """One endpoint with its newest deliveries."""
    row = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
    newest = Delivery.objects.filter(endpoint=row).select_related("about").defer("about__arguments", "body")
    context = {
        "endpoint": row,
        "events": [EVENTS.get(name, name) for name in row.events or webhook.EVENTS],
        "overlap": webhooks.overlap(row, now=timezone.now()),
        "log": [
            Line(one, _word(one), one.state in webhooks.RESENDABLE) for one in newest.order_by("-created_at")[:LOG]
        ],
        "most": LOG,
        "may_change": request.user.has_perm(CHANGE),
    }
    return settings_page(request, "settings_webhook.html", context, tab="webhooks")


def _word(row: Delivery) -> Word:
    return AGAIN if row.state == DeliveryState.READY and row.attempts else WORDS[DeliveryState(row.state)]


@sensitive_variables("secret")
@never_cache
@require_http_methods(["GET", "POST"])
@staff_only
def rotate(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """A new secret; the old one signs along for a day, so that the receiver can be changed in peace."""
    need(request.user, CHANGE)
    row = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
    problem = ""
    if request.method == "POST":
        force, seen = request.POST.get("leaked") == "yes", request.POST.get("seen") or "nothing"
        try:
            secret = webhooks.rotate(row, force=force, seen=seen, **who(request))
        except EndpointRefused as wrong:
            problem = sentence(wrong.problems["secret"])
        except SecretError as wrong:
            problem = sentence(str(wrong))
        else:
            return _secret(request, row, "This is the new secret.", secret)
        row.refresh_from_db()
    context = {
        "endpoint": row,
        "overlap": webhooks.overlap(row, now=timezone.now()),
        "seen": webhooks.mark(row),
        "problem": problem,
    }
    return settings_page(
        request, "settings_webhook_secret.html", context, tab="webhooks", status=409 if problem else 200
    )


@never_cache
@require_http_methods(["GET", "POST"])
@staff_only
def disable(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """Tell it nothing more; what waits for it is cancelled."""
    need(request.user, CHANGE)
    row = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
    if request.method == "GET":
        return confirm(
            request,
            tab="webhooks",
            title="Disable this endpoint?",
            says="It is told nothing more, and what still waits to be sent to it is cancelled. You can enable it "
            "again; of what happened meanwhile it is not told.",
            button="Disable it",
            back=reverse("settings-webhook", args=[row.pk]),
        )
    webhooks.disable(row, why=f"by {request.user.get_username()}", **who(request))
    messages.success(request, "The endpoint is disabled.")
    return _to(row)


@never_cache
@require_POST
@staff_only
def enable(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """Tell it again, of what happens from now on."""
    need(request.user, CHANGE)
    row = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
    try:
        webhooks.enable(row, **who(request))
        messages.success(request, "The endpoint is told again, of what happens from now on.")
    except EndpointRefused as wrong:
        messages.error(request, f"It stays disabled: {'; '.join(wrong.problems.values())}.")
    return _to(row)


@never_cache
@require_POST
@staff_only
def ping(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """Queue a test event; what came of it stands in the log."""
    need(request.user, CHANGE)
    row = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
    try:
        webhooks.ping(row, **who(request))
        messages.success(request, "A test is on its way. Load this page again to see what came of it.")
    except EndpointRefused as wrong:
        messages.error(request, f"No test was sent: {'; '.join(wrong.problems.values())}.")
    return _to(row)


@never_cache
@require_POST
@staff_only
def resend(request: PageRequest, endpoint_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Send one again under the same id, so that its receiver knows the repeat."""
    need(request.user, CHANGE)
    found = Delivery.objects.filter(pk=delivery_id, endpoint=endpoint_id, kind=DeliveryKind.WEBHOOK)
    delivery = found.select_related("endpoint").first()
    if delivery is None or delivery.endpoint is None:
        raise Http404("no such delivery")
    try:
        webhooks.resend(delivery, **who(request))
        messages.success(request, "It is sent again, with the same message id.")
    except NotResendable as wrong:
        messages.error(request, f"It was not sent again: {wrong}.")
    return _to(delivery.endpoint)


def _to(row: WebhookEndpoint) -> HttpResponse:
    return HttpResponseRedirect(reverse("settings-webhook", args=[row.pk]))
