"""Webhook endpoints: added, rotated, tried, disabled; every change is audited, and secrets are shown once."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from django.db import transaction

from approvals import audit, deadlines, lifecycle, targets, webhook
from approvals.models import Delivery, DeliveryKind, DeliveryState, WebhookEndpoint
from streams import announce, secrets
from streams.events import sha256, short

D = DeliveryState
WHY_MAX = 200
ROWS_AT_ONCE = 200
OVERLAPPING = (
    "a new secret was made already, and until {until} the one before signs too; only if a secret leaked, replace both "
    "at once"
)
REPLACED = "it was replaced after this page was loaded, by a second press of the button or by somebody else"
DISABLED = "the endpoint was disabled before it was sent"


class EndpointRefused(Exception):
    """An endpoint that cannot be used so; `problems` says why, by field (`url`, `events`, `secret`)."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {why}" for field, why in problems.items()))
        self.problems = dict(problems)


class NotResendable(Exception):
    """A delivery that cannot be sent again now; the text says why."""


# --- endpoints --------------------------------------------------------------------------------------------------------


def add(url: str, *, events: Sequence[str] = (), actor: str, origin: str) -> tuple[WebhookEndpoint, str]:
    """Keep an endpoint; with no events it is told of all. Returns it with its secret, which is never shown again.

    Raises EndpointRefused, and SecretError when no field key is configured.
    """
    chosen = [event for event in webhook.EVENTS if event in events]
    found = {"url": _url_problem(url, chosen or webhook.EVENTS), "events": _events_problem(events)}
    if problems := {field: why for field, why in found.items() if why}:
        raise EndpointRefused(problems)
    row, secret = WebhookEndpoint(url=url, events=chosen), webhook.new_secret()
    row.set_secret(secret)
    with transaction.atomic():
        row.save(force_insert=True)
        _audit("webhook.added", row, actor, origin, url_sha256=sha256(url), events=chosen)
    return row, secret


def rotate(endpoint: WebhookEndpoint, *, force: bool = False, seen: str = "", actor: str, origin: str) -> str:
    """Make a new secret and return it, this once; until webhook.OVERLAP is over, the one before signs too.

    `force`: a secret leaked, so from now on the new one alone signs. Raises EndpointRefused (`secret`) where an
    overlap runs already (its receiver may know none but the one before), or where the present secret is not the one
    whose mark() was `seen`. Raises SecretError when no field key is configured.
    """
    secret = webhook.new_secret()
    with transaction.atomic():
        row, at = _locked(endpoint), deadlines.now()
        if seen and seen != mark(row):
            raise EndpointRefused({"secret": REPLACED})
        if force:
            row.previous_secret_sealed, row.previous_until = "", None
        elif why := overlapping(row, now=at):
            raise EndpointRefused({"secret": why})
        else:
            row.previous_secret_sealed, row.previous_until = row.secret_sealed, at + webhook.OVERLAP
        row.set_secret(secret)
        row.save(update_fields=["secret_sealed", "previous_secret_sealed", "previous_until"])
        until = row.previous_until
        _audit("webhook.rotated", row, actor, origin, previous_until=until.isoformat() if until else "", forced=force)
    return secret


def overlap(endpoint: WebhookEndpoint, *, now: datetime) -> datetime | None:
    """Until when the secret before the present one signs too; None: it does not."""
    until = endpoint.previous_until
    return until.astimezone(UTC) if until is not None and now < until else None


def overlapping(endpoint: WebhookEndpoint, *, now: datetime) -> str:
    """Why there is no new secret now; empty where there can be one."""
    until = overlap(endpoint, now=now)
    return OVERLAPPING.format(until=f"{until:%Y-%m-%d %H:%M} UTC") if until else ""


def mark(endpoint: WebhookEndpoint) -> str:
    """By what a page knows the present secret again; tells nothing of it."""
    return sha256(endpoint.secret_sealed)


def disable(endpoint: WebhookEndpoint, *, why: str, actor: str, origin: str) -> None:
    """Send it nothing more, and cancel what waits for it. One that is disabled already stays as it is."""
    with transaction.atomic():
        row, at = _locked(endpoint), deadlines.now()
        if row.disabled_at is not None:
            return
        row.disabled_at, row.disabled_why = at, short(why, WHY_MAX)
        row.save(update_fields=["disabled_at", "disabled_why"])
        cancel_queued(endpoint)
        _audit("webhook.disabled", row, actor, origin, why=row.disabled_why)


def enable(endpoint: WebhookEndpoint, *, actor: str, origin: str) -> None:
    """Tell it again, of what happens from now on. Raises EndpointRefused where its URL may not be called any more."""
    if refused := targets.refuse_reason(endpoint.url):
        raise EndpointRefused({"url": refused})
    with transaction.atomic():
        row = _locked(endpoint)
        if row.disabled_at is None:
            return
        row.disabled_at, row.disabled_why = None, ""
        row.save(update_fields=["disabled_at", "disabled_why"])
        _audit("webhook.enabled", row, actor, origin)


def signing_secrets(endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """What a try is signed with at that time. Raises SecretError when no field key opens it."""
    owner = f"webhook:{endpoint.pk}"
    current, previous = secrets.unseal(endpoint.secret_sealed, owner=owner), ""
    if overlap(endpoint, now=now):
        previous = secrets.unseal(endpoint.previous_secret_sealed, owner=owner)
    return webhook.signing_secrets(current, previous, endpoint.previous_until, now=now)


# --- what is sent to them ---------------------------------------------------------------------------------------------


def ping(endpoint: WebhookEndpoint, *, actor: str, origin: str) -> Delivery:
    """Queue a test event, which is tried once. Raises EndpointRefused where the endpoint is disabled."""
    with transaction.atomic():
        row, at = _locked(endpoint), deadlines.now()
        if row.disabled_at is not None:
            raise EndpointRefused({"url": "it is disabled; enable it first"})
        delivery = Delivery.objects.create(
            kind=DeliveryKind.WEBHOOK,
            endpoint=row,
            event=webhook.PING,
            body=webhook.body(webhook.PING, at=at).decode("ascii"),
            state=D.READY,
            next_at=at,
        )
        announce.delivery_wake(delivery.pk)
        _audit("webhook.tested", row, actor, origin, delivery=str(delivery.pk))
    return delivery


def resend(delivery: Delivery, *, actor: str, origin: str) -> Delivery:
    """Send a webhook again, now and with all its tries: it keeps its id, so that receivers know the repeat.

    Raises NotResendable for what is being sent right now, for a disabled endpoint, and for what is no webhook.
    """
    if delivery.kind != DeliveryKind.WEBHOOK or delivery.endpoint is None:
        raise NotResendable("only webhooks can be sent again")
    with transaction.atomic():
        row = _locked(delivery.endpoint)
        if row.disabled_at is not None:
            raise NotResendable("its endpoint is disabled; enable it first")
        facts = {"next_at": deadlines.now(), "attempts": 0, "finished_at": None, "answer_status": None}
        if not lifecycle.try_shift_notice(delivery.pk, to=D.READY, facts=facts, state__in=RESENDABLE):
            raise NotResendable("it is being sent right now")
        announce.delivery_wake(delivery.pk)
        _audit("webhook.resent", row, actor, origin, delivery=str(delivery.pk))
    return Delivery.objects.get(pk=delivery.pk)


RESENDABLE = (D.READY, D.DELIVERED, D.REFUSED, D.CANCELLED)


def cancel_queued(endpoint: WebhookEndpoint | None = None) -> None:
    """Cancel what waits for a disabled endpoint; without one, for any of them."""
    waiting = Delivery.objects.filter(kind=DeliveryKind.WEBHOOK, state=D.READY, endpoint__disabled_at__isnull=False)
    if endpoint is not None:
        waiting = waiting.filter(endpoint=endpoint)
    facts = {"finished_at": deadlines.now(), "last_error": DISABLED}
    for delivery_id in waiting.order_by("pk").values_list("pk", flat=True)[:ROWS_AT_ONCE]:
        lifecycle.try_shift_notice(delivery_id, to=D.CANCELLED, facts=facts)


# --- parts ------------------------------------------------------------------------------------------------------------


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    return WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)


def _url_problem(url: str, chosen: Sequence[str]) -> str:
    if refused := targets.refuse_reason(url):
        return refused
    for known in WebhookEndpoint.objects.filter(url=url, disabled_at=None):
        if any(webhook.wanted(known.events, event) for event in chosen):
            return "this URL is told of that already: give the endpoint that is there a new secret, or disable it"
    return ""


def _events_problem(events: Sequence[str]) -> str:
    unknown = [event for event in events if event not in webhook.EVENTS]
    return f"unknown event {unknown[0]!r}; there are {', '.join(webhook.EVENTS)}" if unknown else ""


def _audit(action: str, row: WebhookEndpoint, actor: str, origin: str, **data: object) -> None:
    facts = {"host": _host(row.url), **data}
    audit.append(action=action, actor=actor, target=f"webhook:{row.pk}", origin=origin, data=facts)


def _host(url: str) -> str:
    """All of a URL that is fit to be kept: its path may hold a key."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
