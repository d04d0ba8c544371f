"""Tries of webhooks: deliveries claimed by one process, signed when they leave, and what each try came to.

A repeat is harmless (its id is the same), so a try that nobody knows the end of is simply made again.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, OuterRef

from approvals import deadlines, lifecycle, webhook, webhooks
from approvals.models import Delivery, DeliveryKind, DeliveryState, WebhookEndpoint
from approvals.webhook import Meaning
from approvals.webhook_client import Posted
from streams.events import short

logger = logging.getLogger(__name__)

D = DeliveryState
AT_ONCE_EACH = 4  # tries of one endpoint: one that never answers keeps only so many places
CLAIM_S = 40  # longer than a try may take and its end be written
ROWS_AT_ONCE = 200
ANSWER_CHARS = 500
WHY_CHARS = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to try one delivery until a time; a newer epoch ends it."""

    delivery_id: UUID
    epoch: int
    endpoint_id: UUID


@dataclass(frozen=True, slots=True)
class Letter:
    """One try, ready to leave."""

    url: str
    body: bytes
    headers: dict[str, str]
    at: datetime


def look(
    owner: str, room: int, busy: Mapping[UUID, int], failing: Collection[UUID] = (), *, every: bool = False
) -> tuple[list[Claim], datetime | None]:
    """Take up what is lost, then claim up to `room` that are due; and when the next one is due.

    With those that are `busy` an endpoint gets AT_ONCE_EACH tries, one that is `failing` a single one. `every`: no
    other process sends, so that any claim there is was lost.
    """
    if not WebhookEndpoint.objects.exists():
        return [], None
    at = deadlines.now()
    _free_lost(at, every=every)
    webhooks.cancel_queued()
    claims = _claim_due(owner, room, busy, failing, at) if room > 0 else []
    return claims, _next_due(after=at)


def _free_lost(at: datetime, *, every: bool) -> None:
    claimed = Delivery.objects.filter(kind=DeliveryKind.WEBHOOK, state=D.CLAIMED)
    lost = claimed if every else claimed.filter(claim_expires_at__lte=at)
    for delivery_id, epoch in lost.values_list("pk", "claim_epoch")[:ROWS_AT_ONCE]:
        facts = {"claim_expires_at": None, "next_at": at}
        lifecycle.try_shift_notice(delivery_id, to=D.READY, facts=facts, state=D.CLAIMED, claim_epoch=epoch)


def _queued() -> models.QuerySet[Delivery]:
    return Delivery.objects.filter(kind=DeliveryKind.WEBHOOK, state=D.READY, endpoint__disabled_at=None)


def _claim_due(owner: str, room: int, busy: Mapping[UUID, int], failing: Collection[UUID], at: datetime) -> list[Claim]:
    """Those that wait longest first; their order is the same for everybody, so that claims of two cannot cross."""
    most = {**dict.fromkeys(busy, AT_ONCE_EACH), **dict.fromkeys(failing, 1)}
    full = [one for one, count in busy.items() if count >= most[one]]
    due = _queued().filter(next_at__lte=at).exclude(endpoint__in=full).exclude(Exists(_pending_before()))
    rows = due.order_by("next_at", "created_at", "pk").values_list("pk", "claim_epoch", "endpoint")[:room]
    wished = [Claim(pk, epoch + 1, endpoint_id) for pk, epoch, endpoint_id in rows if endpoint_id is not None]
    if not wished:
        return []  # before a transaction, which would take SQLite's write lock
    facts = {"claim_owner": owner, "claim_expires_at": at + timedelta(seconds=CLAIM_S)}
    claims: list[Claim] = []
    count = Counter(busy)
    with transaction.atomic():
        for one in wished:
            if count[one.endpoint_id] < most.get(one.endpoint_id, AT_ONCE_EACH) and lifecycle.try_shift_notice(
                one.delivery_id,
                to=D.CLAIMED,
                facts={**facts, "claim_epoch": one.epoch},
                state=D.READY,
                claim_epoch=one.epoch - 1,
            ):
                count[one.endpoint_id] += 1
                claims.append(one)
    return claims


def _pending_before() -> models.QuerySet[Delivery]:
    """That a request is settled is told after it was told that it waits, or after that was given up."""
    return Delivery.objects.filter(
        kind=DeliveryKind.WEBHOOK,
        event=webhook.PENDING,
        state__in=(D.READY, D.CLAIMED),
        about=OuterRef("about"),
        endpoint=OuterRef("endpoint"),
    ).exclude(pk=OuterRef("pk"))


def _next_due(*, after: datetime) -> datetime | None:
    moment: datetime | None = _queued().filter(next_at__gt=after).aggregate(first=models.Min("next_at"))["first"]
    return moment


def give_back(claims: Collection[Claim]) -> None:
    """Claims whose tries were broken off: whoever looks next makes them again."""
    facts = {"claim_expires_at": None, "next_at": deadlines.now()}
    for one in claims:
        lifecycle.try_shift_notice(one.delivery_id, to=D.READY, facts=facts, state=D.CLAIMED, claim_epoch=one.epoch)


def prepare(claim: Claim) -> Letter | None:
    """Sign it, with the secrets that count now; None where the claim is another's by now, or nothing is to be sent.

    Raises SecretError when the endpoint's secret does not open.
    """
    mine = Delivery.objects.filter(pk=claim.delivery_id, state=D.CLAIMED, claim_epoch=claim.epoch)
    row = mine.select_related("endpoint").first()
    if row is None or row.endpoint is None:
        return None
    if row.endpoint.disabled_at is not None:
        give_back([claim])  # and there it is cancelled
        return None
    at = deadlines.now()
    signed_with = webhooks.signing_secrets(row.endpoint, now=at)
    body = row.body.encode("ascii")
    headers = webhook.headers(webhook.message_id(row.pk), body, at=at, signed_with=signed_with)
    return Letter(row.endpoint.url, body, headers, at)


def conclude(claim: Claim, posted: Posted, *, chance: float, sent_at: datetime | None = None) -> None:
    """Write what a try came to. Where the claim is another's by now, nothing is written."""
    row = Delivery.objects.select_related("endpoint").get(pk=claim.delivery_id)
    at, tries = deadlines.now(), row.attempts + 1
    judged = webhook.TRIES if row.event == webhook.PING else tries  # a test says at once what it found
    reading = webhook.read(
        posted.status, tries=judged, now=at, chance=lambda: chance, retry_after=posted.retry_after, why=posted.why
    )
    to, facts = _end(reading, tries, at)
    facts |= {
        "attempts": tries,
        "answer_status": posted.status,
        "answer": "" if to == D.DELIVERED else short(posted.body.decode("utf-8", "replace"), ANSWER_CHARS),
        "claim_expires_at": None,
    }
    if sent_at is not None:
        facts["sent_at"] = sent_at
    with transaction.atomic():
        if not lifecycle.try_shift_notice(row.pk, to=to, facts=facts, state=D.CLAIMED, claim_epoch=claim.epoch):
            logger.info("webhook %s: somebody else took it over", row.pk)
            return
        if reading.means is Meaning.GONE and row.endpoint is not None:
            webhooks.disable(row.endpoint, why=reading.why, actor="system", origin="its answer")
    _log(row, tries, reading)


def _end(reading: webhook.Reading, tries: int, at: datetime) -> tuple[DeliveryState, dict[str, Any]]:
    why = short(reading.why, WHY_CHARS)
    match reading.means:
        case Meaning.DELIVERED:
            return D.DELIVERED, {"finished_at": at, "evidence": "2xx", "last_error": ""}
        case Meaning.LATER:
            wait = timedelta(seconds=reading.wait_s or 0.0)
            return D.READY, {"next_at": at + wait, "last_error": why}
        case Meaning.GIVEN_UP:
            said = f"Given up after {tries} tries: {why}" if tries > 1 else why
            return D.REFUSED, {"finished_at": at, "last_error": said}
        case Meaning.GONE:
            return D.REFUSED, {"finished_at": at, "last_error": why}


def _log(row: Delivery, tries: int, reading: webhook.Reading) -> None:
    match reading.means:
        case Meaning.DELIVERED:
            logger.debug("webhook %s: delivered", row.pk)
        case Meaning.LATER:
            logger.warning(
                "webhook %s: try %d came to nothing, again in %.0f s: %s", row.pk, tries, reading.wait_s, reading.why
            )
        case Meaning.GIVEN_UP:
            logger.error("webhook %s: given up after try %d: %s", row.pk, tries, reading.why)
        case Meaning.GONE:
            logger.error("webhook %s: its endpoint %s is disabled: %s", row.pk, row.endpoint_id, reading.why)
