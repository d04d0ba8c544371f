"""Who is told by webhook, in the admin: its log, and what can be done to it. Secrets are shown once, when made."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from approvals import webhooks
from approvals.admin import chain
from approvals.admin.columns import state
from approvals.admin.deliveries import about
from approvals.models import Delivery, WebhookEndpoint
from streams.admin.acts import Act, ActRefused, Doer, Outcome, Shown
from streams.admin.columns import made, short, to, toned
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table, field, listed, table
from streams.errors import SecretError

PERMISSION = "approvals.change_webhookendpoint"
LOG_ROWS = 50


def _disable(row: Any, doer: Doer) -> Outcome:
    webhooks.disable(row, why=doer.note[:200], actor=doer.name, origin=doer.origin)
    return f"{row.url} is told nothing any more."


def _enable(row: Any, doer: Doer) -> Outcome:
    try:
        webhooks.enable(row, actor=doer.name, origin=doer.origin)
    except webhooks.EndpointRefused as exc:
        raise ActRefused(str(exc)) from exc
    return f"{row.url} is told again."


def _ping(row: Any, doer: Doer) -> Outcome:
    try:
        webhooks.ping(row, actor=doer.name, origin=doer.origin)
    except webhooks.EndpointRefused as exc:
        raise ActRefused(str(exc)) from exc
    return "A test message is on its way; the log below shows what comes of it."


def _rotate(row: Any, doer: Doer) -> Outcome:
    return Shown(_secret(row, doer), f"The new secret of {row.url}. The old one signs as well for 24 hours.")


def _replace(row: Any, doer: Doer) -> Outcome:
    secret = _secret(row, doer, force=True)
    return Shown(secret, f"The new secret of {row.url}. No other signs any more: give it to the receiver now.")


def _secret(row: Any, doer: Doer, *, force: bool = False) -> str:
    try:
        return webhooks.rotate(row, force=force, seen=doer.seen, actor=doer.name, origin=doer.origin)
    except (webhooks.EndpointRefused, SecretError) as exc:
        raise ActRefused(str(exc)) from exc


def _overlaps(row: Any) -> str:
    return webhooks.overlapping(row, now=timezone.now())


def _disabled(row: Any) -> str:
    return "it is disabled already" if row.disabled_at else ""


def _enabled(row: Any) -> str:
    return "" if row.disabled_at else "it is not disabled"


def _silent(row: Any) -> str:
    return "it is disabled" if row.disabled_at else ""


ACTS = (
    Act("ping", "Send a test", "A test message is queued. It tells of no request.", PERMISSION, _ping, _silent),
    Act(
        "rotate",
        "New secret",
        "A new secret is made and shown once. For 24 hours messages are signed with both, so that none is lost.",
        PERMISSION,
        _rotate,
        _overlaps,
        mark=webhooks.mark,
        alone=True,
    ),
    Act(
        "replace-secret",
        "Replace a leaked secret",
        "A new secret is made and shown once, and no other signs any more. Until its receiver has it, it refuses what "
        "is sent; that is tried again for three days.",
        PERMISSION,
        _replace,
        mark=webhooks.mark,
        alone=True,
        grave=True,
    ),
    Act(
        "disable",
        "Disable",
        "Nothing is sent there any more, until it is enabled again. Its history stays.",
        PERMISSION,
        _disable,
        _disabled,
        note="Why?",
        grave=True,
    ),
    Act("enable", "Enable", "It is told again from now on.", PERMISSION, _enable, _enabled),
)


def _on(row: Any) -> Any:
    return toned("Disabled", "off") if row.disabled_at else toned("Enabled", "ok")


def _events(row: Any) -> str:
    return ", ".join(map(str, row.events)) or "all"


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(HistoryAdmin):
    """Who is told; secrets are never shown again."""

    list_display = (
        short("url", "URL"),
        made(_on, "state", order="disabled_at"),
        made(_events, "events"),
        "created_at",
        short("disabled_why"),
    )
    ordering = ("url",)
    search_fields = ("url",)
    search_ids = ("id",)
    search_help_text = "A part of the URL, or the id."
    acts = ACTS
    target = "webhook"
    shown = (
        short("url", "URL", 500),
        made(_on, "state"),
        made(_events, "events"),
        "disabled_at",
        short("disabled_why", limit=200),
        "previous_until",
        "created_at",
    )

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What was sent there, newest first, and what the chain says."""
        log = Delivery.objects.filter(endpoint=row).select_related("about").order_by("-created_at")
        columns = (
            made(lambda one: to(one, one.event or "message"), "message"),
            state,
            made(about, "about"),
            field("attempts"),
            field("answer_status"),
            field("created_at"),
            field("finished_at"),
            short("last_error"),
        )
        everything = listed(Delivery, endpoint__id__exact=row.pk)
        return [
            table("Delivery log", log, columns, most=LOG_ROWS, more=everything, empty="Nothing was sent there yet."),
            chain.entries(row, self.target),
        ]
