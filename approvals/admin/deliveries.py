"""What had to leave, in the admin, and what came of it."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from approvals import audit, batches, deadlines, lifecycle, webhooks
from approvals.admin import chain
from approvals.admin.columns import REQUEST_TEXTS, TEXTS, named, serial, state, status, tool, verdict, waited
from approvals.models import ApprovalRequest, Delivery, DeliveryKind, DeliveryState
from streams import announce
from streams.admin import RUN_TEXTS
from streams.admin.acts import Act, ActRefused, Doer, Outcome
from streams.admin.columns import NOTHING, block, link, made, short, to
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table, table

D = DeliveryState
UNDER_WAY = (D.WAITING, D.READY, D.CLAIMED, D.PARKED)
SLOW = timedelta(minutes=10)


class Attention(admin.SimpleListFilter):
    """What a person should look at."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """In the order of urgency."""
        return [
            ("needed", "Needs attention"),
            ("unknown", "Unknown"),
            ("slow", "Open for more than 10 minutes"),
            ("parked", "Parked"),
            ("repeated", "Tried more than once"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        """The deliveries of that kind."""
        slow = Q(state__in=UNDER_WAY, created_at__lt=timezone.now() - SLOW)
        chosen = {
            "needed": slow | Q(state__in=(D.UNKNOWN, D.PARKED)),
            "unknown": Q(state=D.UNKNOWN),
            "slow": slow,
            "parked": Q(state=D.PARKED),
            "repeated": Q(attempts__gt=1),
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


def about(row: Any) -> Any:
    """What a delivery carries or tells of, as a link to it."""
    if row.decision_id:
        return to(row.decision.request, tool(row.decision.request))
    if row.batch_id:
        return to(row.batch, f"batch {serial(row.batch)}")
    return to(row.about, tool(row.about)) if row.about_id else NOTHING


def receiver(row: Any) -> Any:
    """Who is to hear it."""
    if row.endpoint_id:
        return to(row.endpoint, row.endpoint.url)
    return to(row.run, str(row.run)) if row.run_id else NOTHING


def _kind(row: Any) -> str:
    return f"{row.get_kind_display()} {row.event}".strip()


def _next(row: Any) -> str:
    """What happens with it now, in words."""
    match row.state:
        case D.WAITING:
            return "It waits for the end of the undo window, or for the rest of its batch."
        case D.PARKED:
            refused = row.run is not None and row.run.provider.credential_refused_at
            return (
                "The provider refuses the secret. With a new one it goes on by itself."
                if refused
                else "It goes on by itself when its time has come."
            )
        case D.UNKNOWN:
            return "It left and got no answer. Evidence or a person says what came of it, on its request."
        case D.READY | D.CLAIMED:
            return "It is on its way."
        case D.SENT:
            return "It left; no answer yet."
    return "Nothing."


# --- what can be done to a delivery ---------------------------------------------------------------------------------


def _resend(row: Any, doer: Doer) -> Outcome:
    try:
        webhooks.resend(row, actor=doer.name, origin=doer.origin)
    except webhooks.NotResendable as exc:
        raise ActRefused(str(exc)) from exc
    return "It is sent again, with the same message id."


def _no_webhook(row: Any) -> str:
    if row.kind != DeliveryKind.WEBHOOK:
        return "a decision is never sent again from here: its request says what came of it"
    return "it is on its way" if row.state in (D.CLAIMED, D.SENT) else ""


@transaction.atomic
def _go_on(row: Any, doer: Doer) -> Outcome:
    if row.batch_id:
        batches.lock(row.batch_id)
    if not lifecycle.try_shift(row.pk, to=D.READY, facts={"next_at": deadlines.now()}, state=D.PARKED):
        raise ActRefused("it is not parked any more")
    announce.delivery_wake(row.pk)
    audit.append(action="delivery.unparked", actor=doer.name, target=f"delivery:{row.pk}", origin=doer.origin)
    return "It goes on now."


def _not_parked(row: Any) -> str:
    if row.state != D.PARKED:
        return "it is not parked"
    if row.run is not None and row.run.provider.credential_refused_at:
        return "the provider refuses the present secret; with a new one it goes on by itself"
    return ""


ACTS = (
    Act(
        "resend",
        "Send again",
        "The same message leaves once more, with the same message id, so that a receiver that has it can drop it."
        " Decisions are never sent again from here.",
        "approvals.change_delivery",
        _resend,
        _no_webhook,
    ),
    Act(
        "go-on",
        "Try it now",
        "What was parked goes on at once instead of at its time. Nothing of it had any effect so far.",
        "approvals.change_delivery",
        _go_on,
        _not_parked,
    ),
)


@admin.register(Delivery)
class DeliveryAdmin(HistoryAdmin):
    """What had to leave, and what came of it."""

    list_display = (
        "created_at",
        made(_kind, "what", order="kind"),
        state,
        made(about, "about"),
        made(receiver, "to"),
        "attempts",
        "sent_at",
        "finished_at",
        short("last_error"),
    )
    list_filter = (Attention, "state", "kind", "run__provider", "endpoint")
    list_select_related = ("run__provider", "decision__request", "batch", "endpoint", "about")
    heavy = (
        *("body", "answer", "evidence"),
        *RUN_TEXTS,
        *("decision__reason", "decision__edited", "decision__answer"),
        *(f"decision__{name}" for name in REQUEST_TEXTS),
        *(name.replace("request__", "about__") for name in REQUEST_TEXTS),
    )
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    search_fields = ("last_error", "event__exact", "endpoint__url")
    search_ids = ("id", "run__id", "decision__id", "decision__request__id", "batch__id", "about__id", "endpoint__id")
    search_help_text = "An id of the delivery or of what it is about; an event; a part of an address or of an error."
    acts = ACTS
    target = "delivery"
    shown = (
        "id",
        "kind",
        short("event"),
        state,
        made(_next, "what happens next"),
        made(about, "about"),
        link("run"),
        link("decision", text=verdict),
        link("batch", text=serial),
        link("endpoint", text=lambda endpoint: str(endpoint.url)),
        block("body"),
        "attempts",
        "next_at",
        "claim_owner",
        "claim_epoch",
        "claim_expires_at",
        "sent_at",
        "sent_after_seq",
        "maybe_taken",
        "only_open",
        "contrary_seq",
        "finished_at",
        link("answering_run"),
        "answer_status",
        block("answer"),
        block("evidence"),
        block("last_error"),
        "created_at",
    )

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """The requests it is about, and what the chain says of it."""
        keys = [row.decision.request_id if row.decision else None, row.about_id]
        mine = Q(pk__in=[key for key in keys if key is not None])
        if row.batch_id:
            mine |= Q(batch=row.batch_id)
        asked = ApprovalRequest.objects.filter(mine).defer(*TEXTS)
        return [table("Requests", asked, (named, status, waited)), chain.entries(row, "delivery")]
